"""Requests of Anthropic's API, on the engines that speak it."""

import json
from typing import Any

import pytest

from launchers.engines import ENGINES
from launchers.engines.messages import COUNT, MESSAGES
from launchers.errors import UnfitRequestError

TEXT = {"type": "text", "text": "Hello"}
PLAIN = {"type": "text", "media_type": "text/plain", "data": "a b"}
PARTS = {"type": "content", "content": [TEXT, {"type": "image"}, TEXT]}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}


@pytest.fixture(params=["llama_server", "vllm"])
def engine(request):
    return ENGINES[request.param]


def put(engine: Any, path: str = MESSAGES, **fields: Any) -> Any:
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return json.loads(engine.put_right(path, json.dumps(body).encode()))


def blocks(engine: Any, *content: Any, path: str = MESSAGES) -> Any:
    return put(engine, path, messages=[{"role": "user", "content": list(content)}])["messages"][0]["content"]


def test_what_needs_no_change(engine):
    """Stays, byte for byte."""
    for said in ("Hi", [TEXT, "odd", {"type": "image", "source": PDF}], 5):
        body = json.dumps({"messages": [{"role": "user", "content": said}], "max_tokens": 5}).encode()
        if engine.name == "vllm" or said == "Hi":
            assert engine.put_right(MESSAGES, body) == body


@pytest.mark.parametrize("limit", [None, "x", 1.5])
def test_a_limit_is_wanted(engine, limit):
    """Not for a count."""
    with pytest.raises(UnfitRequestError, match="max_tokens must be a whole number"):
        put(engine, max_tokens=limit)
    assert "max_tokens" not in put(engine, COUNT, max_tokens=None)


def test_no_token_is_one(engine):
    """The prompt is read and cached."""
    assert put(engine, max_tokens=0)["max_tokens"] == 1


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "document", "source": PLAIN}, "a b"),
        ({"type": "document", "title": "T", "source": PLAIN, "citations": {"enabled": True}}, "T\na b"),
        ({"type": "document", "source": PARTS}, "Hello\nHello"),
        ({"type": "document", "source": {"type": "content", "content": "c"}}, "c"),
        ({"type": "search_result", "title": "T", "source": "http://s", "content": [TEXT]}, "T\nHello"),
        ({"type": "search_result", "content": 5}, ""),
    ],
)
def test_documents_become_text(engine, path, block, text):
    """Those in a tool's result, too."""
    said = {"type": "text", "text": text}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block, TEXT]}
    given = blocks(engine, TEXT, block, result, {"type": "tool_result", "content": "x"}, path=path)
    assert given == [TEXT, said, {**result, "content": [said, TEXT]}, {"type": "tool_result", "content": "x"}]


@pytest.mark.parametrize("source", [PDF, None, "x", {"type": "url", "url": "data:text/plain,a"}])
def test_a_document_that_is_no_text(engine, source):
    """The error says which one it is."""
    with pytest.raises(UnfitRequestError, match=r"^messages\[0\]\.content\[1\] is a document that is no text"):
        blocks(engine, TEXT, {"type": "document", "source": source})
    with pytest.raises(UnfitRequestError, match=r"content\[0\]\.content\[0\] is a document"):
        blocks(engine, {"type": "tool_result", "content": [{"type": "document", "source": source}]})


@pytest.mark.parametrize(("given", "left"), [([""], None), (["", "zz"], ["zz"]), (["zz"], ["zz"]), (None, None)])
def test_empty_stop_sequences_are_left_out(engine, given, left):
    """They would end the answer at once."""
    assert put(engine, stop_sequences=given).get("stop_sequences") == left


def test_stop_sequences_that_are_none(engine):
    with pytest.raises(UnfitRequestError, match="stop_sequences must be"):
        put(engine, stop_sequences=[5])
