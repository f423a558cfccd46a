import pytest

from launchers.states import Event, RestartPolicy, Supervision, step
from launchers.wording import change, exit_in_words, progress

FRESH = Supervision(start_timeout=60, stop_timeout=10, policy=RestartPolicy(give_up_after=2))


def said(*events, end="exited with code 1", why="ValueError: no such model"):
    """The sentence for the last of `events`, each a second after the one before."""
    before = now = FRESH
    for time, event in enumerate(events):
        before, now = now, step(now, event, time)[0]
    return change(before, events[-1], now, end, why)


START, READY, EXITED, TIMED_OUT, STOP, KILL, PROGRESS = (
    Event.START, Event.READY, Event.EXITED, Event.TIMED_OUT, Event.STOP, Event.KILL, Event.PROGRESS,
)  # fmt: skip


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([START], "starting"),
        ([START, EXITED, TIMED_OUT], "starting, after 1 failed start in a row; the last: ValueError: no such model"),
        ([START, READY], "ready after 1.0 s"),
        ([START, EXITED], "exited with code 1 while starting: ValueError: no such model; next try in 0.2 s"),
        (
            [START, READY, EXITED],
            "exited with code 1 after serving for 1 s: ValueError: no such model; next try in 0.2 s",
        ),
        ([START, TIMED_OUT], "not ready within 60 s; killed"),
        ([START, TIMED_OUT, EXITED], "was not ready within 60 s: ValueError: no such model; next try in 0.2 s"),
        ([START, STOP], "stopping"),
        ([START, KILL], "killed"),
        ([START, READY, STOP, TIMED_OUT], "did not end within 10 s; killed"),
        ([START, STOP, TIMED_OUT], "did not end within 2 s; killed"),
        ([START, PROGRESS, TIMED_OUT], "not ready within 61 s, the last 60 s without progress; killed"),
        (
            [START, PROGRESS, TIMED_OUT, EXITED],
            "was not ready within 61 s, the last 60 s without progress: ValueError: no such model; next try in 0.2 s",
        ),
        ([START, *[PROGRESS] * 800, TIMED_OUT], "not ready within 720 s, though it went on; killed"),
        ([START, STOP, START], "stopping, to start again"),
        ([START, STOP, EXITED], "stopped"),
        (
            [START, EXITED, TIMED_OUT, EXITED],
            (
                "gave up after 2 failed starts in a row; "
                "the last: exited with code 1 while starting: ValueError: no such model; "
                "a reload or a change of its model starts it again, as does a request after 30 s"
            ),
        ),
    ],
)
def test_each_step_is_said_in_a_sentence(events, sentence):
    assert said(*events) == sentence


def test_what_could_not_be_started_says_why():
    assert said(START, Event.SPAWN_FAILED, end="no python") == "no python; next try in 0.2 s"


def test_a_model_that_can_not_be_started_says_why():
    """Nothing was tried several times."""
    end = "the file is cut off"
    revived = "a reload or a change of its model starts it again, as does a request after 30 s"
    assert said(START, Event.UNFIT, end=end) == f"{end}; {revived}"


def test_giving_up_on_what_said_nothing():
    assert "the last: exited with code 1 while starting; a reload" in said(START, EXITED, TIMED_OUT, EXITED, why="")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with code 0"),
        (-9, "was ended by SIGKILL"),
        (-63, "was ended by signal 63"),
        (None, "ended"),
    ],
)
def test_exits_are_said_in_words(code, words):
    assert exit_in_words(code) == words


def test_progress_tells_what_the_engine_has_and_said():
    assert progress(12.4, 3 << 29, ("a", "loading 3/7")) == (
        "loading for 12 s, 1.5 GiB in memory; the engine last said: loading 3/7"
    )
    assert progress(5, 0, ()) == "loading for 5 s, 0.0 GiB in memory; the engine has said nothing yet"
