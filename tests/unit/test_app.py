import json
import shlex

import pytest

from router.app import access_line, address_of, welcome
from router.proxy.pool import Address
from router.proxy.relay import Record
from router.proxy.requests import Request


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://gpu-box:8000", Address("gpu-box", 8000)),
        ("http://gpu-box:8000/", Address("gpu-box", 8000)),
        ("http://gpu-box:8000/v1", Address("gpu-box", 8000)),
        ("http://gpu-box:8000/v1/", Address("gpu-box", 8000)),
        ("http://gpu-box", Address("gpu-box", 80)),
        ("https://api.example.com/v1", Address("api.example.com", 443, tls=True)),
        ("HTTPS://API.example.com:8443", Address("api.example.com", 8443, tls=True)),
        ("http://gpu-box/llm", Address("gpu-box", 80, base="/llm")),
        ("http://gpu-box/llm/v1/", Address("gpu-box", 80, base="/llm")),
        ("http://gpu-box/v1/llm", Address("gpu-box", 80, base="/v1/llm")),
        ("http://gpu-box/notv1", Address("gpu-box", 80, base="/notv1")),
        ("http://127.0.0.1:1", Address("127.0.0.1", 1)),
        ("http://[::1]:8000/v1", Address("::1", 8000)),
    ],
)
def test_address_of(url, address):
    """Where a backend listens, with what its URL has before /v1."""
    assert address_of(url) == address


def test_welcome_shows_a_command_that_can_be_copied():
    """A shell and a JSON reader understand it; it asks for the first model."""
    said = welcome("http://127.0.0.1:8001", ["demo", "other"], with_key=False)
    assert said.startswith("\nReady at http://127.0.0.1:8001/v1 with demo, other. Try:\n\n")
    words = shlex.split(said.partition("Try:")[2])
    assert words[:2] == ["curl", "http://127.0.0.1:8001/v1/chat/completions"]
    assert words[words.index("-H") + 1] == "content-type: application/json"
    assert words.count("-H") == 1
    body = json.loads(words[words.index("-d") + 1])
    assert body["model"] == "demo"
    assert body["messages"] == [{"role": "user", "content": "Hello"}]


def test_welcome_asks_for_a_key_where_one_is_needed():
    """And shows none."""
    words = shlex.split(welcome("http://a:1", ["demo"], with_key=True).partition("Try:")[2])
    assert "authorization: Bearer YOUR_KEY" in words


def test_welcome_without_a_model_says_where_to_look():
    """Nothing is to be tried then."""
    said = welcome("http://a:1", [], with_key=True)
    assert "no model can be served yet" in said
    assert "http://a:1/ready" in said
    assert "curl" not in said


def record(**changed) -> Record:
    request = Request("id-1", "/v1/chat/completions", b"/v1/chat/completions?x=1", b"", b"", "demo", stream=True)
    return Record(request, "gpu-box", 200, "answered", 1, 0.0361, 1.2044, 1418)._replace(**changed)


def test_access_line():
    """Status, path, model, backend, times, bytes, and the id."""
    assert access_line(record()) == (
        "200 POST /v1/chat/completions demo gpu-box 1.204s ttft=0.036s 1418B id-1"
    )  # fmt: skip


def test_access_line_of_a_request_that_reached_no_backend():
    """What there is none of is a dash: the fields stay where they are."""
    line = access_line(record(backend=None, status=503, ttft=None, sent=0, attempts=0))
    assert line == "503 POST /v1/chat/completions demo - 1.204s ttft=- 0B id-1"


def test_access_line_of_a_request_that_was_tried_again():
    """How often, at the end."""
    assert access_line(record(attempts=3)).endswith(" id-1 attempts=3")


def test_access_line_is_one_line_whatever_model_was_asked_for():
    """A client chooses that name."""
    request = record().request._replace(model="m\n12:00:00 200 POST\x1b[2J")
    assert access_line(record(request=request)).isprintable()
