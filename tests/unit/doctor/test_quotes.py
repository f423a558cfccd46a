"""What router.log quotes of engines is left out of a report: each sentence that has their words."""

import json

import pytest

from launchers.states import Event, RestartPolicy, Supervision, step
from launchers.wording import change, progress
from router.doctor.quotes import without_quotes

WORDS = "error: prompt=my name; next, said: HF_TOKEN=abc failed to load model"
LEFT = "(failed to load model; the rest is left out)"
START, READY, EXITED, TIMED_OUT = Event.START, Event.READY, Event.EXITED, Event.TIMED_OUT


def sentence(*events: Event, why: str = WORDS) -> str:
    """Give the supervisor's sentence for the last of these events."""
    before = now = Supervision(start_timeout=60, stop_timeout=10, policy=RestartPolicy(give_up_after=2))
    for time, event in enumerate(events):
        before, now = now, step(now, event, time)[0]
    return change(before, events[-1], now, "exited with code 1 (out of memory)", why)


@pytest.mark.parametrize("is_json", [True, False])
@pytest.mark.parametrize(
    "events",
    [
        (START, EXITED),
        (START, EXITED, TIMED_OUT),
        (START, READY, EXITED),
        (START, TIMED_OUT, EXITED),
        (START, Event.PROGRESS, TIMED_OUT, EXITED),
        (START, EXITED, TIMED_OUT, EXITED),
    ],
)
def test_each_sentence_keeps_what_is_the_routers(events, is_json):
    """How it ended, the next try, and a reason that is known; as JSON, and as text."""
    before, after = (f"own: {sentence(*events, why=why)}" for why in (WORDS, LEFT))
    made = (json.dumps({"event": each, "n": 1}) if is_json else each for each in (before, after))
    assert [*without_quotes([next(made)])] == [next(made)]


def test_what_says_nothing_of_others_stays():
    """Letter by letter; also a line that is no object, and one without an event."""
    lines = [
        '{"event":  "listening: at 1"}',
        "[1]",
        '{"event": 1}',
        "own: stopped",
        f"own: {sentence(START, EXITED, why='')}",
    ]
    assert [*without_quotes(lines)] == lines


def test_other_words_are_left_out():
    """The last lines below a failure, the words of one that answered with 500, and of a long start."""
    lines = [
        {"event": "own: exited with code 1 while starting: a b; next try in 0.2 s\n    | a b\n    | c\n    on"},
        {"event": "an engine has failed", "said": "my prompt", "status": 500},
        {"event": progress(70, 2**30, ["my prompt"])},
    ]
    assert [json.loads(each) for each in without_quotes(map(json.dumps, lines))] == [
        {"event": "own: exited with code 1 while starting: (left out); next try in 0.2 s\n    | (left out)\n    on"},
        {"event": "an engine has failed", "said": "(left out)", "status": 500},
        {"event": "loading for 70 s, 1.0 GiB in memory; the engine last said: (left out)"},
    ]
    assert [*without_quotes(["it failed said='my \\'prompt' status=500"])] == ["it failed said=(left out) status=500"]
    assert [*without_quotes(["    | my prompt"])] == ["    | (left out)"]
