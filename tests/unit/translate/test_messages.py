"""Anthropic's Messages API on chat completions: requests, answers, and errors."""

import json
from typing import Any

import pytest

from router.core.errors import BadRequestError
from router.translate.messages import count_tokens, messages
from router.translate.speech import Context, Translation

CONTEXT = Context("req-1", "demo", "/v1/messages", 0.0, 0.0)
HELLO = {"role": "user", "content": "Hello"}


def translated(**fields: Any) -> Translation:
    return messages(json.dumps({"model": "m", "messages": [HELLO], **fields}).encode(), CONTEXT)


def chat(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(translated(**fields).body)
    return found


def turns(*said: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chat(messages=list(said), **fields)["messages"]
    return found


def test_a_small_request_is_a_chat():
    """A request with the least is a chat with the same."""
    found = translated(max_tokens=9)
    assert found.path == "/v1/chat/completions"
    assert json.loads(found.body) == {"model": "m", "messages": [HELLO], "max_tokens": 9}


def test_a_stream_asks_for_usage():
    """A stream is one, and its usage is asked for."""
    found = chat(stream=True)
    assert found["stream"] is True
    assert found["stream_options"] == {"include_usage": True}


def test_bad_json_is_refused():
    """What is no JSON object is a clear 400."""
    for body in (b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000):
        with pytest.raises(BadRequestError):
            messages(body, CONTEXT)


def test_a_count_goes_to_the_counter():
    """A count is asked of the engine's counter, with the chat."""
    found = count_tokens(json.dumps({"model": "m", "messages": [HELLO], "system": "Be kind."}).encode(), CONTEXT)
    assert found.path == "/v1/router/count_tokens"
    assert json.loads(found.body)["messages"] == [{"role": "system", "content": "Be kind."}, HELLO]
    assert found.answer.whole(b'{"input_tokens": 7, "x": 1}', 0.0) == b'{"input_tokens":7}'
