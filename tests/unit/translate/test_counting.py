"""Estimates of a prompt's tokens."""

import json
from typing import Any

import pytest

from router.translate.counting import IMAGE, estimate


def count(**fields: Any) -> int:
    found: int = json.loads(estimate(json.dumps(fields).encode()))["input_tokens"]
    return found


def turn(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def test_a_text_by_its_length():
    """Three and a half bytes are a token, and each message has some more."""
    assert count(messages=turn("a" * 3500)) == 1004
    assert count(messages=turn("漢" * 1000)) == pytest.approx(3000 / 3.5 + 4, abs=1)


def test_all_that_the_model_reads_counts():
    """The system prompt and the tools count, too; other fields don't."""
    alone = count(messages=turn("Hello"))
    assert count(messages=turn("Hello"), system="a" * 350, metadata={"user_id": "x" * 999}) == alone + 100
    tool = {"name": "look", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    assert count(messages=turn("Hello"), tools=[tool]) > alone + 20


def test_an_image_has_a_fixed_number():
    """What an image takes doesn't depend on its bytes."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "a" * 100_000}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    assert IMAGE < count(messages=turn([image, result])) - IMAGE < IMAGE + 20


def test_earlier_reasoning_counts_as_nothing():
    """Templates leave it out."""
    block = {"type": "text", "text": "Hello"}
    thought = {"type": "thinking", "thinking": "hm " * 100, "signature": "x" * 100}
    assert count(messages=turn([thought, block])) == count(messages=turn([block]))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"messages": ' + b"[" * 100_000, b'{"messages": 1}', b"\xff"])
def test_it_takes_anything(body):
    """What is no request gets a number, too."""
    assert json.loads(estimate(body)) == {"input_tokens": 1}


def test_a_deep_request():
    """The depth of a request breaks nothing."""
    body = b'{"messages": %b1%b}' % (b'{"a": ' * 450, b"}" * 450)
    assert json.loads(estimate(body))["input_tokens"] >= 1
