"""What a supervisor does with its parts, without processes and sockets; integration tests have the real ones."""

import asyncio
import itertools
import re
import time
from typing import TYPE_CHECKING

import pytest

from launchers import loads, ports, readiness, starting, supervisor
from launchers.footprints.parts import RAM
from launchers.gpus import Claim
from launchers.progress import Sample
from launchers.record import ProcessRecord
from launchers.spec import LaunchSpec
from launchers.states import RestartPolicy, State
from launchers.supervisor import Supervisor
from launchers.turns import Turns
from tests.fakes.kept import FakeKeepers
from tests.fakes.launched import LaunchedFake
from tests.running import eventually

if TYPE_CHECKING:
    from launchers.status import Status


class Supervised:
    """A supervisor over fake keepers, and what it announced."""

    def __init__(
        self, folder, start_timeout=60.0, stop_timeout=60.0, *,
        model="any", keep=False, claim=None, turns=None, **policy,
    ):  # fmt: skip
        self.keepers = FakeKeepers()
        self.seen: list[Status] = []
        self.supervisor = Supervisor(
            LaunchSpec("demo", "llama_cpp", model, "demo", {}, {}, start_timeout, stop_timeout, keep=keep, claim=claim),
            LaunchedFake(),
            keepers=self.keepers,
            logs=folder,
            on_change=self.seen.append,
            policy=RestartPolicy(**policy),
            turns=turns,
        )

    @property
    def process(self):
        """The process of now."""
        return self.keepers.processes[-1]

    async def until(self, state):
        """Wait for a state; give the status that told of it."""
        await eventually(lambda: any(status.state is state for status in self.seen))
        return next(status for status in self.seen if status.state is state)


@pytest.fixture
def asked():
    """The ports that were asked whether they are ready."""
    return []


@pytest.fixture
def is_ready(monkeypatch, asked):
    """Says whether engines are ready: a list of one boolean, which the test may change."""
    answer = [True]

    async def ask(port, *_):
        asked.append(port)
        return answer[0]

    monkeypatch.setattr(readiness, "is_ready", ask)
    monkeypatch.setattr(readiness, "owns_port", lambda *_: True)
    return answer


async def test_an_engine_that_never_gets_ready_is_killed_and_asked_no_more(tmp_path, is_ready, asked):
    """It isn't asked to end well, as it serves nobody; the next start comes after a pause."""
    is_ready[0] = False
    demo = Supervised(tmp_path, start_timeout=0.2, first_delay=60.0, longest_delay=60.0)
    demo.supervisor.start()
    assert (await demo.until(State.STOPPING)).detail == "not ready within 0.2 s; killed"
    status = await demo.until(State.BACKOFF)
    assert status.detail == "was not ready within 0.2 s; next try in 60.0 s"
    assert demo.process.orders == ["kill"]
    assert asked
    assert not any(task.get_name().startswith("readiness") for task in asyncio.all_tasks())
    assert len(demo.keepers.processes) == 1
    await demo.supervisor.stop()


async def test_it_is_asked_again_until_it_is_ready(tmp_path, is_ready, asked):
    """And is looked at once then, for what it would leave behind."""
    is_ready[0] = False
    demo = Supervised(tmp_path)
    demo.supervisor.start()
    await eventually(lambda: len(asked) >= 3)
    assert [status.state for status in demo.seen] == [State.STARTING]
    is_ready[0] = True
    status = await demo.until(State.RUNNING)
    assert status.address == ("127.0.0.1", asked[0])
    assert set(asked) == {asked[0]}
    assert demo.process.orders == ["look"]
    assert demo.keepers.commands[0].env["ENGINE_API_KEY"] == status.key != ""
    await demo.supervisor.stop()


async def test_it_is_told_since_when_it_is_in_its_state(tmp_path, is_ready, monkeypatch):
    """However often it is told of meanwhile."""
    hours = itertools.count(1000.0, 3600.0)
    monkeypatch.setattr(time, "time", lambda: next(hours))
    monkeypatch.setattr(supervisor, "PROGRESS_EVERY", 0.01)
    is_ready[0] = False
    demo = Supervised(tmp_path)
    demo.supervisor.start()
    await eventually(lambda: len(demo.seen) >= 3)
    is_ready[0] = True
    await demo.until(State.RUNNING)
    starting_since = {status.since for status in demo.seen if status.state is State.STARTING}
    running_since = {status.since for status in demo.seen if status.state is State.RUNNING}
    assert (len(starting_since), len(running_since)) == (1, 1)
    assert max(starting_since) < min(running_since)
    await demo.supervisor.stop()


async def test_a_stranger_at_its_port_is_not_taken_for_it(tmp_path, is_ready, asked, monkeypatch):
    """Whatever that answers."""
    theirs = [True]
    monkeypatch.setattr(readiness, "owns_port", lambda *_: not theirs[0])
    demo = Supervised(tmp_path)
    demo.supervisor.start()
    await eventually(lambda: len(asked) >= 3)
    assert demo.supervisor.status.state is State.STARTING
    theirs[0] = False
    await demo.until(State.RUNNING)
    assert is_ready[0]
    await demo.supervisor.stop()


async def test_no_start_comes_before_its_pause_has_passed(tmp_path, is_ready, monkeypatch):
    """Each pause is longer than the one before, and is told beforehand."""
    starts: list[float] = []
    start = starting.Starter.start

    async def noted(self, *arguments):
        starts.append(time.monotonic())
        started = await start(self, *arguments)
        demo.process.exit(1)
        return started

    monkeypatch.setattr(starting.Starter, "start", noted)
    demo = Supervised(tmp_path, first_delay=0.1, factor=2.0, give_up_after=4)
    demo.supervisor.start()
    await demo.until(State.FATAL)
    due = [status.next_try or 0.0 for status in demo.seen if status.state is State.BACKOFF]
    assert len(starts) == 4
    assert all(start >= told for start, told in zip(starts[1:], due, strict=True))
    pauses = [later - earlier for earlier, later in zip(starts, due, strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, [0.1, 0.2, 0.4], strict=True))
    assert is_ready[0]
    await demo.supervisor.stop()


async def test_without_a_free_port_the_start_has_failed_and_is_tried_again(tmp_path, is_ready, monkeypatch):
    """It is said why; a port that is given back is enough."""
    taken = [True]

    def no_port():
        if taken[0]:
            raise OSError("no port is free on 127.0.0.1 from 20000 to 29999")
        return ports.free_port()

    monkeypatch.setattr(starting, "free_port", no_port)
    demo = Supervised(tmp_path, first_delay=0.02, longest_delay=0.02, give_up_after=3)
    demo.supervisor.start()
    status = await demo.until(State.BACKOFF)
    assert status.detail == "no port is free on 127.0.0.1 from 20000 to 29999; next try in 0.0 s"
    assert status.coming
    await demo.until(State.FATAL)
    assert not demo.keepers.processes
    taken[0] = False
    demo.supervisor.start()
    await demo.until(State.RUNNING)
    assert is_ready[0]
    await demo.supervisor.stop()


async def test_what_does_not_end_when_it_is_asked_to_is_killed(tmp_path, is_ready):
    """After `stop_timeout`, and not before it was asked."""
    demo = Supervised(tmp_path, stop_timeout=0.05)
    demo.supervisor.start()
    await demo.until(State.RUNNING)
    demo.process.deaf = True
    await demo.supervisor.stop()
    assert demo.process.orders == ["look", "terminate", "kill"]
    assert demo.supervisor.status.state is State.STOPPED
    assert demo.supervisor.status.key == ""
    assert is_ready[0]


async def test_a_crash_is_told_with_the_engines_last_words(tmp_path, is_ready):
    """They stay to be read while the next one starts."""
    demo = Supervised(tmp_path, first_delay=60.0)
    demo.supervisor.start()
    await demo.until(State.RUNNING)
    demo.process.said = ("loading", "segmentation fault")
    demo.process.exit(-11)
    status = await demo.until(State.BACKOFF)
    assert status.detail.startswith("was ended by SIGSEGV after serving for 0 s")
    assert status.last_lines == ("loading", "segmentation fault")
    assert status.address is status.pid is None
    assert is_ready[0]
    await demo.supervisor.stop()


async def test_an_engine_that_is_kept_runs_on_when_it_is_left(tmp_path, is_ready):
    """It is asked nothing; another that its keeper won't keep is ended well."""
    for is_kept, orders in ((True, ["look", "release"]), (False, ["look", "terminate"])):
        demo = Supervised(tmp_path, keep=True)
        demo.supervisor.start()
        await demo.until(State.RUNNING)
        demo.process.record = EXAMPLE._replace(keep=is_kept)
        await demo.supervisor.leave()
        assert demo.process.orders == orders
    assert is_ready[0]


async def test_one_that_is_not_to_be_kept_is_ended_when_it_is_left(tmp_path, is_ready):
    """Whatever its record says."""
    demo = Supervised(tmp_path)
    demo.supervisor.start()
    await demo.until(State.RUNNING)
    demo.process.record = EXAMPLE._replace(keep=True)
    await demo.supervisor.leave()
    assert demo.process.orders == ["look", "terminate"]
    assert is_ready[0]


@pytest.mark.parametrize("started", [False, True])
async def test_one_that_does_not_run_is_started_no_more_when_it_is_left(tmp_path, is_ready, started):
    """It may be between two starts."""
    demo = Supervised(tmp_path, keep=True, first_delay=60.0, longest_delay=60.0)
    if started:
        demo.supervisor.start()
        await demo.until(State.RUNNING)
        demo.process.exit(1)
        await demo.until(State.BACKOFF)
    await demo.supervisor.leave()
    assert not any(task.get_name().startswith("supervisor") for task in asyncio.all_tasks())
    assert is_ready[0]


@pytest.mark.parametrize("why", ["no port", "exit", "stop"])
async def test_who_does_not_start_any_more_gives_its_turn_back(tmp_path, is_ready, monkeypatch, why):
    """Else nobody else on its GPU would ever start."""

    def no_port():
        raise OSError("no port is free")

    is_ready[0] = False
    if why == "no port":
        monkeypatch.setattr(starting, "free_port", no_port)
    claim, turns = Claim(("NVIDIA 0",), 0.45), Turns(lambda: ())
    demo = Supervised(tmp_path, claim=claim, turns=turns, give_up_after=1)
    demo.supervisor.start()
    if why == "no port":
        await demo.until(State.FATAL)
    else:
        await demo.until(State.STARTING)
        assert "until demo has started" in (await turns.ask("other", claim, lambda: None)).why
    if why == "exit":
        demo.process.exit(1)
        await demo.until(State.FATAL)
    elif why == "stop":
        await demo.supervisor.stop()
    assert (await turns.ask("other", claim, lambda: None)).why == ""
    await demo.supervisor.stop()


@pytest.fixture
def samples(monkeypatch):
    """What each look at a load sees, the last of them again and again: bytes in memory."""
    found: list[int] = [0]

    def sample_of(_):
        return Sample(found.pop(0) if len(found) > 1 else found[0])

    monkeypatch.setattr(loads, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(loads, "sample_of", sample_of)
    return found


@pytest.fixture
def model(tmp_path):
    """A model of 100 MiB that takes no room on the disk."""
    file = tmp_path / "m.gguf"
    with file.open("wb") as stream:
        stream.truncate(100 << 20)
    return str(file)


async def test_a_load_that_goes_on_may_take_longer_than_its_time_to_start(tmp_path, is_ready, samples, monkeypatch):
    """Once it stops, its time runs out."""
    monkeypatch.setattr(loads, "LOOK_EVERY", 0.05)
    is_ready[0] = False
    samples[:] = [size << 20 for size in range(0, 1000, 20)]
    demo = Supervised(tmp_path, start_timeout=2.0, first_delay=60.0, longest_delay=60.0)
    demo.supervisor.start()
    first = await demo.until(State.STARTING)
    detail = (await demo.until(State.STOPPING)).detail
    assert re.fullmatch(r"not ready within \d+ s, the last 2 s without progress; killed", detail)
    assert len(samples) == 1
    times = [status.progressed or 0.0 for status in demo.seen if status.state is State.STARTING]
    assert times[0] == first.progressed
    assert times == sorted(times)
    assert times[-1] - times[0] > 2
    assert (await demo.until(State.BACKOFF)).progressed is None
    await demo.supervisor.stop()


@pytest.mark.parametrize("said", [("loading",), ("|",), ('"GET /health HTTP/1.1" 503',)])
async def test_one_that_hangs_is_killed_whatever_it_repeats(tmp_path, is_ready, samples, said):
    is_ready[0] = False
    samples[0] = 50 << 20
    demo = Supervised(tmp_path, start_timeout=0.2, first_delay=60.0, longest_delay=60.0)
    demo.supervisor.start()
    await demo.until(State.STARTING)
    demo.process.said = said * 40
    await demo.until(State.STOPPING)
    await demo.supervisor.stop()


async def test_one_that_goes_on_for_ever_is_killed_too(tmp_path, is_ready, samples):
    is_ready[0] = False
    samples[:] = [size << 20 for size in range(0, 200_000, 20)]
    demo = Supervised(tmp_path, start_timeout=1.0, first_delay=60.0, longest_delay=60.0, longest_start=2.0)
    demo.supervisor.start()
    assert (await demo.until(State.STOPPING)).detail == "not ready within 2 s, though it went on; killed"
    assert len(samples) > 1
    await demo.supervisor.stop()


async def test_the_share_of_a_load_is_told_as_it_grows_but_is_no_news(tmp_path, is_ready, samples, model):
    """Only what people read is: a start, a long wait, its end."""
    is_ready[0] = False
    samples[:] = [10 << 20, 40 << 20, 41 << 20, 90 << 20]
    demo = Supervised(tmp_path, model=model)
    demo.supervisor.start()
    await eventually(lambda: demo.seen and demo.seen[-1].share == 0.9)
    assert [status.share for status in demo.seen if status.state is State.STARTING] == [0.0, 0.1, 0.4, 0.41, 0.9]
    assert [status.is_news for status in demo.seen] == [True, False, False, False, False]
    assert {status.detail for status in demo.seen} == {"starting"}
    is_ready[0] = True
    status = await demo.until(State.RUNNING)
    assert (status.share, status.is_news, status.progressed) == (1.0, True, None)
    await demo.supervisor.stop()
    assert demo.seen[-1].share == 0.0


async def test_each_load_begins_with_nothing(tmp_path, is_ready, samples, model):
    is_ready[0] = False
    samples[:] = [50 << 20, 50 << 20, 0]
    demo = Supervised(tmp_path, model=model, first_delay=0.01)
    demo.supervisor.start()
    await eventually(lambda: demo.seen and demo.seen[-1].share == 0.5)
    demo.process.exit(1)
    await eventually(lambda: len(demo.keepers.processes) == 2)
    await eventually(lambda: demo.seen[-1].state is State.STARTING)
    assert demo.seen[-1].share == 0.0
    await demo.supervisor.stop()


async def test_a_mistake_in_a_look_at_a_load_ends_the_engine(tmp_path, is_ready, monkeypatch):
    """It would time out without a reason."""

    def broken(_):
        raise ZeroDivisionError

    monkeypatch.setattr(loads, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(loads, "sample_of", broken)
    is_ready[0] = False
    demo = Supervised(tmp_path)
    demo.supervisor.start()
    assert "supervisor failed: ZeroDivisionError()" in (await demo.until(State.FATAL)).detail
    assert demo.process.orders == ["kill"]


@pytest.mark.parametrize(
    ("said", "device"), [("unable to allocate CUDA0 buffer", "NVIDIA 1"), ("std::bad_alloc", RAM), ("no model", None)]
)
async def test_a_lack_of_memory_is_told_until_the_next_start(tmp_path, is_ready, said, device):
    """Of a start that failed, and of an engine that served."""
    claim = Claim(("NVIDIA 1",))
    demo = Supervised(tmp_path, claim=claim, first_delay=0.01, give_up_after=2)
    for ready in (True, False):
        is_ready[0] = ready
        demo.seen.clear()
        demo.supervisor.start()
        await demo.until(State.RUNNING if ready else State.STARTING)
        demo.process.said = (said,)
        demo.process.exit(1)
        assert (await demo.until(State.BACKOFF)).out_of_memory == device
        assert (await demo.until(State.STARTING)).out_of_memory is None
        await eventually(lambda: demo.seen[-1].state is not State.BACKOFF)
        demo.process.said = (said,)
        if not ready:
            demo.process.exit(1)
            assert (await demo.until(State.FATAL)).out_of_memory == device
        await demo.supervisor.stop()
        assert demo.seen[-1].out_of_memory is None


async def test_one_that_ran_out_of_memory_and_hangs_says_so_when_it_is_restarted(tmp_path, is_ready):
    """MLX's server goes on without the thread that works. What it said long before it was stopped for good is past."""
    demo = Supervised(tmp_path)
    demo.supervisor.start()
    await demo.until(State.RUNNING)
    demo.process.said = ("[METAL] Command buffer execution failed: Insufficient Memory",)
    demo.seen.clear()
    demo.supervisor.restart()
    await demo.until(State.RUNNING)
    assert [status.out_of_memory for status in demo.seen if status.out_of_memory is not None] == [RAM]
    assert demo.supervisor.status.restarts == 1
    demo.process.said = ("std::bad_alloc",)
    await demo.supervisor.stop()
    assert demo.seen[-1].out_of_memory is None
    assert is_ready[0]


async def test_with_two_tries_a_start_is_tried_again_at_once_and_then_given_up(tmp_path, is_ready):
    """A model that is loaded for a request: its client waits."""
    is_ready[0] = False
    demo = Supervised(tmp_path, give_up_after=2)
    demo.supervisor.start()
    for number in (1, 2):
        await eventually(lambda: [status.state for status in demo.seen].count(State.STARTING) == number)  # noqa: B023
        demo.process.exit(1)
    await demo.until(State.FATAL)
    assert [status.detail for status in demo.seen if status.state is State.BACKOFF] == [
        "exited with code 1 while starting; next try in 0.2 s"
    ]
    assert len(demo.keepers.processes) == 2
    await demo.supervisor.stop()


@pytest.mark.parametrize("kill", [False, True])
async def test_one_that_starts_ends_soon(tmp_path, is_ready, kill):
    """It serves nobody: whoever wants its memory doesn't wait for a whole `stop_timeout`."""
    is_ready[0] = False
    demo = Supervised(tmp_path, stop_timeout=3600.0, start_grace=0.05)
    demo.supervisor.start()
    await demo.until(State.STARTING)
    demo.process.deaf = True
    await (demo.supervisor.kill() if kill else demo.supervisor.stop())
    assert demo.process.orders == (["kill"] if kill else ["terminate", "kill"])
    assert demo.supervisor.status.state is State.STOPPED


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("state", [State.BACKOFF, State.WAITING])
async def test_one_that_waits_ends_at_once(tmp_path, is_ready, state, kill):
    is_ready[0] = False
    claim, turns = Claim(("NVIDIA 0",), 0.45), Turns(lambda: ())
    if state is State.WAITING:
        await turns.ask("other", claim, lambda: None)
    demo = Supervised(tmp_path, claim=claim, turns=turns, first_delay=3600.0, longest_delay=3600.0, ask_again=3600.0)
    demo.supervisor.start()
    if state is State.BACKOFF:
        await demo.until(State.STARTING)
        demo.process.exit(1)
    await demo.until(state)
    await (demo.supervisor.kill() if kill else demo.supervisor.stop())
    assert demo.supervisor.status.state is State.STOPPED
    assert not any(task.get_name().startswith(("supervisor", "load", "readiness")) for task in asyncio.all_tasks())


EXAMPLE = ProcessRecord("", "demo", 1 << 30, "", 0, "", keep=True, scratch="", router_pid=0, router_started="",
                        keeper_pid=0, keeper_started="", keeper_at="", world="")  # fmt: skip
