"""The program that runs around llama_cpp.server; tests/engines runs it for real."""

import base64
import json
import logging
import struct
import sys
from types import SimpleNamespace

import pytest

from launchers.wrappers import llama_cpp_server as program

HEAD = {"type": "http.response.start", "status": 200, "headers": []}
ERROR = (400, {"message": "Too long."})


@pytest.fixture
def asked():
    """Be in a request."""
    made = program.Asked()
    before = program.ASKED.set(made)
    yield made
    program.ASKED.reset(before)


def event(body, *, more=True):
    return {"type": "http.response.body", "body": body, "more_body": more}


async def sent(asked, *messages):
    """What of an application's messages a client gets."""
    out = []

    async def send(message):
        out.append(message)

    held = program.held(send, asked)
    for message in messages:
        await held(message)
    return out


async def test_an_answer_is_passed_on_its_head_with_its_first_event(asked):
    assert await sent(asked, HEAD) == []
    assert await sent(asked, HEAD, event(b"a"), event(b"b", more=False)) == [HEAD, event(b"a"), event(b"b", more=False)]


async def test_an_error_before_the_first_event_is_the_whole_answer(asked):
    asked.error = ERROR
    head, body = await sent(asked, HEAD, event(b"data: {}"), event(b"data: [DONE]"), event(b"", more=False))
    assert head["status"] == 400
    assert json.loads(body["body"]) == {"error": {"message": "Too long."}}
    assert dict(head["headers"])[b"content-length"] == str(len(body["body"])).encode()


async def test_an_error_after_a_ping_is_an_event(asked):
    out = []

    async def send(message):
        out.append(message)

    held = program.held(send, asked)
    await held(HEAD)
    await held(event(b": ping"))
    asked.error = ERROR
    await held(event(b"data: the error"))
    assert out == [HEAD, event(b": ping"), event(b"data: the error")]


def chunk(**choice):
    return {"id": "c", "object": "chunk", "created": 1, "model": "m", "choices": [{"index": 0, **choice}]}


def test_a_stream_tells_its_usage_at_its_end(asked):
    asked.prompt, asked.made = 3, 2
    first, last, usage = program.streamed([chunk(delta={}), chunk(finish_reason="stop")], with_usage=True)
    assert first["usage"] is last["usage"] is None
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert {usage[name] for name in ("id", "object", "model")} == {"c", "chunk", "m"}


def test_or_not():
    chunks = [chunk(delta={}), chunk(finish_reason="stop")]
    assert list(program.streamed(chunks, with_usage=False)) == chunks
    assert list(program.streamed([], with_usage=True)) == []


def test_usage_that_nobody_asked_for(asked):
    """It is where clients ignore it, in the chunk with the finish reason; the router reads it there."""
    asked.prompt, asked.made = 12, 40
    *first, last = program.streamed([chunk(delta={}), chunk(finish_reason="stop")], with_usage=False)
    assert first == [chunk(delta={})]
    usage = {"prompt_tokens": 12, "completion_tokens": 40, "total_tokens": 52}
    assert last == {**chunk(finish_reason="stop"), "usage": usage}


def failing(*chunks, error):
    yield from chunks
    raise error


def test_what_fails_before_it_begins_is_told(asked):
    error = ValueError("Requested tokens (40) exceed context window of 20")
    (told,) = program.streamed(failing(error=error), with_usage=True)
    assert asked.error == (400, told["error"])
    assert told["error"]["code"] == "context_length_exceeded"
    assert told["error"]["message"] == (
        "This model's maximum context length is 20 tokens, but the prompt has 40; shorten it."
    )


def test_what_fails_later_breaks_off(asked):
    stream = program.streamed(failing(chunk(), error=ValueError("no")), with_usage=False)
    assert next(stream) == chunk()
    with pytest.raises(ValueError, match="no"):
        next(stream)
    assert asked.error is None


def test_a_call_is_named_once():
    def piece(arguments):
        function = {"name": "f", "arguments": arguments}
        call = {"index": 0, "id": "1", "type": "function", "function": dict(function)}
        return chunk(delta={"tool_calls": [call], "function_call": dict(function)})

    chunks = list(program.streamed([chunk(delta={"role": "assistant"}), piece("{"), piece("}")], with_usage=False))
    calls = [each["choices"][0]["delta"].get("tool_calls", [{}])[0] for each in chunks]
    assert [call.get("id") for call in calls] == [None, "1", None]
    assert [call.get("function", {}).get("name") for call in calls] == [None, "f", None]
    assert "name" not in chunks[2]["choices"][0]["delta"]["function_call"]


def test_tokens_are_counted_and_stop_when_the_client_leaves(asked):
    def generate(_llama, _tokens, **_options):
        yield from (1, 2, 3, 0)

    stopping = program.stopping(generate, lambda _llama, token: token == 0)
    assert list(stopping(None, [7, 8], temp=0)) == [1, 2, 3, 0]
    assert (asked.prompt, asked.made) == (2, 3)
    asked.left.set()
    assert list(stopping(None, [7, 8])) == []


LLAMA = SimpleNamespace(
    context_params=SimpleNamespace(embeddings=True),
    chat_handler=None,
    n_batch=4,
    n_embd=lambda: 2,
    n_vocab=lambda: 10,
    tokenize=lambda text: text.split(),
)


def embed(**options):
    def create(_llama, text, model):
        texts = text if isinstance(text, list) else [text]
        return {"model": model, "data": [{"index": n, "embedding": [0.1, -n]} for n, _ in enumerate(texts)]}

    return program.embedding(create)(LLAMA, **options)


def test_embeddings_are_base64_where_that_is_asked_for():
    answer = embed(input=["a", "b"], model="m", encoding_format="base64")
    decoded = [struct.unpack("<2f", base64.b64decode(each["embedding"])) for each in answer["data"]]
    assert decoded == [pytest.approx((0.1, 0)), pytest.approx((0.1, -1))]
    assert embed(input="a")["data"][0]["embedding"] == [0.1, 0]
    assert embed(input="a", encoding_format="float", dimensions=2)["data"][0]["embedding"] == [0.1, 0]


def test_of_a_model_without_pooling_those_of_all_tokens():
    assert struct.unpack("<4f", base64.b64decode(program.as_base64([[1.0, 2.0], [3.0, 4.0]]))) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input": "a", "dimensions": 1}, "dimensions must be 2"),
        ({"input": ["a", "b c d e f"]}, r"input\[1\] has 5 tokens; this model embeds 1 to 4"),
        ({"input": ""}, r"input\[0\] has 0 tokens"),
    ],
)
def test_what_would_be_embedded_otherwise_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        embed(**options)


def test_a_model_without_embeddings_says_how_to_get_them():
    llama = SimpleNamespace(context_params=SimpleNamespace(embeddings=False))
    with pytest.raises(ValueError, match=r"embedding: true in its launch\.args"):
        program.embedding(lambda *_: None)(llama, input="a")


class Invalid(Exception):  # noqa: N818 -- as FastAPI's is
    """What FastAPI raises."""

    def __init__(self, loc, msg):
        super().__init__(f"1 validation error\n\n  File /server/app.py: {msg}")
        self._found = [{"loc": loc, "msg": msg}]

    def errors(self):
        """See FastAPI."""
        return self._found


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (Invalid(("body", "top_p"), "Input should be at most 1"), 400, "top_p: Input should be at most 1."),
        (
            Invalid(("body", "messages", 0, "ChatSystemMessage", "role"), "Input should be 'system'"),
            400,
            "messages.0: a field is missing here, or of the wrong type.",
        ),
        (Invalid(("body",), "Field required"), 400, "body: Field required."),
        (ValueError("Tool choice 'x' not found in tools."), 400, "Tool choice 'x' not found in tools."),
        (NotImplementedError("The prompts can't be counted."), 501, "The prompts can't be counted."),
        (ValueError("logprobs is not supported for models created with logits_all=False"), 400, "logits_all: true in"),
        (
            RuntimeError("/models/secret.gguf"),
            500,
            "llama_cpp failed at this request (RuntimeError); its log has more.",
        ),
    ],
)
def test_an_error_is_one_sentence_without_the_servers_files(error, status, message):
    told_status, told = program.explained(error)
    assert told_status == status
    assert message in told["message"]
    assert "\n" not in told["message"]
    assert "/" not in told["message"]


def test_a_schema_that_is_none_is_an_error_and_no_other_form():
    def grammar(schema, *, verbose, fallback_to_json):
        assert not fallback_to_json
        if schema == "bad":
            raise KeyError(schema)
        return schema, verbose

    assert program.strict(grammar)("good", verbose=True) == ("good", True)
    with pytest.raises(ValueError, match="can't be made a grammar"):
        program.strict(grammar)("bad")


def grammar_of(text):
    return SimpleNamespace(_grammar=text, _root="root")


def test_a_grammar_is_read_before_it_is_used():
    used = []
    add = program.checked(lambda *what: what, lambda *what: used.append(what))
    add(SimpleNamespace(sampler="s"), SimpleNamespace(vocab="v"), grammar_of("g"))
    assert used == [("s", ("v", b"g", b"root"))]


@pytest.mark.parametrize(
    ("text", "words"), [("g", "can't be read"), ("g" * (program.MOST_GRAMMAR + 1), "too large a grammar")]
)
def test_a_grammar_that_would_end_the_process_is_an_error(text, words):
    add = program.checked(lambda *_: None, lambda *_: pytest.fail("it was used"))
    with pytest.raises(ValueError, match=words):
        add(SimpleNamespace(sampler="s"), SimpleNamespace(vocab="v"), grammar_of(text))


def test_why_a_model_cannot_be_loaded_can_be_read(capfd):
    """The redirection, and the old levels, would hide it; what isn't an error stays hidden."""
    log = SimpleNamespace(GGML_LOG_LEVEL_TO_LOGGING_LEVEL={0: 50, 1: 20, 2: 30, 3: 40, 4: 10, 5: 10})
    module = SimpleNamespace(suppress_stdout_stderr=None)
    program.heard(log, module)
    with module.suppress_stdout_stderr(disable=False):
        sys.stdout.write("no such tensor\n")
    assert capfd.readouterr().out == "no such tensor\n"
    assert log.GGML_LOG_LEVEL_TO_LOGGING_LEVEL == {0: 50, 1: 10, 2: 20, 3: 30, 4: 40, 5: 10}


@pytest.mark.parametrize(
    ("args", "logged"),
    [
        (("127.0.0.1:1", "GET", "/openapi.json", "1.1", 200), False),
        (("127.0.0.1:1", "POST", "/v1/chat/completions", "1.1", 200), True),
        ((), True),
    ],
)
def test_probes_are_left_out_of_the_access_log(args, logged):
    """One each five seconds would bury what clients ask."""
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, "", args, None)
    assert program.is_no_probe(record) is logged
