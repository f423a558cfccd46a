"""Who may ask, and which pages may read: what a browser, a proxy and another machine get, over real sockets."""

import asyncio
import json
import socket

import pytest

from router.config import Config
from router.fleet.launches import StartError
from tests.fakes.engine import FakeEngine
from tests.integration.raw import ASK, CHAT, post
from tests.running import RunningRouter, eventually

PAGE = b"https://chat.test"
CORS = {"server": {"port": 0, "cors": ["https://chat.test"]}}
PERMISSIVE = (
    b"access-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\nlocation: http://10.0.0.7/\r\n"
    b"set-cookie: session=1\r\n"
    b"www-authenticate: Basic realm=engine\r\n"
    b"service-worker-allowed: /\r\n"
)
"""What an engine may say that no business of a browser is."""


def asked(target: bytes = b"/v1/models", *lines: bytes, method: bytes = b"GET", host: bytes = b"localhost") -> bytes:
    """Write a request without a body."""
    head = [b"%s %s HTTP/1.1" % (method, target), b"host: " + host, *lines, b"", b""]
    return b"\r\n".join(head)


def lines_of(answer) -> set[bytes]:
    """Give what an answer tells browsers."""
    return {name for name in answer.headers if name.startswith((b"access-control", b"location", b"set-cookie"))}


@pytest.fixture
async def router(start_router, fake):
    return await start_router([{"url": fake.url, "models": ["demo"]}], **CORS)


@pytest.fixture
async def client(router, raw):
    return await raw(router)


FOREIGN = [
    b"origin: https://evil.test\r\n",
    b"origin: null\r\nsec-fetch-site: cross-site\r\n",
    b"origin: http://localhost:3000\r\nsec-fetch-site: same-site\r\n",
    b"sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\nsec-fetch-dest: image\r\n",
    b"origin: https://evil.test\r\nauthorization: Bearer anything\r\n",
    b"origin: https://chat.test\r\norigin: https://evil.test\r\n",
]


@pytest.mark.parametrize("lines", FOREIGN)
async def test_a_page_of_another_site_drives_no_model(client, fake, lane, lines):
    """A simple POST, which no preflight goes before: it isn't carried out, and its answer can't be read."""
    client.send(post(ASK, headers=lines + b"content-type: text/plain\r\n", lane=lane))
    told = await client.answer()
    assert told.status == 403
    assert b"server.cors" in told.body
    assert not lines_of(told)
    assert fake.stats.begun == 0


@pytest.mark.parametrize("lines", FOREIGN)
@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b"/v1/models"),
        (b"GET", b"/v1/models/demo"),
        (b"GET", b"/admin/config"),
        (b"GET", b"/%61dmin/config"),
        (b"GET", b"/admin/explain?model=demo"),
        (b"POST", b"/admin/reload"),
        (b"GET", b"/admin/models"),
        (b"POST", b"/admin/models/demo/load"),
        (b"POST", b"/admin/models/demo/unload"),
        (b"GET", b"/"),
        (b"PUT", b"/elsewhere"),
    ],
)
async def test_a_page_of_another_site_reads_nothing(client, method, target, lines):
    """Whatever it asks for, whether that exists or not."""
    client.send(asked(target, lines.strip(), b"content-length: 0", method=method))
    told = await client.answer()
    assert told.status == 403
    assert not lines_of(told)


@pytest.mark.parametrize("lines", FOREIGN[:3])
async def test_a_websocket_of_another_site(client, lines):
    """No preflight goes before it, either."""
    upgrade = [b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-version: 13", b"sec-websocket-key: eA=="]
    client.send(asked(b"/v1/realtime", lines.strip(), *upgrade))
    assert (await client.answer()).status == 403


@pytest.mark.parametrize("target", [b"/v1/models", b"/admin/config", b"/admin/status", b"/", b"/nothing"])
@pytest.mark.parametrize("host", [b"evil.test", b"evil.test:8001", b"127.0.0.1.evil.test", b"2130706433", b""])
async def test_a_name_that_was_pointed_here_reads_nothing(client, target, host):
    """DNS rebinding: to its browser the page is of the same origin."""
    client.send(asked(target, b"sec-fetch-site: same-origin", host=host))
    told = await client.answer()
    assert told.status == 403
    assert b"server.hosts" in told.body
    client.send(asked(b"http://%s%s" % (host or b"evil.test", target)))
    assert (await client.answer()).status == 403


async def test_a_name_that_was_pointed_here_drives_nothing(router, raw, fake, lane):
    """Neither a model nor the router."""
    client = await raw(router)
    request = post(ASK, headers=b"origin: http://evil.test:8001\r\n", lane=lane)
    client.send(request.replace(b"host: localhost", b"host: evil.test:8001"))
    assert (await client.answer()).status == 403
    client = await raw(router)
    client.send(asked(b"/admin/reload", b"content-length: 0", method=b"POST", host=b"evil.test:8001"))
    assert (await client.answer()).status == 403
    client = await raw(router)
    client.send(post(ASK, b"http://evil.test:8001" + CHAT, lane=lane))
    assert (await client.answer()).status == 403
    assert fake.stats.begun == 0


@pytest.mark.parametrize("host", [b"LOCALHOST.:1", b"127.0.0.1", b"[::1]:8001", b"192.168.1.5"])
async def test_every_name_of_the_routers_own_is_answered(router, raw, host, lane):
    """Ports may be forwarded, and addresses are looked up nowhere."""
    client = await raw(router)
    client.send(post(ASK, lane=lane).replace(b"host: localhost", b"host: " + host))
    assert (await client.answer()).status == 200


async def test_a_name_that_is_listed_is_answered(start_router, raw, fake):
    """server.hosts."""
    router = await start_router(
        [{"url": fake.url, "models": ["demo"]}], server={"port": 0, "hosts": ["Router.LAN", "*.example.org"]}
    )
    client = await raw(router)
    for host in (b"router.lan:8001", b"a.example.org"):
        client.send(asked(host=host))
        assert (await client.answer()).status == 200
        client.send(asked(b"/admin/config", host=host))
        assert (await client.answer()).status == 200


async def test_load_balancers_are_answered_under_any_name(client):
    """They are told whether, and not what: models and backends are named to whoever may ask for them."""
    for host in (b"evil.test", b"localhost"):
        client.send(asked(b"/health", b"origin: https://evil.test", host=host))
        told = await client.answer()
        assert (told.status, json.loads(told.body)) == (200, {"status": "ok"})
        assert not lines_of(told)
        client.send(asked(b"/ready", host=host))
        told = await client.answer()
        assert told.status == 200
        assert (b"demo" in told.body) is (host == b"localhost")


@pytest.mark.parametrize("name", [b"x-forwarded-for", b"forwarded", b"x-real-ip"])
async def test_behind_a_proxy_on_this_machine_nobody_is_local(client, name, fake):
    """It would make everybody look so."""
    client.send(asked(b"/admin/config"))
    assert (await client.answer()).status == 200
    client.send(asked(b"/admin/config", name + b": 203.0.113.9"))
    assert (await client.answer()).status == 401
    client.send(post(ASK, headers=name + b": 203.0.113.9\r\n"))
    told = await client.answer()
    assert told.status == 403
    assert b"auth.open" in told.body
    assert fake.stats.begun == 0


async def test_a_proxy_that_adds_no_header_does_not_manage(client):
    """What a plain `proxy_pass` of nginx makes of anybody's request; to another address it says the same."""
    client.send(b"GET /admin/config HTTP/1.0\r\nhost: 127.0.0.1:8001\r\nconnection: close\r\n\r\n")
    told = await client.answer()
    assert told.status == 401
    assert b"auth.admin_keys" in told.body


async def test_open_to_everybody_is_open_behind_a_proxy_too(start_router, raw, fake, lane):
    """But what manages the router, and what pages may do, stays as it is."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], auth={"open": True})
    for lines, status in ((b"x-forwarded-for: 203.0.113.9\r\n", 200), (b"origin: https://evil.test\r\n", 403)):
        client = await raw(router)
        client.send(post(ASK, headers=lines, lane=lane))
        assert (await client.answer()).status == status
    client = await raw(router)
    client.send(asked(b"/admin/config", b"x-forwarded-for: 203.0.113.9"))
    assert (await client.answer()).status == 401


async def test_with_a_key_it_does_not_matter_from_where(start_router, raw, fake, lane):
    """Any Host, any proxy, any page: but only a page that is named can read the answer."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], auth={"keys": ["sesame"]}, **CORS)
    for origin, readable in ((PAGE, True), (b"https://evil.test", False)):
        lines = b"x-forwarded-for: 203.0.113.9\r\norigin: %s\r\n" % origin
        client = await raw(router)
        request = post(ASK, headers=lines + b"authorization: Bearer sesame\r\n", lane=lane)
        client.send(request.replace(b"host: localhost", b"host: llm.example.org"))
        told = await client.answer()
        assert told.status == 200
        assert (told.headers.get(b"access-control-allow-origin") == origin) is readable
        client = await raw(router)
        client.send(post(ASK, headers=lines + b"cookie: key=sesame\r\n", lane=lane))
        told = await client.answer()
        assert told.status == 401
        assert (told.headers.get(b"access-control-allow-origin") == origin) is readable


# Pages that are named


async def test_a_page_that_is_named_reads_every_kind_of_answer(router, raw, lane):
    """Whole ones, streams, errors of ours and of the engine, what breaks off: each with its id."""
    bodies: list[tuple[object, int]] = [
        (ASK, 200),
        ({**ASK, "stream": True}, 200),
        ({**ASK, "model": "nope"}, 404),
        (b"{", 400),
        ({**ASK, "stream": True, "fake": {"fault": "truncate", "fault_after": 1}}, 200),
    ]
    for body, status in bodies:
        client = await raw(router)
        client.send(post(body, headers=b"origin: %s\r\n" % PAGE, lane=lane))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.split()[1] == b"%d" % status
        assert head.count(b"access-control-allow-origin: %s\r\n" % PAGE) == 1
        assert b"access-control-expose-headers: x-request-id" in head
        assert b"vary: origin\r\n" in head


async def test_a_page_that_is_named_reads_what_it_may_not_send(start_router, raw, fake):
    """A body too large, and a model whose queue is full."""
    router = await start_router(
        [{"url": fake.url, "models": ["demo"], "max_in_flight": 1}],
        limits={"max_body": "10KiB", "max_queue": 0},
        **CORS,
    )
    lines = b"origin: %s\r\n" % PAGE
    first, second, third = await raw(router), await raw(router), await raw(router)
    first.send(post({**ASK, "fake": {"fault": "hang", "fault_after": 0}}, headers=lines))
    await eventually(lambda: fake.stats.begun == 1)
    second.send(post(ASK, headers=lines))
    third.send(post(b" " * 20_000, headers=lines))
    for client, status in ((second, 429), (third, 413)):
        told = await client.answer()
        assert (told.status, told.headers[b"access-control-allow-origin"]) == (status, PAGE)


async def test_a_page_that_is_named_reads_its_place_in_the_queue(start_router, raw, fake, monkeypatch):
    """The head of a stream that goes out before any backend has answered is readable, too."""
    monkeypatch.setattr("router.proxy.waiting.TELL_EVERY", 0.0)
    router = await start_router([{"url": fake.url, "models": ["demo"], "max_in_flight": 1}], **CORS)
    first, second = await raw(router), await raw(router)
    first.send(post({**ASK, "fake": {"fault": "hang", "fault_after": 0}}))
    await eventually(lambda: fake.stats.begun == 1)
    second.send(post({**ASK, "stream": True}, headers=b"origin: %s\r\n" % PAGE))
    async with asyncio.timeout(20):
        head = await second.reader.readuntil(b"before you")
    assert b"access-control-allow-origin: %s\r\n" % PAGE in head


@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_engine_tells_browsers_is_not_passed_on(start_router, engine, raw, lane, stream):
    """Its permission would be the router's; neither the first answer of a connection nor those like it have it."""
    body = b'data: {"x": 1}\n\ndata: [DONE]\n\n' if stream else b"{}"
    kind = b"text/event-stream" if stream else b"application/json"

    async def permits(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%scontent-length: %d\r\n\r\n%s"
                % (kind, PERMISSIVE, len(body), body)
            )

    router = await start_router([{"url": await engine(permits), "models": ["demo"]}], **CORS)
    client = await raw(router)
    for lines, allowed in ((b"", None), (b"origin: %s\r\n" % PAGE, PAGE), (b"", None)) * 2:
        client.send(post({**ASK, "stream": stream}, headers=lines, lane=lane))
        told = await client.answer()
        assert told.status == 200
        assert told.headers.get(b"access-control-allow-origin") == allowed
        dropped = {b"location", b"set-cookie", b"access-control-allow-credentials", b"www-authenticate"}
        assert not (dropped | {b"service-worker-allowed"}) & told.headers.keys()
        assert told.bytes.count(b"access-control-allow-origin") == (allowed is not None)


async def test_what_a_browser_says_of_its_page_is_not_passed_on(router, raw, fake, lane):
    """Some engines say 403 to an Origin that they don't know, and none needs to know where a person has been."""
    lines = (
        b"origin: %s\r\nreferer: https://chat.test/secret\r\ncookie: session=1\r\napi-key: k\r\nx-one: 1\r\n"
        b"sec-fetch-mode: cors\r\nsec-fetch-site: cross-site\r\nsec-ch-ua: x\r\n" % PAGE
    )
    client = await raw(router)
    client.send(post(ASK, headers=lines, lane=lane))
    assert (await client.answer()).status == 200
    sent = {name.lower() for name, _ in fake.stats.last.headers}
    assert "x-one" in sent
    assert not sent & {"origin", "referer", "cookie", "api-key", "sec-fetch-mode", "sec-fetch-site", "sec-ch-ua"}


PREFLIGHT = [
    b"access-control-request-method: POST",
    b"access-control-request-headers: authorization,content-type,x-stainless-os",
]


@pytest.mark.parametrize("target", [b"/v1/chat/completions", b"/v1/models", b"/admin/status"])
@pytest.mark.parametrize("keys", [[], ["sesame"]])
async def test_a_preflight(start_router, raw, fake, target, keys):
    """For an origin that is named it is answered by the router, whether or not there are keys; for others it is 403."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], auth={"keys": keys}, **CORS)
    client = await raw(router)
    client.send(asked(target, b"origin: " + PAGE, *PREFLIGHT, method=b"OPTIONS"))
    told = await client.answer()
    assert told.status == 204
    assert told.headers[b"access-control-allow-origin"] == PAGE
    assert told.headers[b"access-control-allow-headers"] == b"authorization,content-type,x-stainless-os"
    assert b"POST" in told.headers[b"access-control-allow-methods"]
    assert int(told.headers[b"access-control-max-age"]) > 0
    assert told.headers[b"vary"] == b"origin"
    for origin in (b"https://evil.test", b"null", b"http://localhost:3000"):
        client.send(asked(target, b"origin: " + origin, *PREFLIGHT, method=b"OPTIONS"))
        told = await client.answer()
        assert told.status == 403
        assert not lines_of(told)


async def test_a_page_that_is_named_manages_with_an_admin_key_alone(start_router, raw, fake):
    """server.cors is for the models."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], **CORS)
    client = await raw(router)
    client.send(asked(b"/v1/models", b"origin: " + PAGE))
    told = await client.answer()
    assert (told.status, told.headers[b"access-control-allow-origin"]) == (200, PAGE)
    client.send(asked(b"/admin/config", b"origin: " + PAGE))
    assert (await client.answer()).status == 403
    router = await start_router([{"url": fake.url, "models": ["demo"]}], auth={"admin_keys": ["sesame"]}, **CORS)
    client = await raw(router)
    client.send(asked(b"/admin/config", b"origin: " + PAGE, b"authorization: Bearer sesame"))
    told = await client.answer()
    assert (told.status, told.headers[b"access-control-allow-origin"]) == (200, PAGE)


# Reloads


async def test_a_kept_connection_is_judged_by_the_rules_of_now(router, raw, fake, lane):
    """Its requests are like the one that was let in; who may ask has changed."""
    client = await raw(router)
    request = post(ASK, headers=b"origin: %s\r\n" % PAGE, lane=lane)
    for _ in range(3):
        client.send(request)
        assert (await client.answer()).status == 200
    backends = [{"url": fake.url, "models": ["demo"]}]
    await router.reload(Config.model_validate({"server": {"port": 0}, "backends": backends}))
    client.send(request)
    told = await client.answer()
    assert (told.status, lines_of(told)) == (403, set())


# Where it listens


def other_address() -> str:
    """Give an address of this machine that others may reach; IPv6's are left out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            return "0.0.0.0"
        address: str = sock.getsockname()[0]
        return address


async def test_a_name_for_a_wide_address_needs_keys(start_router, fake):
    """What a name stands for is seen when it is listened at; nobody has been served by then."""
    backends: list[dict[str, object]] = [{"url": fake.url, "models": ["demo"]}]
    with pytest.raises(StartError, match=r"server\.host: 0 lets other machines in.*auth\.keys.*auth\.open"):
        await start_router(backends, server={"host": "0", "port": 0})
    for auth in ({"keys": ["k"]}, {"open": True}):
        await start_router(backends, server={"host": "0", "port": 0}, auth=auth)


async def test_keys_stay_while_other_machines_reach_the_port(start_router, session, fake):
    """The address changes with the next start; till then the keys that it needs can't be taken away."""
    backends = [{"url": fake.url, "models": ["demo"]}]
    router = await start_router(backends, server={"host": "0.0.0.0", "port": 0}, auth={"keys": ["k"]})
    for host in ("127.0.0.1", "0"):
        with pytest.raises(StartError, match=r"server\.host"):
            await router.reload(Config.model_validate({"server": {"host": host, "port": 0}, "backends": backends}))
        async with session.get(router.url + "/v1/models") as answer:
            assert answer.status == 401
    opened = {"server": {"host": "0.0.0.0", "port": 0}, "backends": backends, "auth": {"open": True}}
    await router.reload(Config.model_validate(opened))
    async with session.get(router.url + "/v1/models") as answer:
        assert answer.status == 200


async def test_another_machine_manages_nothing_without_a_key(start_router, session, fake):
    """Not with a client's key, and not where everybody may ask, either."""
    address = other_address()
    router = await start_router(
        [{"url": fake.url, "models": ["demo"]}], server={"host": "0.0.0.0", "port": 0}, auth={"open": True}
    )
    url = router.url.replace("127.0.0.1", address)
    async with session.get(url + "/v1/models") as answer:
        assert answer.status == 200
    async with session.get(url + "/admin/config") as answer:
        assert answer.status == (401 if address != "0.0.0.0" else 200)


@pytest.mark.parametrize(("host", "reached"), [("'::'", ["127.0.0.1", "::1"]), ("'[::1]'", ["::1"])])
async def test_addresses_of_ipv6(tmp_path, host, reached):
    """`::` is every address of this machine, those of IPv4 too; brackets are how people write one."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    async with FakeEngine() as fake:
        config = (
            f"server: {{host: {host}, port: {port}}}\nauth: {{open: true}}\n"
            f"backends: [{{url: '{fake.url}', models: [demo]}}]\nlogging: {{dir: {tmp_path}/logs}}\n"
        )
        async with RunningRouter(tmp_path, config) as router:
            await router.ready()
            for address in reached:
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(post(ASK))
                async with asyncio.timeout(20):
                    assert (await reader.readline()).split()[1] == b"200"
                writer.close()
