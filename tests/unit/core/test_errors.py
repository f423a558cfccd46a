import json

import pytest

from router.core import errors
from router.core.errors import TOO_LONG

KINDS = [kind for kind in errors.RouterError.__subclasses__() if kind.__module__ == errors.__name__]
"""Others are made of more than words."""


@pytest.mark.parametrize("kind", KINDS)
def test_openai_form(kind):
    """Every error has OpenAI's four fields outside /v1/messages."""
    error = kind("What to do.", param="model")
    told = json.loads(errors.body(error, "/v1/chat/completions"))
    assert told == {"error": {"message": "What to do.", "type": kind.type, "param": "model", "code": kind.code}}


@pytest.mark.parametrize("kind", KINDS)
def test_anthropic_form(kind):
    """Every error has Anthropic's form on /v1/messages."""
    told = json.loads(errors.body(kind("What to do."), "/v1/messages"))
    assert told == {"type": "error", "error": {"type": kind.anthropic_type, "message": "What to do."}}


@pytest.mark.parametrize("kind", KINDS)
def test_ollamas_form(kind):
    """Every error is a text on Ollama's paths, and a line of its own in a stream there."""
    error = kind("What to do.")
    assert json.loads(errors.body(error, "/api/chat")) == {"error": "What to do."}
    assert errors.event(error, "/api/generate") == b'{"error":"What to do."}\n'


@pytest.mark.parametrize(
    ("status", "type_", "anthropic_type"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "invalid_request_error", "authentication_error"),
        (404, "invalid_request_error", "not_found_error"),
        (418, "invalid_request_error", "invalid_request_error"),
        (429, "rate_limit_error", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (503, "server_error", "overloaded_error"),
        (529, "server_error", "overloaded_error"),
    ],
)
def test_an_engines_error_keeps_its_status(status, type_, anthropic_type):
    """And its words; what kind it is in each API follows from the status."""
    error = errors.of_engine(status, b'{"error": {"message": "No."}}')
    assert (error.status, error.type, error.anthropic_type, error.message) == (status, type_, anthropic_type, "No.")


def test_an_engines_error_without_words():
    """Says the status."""
    assert errors.of_engine(500, b"").message == "The engine answered 500, and nothing more."


@pytest.mark.parametrize(
    ("path", "name", "key"),
    [
        ("/v1/chat/completions", None, "error"),
        ("/v1/messages", "error", "error"),
        ("/v1/responses", "error", "message"),
    ],
)
def test_event_form(path, name, key):
    """A stream that breaks off ends with an event in its API's form, apart from whatever came before."""
    said = errors.event(errors.BadGatewayError("It broke."), path)
    assert said.startswith(b"\n\n")
    assert said.endswith(b"\n\n")
    fields = dict(line.split(": ", 1) for line in said.decode().strip().splitlines())
    assert fields.get("event") == name
    assert "It broke." in str(json.loads(fields["data"])[key])


def test_event_never_says_done():
    """An error event can't be taken for a proper end."""
    assert b"[DONE]" not in errors.event(errors.BadGatewayError("It broke."), "/v1/chat/completions")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b'{"error": {"message": "No such\\nmodel.", "type": "x"}}', "No such\nmodel."),
        (b'{"type": "error", "error": {"type": "api_error", "message": "Busy."}}', "Busy."),
        (b'{"object": "error", "message": "Too long.", "code": 400}', "Too long."),
        (b'{"detail": "Not found"}', "Not found"),
        (b'{"error": "model not loaded"}', "model not loaded"),
        (b'{"detail": [{"loc": ["body"]}]}', '{"detail": [{"loc": ["body"]}]}'),
        (b'{"error": null}', '{"error": null}'),
        (b"<b>\xff", "<b>\ufffd"),
        (b"<html>\xff", "\ufffd"),
        (
            b"<!DOCTYPE html><head><title>Oh</head>\r\n<body><!-- x --><h1>Bad&nbsp;gateway</h1>Try<script>a < b",
            "Bad gateway Try",
        ),
        (b"\n<HTML><head><title>502 Bad Gateway</title></head></HTML>", "502 Bad Gateway"),
        (b"<html><body>" + b"x" * 5000 + b"</body>", "x" * 4084),
        (b"<html></html>", "nothing more"),
        (b"[" * 100_000, "[" * 100_000),
        (b"[]", "[]"),
        (b"", "nothing more"),
    ],
)
def test_refusal_keeps_the_engines_words(said, words):
    """In whatever form it said them."""
    assert errors.refusal(500, said).message == f"The engine answered 500: {words}"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, errors.BadGatewayError),
        (400, errors.BadRequestError),
        (404, errors.BadRequestError),
        (429, errors.UnavailableError),
        (500, errors.BadGatewayError),
        (503, errors.UnavailableError),
    ],
)
def test_refusal_is_of_its_statuss_kind(status, kind):
    """Whose fault it is can be told from an event, too."""
    assert type(errors.refusal(status, b"")) is kind


@pytest.mark.parametrize(
    ("status", "said", "code", "param"),
    [
        (400, b'{"error":{"message":"no","code":"context_length_exceeded","param":"messages"}}', TOO_LONG, "messages"),
        (400, b'{"error":{"message":"no","code":400,"type":"exceed_context_size_error"}}', TOO_LONG, None),
        (400, b'{"error":{"message":"no","code":400}}', "bad_request", None),
        (400, b'{"error":{"message":"The context length is 9 tokens long."}}', "bad_request", None),
        (500, b'{"error":{"message":"This model\'s maximum context length is 4096 tokens."}}', "engine_failed", None),
        (400, b'{"error":"no"}', "bad_request", None),
        (429, b'{"detail":"slow down"}', "rate_limit_exceeded", None),
        (503, b"", "engine_unavailable", None),
    ],
)
def test_an_engines_error_keeps_its_code(status, said, code, param):
    """Clients act by it; and the router's own words would speak of its queue."""
    error = errors.of_engine(status, said)
    assert (error.code, error.param) == (code, param)


@pytest.mark.parametrize(
    "sentence",
    [
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 10007 tokens.",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "Trying to keep the first 5000 tokens when the model is loaded with context length of only 4096 tokens",
        "the request exceeds the available context size, try increasing it",
        "prompt is too long: 208310 tokens > 200000 maximum",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.",
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_engines_without_a_code_say_it_in_words(status, sentence):
    """vllm, SGLang, LM Studio, Gemini, Anthropic, TGI: clients get the code by which they shorten a conversation."""
    assert errors.of_engine(status, json.dumps({"error": {"message": sentence}}).encode()).code == TOO_LONG
    assert errors.of_engine(status, json.dumps({"error": sentence}).encode()).code == TOO_LONG


@pytest.mark.parametrize(
    ("path", "said", "told"),
    [
        (
            "/v1/chat/completions",
            b'{"error":{"code":400,"message":"no","n_ctx":5},"x":1}',
            b'{"error":{"code":"context_length_exceeded","message":"No. 9","n_ctx":5},"x":1}',
        ),
        ("/v1/chat/completions", b'{"error":"no"}', b'{"error":"No. 9"}'),
        (
            "/v1/messages",
            b'{"type":"error","error":{"type":"t","message":"no"}}',
            b'{"type":"error","error":{"type":"t","message":"prompt is too long: No. 9"}}',
        ),
        ("/api/chat", b'{"error":"no"}', b'{"error":"prompt is too long: No. 9"}'),
        ("/api/chat", b"no", b'{"error":"prompt is too long: No. 9"}'),
        (
            "/v1/chat/completions",
            b'{"error": {"code": "context_length_exceeded", "message": "No. 9"}}',
            b'{"error": {"code": "context_length_exceeded", "message": "No. 9"}}',
        ),
    ],
)
def test_a_refusal_of_a_long_prompt_is_amended(path, said, told):
    """With its message, and the code where its API has one; all else that the engine said stays, or the very bytes."""
    error = errors.of_engine(400, b'{"error":{"message":"No. 9","code":"context_length_exceeded"}}')
    assert errors.amended(said, error, path) == told


def test_a_prompt_that_is_too_long_is_told_to_ollamas_clients_by_a_sentence():
    error = errors.of_engine(400, b'{"error":{"message":"no","code":"context_length_exceeded"}}')
    assert json.loads(errors.body(error, "/api/chat")) == {"error": "prompt is too long: no"}


def test_a_prompt_that_is_too_long_is_told_to_anthropics_clients_by_a_sentence():
    """They have no code for it."""
    error = errors.of_engine(400, b'{"error":{"message":"5 of 4 tokens","type":"exceed_context_size_error"}}')
    assert json.loads(errors.body(error, "/v1/messages"))["error"]["message"] == "prompt is too long: 5 of 4 tokens"
    error.message = "Prompt is too long."
    assert json.loads(errors.body(error, "/v1/messages"))["error"]["message"] == "Prompt is too long."


@pytest.mark.parametrize(
    ("said", "path", "reworded"),
    [
        (b'{"type":"error","error":{"type":"x","message":"no"}}', "/v1/messages", False),
        (b'{"type":"error","error":"no"}', "/v1/messages", True),
        (b'{"error":{"message":"no"}}', "/v1/messages/count_tokens", True),
        (b"no such route", "/v1/messages", True),
    ],
)
def test_errors_of_another_form(said, path, reworded):
    """Are put into the path's; one that has it stays as it is."""
    told = errors.reworded(400, said, path)
    assert (told != said) is reworded
    assert json.loads(told)["error"]["message"] == ("no such route" if said[:2] == b"no" else "no")
