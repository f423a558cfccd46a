import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core import catalog as module
from router.core.apis import Apis
from router.core.catalog import DIRECT, Backend, Candidate, Catalog, Listing, Route
from router.core.errors import ApiMissingError, ForbiddenError, ModelNotFoundError
from router.core.health import declared
from router.core.keys import Key

A = Backend("a", {"llama": "meta/llama", "qwen": "qwen"}, health=declared(up=True))
B = Backend("b", {"llama": "llama-8b"}, health=declared(up=False, reason="gone"))


def led(routes):
    return {name: Route(targets) for name, targets in routes.items()}


def catalog(**routes):
    return Catalog([A, B], led({name.replace("_", "-"): targets for name, targets in routes.items()}))


def test_a_model_has_every_backend_that_serves_it():
    """One tier, each candidate with the name that its engine knows."""
    assert catalog().resolve("llama").tiers == ((Candidate(A, "meta/llama"), Candidate(B, "llama-8b")),)


def test_a_route_is_a_tier_for_each_target_in_order():
    """A chain keeps its order."""
    assert catalog(best=("qwen", "llama")).resolve("best").tiers == (
        (Candidate(A, "qwen"),),
        (Candidate(A, "meta/llama"), Candidate(B, "llama-8b")),
    )


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("qwen", Listing("qwen", ())),
        ("qwen:latest", Listing("qwen", ())),
        ("best", Listing("best", ("gone", "qwen"))),
        ("gpt-4o", Listing("gpt-*", ("llama",))),
    ],
)
def test_a_name_is_known_as_it_is_written(asked, meant):
    """A model's, a route's, or the wildcard that matches: whatever clients write, there are only so many."""
    routes = {"best": ("gone", "qwen"), "gpt-*": ("llama",), "qwen": ("llama",)}
    assert Catalog([A, B], led(routes)).meant(asked) == meant


def test_a_name_that_means_nothing_is_not_known():
    """It is refused as `resolve` refuses it."""
    with pytest.raises(ModelNotFoundError, match="'nope' does not exist"):
        catalog().meant("nope")


def test_a_target_that_nobody_serves_now_is_passed_over():
    """A route to a model not discovered yet has fewer tiers, or none."""
    assert catalog(best=("gone", "qwen")).resolve("best").tiers == ((Candidate(A, "qwen"),),)
    assert catalog(best=("gone",)).resolve("best").tiers == ()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gpt-4o", "qwen"),  # an exact route beats any wildcard
        ("gpt-4-turbo", "llama-8b"),  # the longest pattern beats a shorter one
        ("gpt-3", "qwen"),
        ("llama", "llama-8b"),  # a model beats a route of its name
    ],
)
def test_precedence(name, known):
    """A model, then an exact route, then the longest wildcard."""
    b = Backend("b", {"llama": "llama-8b", "qwen": "qwen"})
    routes = {"gpt-*": ("qwen",), "gpt-4*": ("llama",), "gpt-4o": ("qwen",), "llama": ("qwen",)}
    assert Catalog([b], led(routes)).resolve(name).tiers[0][0].model == known


def test_a_wildcard_is_no_regular_expression():
    """Only * is special."""
    routes = {"gpt.4*": ("qwen",)}
    assert Catalog([A], led(routes)).resolve("gpt.4o")
    with pytest.raises(ModelNotFoundError):
        Catalog([A], led(routes)).resolve("gptx4o")


def test_unknown_names_the_known():
    """The error says what could be asked for, models and routes."""
    with pytest.raises(ModelNotFoundError, match=r"'nope'.*Known: llama, qwen, best") as caught:
        catalog(best=("qwen",)).resolve("nope")
    assert caught.value.param == "model"


def test_unknown_names_not_all_of_a_thousand():
    """The error's length is bounded."""
    many = Backend("many", {f"m{i}": "x" for i in range(1000)})
    with pytest.raises(ModelNotFoundError, match="980 more") as caught:
        Catalog([many], {}).resolve("nope")
    assert len(caught.value.message) < 300


def test_unknown_before_anything_is_known():
    """With nothing to list, it says so."""
    with pytest.raises(ModelNotFoundError, match="No model is known yet"):
        Catalog([], {}).resolve("nope")


def test_listing():
    """Models first, then exact routes; wildcards are no names."""
    only_b = Backend("c", {"big": "big"}, health=declared(up=False, reason="gone"))
    routes = {"best": ("big", "qwen"), "worst": ("big",), "gpt-*": ("qwen",), "qwen": ("big",)}
    assert Catalog([A, only_b], led(routes)).listing() == [
        Listing("llama", ()),
        Listing("qwen", ()),
        Listing("big", ()),
        Listing("best", ("big", "qwen")),
        Listing("worst", ("big",)),
    ]


def test_what_is_hidden_is_served_and_not_shown():
    """In no list, and in no error."""
    hidden = Catalog([A], {"secret": Route(("qwen",), hidden=True), "open": Route(("qwen",))})
    assert hidden.resolve("secret").tiers == ((Candidate(A, "qwen"),),)
    assert "secret" not in [listing.name for listing in hidden.listing()]
    with pytest.raises(ModelNotFoundError, match=r"Known: llama, qwen, open\."):
        hidden.resolve("nope")


def test_a_way_tells_its_route():
    """A model by its own name has none of its own."""
    route = Route(("qwen",), next_on=frozenset({404}))
    some = Catalog([A], {"q*": route})
    assert some.resolve("q1").route is route
    assert some.resolve("qwen").route is DIRECT


def test_a_name_is_looked_for_once(monkeypatch):
    """Whoever asks again gets the same way; names that clients make up don't fill the memory."""
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 3)
    some = Catalog([A], {"*": Route(("qwen",))})
    way = some.resolve("a")
    assert some.resolve("a") is way
    for i in range(10):
        some.resolve(f"n{i}")
    assert some.resolve("a") is not way


@given(
    st.lists(st.text("ab*", min_size=1, max_size=5).filter(lambda name: "*" in name), unique=True),
    st.text("ab", max_size=6),
)
def test_wildcards_are_found_by_their_beginnings(patterns, name):
    """As if each were tried, the longest that fits wins."""
    routes = {pattern: Route((pattern,)) for pattern in patterns}
    fit = [len(pattern) for pattern in patterns if re.fullmatch(pattern.replace("*", ".*"), name)]
    try:
        found = Catalog([], routes).resolve(name).route.targets[0]
    except ModelNotFoundError:
        assert not fit
    else:
        assert len(found) == max(fit)
        assert re.fullmatch(found.replace("*", ".*"), name)


def test_load_is_by_weight():
    """Twice the weight carries twice the requests."""
    assert Backend("a", {}, weight=2.0, in_flight=4).load == Backend("b", {}, in_flight=2).load


def test_backends_that_serve_the_same_are_rivals():
    """One that serves alone is nobody's, nor one that isn't there."""
    one, other, alone = Backend("a", {"m": "m", "n": "n"}), Backend("b", {"m": "x"}), Backend("c", {"o": "o"})
    catalog = Catalog([one, other, alone], {})
    assert [catalog.has_rivals(each) for each in (one, other, alone, Backend("d", {"p": "p"}))] == [
        True,
        True,
        False,
        False,
    ]


def test_when_a_backend_was_last_seen_at_work():
    """As its progress tells."""
    backend = Backend("a")
    backend.progress.moved(5.0)
    assert backend.worked_at == 5.0


@pytest.mark.parametrize(
    ("asked", "means"),
    [("a", "a"), ("a:latest", "a"), ("b", "b:latest"), ("b:latest", "b:latest"), ("c:latest", "c"), ("a:7b", "other")],
)
def test_a_name_with_or_without_latest_means_the_same(asked, means):
    """As for Ollama; only then do wildcards count."""
    backend = Backend("x", {"a": "a", "b:latest": "b:latest", "d": "d", "other": "other"})
    catalog = Catalog([backend], {"c": Route(("d",)), "*": Route(("other",))})
    (candidate,) = catalog.resolve(asked).tiers[0]
    assert candidate.model == {"c": "d"}.get(means, means)


def test_two_models_that_differ_by_latest_alone():
    """Are two."""
    catalog = Catalog([Backend("x", {"a": "1", "a:latest": "2"})], {})
    assert [catalog.resolve(name).tiers[0][0].model for name in ("a", "a:latest")] == ["1", "2"]


RERANK = "/v1/rerank"
CHATS = frozenset({"/v1/chat/completions"})
WELL = declared(up=True)
MLX = Backend("x", {"small": "s", "both": "b"}, health=WELL, apis=Apis(has=CHATS, engine="mlx", opaque=False))
VLLM = Backend(
    "v", {"both": "b", "large": "l"}, health=WELL, apis=Apis(has=frozenset({RERANK}), engine="vllm", opaque=False)
)
REMOTE = Backend("r", {"far": "f"}, health=WELL)
OURS = Backend("c", {"own": "o"}, health=WELL, apis=Apis(has=frozenset({"/inference"}), engine="a command"))
LAUNCHED_WITHOUT = Apis(has=frozenset({RERANK}), needs={RERANK: "reranking: true"}, engine="ls", opaque=False)
WITHOUT = Backend("w", {"without": "o"}, health=WELL, apis=LAUNCHED_WITHOUT)
DEAD = replace(VLLM, name="d", models={"dead": "d"}, health=declared(up=False, reason="failed five times"))
STARTS = replace(VLLM, name="s", models={"starts": "s"}, health=declared(up=False, coming=True))


def test_backends_that_lack_an_api_are_left_out():
    """Of a server elsewhere it isn't known whether it has it."""
    names = Catalog([MLX, VLLM, REMOTE], led({"any": ("small", "both")}))
    for name in ("large", "far"):
        way = names.resolve(name)
        assert names.able(way, RERANK) is way
    assert names.able(names.resolve("both"), RERANK).tiers == ((Candidate(VLLM, "b"),),)
    assert names.able(names.resolve("any"), RERANK).tiers == ((Candidate(VLLM, "b"),),)
    assert names.able(names.resolve("small"), "/v1/chat/completions").tiers == ((Candidate(MLX, "s"),),)


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ((), "No model here has it."),
        ((VLLM,), "Models that have it: both, large."),
        ((REMOTE, OURS), "Models that may have it: far, own."),
        ((VLLM, REMOTE), "Models that have it: both, large. Models that may have it: far."),
        ((WITHOUT, DEAD), "No model here has it."),
        ((DEAD, STARTS), "Models that have it: starts."),
    ],
)
def test_an_api_that_no_engine_of_a_model_has(beside, said):
    """The error names the engine, and the models that have it."""
    names = Catalog([MLX, *beside], {})
    with pytest.raises(ApiMissingError) as raised:
        names.able(names.resolve("small"), RERANK)
    assert raised.value.message == f"This model runs on mlx, which has no {RERANK}. {said}"
    assert raised.value.status == 400


def test_an_api_that_no_model_of_a_keys_has():
    """Of models that have it, the key is told those that it may use."""
    names = Catalog([MLX, VLLM, REMOTE], {})
    for model, said in (("far", "Models that may have it: far."), ("small", "No model here has it.")):
        with pytest.raises(ApiMissingError, match=f"{re.escape(said)}$"):
            names.able(names.resolve("small"), RERANK, Key("bob", models=[model]))


def test_an_api_that_a_launch_does_not_enable():
    """The error says which argument does."""
    names = Catalog([WITHOUT, VLLM], {})
    with pytest.raises(ApiMissingError) as raised:
        names.able(names.resolve("without"), RERANK)
    assert raised.value.message == (
        f"This model is launched without {RERANK}: it needs reranking: true in its launch.args."
        " Models that have it: both, large."
    )


@pytest.mark.parametrize(("model", "said"), [("small", "mlx"), ("other", "a command")])
def test_a_path_of_a_commands_own(model, said):
    """No engine has it, and no other command; a server elsewhere may."""
    other = replace(OURS, models={"other": "o"}, apis=Apis(engine="a command"))
    names = Catalog([MLX, OURS, other, REMOTE], {})
    assert names.able(names.resolve("own"), "/inference").tiers == ((Candidate(OURS, "o"),),)
    assert names.able(names.resolve("far"), "/inference").tiers
    with pytest.raises(ApiMissingError) as raised:
        names.able(names.resolve(model), "/inference")
    assert raised.value.message == (
        f"This model runs on {said}, which has no /inference. Models that have it: own. Models that may have it: far."
    )


def test_what_a_request_without_a_model_means():
    """The route for everything, or the only model there is."""
    assert Catalog([A], {}).nameless() == ""
    assert Catalog([B], {}).nameless() == "llama"
    assert Catalog([A], led({"*": ("qwen",)})).nameless() == "*"
    assert Catalog([], {}).nameless() == ""


ALICE = Key("alice", models=["qwen*", "best", "b*"])


def test_a_key_may_ask_for_what_it_may_use():
    """A route by its name, whatever that leads to; with and without `:latest`."""
    known = catalog(best=("llama",), other=("qwen",))
    for name in ("qwen", "qwen:latest", "best"):
        assert known.resolve(name, ALICE).tiers == known.resolve(name).tiers


@pytest.mark.parametrize("name", ["llama", "llama:latest", "other", "nothing", "*"])
def test_a_key_may_not_ask_for_anything_else(name):
    """Whether it is there or not. The route `other` leads to a model that it may use, which is no way around."""
    with pytest.raises(ForbiddenError) as caught:
        catalog(best=("llama",), other=("qwen",)).resolve(name, ALICE)
    assert caught.value.message == (f"The key 'alice' may not use the model '{name}'. It may use: qwen*, best, b*.")
    assert caught.value.param == "model"


def test_a_key_is_told_of_what_it_may_use_alone():
    """In lists, and in errors."""
    known = catalog(best=("llama", "qwen"), other=("qwen",))
    assert known.listing(ALICE) == [Listing("qwen", ()), Listing("best", ("qwen",))]
    with pytest.raises(ModelNotFoundError, match=r"'qwen9' does not exist\. Known: qwen, best\.$"):
        known.resolve("qwen9", ALICE)
    with pytest.raises(ModelNotFoundError, match=r"There is none now that the key may use\.$"):
        known.resolve("x", Key("bob", models=["x"]))
