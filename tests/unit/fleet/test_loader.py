"""Engines that are loaded and unloaded as memory decides, with a real plane; the engines are the test's."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from launchers.footprints.parts import RAM
from launchers.states import State as EngineState
from router.core.errors import ConflictError
from router.core.memory.devices import Device
from router.core.memory.footprints import Placement
from router.core.memory.refusals import LoadFailedError, MemoryShortageError
from router.core.memory.residency import Residency
from router.core.memory.resident import Loadable
from router.core.memory.states import State
from router.fleet import loader
from router.fleet.loadables import EnginePlacement
from router.fleet.loader import SPARE, Loader
from tests.fakes.fleet import RUNNING, Fleet, planned
from tests.running import eventually

GIB = 2**30
LIMIT = 20


def loadable(size: float = 12, name: str = "demo", **options) -> Loadable:
    """Give a launch of so many GiB."""
    return Loadable(name, (Placement(name, {"gpu": int(size * GIB)}, is_told=True),), **options)


def entry(name: str, **launch) -> dict[str, object]:
    """Give an entry of router.yaml that is loaded on demand."""
    launch = {"engine": "llama_cpp", "model": "any", "load": "on_demand", **launch}
    return {"name": name, "models": [name], "launch": launch}


def status(name: str = "demo", **changes):
    """Give a status of an engine."""
    return replace(RUNNING, name=name, **changes)


class LoadingFleet(Fleet):
    """A lifecycle with a loader; `measured` is what each engine is measured to take, by its pid."""

    def __init__(self) -> None:
        super().__init__()
        self.residency = Residency([Device("gpu", LIMIT * GIB)])
        self.measured: dict[int, dict[str, int]] = {}
        self.remembered: list[object] = []
        self.prepared: list[object] = []
        self.warmed: list[str] = []
        self.life.loader = self.loader = Loader(
            self.plane,
            self.residency,
            lambda _, pid: self.measured.get(pid, {}),
            self.remembered.append,
            {"known": 77.0},
            lambda member, load: self.prepared.append((member.name, load.placement)),
            self._warm_up,
        )

    async def _warm_up(self, member, status) -> None:  # noqa: ARG002
        self.warmed.append(member.name)

    def add(self, name: str = "demo", size: float = 12, **options) -> None:
        """Add a backend that isn't loaded."""
        self.life.add(planned(entry(name), loadable(size, name, **options)))

    def want(self, name: str = "demo", request: object = "a request") -> None:
        """A request waits for it."""
        self.loader.do(self.residency.wanted(request, name, self.plane.loop.time()))

    def end(self, request: object = "a request") -> None:
        """It waits no longer."""
        self.loader.do(self.residency.ended(request, self.plane.loop.time()))

    async def is_ready(self, name: str = "demo", number: int = 0, pid: int = 7) -> None:
        """Its engine is ready; wait until it serves."""
        self.supervisors[number].says(status(name, pid=pid))
        await eventually(lambda: self.residency.residents()[name].serves)

    def state(self, name: str = "demo") -> State:
        """Tell how far it is."""
        return self.residency.state(name)


@pytest.fixture
async def fleet():
    """Give a fleet that has started; nothing of it may run on."""
    made = LoadingFleet()
    made.life.start()
    yield made
    made.loader.close()
    made.life.abandon()
    made.plane.close()


# Loading


async def test_a_spare_of_ram_is_reserved_beyond_what_was_measured(fleet):
    """First requests bring buffers, and shared libraries are one's own in the end; a person's word stands as it is."""
    fleet.residency.reservations.resize([Device(RAM, LIMIT * GIB)])
    for number, is_told in enumerate((False, True)):
        name, pid = f"m{number}", 7 + number
        fleet.measured[pid] = {RAM: 3 * GIB}
        placement = Placement(name, {RAM: 2 * GIB}, is_told=is_told)
        fleet.life.add(planned(entry(name), Loadable(name, (placement,))))
        fleet.want(name, name)
        await fleet.is_ready(name, number, pid)
        assert fleet.residency.reservations.held(name) == {RAM: 3 * GIB + (0 if is_told else SPARE)}


async def test_nothing_runs_until_it_is_wanted(fleet):
    """Its names mean something, and requests may wait for it."""
    fleet.add()
    backend = fleet.plane.backends["demo"]
    assert fleet.supervisors[0].calls == []
    assert fleet.models("demo") == {"demo"}
    assert (backend.health.usable, backend.health.coming, backend.health.reason) == (False, True, "is not loaded")
    assert backend.resident == "demo"
    fleet.want()
    assert fleet.supervisors[0].calls == ["start"]


async def test_it_serves_when_it_is_ready_and_measured(fleet):
    """Whatever is set up at the place that was chosen comes before it, and so does a first request."""
    fleet.measured[7] = {"gpu": 11 * GIB}
    fleet.add()
    fleet.want()
    assert fleet.prepared[0][0] == "demo"
    await fleet.is_ready()
    assert fleet.serving is fleet.plane.backends["demo"]
    assert fleet.warmed == ["demo"]
    assert fleet.plane.api_key(fleet.plane.backends["demo"]) == "secret"
    assert [each.key for each in fleet.remembered] == ["demo"]


async def test_what_it_may_grow_is_reserved_too(fleet):
    """A model that was only estimated takes more when it works."""
    fleet.measured[7] = {"gpu": 4 * GIB}
    placement = EnginePlacement("key", {"gpu": 4 * GIB}, grows={"gpu": 2 * GIB})
    fleet.life.add(planned(entry("demo"), Loadable("demo", (placement,))))
    fleet.want()
    await fleet.is_ready()
    assert fleet.residency.reservations.held("demo") == {"gpu": 6 * GIB}


async def test_earlier_runs_tell_how_long_a_load_takes(fleet):
    """It counts in the balance."""
    fleet.life.add(planned(entry("demo"), Loadable("demo", (Placement("known", {}),), load_seconds=5.0)))
    assert fleet.residency.residents()["demo"].costs.load.value == 77.0


async def test_how_long_a_load_may_stand_still_is_its_supervisors_to_say(fleet):
    """Two clocks would cancel it twice."""
    fleet.add(start_timeout=1.0)
    fleet.want()
    fleet.loader.do(fleet.residency.tick(fleet.plane.loop.time() + 1e6))
    assert fleet.state() is State.LOADING


async def test_a_load_tells_its_share(fleet):
    """For those who wait, also where people read nothing new."""
    fleet.add()
    fleet.want()
    loading = status(state=EngineState.STARTING, address=None, share=0.25, is_news=False)
    fleet.supervisors[0].says(loading)
    assert fleet.residency.residents()["demo"].load.share == 0.25
    assert fleet.plane.backends["demo"].health.reason == "is not loaded"


async def test_one_of_the_start_is_loaded_at_the_start(fleet):
    """In the file's order, and only where there is room; which of them isn't, and why, is said."""
    with capture_logs() as logs:
        for name in ("a", "b", "c"):
            fleet.life.add(planned(entry(name, load="startup"), loadable(9, name)))
        fleet.life.add(planned(entry("d", load="startup"), loadable(30, "d")))
    said = [each["event"] for each in logs if each["log_level"] == "warning"]
    assert said[0] == "c: isn't loaded now, but when a request wants it: others have the memory that it needs"
    assert said[1].startswith(
        "d: isn't loaded now, but when a request wants it: 'd' can't be loaded. It needs 30.0 GiB"
    )
    assert [each.calls for each in fleet.supervisors] == [["start"], ["start"], [], []]
    assert fleet.state("c") is State.UNLOADED
    assert fleet.loader.is_settled(fleet.life.members["c"])
    assert not fleet.loader.is_settled(fleet.life.members["a"])


# Unloading


async def test_it_leaves_for_another(fleet):
    """Nothing is sent there any more; the other starts when it is gone."""
    fleet.add("a")
    fleet.add("b")
    fleet.want("a")
    await fleet.is_ready("a", 0)
    fleet.measured[7] = {"gpu": 13 * GIB}
    fleet.end()
    fleet.want("b")
    assert not fleet.plane.backends["a"].health.usable
    await eventually(lambda: fleet.supervisors[1].calls == ["start"])
    assert fleet.supervisors[0].calls == ["start", "stop"]
    assert fleet.state("a") is State.UNLOADED
    assert fleet.plane.backends["a"].health.reason == "is not loaded"
    # What it came to take while it worked was measured before it ended.
    assert fleet.remembered[-1].learned.bytes == {"gpu": 13 * GIB}


async def test_a_load_that_nobody_waits_for_is_killed(fleet):
    """An engine that loads may not heed SIGTERM."""
    fleet.add()
    fleet.want()
    fleet.end()
    await eventually(lambda: fleet.state() is State.UNLOADED)
    assert fleet.supervisors[0].calls == ["start", "kill"]


async def test_one_that_is_ready_too_late_serves_nobody(fleet):
    """It was told to end while it was measured."""
    fleet.add()
    fleet.want()
    fleet.supervisors[0].says(status())
    fleet.end()
    await eventually(lambda: fleet.state() is State.UNLOADED)
    await asyncio.sleep(0)
    assert fleet.serving is None


# Failures


async def test_a_load_that_fails_is_told_to_who_waits(fleet):
    """In the engine's words; its supervisor is stopped, or it would go on by itself."""
    fleet.add()
    fleet.want()
    fleet.supervisors[0].says(
        status(state=EngineState.FATAL, address=None, pid=None, detail="gave up", failure="no such model")
    )
    await eventually(lambda: fleet.state() is State.FAILED)
    assert fleet.supervisors[0].calls == ["start", "kill"]
    failure = fleet.residency.failure("demo", fleet.plane.loop.time())
    assert "no such model" in str(failure)
    assert fleet.plane.backends["demo"].health.coming


async def test_a_lack_of_memory_is_tried_again_with_more(fleet):
    """Not as it was: its supervisor's next try is ended."""
    fleet.add(size=8)
    fleet.want()
    fleet.supervisors[0].says(
        status(state=EngineState.BACKOFF, address=None, pid=None, failure="out of memory", out_of_memory="gpu")
    )
    await eventually(lambda: fleet.supervisors[0].calls == ["start", "kill", "start"])
    assert fleet.residency.reservations.held("demo") == {"gpu": 10 * GIB}


async def test_a_crash_while_it_serves_is_its_supervisors(fleet):
    """Its memory stays reserved, and it serves again when it is ready."""
    fleet.add()
    fleet.want()
    await fleet.is_ready()
    fleet.supervisors[0].says(status(state=EngineState.BACKOFF, address=None, pid=None, detail="was killed"))
    assert fleet.serving is None
    assert fleet.state() is State.LOADED
    fleet.supervisors[0].says(status(pid=8))
    await eventually(lambda: fleet.serving is not None)
    assert fleet.warmed == ["demo"]


async def test_one_that_is_given_up_while_it_serves_gives_its_memory_back(fleet):
    """The next request has it loaded again."""
    fleet.add()
    fleet.want()
    await fleet.is_ready()
    fleet.end()
    fleet.supervisors[0].says(status(state=EngineState.FATAL, address=None, pid=None, failure="it dies"))
    await eventually(lambda: fleet.state() is State.UNLOADED)
    fleet.want()
    assert fleet.supervisors[0].calls == ["start", "kill", "start"]


@pytest.mark.parametrize("by", ["its files", "a reload"])
async def test_a_load_that_failed_is_tried_again_when_something_changes(fleet, monkeypatch, by):
    """By the next request, and not after the rest that its failures have earned."""
    monkeypatch.setattr(loader, "LOOK_AT_FILES_EVERY", 0.01)
    fleet.add()
    fleet.want()
    fleet.supervisors[0].says(status(state=EngineState.FATAL, address=None, pid=None, failure="it is broken"))
    await eventually(lambda: fleet.state() is State.FAILED)
    fleet.want(request="too soon")
    assert fleet.supervisors[0].calls == ["start", "kill"]
    if by == "its files":
        fleet.supervisors[0].changed = True
        await eventually(lambda: not fleet.loader._tasks)
    else:
        fleet.loader.forgive(fleet.life.members["demo"])
    fleet.want(request="the next")
    assert fleet.supervisors[0].calls == ["start", "kill", "start"]


async def test_a_failure_of_one_that_ends_anyway_ends_it_once(fleet):
    """A second end would come to the load that follows."""
    fleet.add()
    fleet.want()
    await fleet.is_ready()
    fleet.end()
    fleet.loader.do(fleet.residency.unload("demo", fleet.plane.loop.time()))
    fleet.supervisors[0].says(status(state=EngineState.FATAL, address=None, pid=None, failure="it dies"))
    await eventually(lambda: fleet.state() is State.UNLOADED)
    assert fleet.supervisors[0].calls == ["start", "stop"]


# Members that change and go


async def test_one_that_runs_already_is_taken_over(fleet):
    """It has its memory; and what is in flight there, of which memory doesn't know, ends before it does."""
    fleet.life.add(planned(entry("demo", load="startup")))
    fleet.supervisors[0].says(status())
    assert fleet.life.members["demo"].resident == ""
    fleet.life.keep(planned(entry("demo", load="startup"), loadable(12)), "demo")
    await eventually(lambda: fleet.state() is State.LOADED)
    assert fleet.residency.reservations.held("demo") == {"gpu": 12 * GIB}
    assert fleet.serving is not None
    fleet.serving.in_flight = 1
    fleet.loader.do(fleet.residency.unload("demo", fleet.plane.loop.time()))
    await asyncio.sleep(0.1)
    assert "stop" not in fleet.supervisors[0].calls
    fleet.plane.backends["demo"].in_flight = 0
    await eventually(lambda: "stop" in fleet.supervisors[0].calls)


async def test_it_can_come_to_be_loaded_at_the_start(fleet):
    """A reload loads it, and what it takes changes."""
    fleet.add()
    fleet.life.tune(planned(entry("demo", load="startup"), loadable(5)), "demo")
    assert fleet.supervisors[0].calls == ["start"]
    assert fleet.residency.reservations.held("demo") == {"gpu": 5 * GIB}


async def test_what_is_loaded_stays_where_it_is_whatever_changes(fleet):
    """After a crash it starts on the GPU whose memory it has; the next load is planned anew."""
    there = EnginePlacement("key", {"gpu": GIB}, env={"CUDA_VISIBLE_DEVICES": "GPU-1"})
    fleet.life.add(planned(entry("demo"), Loadable("demo", (there,))))
    fleet.want()
    await fleet.is_ready()
    fleet.life.tune(planned(entry("demo", start_timeout="7s"), loadable(5)), "demo")
    spec = fleet.supervisors[0].specs[-1]
    assert spec.env == {"CUDA_VISIBLE_DEVICES": "GPU-1"}
    fleet.end()
    fleet.loader.do(fleet.residency.unload("demo", fleet.plane.loop.time()))
    await eventually(lambda: not fleet.loader.holds_memory(fleet.life.members["demo"]))
    fleet.life.tune(planned(entry("demo", start_timeout="8s"), loadable(5)), "demo")
    assert fleet.supervisors[0].specs[-1].env == {}


async def test_a_successor_of_one_that_is_not_loaded_takes_its_place_at_once(fleet):
    """Neither starts."""
    fleet.add()
    fleet.life.replace(planned(entry("demo"), loadable(5)), "demo", new_first=True)
    await eventually(lambda: not fleet.life.ending)
    assert [each.calls for each in fleet.supervisors] == [["stop"], []]
    fleet.want(fleet.plane.backends["demo"].resident)
    assert fleet.supervisors[1].calls == ["start"]


async def test_a_successor_is_loaded_beside_the_one_that_serves(fleet):
    """Which is unloaded when the new one is ready."""
    fleet.add(size=9)
    fleet.want()
    await fleet.is_ready()
    fleet.end()
    old = fleet.plane.backends["demo"]
    fleet.life.replace(planned(entry("demo"), loadable(9)), "demo", new_first=True)
    assert fleet.serving is old
    fleet.supervisors[1].says(status(pid=8))
    await eventually(lambda: fleet.serving is not old)
    await eventually(lambda: list(fleet.residency.residents()) == [fleet.plane.backends["demo"].resident])


@pytest.mark.parametrize("pinned", [False, True])
async def test_a_successor_that_has_no_room_beside_the_old_one_comes_after_it(fleet, pinned):
    """Requests wait for it meanwhile; what the old one has in flight ends first."""
    fleet.add(pinned=pinned)
    fleet.want()
    await fleet.is_ready()
    fleet.end()
    old = fleet.plane.backends["demo"]
    old.in_flight = 1
    fleet.life.replace(planned(entry("demo"), loadable(11)), "demo", new_first=True)
    await eventually(lambda: fleet.plane.backends["demo"] is not old)
    new = fleet.plane.backends["demo"]
    assert (new.health.usable, new.health.coming) == (False, True)
    assert fleet.supervisors[0].calls == ["start"]
    old.in_flight = 0
    await eventually(lambda: fleet.supervisors[1].calls == ["start"])
    assert "stop" in fleet.supervisors[0].calls
    fleet.supervisors[1].says(status(pid=8))
    await eventually(lambda: fleet.serving is new)
    assert fleet.residency.reservations.held(new.resident) == {"gpu": 11 * GIB}


async def test_a_successor_that_fails_leaves_the_old_one_serving(fleet):
    """A further change is what helps."""
    fleet.add(size=9)
    fleet.want()
    await fleet.is_ready()
    fleet.end()
    old = fleet.plane.backends["demo"]
    fleet.life.replace(planned(entry("demo"), loadable(9)), "demo", new_first=True)
    fleet.supervisors[1].says(status(state=EngineState.FATAL, address=None, pid=None, failure="it is broken"))
    await eventually(lambda: not fleet.life._replacing)
    assert fleet.serving is old


async def test_a_member_that_is_removed_ends(fleet):
    """Those who wait for it are refused, and memory knows it no more."""
    fleet.add()
    fleet.want()
    await fleet.is_ready()
    fleet.end()
    fleet.life.remove("demo")
    await eventually(lambda: not fleet.residency.residents())
    assert "stop" in fleet.supervisors[0].calls
    assert fleet.loader.pids() == {}


# People


async def test_people_load_and_unload(fleet):
    """And wait until it is so."""
    fleet.add()
    member = fleet.life.members["demo"]
    load = asyncio.ensure_future(fleet.loader.load_for_people(member))
    await eventually(lambda: fleet.supervisors[0].calls == ["start"])
    assert not load.done()
    await fleet.is_ready()
    await load
    await fleet.loader.unload_for_people(member)
    assert fleet.supervisors[0].calls == ["start", "stop"]
    assert fleet.state() is State.UNLOADED


async def test_people_hear_why_it_is_not_loaded(fleet):
    """It lacks memory, it fails, or somebody else had it unloaded."""
    fleet.add("big", size=30)
    with pytest.raises(MemoryShortageError, match=r"needs 30\.0 GiB of gpu"):
        await fleet.loader.load_for_people(fleet.life.members["big"])
    fleet.add("broken")
    load = asyncio.ensure_future(fleet.loader.load_for_people(fleet.life.members["broken"]))
    await eventually(lambda: fleet.supervisors[1].calls == ["start"])
    fleet.supervisors[1].says(status(state=EngineState.FATAL, address=None, pid=None, failure="no such model"))
    with pytest.raises(LoadFailedError, match="no such model"):
        await load
    fleet.add("cancelled")
    member = fleet.life.members["cancelled"]
    load = asyncio.ensure_future(fleet.loader.load_for_people(member))
    await eventually(lambda: fleet.supervisors[2].calls == ["start"])
    await fleet.loader.unload_for_people(member)
    with pytest.raises(ConflictError, match="cancelled"):
        await load


async def test_after_the_end_nothing_is_decided(fleet):
    """All engines are about to end anyway."""
    fleet.add()
    fleet.loader.close()
    fleet.want()
    assert fleet.supervisors[0].calls == []
    fleet.supervisors[0].says(status())
    assert fleet.serving is None
