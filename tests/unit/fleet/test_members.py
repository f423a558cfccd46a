"""What a plan's entry comes to: a backend, its bounds, and how it is probed; and when its engine comes."""

from dataclasses import replace
from math import inf

import pytest

from launchers.errors import UnfitRequestError
from launchers.gpus import Claim
from launchers.spec import LaunchSpec
from launchers.states import State
from launchers.status import Status
from router.config import Config
from router.core.admission import Cap
from router.core.catalog import Backend
from router.core.errors import BadRequestError
from router.core.memory.resident import Loadable
from router.fleet import members
from router.fleet.diff import PlannedBackend
from router.fleet.launching import Launch
from router.fleet.loadables import EnginePlacement
from router.fleet.members import Member
from tests.fakes.launched import LaunchedFake

STARTING = Status("demo", State.STARTING, None, 7, "starts", (), 0.0, coming=True)


def planned(engine=None, *, on_cpu=False, **changes):
    """Give what a plan has of an entry: of a URL without an engine, else of a launch."""
    entry = {"name": "demo", "models": ["demo", "other"], **changes}
    entry |= {"url": "http://127.0.0.1:1"} if engine is None else {"launch": {"engine": "llama_cpp", "model": "any"}}
    (config,) = Config.model_validate({"backends": [entry]}).backends
    if engine is None:
        return PlannedBackend(config)
    spec = LaunchSpec("demo-2", "llama_cpp", "any", "demo", {}, {}, 60.0, claim=Claim(("NVIDIA 0",)))
    return PlannedBackend(config, Launch(config, spec, engine, "python", "because", on_cpu))


def member(entry):
    """Give the member of an entry, whose engine has nobody who supervises it."""
    return Member(entry, members.backend_of(entry))


class Supervised:
    """A supervisor that says one thing."""

    files = "demo~"

    def __init__(self, status):
        self.status = status


@pytest.mark.parametrize(
    ("changes", "now", "seconds"),
    [
        ({}, 100.0, 0.0),
        ({"next_try": 107.0}, 100.0, 7.0),
        ({"next_try": 107.0}, 110.0, 0.0),
        ({"coming": False}, 100.0, None),
        ({"coming": False, "next_try": 107.0}, 100.0, None),
    ],
)
def test_in_how_many_seconds_an_engine_starts(changes, now, seconds):
    """At once while it starts; never where nobody is going to start it."""
    assert members.due(replace(STARTING, **changes), now) == seconds


@pytest.mark.parametrize(
    ("engine", "changes", "ahead"),
    [
        (LaunchedFake(accepts_slowly=True), {}, 8),
        (LaunchedFake(accepts_slowly=True), {"max_in_flight": 3}, 3),
        (LaunchedFake(), {}, 0),
        (None, {"max_in_flight": 3}, 0),
        (None, {}, 0),
    ],
)
def test_connections_ahead_are_for_engines_that_accept_them_slowly(engine, changes, ahead):
    """As many as there may be requests."""
    assert members.ahead_of(member(planned(engine, **changes))) == ahead


def test_without_a_bound_none_are_opened_ahead():
    """There would be no end of them."""
    made = member(planned(LaunchedFake(accepts_slowly=True)))
    made.backend.cap = Cap(inf)
    assert members.ahead_of(made) == 0


@pytest.mark.parametrize(
    ("engine", "changes", "cap"),
    [
        (None, {}, Cap(inf, inf)),
        (None, {"max_in_flight": 3, "max_prompt_bytes": "1KiB"}, Cap(3, 1024)),
        (LaunchedFake(), {}, Cap(8, inf)),
        (LaunchedFake(parallel=5), {"max_in_flight": 3}, Cap(3, inf)),
    ],
)
def test_what_router_yaml_says_bounds_it_or_else_what_its_engine_works_on(engine, changes, cap):
    entry = planned(engine, **changes)
    assert members.cap_of(entry) == cap
    assert members.backend_of(entry).cap == cap


def test_the_models_of_a_launch_have_its_engines_own_name():
    """Those of a URL are what it knows them by."""
    assert members.models_of(planned(LaunchedFake())) == {"demo": "demo", "other": "demo"}
    assert members.models_of(planned(models={"a": "x"})) == {"a": "x"}


def test_what_a_launchs_model_can_do():
    """As it is loaded; before that, wherever it may be loaded. Of a URL its server tells."""
    entry = planned(LaunchedFake())
    assert entry.launch is not None
    spec = replace(entry.launch.spec, args={"n_ctx": 4096})
    assert members.abilities_of(entry)["demo"].context == 2048
    assert members.abilities_of(entry, spec)["demo"].context == 4096
    places = tuple(EnginePlacement("k", {}, args={"n_ctx": size}) for size in (4096, 1024))
    loadable = Loadable("demo", places)
    assert members.abilities_of(replace(entry, loadable=loadable))["demo"].context == 1024
    assert members.abilities_of(planned()) == {}


def test_the_backend_of_a_launch_is_what_its_engine_is():
    """It bears the name of its replica."""
    backend = members.backend_of(planned(LaunchedFake(uuid_request_ids=True), weight=2))
    assert (backend.name, backend.weight, backend.supervised) == ("demo-2", 2, True)
    assert backend.uuid_request_ids
    remote = members.backend_of(planned(weight=2))
    assert (remote.name, remote.weight, remote.supervised) == ("demo", 2, False)
    assert (remote.uuid_request_ids, remote.put_right) == (False, None)


def test_what_an_engine_must_not_get_is_its_clients_mistake():
    """With the field that is wrong; what it may get passes."""

    class Strict(LaunchedFake):
        def put_right(self, path, body, spec=None):
            assert spec is not None
            if body == b"bad":
                raise UnfitRequestError(f"not on {path}", "field")
            return body + spec.served_name.encode()

    put_right = members.backend_of(planned(Strict())).put_right
    assert put_right is not None
    assert put_right("/v1/x", b"good ") == b"good demo"
    with pytest.raises(BadRequestError, match="not on /v1/x") as caught:
        put_right("/v1/x", b"bad")
    assert caught.value.param == "field"


@pytest.mark.parametrize(("models", "discovers"), [([], True), (["demo"], False)])
def test_a_url_is_asked_for_its_models_where_none_are_told(models, discovers):
    target = members.target_of(member(planned(models=models)))
    assert (target.path, target.discovers, target.launched, target.publishes) == ("/health", discovers, False, True)
    assert target.process() is None


@pytest.mark.parametrize("publishes", [True, False])
def test_an_engine_of_ours_is_probed_by_its_own_path(publishes):
    """Its process shows whether it works."""
    made = member(planned(LaunchedFake(ready_path="/up", publishes=publishes, works_on_cpu=True), on_cpu=True))
    made.supervisor = Supervised(STARTING)
    target = members.target_of(made)
    assert (target.path, target.discovers, target.launched, target.publishes) == ("/up", False, True, publishes)
    process = target.process()
    assert process is not None
    assert (process.pid, process.works, process.tells) == (7, True, True)
    made.supervisor.status = replace(STARTING, pid=None)
    assert target.process() is None


@pytest.mark.parametrize(
    ("changes", "settled"),
    [
        ({}, False),
        ({"state": State.RUNNING}, True),
        ({"state": State.FATAL}, True),
        ({"state": State.BACKOFF}, False),
        ({"state": State.WAITING}, False),
        ({"state": State.WAITING, "lacks": True}, True),
    ],
)
def test_it_has_settled_when_more_time_changes_nothing(changes, settled):
    made = member(planned(LaunchedFake()))
    assert (made.settled, made.files) == (True, None)
    made.supervisor = Supervised(replace(STARTING, **changes))
    assert (made.settled, made.files) == (settled, "demo~")


def test_what_is_told_of_a_member():
    """Of a launch its engine, of a URL where it is."""
    made = member(planned(LaunchedFake(), max_in_flight=3))
    made.supervisor = Supervised(replace(STARTING, pid=None))
    told = made.told(0.0)
    assert (told["name"], told["max_in_flight"], told["models"]) == ("demo-2", 3, ["demo", "other"])
    assert (told["engine"], told["state"], told["detail"]) == ("llama_cpp", "starting", "starts")
    assert (told["pid"], told["restarts"], told["load_seconds"]) == (None, 0, None)
    assert "url" not in told
    assert "published" not in told
    told = member(planned()).told(0.0)
    assert (told["url"], told["max_in_flight"]) == ("http://127.0.0.1:1", None)
    assert "engine" not in told


def test_members_are_told_apart_by_what_they_are():
    """Not by what they have: a successor is another, though it looks the same."""
    entry = planned()
    assert Member(entry, Backend("b")) != Member(entry, Backend("b"))


class Heard(LaunchedFake):
    """Notes the launch that it is told of with a request."""

    heard: LaunchSpec

    def put_right(self, path, body, spec=None):
        """Note it."""
        object.__setattr__(self, "heard", spec)
        return super().put_right(path, body, spec)


@pytest.mark.parametrize(("version", "calls"), [("1.0", False), ("at /usr/bin/llama-server", None)])
def test_an_engine_hears_whether_calls_come_as_calls(version, calls):
    """A program of one's own may be of any version."""
    entry = planned(Heard())
    assert entry.launch is not None
    entry = replace(entry, launch=replace(entry.launch, version=version))
    made = members.backend_of(entry)
    assert made.put_right is not None
    made.put_right("/v1/chat/completions", b"{}")
    assert entry.launch.engine.heard.calls is calls


def test_files_that_nobody_else_has():
    """Of those that end, and of what memory still knows: there, an engine is known by the name of its files."""
    ending = member(planned(LaunchedFake()))
    ending.supervisor = Supervised(STARTING)
    assert members.free_files("demo", ()) is None
    # Those of the router's own logs.
    assert members.free_files("audit", ()) == "audit~"
    assert members.free_files("Router", ()) == "Router~"
    assert members.free_files("demo~", (ending,)) == "demo~~"
    assert members.free_files("demo", (), {"demo", "demo~"}) == "demo~~"
