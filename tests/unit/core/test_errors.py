import json

import pytest

from router.core import errors


@pytest.mark.parametrize("kind", errors.RouterError.__subclasses__())
def test_openai_form(kind):
    """Every error has OpenAI's four fields outside /v1/messages."""
    error = kind("What to do.", param="model")
    told = json.loads(errors.body(error, "/v1/chat/completions"))
    assert told == {"error": {"message": "What to do.", "type": kind.type, "param": "model", "code": kind.code}}


@pytest.mark.parametrize("kind", errors.RouterError.__subclasses__())
def test_anthropic_form(kind):
    """Every error has Anthropic's form on /v1/messages."""
    told = json.loads(errors.body(kind("What to do."), "/v1/messages"))
    assert told == {"type": "error", "error": {"type": kind.anthropic_type, "message": "What to do."}}


@pytest.mark.parametrize("kind", errors.RouterError.__subclasses__())
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
        (b"<html>\xff", "<html>\ufffd"),
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
