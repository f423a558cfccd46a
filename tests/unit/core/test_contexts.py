from math import inf

import pytest

from router.core import contexts as module
from router.core.catalog import DIRECT, Backend, Candidate, Way
from router.core.contexts import LASTS, MOST_BYTES, Contexts, said_in, tell_longest
from router.core.errors import RouterError
from router.core.health import declared

CHAT = "/v1/chat/completions"


def candidate(name, *, up=True, **more) -> Candidate:
    return Candidate(Backend(name, health=declared(up=up), **more), "m")


def way(*tiers) -> Way:
    return Way(tuple(tuple(tier) for tier in tiers), DIRECT, chooses=True)


def known(**contexts) -> tuple[Contexts, dict[str, Candidate]]:
    """Make backends of these names, with these contexts; 0: it isn't known."""
    made, found = Contexts(), {name: candidate(name) for name in contexts}
    for name, tokens in contexts.items():
        if tokens:
            made.describe(found[name].backend, {"m": tokens})
    return made, found


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ("This model's maximum context length is 8192 tokens. However, your messages resulted in 10007 tokens.", 8192),
        ("request (20023 tokens) exceeds the available context size (8192 tokens), try increasing it", 8192),
        ("Requested tokens (2130) exceed context window of 2048", 2048),
        ("The decoder prompt (length 5000) is longer than the maximum model length of 4096.", 4096),
        ("The input (5000 tokens) is longer than the model's context length (4,096 tokens).", 4096),
        ("the model is loaded with context length of only 4096 tokens, which is not enough", 4096),
        ("prompt is too long: 208310 tokens > 200000 maximum", 200000),
        ("Prompt contains 40000 tokens, too large for model with 32768 maximum context length", 32768),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", 1048576),
        ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens", 4096),
        ("Please reduce the length of the messages.", 0),
        ("maximum context length is 5", 0),
        (f"maximum context length is {10**40}", 0),
        ("x" * 5000 + " maximum context length is 8192", 0),
    ],
)
def test_a_refusal_tells_the_context(message, tokens):
    """In the words of each engine; a number that can't be one isn't believed."""
    assert said_in(message) == tokens


def test_a_prompt_that_is_surely_too_long_is_not_sent_there():
    """Only from its bytes on, and only where a backend is left that may hold it."""
    contexts, found = known(small=1000, large=2000, unknown=0)
    everywhere, least = way(found.values()), 1000 * MOST_BYTES
    assert contexts.enough == least
    assert contexts.fitting(everywhere, CHAT, b"x" * least, 0.0) is everywhere
    over = contexts.fitting(everywhere, CHAT, b"x" * (least + 1), 0.0)
    assert over.tiers == ((found["large"], found["unknown"]),)
    over = contexts.fitting(everywhere, CHAT, b"x" * (2 * least + 1), 0.0)
    assert over.tiers == ((found["unknown"],),)
    alone = way([found["small"], found["large"]])
    assert contexts.fitting(alone, CHAT, b"x" * (3 * least), 0.0) is alone


def test_the_next_model_of_a_route_takes_what_is_surely_too_long_for_the_first():
    contexts, found = known(small=1000, large=2000)
    led = way([found["small"]], [found["large"]])
    assert contexts.fitting(led, CHAT, b"x" * (1000 * MOST_BYTES + 1), 0.0).tiers == ((found["large"],),)


def test_bytes_that_are_no_text_or_no_single_prompt_say_nothing():
    """A picture has more bytes than tokens, and a list of texts to embed is no prompt."""
    contexts, found = known(small=1000, large=2000)
    both, size = way(found.values()), 1000 * MOST_BYTES
    assert contexts.fitting(both, CHAT, b"data:image/png;base64," + b"x" * size, 0.0) is both
    assert contexts.fitting(both, "/v1/embeddings", b"x" * (size + 1), 0.0) is both


def test_an_estimate_refuses_nobody():
    """Where what may hold a prompt is gone, the others are asked all the same; one that comes is waited for."""
    contexts, found = known(small=1000)
    gone, coming = candidate("gone", up=False), candidate("coming")
    coming.backend.health = declared(up=False, reason="starts", coming=True)
    body = b"x" * (1000 * MOST_BYTES + 1)
    both = way([found["small"], gone])
    assert contexts.fitting(both, CHAT, body, 0.0) is both
    assert contexts.fitting(way([found["small"], coming]), CHAT, body, 0.0).tiers == ((coming,),)


def test_a_refusal_is_believed_more_than_a_description_and_not_for_ever():
    contexts, found = known(a=8000)
    contexts.learn(found["a"], 2000, 10.0)
    assert contexts.of(found["a"], 10.0) == 2000
    assert contexts.enough == 2000 * MOST_BYTES
    contexts.learn(found["a"], 0, 20.0)
    assert contexts.of(found["a"], 20.0) == 2000
    assert contexts.of(found["a"], 10.0 + LASTS) == 8000


def test_refusals_that_are_remembered_are_bounded(monkeypatch):
    """The oldest is forgotten; a repeated one is no longer the oldest."""
    monkeypatch.setattr(module, "MOST", 2)
    contexts, found = known(a=0, b=0, c=0)
    for name in ("a", "b", "a", "c"):
        contexts.learn(found[name], 500, 0.0)
    assert [contexts.of(each, 0.0) for each in found.values()] == [500, 0, 500]


def test_a_backend_that_is_gone_is_forgotten():
    contexts, found = known(a=8000, b=0)
    for each in found.values():
        contexts.learn(each, 2000, 0.0)
    contexts.forget(found["a"].backend)
    assert [contexts.of(each, 0.0) for each in found.values()] == [0, 2000]
    contexts.forget(found["b"].backend)
    assert contexts.enough == inf


def test_what_one_refused_goes_to_longer_and_unknown_contexts():
    contexts, found = known(same=8000, small=4000, large=16000, unknown=0)
    refused = candidate("refused")
    contexts.learn(refused, 8000, 0.0)
    everybody = way([refused, *found.values()])
    assert contexts.beyond(everybody, refused, 0.0).tiers == ((found["large"], found["unknown"]),)
    assert contexts.longest(everybody, 0.0) == 16000


def test_where_the_refusal_tells_no_context_all_others_may_hold_it():
    contexts, found = known(a=0, b=4000, c=0)
    assert contexts.beyond(way(found.values()), found["a"], 0.0).tiers == ((found["b"], found["c"]),)
    assert contexts.longest(Way((), DIRECT), 0.0) == 0


def test_no_model_is_loaded_on_a_chance():
    """One that is loaded is asked; so is one that isn't, if its context is known to be longer."""
    contexts, found = known(refused=4000)
    chance = candidate("chance", up=False, resident="chance")
    loaded, surely = candidate("loaded", resident="loaded"), candidate("surely", up=False, resident="surely")
    contexts.describe(surely.backend, {"m": 8000})
    everybody = way([found["refused"], chance, loaded, surely])
    assert contexts.beyond(everybody, found["refused"], 0.0).tiers == ((loaded, surely),)


def test_the_longest_context_is_told_once():
    """Where the engine's own words have it, they pass as they are."""
    error = RouterError("This model's maximum context length is 8192 tokens.")
    for tokens in (8192, 0):
        tell_longest(error, "m", tokens)
        assert error.message.endswith("length is 8192 tokens.")
    tell_longest(error, "m", 16384)
    assert error.message.endswith("8192 tokens. The longest context of 'm' here is 16384 tokens.")


@pytest.mark.parametrize("text", ["1" * 200_000, "1," * 100_000, "context " * 25_000])
def test_no_words_keep_the_search_busy(text):
    """It takes as long as the text is: quadratic, this would take minutes."""
    assert said_in(text) == 0
