"""Who may ask without a key, by what the head of a request says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.access import Access, Asked, asked_of, is_for_page, is_forwarded, is_loopback, is_wide
from router.core.errors import ForbiddenError, RouterError, UnauthorizedError

HOST = "127.0.0.1:8001"
HERE = "127.0.0.1"
SOME = Access(
    ["router.lan", "*.example.org"],
    [
        "https://chat.example.com",
        "http://localhost:5173",
        "http://app.lan:*",
        "https://*.example.net",
        "chrome-extension://abcdef",
        "moz-extension://*",
        "app://obsidian.md",
    ],
)


def asked(*lines: str, host: str | None = HOST, authority: str = "") -> Asked:
    pairs = [line.split(": ", 1) for line in ([f"host: {host}"] if host is not None else []) + list(lines)]
    return asked_of([(name.encode(), value.encode("latin-1")) for name, value in pairs], authority)


def may(access: Access, who: Asked) -> bool:
    try:
        access.check(who)
    except ForbiddenError:
        return False
    return True


def manages(access: Access, who: Asked, remote: str = HERE) -> bool:
    try:
        access.check_admin(who, remote)
    except RouterError:
        return False
    return True


# The Host

OURS = [
    "localhost",
    "LocalHost:8001",
    "localhost.",
    "localhost.:8001",
    "localhost:",
    "127.0.0.1",
    "127.0.0.1:9000",  # a port that is forwarded: ssh -L 9000:localhost:8001
    "127.0.0.1.:8001",
    "192.168.1.5:8001",
    "8.8.8.8",
    "[::1]",
    "[::1]:8001",
    "[FE80::1]:8001",
    "[fe80::1%25eth0]:8001",
    "[::ffff:127.0.0.1]",
    "router.lan",
    "ROUTER.lan.:8001",
    "a.example.org",
    "a.b.example.org:80",
]
OTHERS = [
    "",
    "evil.test",
    "evil.test:8001",
    "localhost.evil.test",
    "evil.localhost",
    "localhost..",
    "router.lan.evil.test",
    "xrouter.lan",
    "example.org",  # only names below it are named
    "2130706433",
    "0x7f000001",
    "127.1",
    "127.0.0.1.nip.io",
    "0127.0.0.1",
    "user@localhost",
    "localhost@evil.test",
    "localhost:8001:1",
    "localhost:port",
    "localhost:123456",
    "localhost/",
    "localhost, evil.test",
    "127.0.0.1 evil.test",
    "::1",
    "[::1",
    "[]",
    "[evil.test]",
    "[::1]evil.test",
    "l\xf6calhost",
]


@pytest.mark.parametrize("host", OURS)
def test_a_host_of_ours(host):
    """An address, whatever the port, was looked up nowhere; localhost and the names of server.hosts are the owner's."""
    assert may(SOME, asked(host=host))
    assert manages(SOME, asked(host=host))


@pytest.mark.parametrize("host", OTHERS)
def test_a_host_that_a_page_may_have_had_pointed_here(host):
    """403, with the key that would name it; nothing is managed by it, either."""
    with pytest.raises(ForbiddenError, match=r"Name it in server\.hosts, or set auth\.keys"):
        SOME.check(asked(host=host))
    with pytest.raises(ForbiddenError):
        SOME.check_admin(asked(host=host), HERE)


@pytest.mark.parametrize("host", ["gpu-box", "router:8001", "X", "my_box."])
def test_a_name_without_a_dot_is_for_programs_that_use_the_models(host):
    """Nobody can register it, and a page would send its origin; nothing is managed by it."""
    assert may(SOME, asked(host=host))
    assert not may(SOME, asked(f"origin: http://{host}", host=host))
    assert not may(SOME, asked("sec-fetch-site: cross-site", host=host))
    assert not may(SOME, asked("host: evil.test", host=host))
    assert not manages(SOME, asked(host=host))


def test_a_name_is_nobodys_unless_it_is_listed():
    """Without server.hosts there is localhost alone."""
    assert may(Access(), asked(host="localhost"))
    assert not may(Access(), asked(host="router.lan"))


def test_every_host_that_is_named_must_be_ours():
    """Two headers, or a header and a target for proxies: whichever is the true one."""
    assert not may(SOME, asked("host: evil.test"))
    assert not may(SOME, asked(authority="evil.test:8001"))
    assert may(SOME, asked(authority="localhost:8001"))


def test_a_client_that_names_no_host_is_no_browser():
    """HTTP/1.0 needs none."""
    assert may(SOME, asked(host=None))
    assert manages(SOME, asked(host=None))


def test_what_a_client_said_is_shown_shortened():
    """A header may be 32 KiB."""
    with pytest.raises(ForbiddenError) as caught:
        SOME.check(asked("host: " + "b" * 9000, host="a" * 9000))
    assert len(caught.value.message) < 400


# The Origin

NAMED = [
    "https://chat.example.com",
    "HTTPS://Chat.Example.com",
    "http://localhost:5173",
    "http://app.lan",
    "http://app.lan:3000",
    "https://a.example.net",
    "https://a.b.example.net",
    "chrome-extension://abcdef",
    "moz-extension://6f5902ac-237b-4e8e-9f5e-1d1d1d1d1d1d",
    "app://obsidian.md",
]
OWN = ["http://127.0.0.1:8001", "http://localhost:8001", "http://[::1]:8001", "http://router.lan:8001"]
FOREIGN = [
    "null",
    "",
    "https://evil.test",
    "http://chat.example.com",
    "https://chat.example.com:444",
    "https://chat.example.com.evil.test",
    "https://chat.example.com/",
    "https://evil.test/.example.net",
    "https://example.net",
    "https://evilexample.net",
    "http://app.lan:3000.evil.test",
    "http://localhost",
    "http://localhost:3000",
    "http://127.0.0.1",
    "http://127.0.0.1:3000",
    "http://192.168.1.5:8001",
    "https://router.lan:8443",
    "chrome-extension://ghijkl",
    "app://evil",
    "file://",
    "about://127.0.0.1:8001",
    "//127.0.0.1:8001",
    "127.0.0.1:8001",
    "http://127.0.0.1:8001@evil.test",
    "http://evil.test#http://127.0.0.1:8001",
    "http://127.0.0.1:8001 http://evil.test",
]


@pytest.mark.parametrize("origin", NAMED)
def test_an_origin_that_is_named(origin):
    """Its page may ask and read; but what manages the router is no page's but the router's own."""
    who = asked(f"origin: {origin}", "sec-fetch-site: cross-site")
    assert may(SOME, who)
    assert SOME.reader(who) == origin
    with pytest.raises(ForbiddenError, match=r"set auth\.admin_keys"):
        SOME.check_admin(who, HERE)


@pytest.mark.parametrize("origin", OWN)
def test_the_routers_own_origin(origin):
    """By whichever of its names: the port tells it from others on this machine."""
    who = asked(f"origin: {origin}", "sec-fetch-site: same-site")
    assert may(SOME, who)
    assert manages(SOME, who)
    assert SOME.reader(who) == origin


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("router.lan", "https://router.lan"),
        ("router.lan", "http://router.lan"),
        ("router.lan:443", "https://router.lan"),
        ("localhost:80", "http://localhost"),
        ("192.168.1.5:8001", "http://192.168.1.5:8001"),
    ],
)
def test_the_own_origin_is_that_of_the_host(host, origin):
    """The port that a scheme has may be left out; TLS may have ended before the router."""
    assert may(SOME, asked(f"origin: {origin}", host=host))


def test_an_own_page_that_came_by_http_is_none_where_there_is_tls():
    """Whoever sits between could have changed it; and another server may be at the port that http has."""
    tls = Access(["router.lan"], tls=True)
    for host in ("router.lan", "router.lan:8001"):
        assert may(tls, asked(f"origin: https://{host}", host=host))
        assert not may(tls, asked(f"origin: http://{host}", host=host))


@pytest.mark.parametrize("origin", FOREIGN)
def test_an_origin_that_nobody_named(origin):
    """403 for its page, and no word of the answer."""
    who = asked(f"origin: {origin}")
    with pytest.raises(ForbiddenError, match=r"Name it in server\.cors"):
        SOME.check(who)
    assert not manages(SOME, who)
    assert SOME.reader(who) == ""


@pytest.mark.parametrize("host", ["evil.test:8001", "", None])
def test_no_origin_is_the_routers_own_at_a_host_that_is_not(host):
    """A name that was made to point here is its page's own origin."""
    who = asked("origin: http://evil.test:8001", host=host)
    assert not may(SOME, who)
    assert SOME.reader(who) == ""


def test_a_page_without_an_origin_of_its_own_is_told_what_helps():
    """To name it is not enough: without keys, router.yaml may not."""
    with pytest.raises(ForbiddenError, match=r"Name it in server\.cors\. That needs auth\.keys, too"):
        SOME.check(asked("origin: null"))


def test_two_origins_are_nobodys():
    """No browser sends two."""
    who = asked("origin: https://chat.example.com", "origin: https://chat.example.com")
    assert not may(SOME, who)
    assert SOME.reader(who) == ""


def test_a_star_is_every_origin():
    """What the configuration allows only with keys."""
    everybody = Access(cors=["*"])
    for origin in ("https://evil.test", "null", "app://x"):
        assert everybody.reader(asked(f"origin: {origin}")) == origin
    assert not manages(everybody, asked("origin: https://evil.test"))


# Where there is no Origin


@pytest.mark.parametrize("site", ["cross-site", "same-site", "unheard-of"])
@pytest.mark.parametrize(("mode", "into"), [("no-cors", "image"), ("navigate", "iframe"), ("websocket", "empty")])
def test_a_page_of_another_site_without_an_origin(site, mode, into):
    """An image, a script, a frame: nothing is done for it."""
    who = asked(f"sec-fetch-site: {site}", f"sec-fetch-mode: {mode}", f"sec-fetch-dest: {into}")
    with pytest.raises(ForbiddenError, match="page of another site"):
        SOME.check(who)
    assert not manages(SOME, who)


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_an_address_that_was_typed_and_the_routers_own_page(site):
    """They are this machine's owner's."""
    assert may(SOME, asked(f"sec-fetch-site: {site}", "sec-fetch-mode: cors"))


def test_a_link_may_be_followed():
    """Nobody but the person who does so sees the answer."""
    who = asked("sec-fetch-site: cross-site", "sec-fetch-mode: navigate", "sec-fetch-dest: document")
    assert may(SOME, who)
    assert manages(SOME, who)


# Through a proxy


@pytest.mark.parametrize(
    "name",
    [
        "forwarded", "x-forwarded-for", "x-real-ip", "via", "x-forwarded-proto", "x-forwarded-host", "x-client-ip",
        "cf-connecting-ip", "true-client-ip", "fastly-client-ip", "fly-client-ip", "x-cluster-client-ip", "cdn-loop",
        "wl-proxy-client-ip", "x-original-forwarded-for", "x-original-host", "x-envoy-external-address",
        "x-remote-addr", "x-azure-clientip", "x-appengine-remote-addr", "tailscale-user-login",
    ],
)  # fmt: skip
def test_what_comes_through_a_proxy_is_not_local(name):
    """Everybody looks local behind one; where the router is open to everybody, that doesn't matter for models."""
    who = asked(f"{name}: 203.0.113.9")
    with pytest.raises(ForbiddenError, match=rf"its {name} says.*auth\.keys.*auth\.open"):
        SOME.check(who)
    assert may(Access(is_open=True), who)
    for access in (SOME, Access(is_open=True)):
        with pytest.raises(UnauthorizedError, match=r"auth\.admin_keys"):
            access.check_admin(who, HERE)


def test_an_open_router_is_none_to_pages():
    """Whoever may ask, no page may use them for it."""
    assert not may(Access(is_open=True), asked(host="evil.test"))
    assert not may(Access(is_open=True), asked("origin: https://evil.test"))


@given(st.binary(max_size=20))
def test_a_header_is_a_proxys_by_its_name(name):
    """Whatever begins so."""
    assert is_forwarded(b"x-forwarded-" + name)


def test_other_headers_say_nothing():
    """A key that is none makes no difference, either."""
    assert asked("authorization: Bearer x", "user-agent: curl", "cookie: a=b") == asked()


def test_a_version_that_proxies_speak_manages_nothing():
    """A plain `proxy_pass` of nginx adds no header, and has the Host of its target: it is HTTP/1.0 that tells."""
    with pytest.raises(UnauthorizedError, match="through a proxy"):
        SOME.check_admin(asked(), HERE, http11=False)


# Addresses


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine(remote):
    """Asks from itself, and listens to itself alone."""
    assert is_loopback(remote)
    assert not is_wide(remote)
    assert manages(SOME, asked(), remote)


@pytest.mark.parametrize("remote", ["10.0.0.7", "0.0.0.0", "::", "fe80::1", "::ffff:10.0.0.7", "fe80::1%eth0"])
def test_another_machine(remote):
    """Manages nothing without a key."""
    assert not is_loopback(remote)
    assert is_wide(remote)
    with pytest.raises(UnauthorizedError, match=r"From another machine.*auth\.admin_keys"):
        SOME.check_admin(asked(), remote)


@pytest.mark.parametrize("name", ["", "nonsense", "localhost", "box.lan"])
def test_a_name_is_no_address(name):
    """Whether it is wide is seen when it is listened at."""
    assert not is_loopback(name)
    assert not is_wide(name)


@given(st.text(max_size=30), st.text(max_size=30))
def test_nothing_that_is_said_is_too_much(host, origin):
    """Whatever a client says is judged, and nothing else is raised."""
    pairs = [(b"host", host.encode("utf-8", "replace")), (b"origin", origin.encode("utf-8", "replace"))]
    who = asked_of(pairs)
    may(SOME, who)
    manages(SOME, who)
    SOME.reader(who)


@pytest.mark.parametrize(
    ("method", "path", "accept", "expected"),
    [
        ("GET", "/", "text/html,application/xhtml+xml", True),
        ("HEAD", "/", "text/html", True),
        ("GET", "/", "*/*", False),  # a client of Ollama's
        ("GET", "/web/app.js", "*/*", True),
        ("POST", "/", "text/html", False),
        ("GET", "/admin/status", "text/html", False),
        ("GET", "/webs", "text/html", False),
    ],
)
def test_what_is_of_the_page(method, path, accept, expected):
    """A browser may have the page without a key; what other programs ask for at / is guarded as all else."""
    assert is_for_page(method, path, accept) is expected
