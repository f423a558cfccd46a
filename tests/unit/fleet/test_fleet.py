"""All members together: whom a request revives, whom a stall restarts, and how each ends with the router."""

import asyncio
import random

import pytest

from launchers.process import Keepers
from launchers.spec import LaunchSpec
from launchers.states import RestartPolicy
from router import settings
from router.config import Config
from router.core.catalog import Backend
from router.fleet import fleet as module
from router.fleet.diff import Do, Plan, PlannedBackend, Step
from router.fleet.fleet import Fleet
from router.fleet.launching import Launch
from router.proxy.plane import Plane
from router.proxy.watching.probe import Prober
from tests.fakes.launched import LaunchedFake
from tests.running import eventually

POLICY = RestartPolicy(give_up_after=2)


class NoSupervisor:
    """A supervisor that notes what is asked of it."""

    made: list["NoSupervisor"] = []  # noqa: RUF012 -- each test empties it

    def __init__(self, spec, engine, **options):
        self.spec, self.engine, self.options = spec, engine, options
        self.files = options["files"] or spec.name
        self.calls: list[str] = []
        self.status = None
        self.made.append(self)

    def start(self):
        """Note it."""
        self.calls.append("start")

    def restart(self):
        """Note it."""
        self.calls.append("restart")

    def revive(self):
        """Note it."""
        self.calls.append("revive")

    def want(self):
        """Note it, and start."""
        self.calls.append("want")
        return True

    async def stop(self):
        """Note it."""
        self.calls.append("stop")

    async def kill(self):
        """Note it."""
        self.calls.append("kill")

    async def leave(self):
        """Note it."""
        self.calls.append("leave")


class NoProbes(Prober):
    """A prober that probes nobody."""

    def watch(self, target):
        """Do nothing."""

    def forget(self, backend):
        """Do nothing."""


CONFIG = Config.model_validate({
    "backends": [
        {"name": "url", "url": "http://127.0.0.1:1", "models": ["demo"]},
        {"name": "a", "models": ["demo"], "launch": {"engine": "llama_cpp", "model": "any"}},
        {"name": "b", "models": ["demo"], "launch": {"engine": "llama_cpp", "model": "any"}},
    ]
})  # fmt: skip


def plan() -> Plan:
    found = {}
    for config in CONFIG.backends:
        spec = LaunchSpec(config.name, "llama_cpp", "any", "demo", {}, {}, 60.0)
        launch = Launch(config, spec, LaunchedFake(), "/its/python", "because")
        found[config.name] = PlannedBackend(config, None if config.url else launch)
    return Plan(CONFIG, found, "profile")


@pytest.fixture
async def plane():
    made = Plane(
        settings.exchange_limits(CONFIG), settings.thresholds(CONFIG), settings.balancing(CONFIG), draw=lambda _: 0
    )
    yield made
    made.close()


@pytest.fixture
def closed(monkeypatch):
    """How often the keepers were left."""
    times: list[bool] = []

    async def close(_):
        times.append(all(supervisor.calls for supervisor in NoSupervisor.made))

    monkeypatch.setattr(Keepers, "close", close)
    return times


@pytest.fixture
async def fleet(plane, monkeypatch, tmp_path, closed):
    """Give one of a URL and two launches; none has started."""
    monkeypatch.setattr(NoSupervisor, "made", [])
    monkeypatch.setattr(module, "Supervisor", NoSupervisor)
    prober = NoProbes(plane, settings.probe_timing(CONFIG), random.random)
    made = Fleet(plane, prober, tmp_path, lambda: None, POLICY)
    await made.apply([Step(Do.ADD, name) for name in ("url", "a", "b")], plan())
    assert not closed
    yield made
    made._life.abandon()
    await asyncio.gather(*made._life.ending.values(), return_exceptions=True)


async def removed_at_work(fleet, backend):
    """Remove a member that has a request in flight, and wait until its end has begun."""
    backend.in_flight = 1
    await fleet.apply([Step(Do.REMOVE, backend.name)], plan())
    await asyncio.sleep(0)
    assert len(fleet._life.ending) == 1


def supervisor(name):
    return next(each for each in NoSupervisor.made if each.spec.name == name)


async def test_each_launch_has_a_supervisor_of_its_own(fleet, tmp_path):
    """With the fleet's policy, its keepers and its turns, and the launch's own Python."""
    a, b = supervisor("a"), supervisor("b")
    assert len(NoSupervisor.made) == 2
    for each in (a, b):
        assert each.options["policy"] is POLICY
        assert each.options["python"] == "/its/python"
        assert each.options["logs"] == tmp_path
        assert each.options["files"] is None
    assert a.options["keepers"] is b.options["keepers"]
    assert a.options["turns"] is b.options["turns"]
    assert list(fleet.members) == ["url", "a", "b"]


async def test_only_the_engine_that_a_request_wants_is_tried_again(fleet, plane):
    """Not one of the same name that is gone, nor a server elsewhere."""
    a = plane.backends["a"]
    assert fleet.want(a)
    assert not fleet.want(plane.backends["url"])
    assert not fleet.want(Backend("a"))
    assert not fleet.want(Backend("unknown"))
    assert (supervisor("a").calls, supervisor("b").calls) == (["want"], [])


async def test_only_the_engine_that_has_stalled_is_restarted(fleet, plane):
    """Also while it ends what it has in flight; a server elsewhere is nobody's to restart."""
    a = plane.backends["a"]
    fleet.restart(plane.backends["url"])
    fleet.restart(Backend("a"))
    fleet.restart(a)
    assert (supervisor("a").calls, supervisor("b").calls) == (["restart"], [])
    await removed_at_work(fleet, a)
    fleet.restart(a)
    assert supervisor("a").calls == ["restart", "restart"]
    a.in_flight = 0
    await eventually(lambda: "stop" in supervisor("a").calls)


async def test_a_server_elsewhere_that_is_ending_has_nothing_to_stop(fleet, plane, closed):
    """It is forgotten with the router."""
    await removed_at_work(fleet, plane.backends["url"])
    await fleet.stop()
    assert (supervisor("a").calls, supervisor("b").calls) == (["leave"], ["leave"])
    assert closed == [True]


async def test_all_that_were_given_up_are_revived(fleet):
    """Each decides by itself whether it was."""
    fleet.revive()
    assert (supervisor("a").calls, supervisor("b").calls) == (["revive"], ["revive"])


async def test_at_the_end_engines_may_run_on_but_not_those_that_were_removed(fleet, plane, closed):
    """Then the keepers are left."""
    await removed_at_work(fleet, plane.backends["a"])
    await fleet.stop()
    assert (supervisor("a").calls, supervisor("b").calls) == (["stop"], ["leave"])
    assert closed == [True]


@pytest.mark.parametrize(("keep", "call"), [(True, "leave"), (False, "kill")])
async def test_a_router_that_has_no_time_ends_all_at_once(fleet, plane, closed, keep, call):
    """Those that are ending, too; then the keepers are left."""
    await removed_at_work(fleet, plane.backends["a"])
    await fleet.kill(keep=keep)
    assert (supervisor("a").calls, supervisor("b").calls) == ([call], [call])
    assert closed == [True]


async def test_a_change_of_many_lets_others_have_their_turn(fleet, monkeypatch):
    """Each `SLICE` that it takes."""
    monkeypatch.setattr(module, "SLICE", -1.0)
    turns: list[int] = []
    done: list[str] = []
    monkeypatch.setattr(fleet._life, "keep", lambda _, name: done.append(name))
    fleet._plane.loop.call_soon(lambda: turns.append(len(done)))
    await fleet.apply([Step(Do.KEEP, name) for name in ("url", "a", "b")], plan())
    assert turns == [1]
    assert done == ["url", "a", "b"]
