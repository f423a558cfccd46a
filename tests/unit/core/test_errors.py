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
