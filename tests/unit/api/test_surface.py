from math import inf

import pytest
from aiohttp import web
from anthropic.types import ModelInfo

from launchers.abilities import UNKNOWN, Abilities
from router.api import anthropic
from router.api.surface import Surface
from router.core.catalog import Backend, Catalog, Route
from router.core.errors import ModelNotFoundError
from router.core.health import WELL, declared
from router.core.memory.states import State


class Plane:
    """Backends with the stages that memory has of some of them."""

    def __init__(self, *backends: Backend, stages: dict[str, tuple[State, float]] | None = None, **routes):
        self.backends = {each.name: each for each in backends}
        routes = {name: Route(targets) for name, targets in routes.items()}
        self.catalog = Catalog(backends, {"both": Route(("a", "b")), "a*": Route(("a",)), **routes})
        self.loading = None if stages is None else self
        self._stages = stages or {}
        self.directory = self.ledger = self
        self.held: dict[Backend, str] = {}
        self.abilities: dict[Backend, dict[str, Abilities]] = {}
        self.instance = "e" * 16
        self.through: dict[Backend, frozenset[str]] = {}

    def stage(self, backend):
        """Tell it."""
        return self._stages.get(backend.name, (None, 0.0))


def up(name: str, model: str) -> Backend:
    return Backend(name, {model: model}, health=WELL)


def away(name: str, model: str, *, coming: bool = True, resident: bool = True) -> Backend:
    health = declared(up=False, reason="is not loaded", coming=coming)
    return Backend(name, {model: model}, health=health, supervised=True, resident=name if resident else "")


@pytest.fixture
async def asked(aiohttp_client):
    """Give a function that asks for a path: status and content."""

    async def ask(plane, path, **headers):
        app = web.Application()
        app.add_routes(Surface(plane, lambda _: True, started=1).routes())
        client = await aiohttp_client(app)
        async with client.get(path, headers=headers) as answer:
            return answer.status, await answer.json()

    return ask


STAGES = [
    (State.UNLOADED, 0.0, "unloaded", None, 200),
    (State.RELEASING, 0.0, "unloaded", None, 200),
    (State.UNLOADING, 0.0, "unloaded", None, 200),
    (State.QUEUED, 0.0, "loading", None, 200),
    (State.LOADING, 0.0, "loading", None, 200),
    (State.LOADING, 0.4321, "loading", 0.432, 200),
    (State.LOADED, 0.0, "loading", None, 503),
    (State.FAILED, 0.0, "unavailable", None, 503),
]


@pytest.mark.parametrize(("stage", "share", "state", "progress", "ready"), STAGES)
async def test_the_state_of_a_model_that_is_not_ready(asked, stage, share, state, progress, ready):
    """By how far it is; the router is ready if it can be loaded. One that is loaded here has just crashed."""
    plane = Plane(away("a", "a"), stages={"a": (stage, share)})
    _, told = await asked(plane, "/v1/models/a")
    assert (told["state"], told.get("progress")) == (state, progress)
    status, told = await asked(plane, "/ready")
    assert (status, told.get("models")) == (ready, ["a", "both"] if ready == 200 else None)


async def test_an_engine_that_starts_with_the_router(asked):
    """It is loading, and nothing says how far it is; one that was given up is unavailable."""
    starting, given_up = away("a", "a", resident=False), away("b", "b", resident=False, coming=False)
    _, told = await asked(Plane(starting, given_up), "/v1/models")
    assert [(each["id"], each["state"]) for each in told["data"]] == [
        ("a", "loading"),
        ("b", "unavailable"),
        ("both", "loading"),
    ]


async def test_what_a_sleeping_machine_has_can_be_asked_for(asked):
    """It is woken then; the router is ready, though nothing answers at once."""
    asleep, waking = away("a", "a", resident=False), away("b", "b", resident=False)
    asleep.health = declared(up=False, reason="is asleep", due=inf)
    waking.health = declared(up=False, reason="is being woken", coming=True, due=inf)
    _, told = await asked(Plane(asleep, waking), "/v1/models")
    assert [(each["id"], each["state"]) for each in told["data"]] == [
        ("a", "asleep"),
        ("b", "loading"),
        ("both", "loading"),
    ]
    assert (await asked(Plane(asleep), "/ready"))[0] == 200


async def test_what_an_admin_has_drained_is_unavailable(asked):
    """Unless another backend has the model: nothing is sent there."""
    a, a2, b = up("a", "a"), up("a-2", "a"), up("b", "b")
    plane = Plane(a, a2, b)
    plane.held = {a: "ops", b: "ops"}
    _, told = await asked(plane, "/v1/models")
    assert [(each["id"], each["state"]) for each in told["data"]] == [
        ("a", "ready"),
        ("b", "unavailable"),
        ("both", "ready"),
    ]
    plane.held = {a: "ops", a2: "ops", b: "ops"}
    status, told = await asked(plane, "/ready")
    assert (status, told["backends"]) == (503, {"a": "is drained", "a-2": "is drained", "b": "is drained"})


async def test_the_best_of_several_counts(asked):
    """Of a model's backends, and of a route's models."""
    loading = {"a": (State.LOADING, 0.2), "a-2": (State.LOADING, 0.6), "b": (State.UNLOADED, 0.0)}
    plane = Plane(away("a", "a"), away("a-2", "a"), away("b", "b"), stages=loading)
    _, told = await asked(plane, "/v1/models")
    assert [(each["id"], each["state"], each.get("progress")) for each in told["data"]] == [
        ("a", "loading", 0.6),
        ("b", "unloaded", None),
        ("both", "loading", 0.6),
    ]
    _, told = await asked(Plane(away("a", "a"), up("b", "b"), stages=loading), "/v1/models/both")
    assert (told["state"], told["targets"]) == ("ready", ["a", "b"])


async def test_models_and_routes_have_states_of_their_own(asked):
    """A route is ready if one of its models is; a server that is down, and no engine, is unavailable."""
    a = Backend("a", {"llama": "meta/llama", "qwen": "qwen"}, health=WELL)
    down = Backend("c", {"big": "big"}, health=declared(up=False, reason="gone"))
    plane = Plane(a, down, best=("big", "qwen"), worst=("big",), both=("llama",))
    _, told = await asked(plane, "/v1/models")
    assert [(each["id"], each["state"]) for each in told["data"]] == [
        ("llama", "ready"),
        ("qwen", "ready"),
        ("big", "unavailable"),
        ("both", "ready"),
        ("best", "ready"),
        ("worst", "unavailable"),
    ]
    assert (await asked(plane, "/ready"))[1]["models"] == ["llama", "qwen", "both", "best"]


async def test_a_name_that_a_wildcard_means(asked):
    """As if it were a route of its own."""
    _, told = await asked(Plane(away("a", "a"), stages={"a": (State.UNLOADED, 0.0)}), "/v1/models/a-new-name")
    assert (told["id"], told["state"], "targets" in told) == ("a-new-name", "unloaded", False)


def able(plane: Plane, **abilities: Abilities) -> Plane:
    """Have backends of these names say what their one model can do."""
    plane.abilities = {plane.backends[name]: {"engine's": each} for name, each in abilities.items()}
    return plane


def known_as(name: str, model: str) -> Backend:
    return Backend(name, {model: "engine's"}, health=WELL)


async def test_what_is_known_of_a_model_is_told(asked):
    """And what isn't is left out."""
    plane = able(Plane(known_as("a", "a"), known_as("b", "b")), a=Abilities(8192, True, True, False, None, True))
    _, told = await asked(plane, "/v1/models")
    a, b, both = told["data"]
    assert (a["context_length"], a["max_model_len"]) == (8192, 8192)
    assert a["capabilities"] == ["completion", "tools", "reasoning"]
    assert b["capabilities"] == []
    assert not b.keys() & {"context_length", "max_model_len"}
    # A route's are its first target's.
    assert both["context_length"] == 8192
    _, told = await asked(plane, "/v1/models/a-new-name")
    assert told["context_length"] == 8192


async def test_several_backends_have_in_common_what_can_be_counted_on(asked):
    """But a long prompt goes to the one with the longest context."""
    plane = Plane(known_as("one", "a"), known_as("two", "a"))
    able(plane, one=Abilities(8192, completion=True, tools=True), two=Abilities(4096, completion=True, tools=False))
    _, told = await asked(plane, "/v1/models/a")
    assert (told["context_length"], told["capabilities"]) == (8192, ["completion"])


def test_what_a_model_can_do_can_be_asked_by_its_name():
    """One that nothing serves now isn't known; a name that means nothing is an error."""
    plane = able(Plane(known_as("a", "a")), a=Abilities(8192))
    surface = Surface(plane, lambda _: True)
    assert surface.abilities_of("both") == Abilities(8192)
    plane.catalog = Catalog([], {"both": Route(("a",))})
    assert surface.abilities_of("both") == UNKNOWN
    with pytest.raises(ModelNotFoundError):
        surface.abilities_of("b")


async def test_another_router_is_told_who_this_is(asked):
    """And through whom each model is served, but for those that are served through itself alone."""
    own, peers, theirs = up("own", "a"), up("far/b", "b"), up("peer/c", "c")
    both = up("peer/a", "a")
    plane = Plane(own, peers, theirs, both, route=("c",))
    plane.through = {peers: frozenset({"f" * 16}), theirs: frozenset({"d" * 16}), both: frozenset({"d" * 16})}
    _, told = await asked(plane, "/v1/models", **{"x-router-hops": "d" * 16})
    assert told["instance"] == "e" * 16
    assert {each["id"]: each["through"] for each in told["data"]} == {"a": [], "b": ["f" * 16], "both": []}
    _, told = await asked(plane, "/v1/models")
    assert "instance" not in told
    assert "through" not in told["data"][0]


@pytest.mark.parametrize(("runs", "state"), [(False, "unloaded"), (True, "loading")])
async def test_what_a_peer_has_yet_to_load(asked, runs, state):
    """It can be served all the same."""
    there = up("peer/a", "a")
    there.estimate.loads(9.0, 0.0, runs=runs)
    _, told = await asked(Plane(there), "/v1/models/a")
    assert told["state"] == state
    status, _ = await asked(Plane(there), "/ready")
    assert status == 200


async def test_codex_gets_the_list_that_it_reads(asked):
    """Nobody else does."""
    plane = able(Plane(known_as("a", "a")), a=Abilities(8192))
    _, told = await asked(plane, "/v1/models?client_version=0.171.0")
    assert [each["id"] for each in told["data"]] == [each["slug"] for each in told["models"]] == ["a", "both"]
    assert told["models"][0]["context_window"] == 8192
    _, told = await asked(plane, "/v1/models")
    assert "models" not in told


async def test_anthropics_clients_get_the_list_that_they_read(asked):
    """Strictly read by the SDK's own types, it is theirs; nobody else gets these fields."""
    plane = able(Plane(known_as("a", "a"), known_as("b", "b")), a=Abilities(8192, tools=True))
    version = {"anthropic-version": "2023-06-01"}
    _, told = await asked(plane, "/v1/models", **version)
    assert (told["has_more"], told["first_id"], told["last_id"]) == (False, "a", "both")
    models = [ModelInfo.model_validate(each) for each in told["data"]]
    assert [(each.id, each.display_name, each.max_input_tokens) for each in models] == [
        ("a", "a", 8192), ("b", "b", None), ("both", "both", 8192),
    ]  # fmt: skip
    assert told["data"][0]["created_at"] == "1970-01-01T00:00:01Z"
    assert told["data"][2]["targets"] == ["a", "b"]
    assert (await asked(plane, "/v1/models/a", **version))[1] == told["data"][0]
    _, told = await asked(plane, "/v1/models")
    assert not told.keys() & {"has_more", "first_id"}
    assert "type" not in told["data"][0]


def test_a_page_without_models():
    assert anthropic.page([]) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
