import pytest

from router.cli.client import Piece, message_of, pieces
from router.cli.exits import CommandError
from router.cli.talk import safe


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b": loading qwen: 43%, about 6 s", [Piece("wait", "loading qwen: 43%, about 6 s")]),
        (b'data: {"choices": [{"delta": {"content": "Hi"}}]}', [Piece("text", "Hi")]),
        (b'data: {"choices": [{"delta": {"reasoning_content": "Hm"}}]}', [Piece("thought", "Hm")]),
        (
            b'data: {"choices": [{"delta": {"reasoning": "Hm", "content": "Hi"}}]}',
            [Piece("thought", "Hm"), Piece("text", "Hi")],
        ),
        (b'data: {"choices": [{"delta": {"content": ""}}]}', []),
        (b'data: {"choices": [{"delta": {"content": null}}]}', []),
        (b'data: {"choices": [], "usage": {}}', []),
        (b'data: {"choices": [7]}', []),
        (b"data: [1]", []),
        (b"data: nonsense", []),
        (b"data: [DONE]", []),
        (b"event: x", []),
        (b"", []),
    ],
)
def test_lines_of_a_stream(line, found):
    assert pieces(line) == found


def test_an_error_in_a_stream():
    with pytest.raises(CommandError, match="it broke") as raised:
        pieces(b'data: {"error": {"message": "it broke", "code": 500}}')
    assert raised.value.code == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no"}}', "no"),
        (b'{"error": "no"}', "no"),
        (b'{"error": {"message": "a\\u001b[31m"}}', "a\\x1b[31m"),
        (b'{"error": 7}', ""),
        (b"[]", ""),
        (b"<html>", ""),
    ],
)
def test_messages_of_errors(body, said):
    assert message_of(body) == said


def test_a_model_does_not_control_the_terminal():
    assert safe("a\x1b]0;title\x07\tb\r\nc\x9b1m é 狐") == "a]0;title\tb\nc1m é 狐"
