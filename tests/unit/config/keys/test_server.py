import re

import pytest
from pydantic import ValidationError

from router.config import Config
from tests.configured import REMOTE


def server(**keys: object):
    return Config.model_validate({"backends": [REMOTE], "server": keys, "auth": {"keys": ["k"]}}).server


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("::", "::"),
        ("[::]", "::"),
        ("0:0:0:0:0:0:0:0", "::"),
        ("FE80::1%eth0", "fe80::1%eth0"),
        ("localhost", "localhost"),
        ("box.lan", "box.lan"),
    ],
)
def test_an_address_to_listen_at(written, host):
    """As people write them: in brackets, too."""
    assert server(host=written).host == host


@pytest.mark.parametrize("written", ["http://localhost", "[box]", "a b", "x@y", "::1]", "127.0.0.1:", ":8001", ""])
def test_what_is_no_address(written):
    """Nor is anything else that has one in it."""
    with pytest.raises(ValidationError, match=r"expected (an address or a name to listen at|text)"):
        server(host=written)


@pytest.mark.parametrize("written", ["127.0.0.1:8001", "localhost:8001", "[::1]:8001", "0.0.0.0:8001"])
def test_an_address_with_a_port(written):
    """The port has its own key."""
    host = written.removesuffix(":8001")
    with pytest.raises(ValidationError, match=re.escape(f"write `host: {host}` and `port: 8001`")):
        server(host=written)


@pytest.mark.parametrize(
    ("written", "name"),
    [("Router.LAN", "router.lan"), ("box.", "box"), ("*.Example.org", "*.example.org"), ("a_b", "a_b")],
)
def test_a_hosts_name(written, name):
    """Letters of either case are the same."""
    assert server(hosts=[written]).hosts == (name,)


@pytest.mark.parametrize("written", ["box:8001", "http://box", "*", "*.", "a.*", "a b", "a/b", "[::1]", "*box", "a..b"])
def test_what_is_no_hosts_name(written):
    """A name alone: any port is answered."""
    with pytest.raises(ValidationError, match="expected a host's name alone"):
        server(hosts=[written])


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://Chat.Example.org", "https://chat.example.org"),
        ("https://chat.example.org/", "https://chat.example.org"),
        ("https://chat.example.org:443", "https://chat.example.org"),
        ("http://chat.example.org:443", "http://chat.example.org:443"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:*", "http://localhost:*"),
        ("https://*.example.org", "https://*.example.org"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://*", "chrome-extension://*"),
        ("app://obsidian.md", "app://obsidian.md"),
        ("vscode-webview://*", "vscode-webview://*"),
        ("file://", "file://"),
        ("*", "*"),
        ("null", "null"),
    ],
)
def test_an_origin(written, origin):
    """As browsers say it, however people write it."""
    assert server(cors=[written]).cors == (origin,)


@pytest.mark.parametrize(
    "written",
    [
        "chat.example.org",
        "localhost:3000",
        "https://chat.example.org/page",
        "https://chat.example.org?x",
        "https://a,https://b",
        "https://a b",
        "https://user@a",
        "https://chat.*.org",
        "://a",
        "https:a",
    ],
)
def test_what_is_no_origin(written):
    """It has a scheme and no path."""
    with pytest.raises(ValidationError, match="expected an origin, such as"):
        server(cors=[written])


@pytest.mark.parametrize("written", ["https://*", "http://*:3000", "https://", "HTTP://*:*"])
def test_every_page_there_is_has_one_spelling(written):
    """So that nobody says it by mistake."""
    with pytest.raises(ValidationError, match="every page there is"):
        server(cors=[written])


def test_ollamas_port():
    """It isn't listened at unless that is said."""
    assert server().ollama_port is None
    assert server(ollama_port=11434).ollama_port == 11434
    for wrong in (-1, 65536, "all", 1.5):
        with pytest.raises(ValidationError):
            server(ollama_port=wrong)
