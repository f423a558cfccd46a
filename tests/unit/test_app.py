import json
import shlex

import pytest

from router.app import address_of, room_for_clients, welcome
from router.proxy.pool import Address


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


@pytest.mark.parametrize(("files", "room"), [(65536, 32704), (1024, 448), (256, 64), (0, 1)])
def test_room_for_clients(files, room):
    """Two descriptors a client, its own and its backend's, and some for all else; never none."""
    assert room_for_clients(files) == room
