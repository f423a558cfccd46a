"""What is asked of a body's fields, whichever engine it goes to."""

import json

import pytest

from launchers.engines import ENGINES, bodies
from launchers.errors import UnfitRequestError

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
HELLO = [{"role": "user", "content": "Hello"}]


def fields(**body):
    found, _ = bodies.fields(json.dumps(body).encode())
    return found


@pytest.mark.parametrize(
    ("name", "given", "written"),
    [
        ("max_tokens", 4, b"4"),
        ("max_tokens", "4", b"4"),
        ("max_tokens", 4.0, b"4"),
        ("seed", 10**40, b"%d" % 10**40),
        ("temperature", "0.5", b"0.5"),
        ("temperature", 1, b"1"),
        ("stream", "true", b"true"),
        ("n", 1.0, b"1"),
    ],
)
def test_numbers_are_written_as_numbers(name, given, written):
    """Engines differ about others."""
    found = fields(**{name: given})
    bodies.check(found, bodies.TYPES)
    assert bytes(found[name]) == written


@pytest.mark.parametrize(("name", "given"), [("max_tokens", 4.5), ("max_tokens", True), ("temperature", "warm")])
def test_what_is_no_such_number_is_refused(name, given):
    with pytest.raises(UnfitRequestError, match=f"^{name} must be a"):
        bodies.check(fields(**{name: given}), bodies.TYPES)


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize(
    "more", [b"", b', "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": "\xff"}}}]']
)
def test_what_is_not_utf_8_is_refused(engine, more):
    """In a value that is copied, too: it ended the connection of one engine, and was a 500 of another."""
    text = b"\xed\xa0\xbd" if not more else b"a"
    body = b'{"model": "m", "messages": [{"role": "user", "content": "' + text + b'"}]' + more + b"}"
    with pytest.raises(UnfitRequestError, match="must be UTF-8, which it is not at byte"):
        ENGINES[engine].put_right(CHAT, body)


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize(("name", "value"), [("modalities", ["text", "audio"]), ("top_logprobs", -1)])
def test_what_no_engine_can_do_is_refused(engine, name, value):
    with pytest.raises(UnfitRequestError) as caught:
        ENGINES[engine].put_right(CHAT, json.dumps({"messages": HELLO, name: value}).encode())
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("engine", "path", "name", "least", "most"),
    [
        ("llama_cpp", CHAT, "n", 1, 1),
        ("llama_cpp", CHAT, "max_tokens", -1, None),
        ("llama_cpp", CHAT, "top_logprobs", 0, None),
        ("llama_cpp", EMBEDDINGS, "dimensions", 1, None),
        ("mlx", CHAT, "top_k", -1, 500),
        ("mlx", CHAT, "seed", -(2**63), 2**63 - 1),
        ("mlx", CHAT, "temperature", 0, 100),
        ("mlx", CHAT, "repetition_penalty", 0, 100),
        ("mlx", CHAT, "presence_penalty", -100, 100),
        ("mlx", CHAT, "frequency_penalty", -100, 100),
        ("mlx", CHAT, "xtc_threshold", 0, 0.5),
        ("mlx", CHAT, "repetition_context_size", 0, 1_000_000),
        ("mlx", COMPLETIONS, "max_tokens", 1, 1_000_000),
        ("vllm", CHAT, "seed", -(2**63), 2**63 - 1),
        ("vllm", COMPLETIONS, "prompt", [0], None),
    ],
)
def test_a_bound_itself_is_allowed_and_what_is_beyond_it_is_not(engine, path, name, least, most):
    """The first and the last value that an engine takes."""
    beyond = [[-1]] if least == [0] else [least - 1]
    for value in [least] if most is None else [least, most]:
        ENGINES[engine].put_right(path, body_of(path, name, value))
    for value in beyond if most is None else [*beyond, most + (0.01 if isinstance(most, float) else 1)]:
        with pytest.raises(UnfitRequestError) as caught:
            ENGINES[engine].put_right(path, body_of(path, name, value))
        assert caught.value.param == name


def body_of(path, name, value):
    """A request that needs a closer look, with one field."""
    needs: dict[str, dict[str, object]] = {
        CHAT: {"messages": HELLO},
        COMPLETIONS: {"prompt": "a"},
        EMBEDDINGS: {"input": "a"},
    }
    return json.dumps({**needs[path], "unusual": 1, name: value}).encode()


@pytest.mark.parametrize("engine", ["llama_cpp", "mlx"])
def test_log_probabilities_of_others_alone_are_refused(engine):
    """One would leave them out, the other would give them."""
    for more in ({}, {"logprobs": False}):
        body = {"messages": HELLO, "top_logprobs": 2, **more}
        with pytest.raises(UnfitRequestError, match="top_logprobs needs logprobs: true"):
            ENGINES[engine].put_right(CHAT, json.dumps(body).encode())


@pytest.mark.parametrize(("limits", "limit"), [((5, 3), 3), ((-1, 3), 3), ((5, -1), 5), ((None, 3), 3), ((5, None), 5)])
def test_the_smaller_limit_is_the_limit(limits, limit):
    found = fields(max_tokens=limits[0], max_completion_tokens=limits[1])
    bodies.put_limit_right(found)
    assert {name: bodies.value(value) for name, value in found.items()} == {"max_tokens": limit}


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("name", bodies.LIMITS)
def test_no_limit_is_none_on_every_engine(engine, name):
    """llama.cpp says it so; the others would refuse it."""
    sent = json.loads(ENGINES[engine].put_right(CHAT, json.dumps({"messages": HELLO, name: -1}).encode()))
    assert {sent.get("max_tokens", -1), sent.get("max_completion_tokens", -1)} == {-1}


def test_all_apis_that_clients_know_are_known():
    with pytest.raises(UnfitRequestError, match="runs on llama_cpp, which has no /v1/moderations"):
        ENGINES["llama_cpp"].put_right("/v1/moderations", b"{}")
