"""A client's key is for the router: no engine sees it, in whatever form it is shown. And no redirection is followed."""

import json
from dataclasses import replace

import pytest

from tests.fakes.engine import FakeEngine
from tests.integration.proxy.test_fast_failures import CHAT, Lies, answer, chat
from tests.integration.proxy.test_translated import BODIES
from tests.integration.raw import post

KEY, OWN = b"the-clients-key", "the-engines-key"

FORMS = {
    "bearer": b"authorization: Bearer %s\r\n" % KEY,
    "bearer in another case": b"AUTHORIZATION: bearer   %s\r\n" % KEY,
    "x-api-key": b"x-api-key: %s\r\n" % KEY,
    "api-key": b"api-key: %s\r\n" % KEY,
    "two of them": b"authorization: Bearer %s\r\nx-api-key: %s\r\n" % (KEY, KEY),
    "all of them": b"authorization: Bearer %s\r\nx-api-key: %s\r\napi-key: %s\r\n" % (KEY, KEY, KEY),
    "twice": b"x-api-key: %s\r\nx-api-key: %s\r\n" % (KEY, KEY),
    "beside a proxy's": b"authorization: Bearer %s\r\nproxy-authorization: Bearer %s\r\n" % (KEY, KEY),
    "beside a cookie": b"authorization: Bearer %s\r\ncookie: key=%s\r\n" % (KEY, KEY),
}  # fmt: skip

QUERIES = (b"", b"?api_key=%s" % KEY, b"?key=%s&x=1" % KEY)


async def guarded(start_router, fake, *, keys):
    """Start a router before an engine of its own, which speaks no API but chats."""
    auth = {"keys": [KEY.decode()]} if keys else {}
    backend = {"url": fake.url, "models": ["demo"], "name": "own", "api_key": OWN}
    router = await start_router([backend], auth=auth)
    own = router.plane.backends["own"]
    own.supervised, own.apis = True, replace(own.apis, guarded=True, lacks=own.apis.lacks | set(BODIES))
    return router


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("lines", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("path", [CHAT, *sorted(BODIES)])
async def test_no_engine_sees_a_clients_key(start_router, raw, lane, keys, lines, path):
    """Whether the router asks for one or not, on both lanes, as it came or translated, and in the URL, too."""
    async with FakeEngine() as fake:
        router = await guarded(start_router, fake, keys=keys)
        client = await raw(router)
        for query in QUERIES:
            body = {"model": "demo", "stream": False, **BODIES.get(path, {"messages": []})}
            client.send(post(body, path.encode() + query, lines, lane=lane))
            assert (await client.answer()).status == 200
            got = fake.stats.last
            assert got is not None
            said = json.dumps([got.path, got.headers])
            assert KEY.decode() not in said
            assert got.header("authorization") == f"bearer {OWN}"


async def test_a_server_elsewhere_gets_a_query(start_router, raw, lane):
    """It may need one; which keys are in it, its client knows."""
    async with FakeEngine() as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"]}])
        client = await raw(router)
        client.send(post({"model": "demo", "messages": []}, CHAT.encode() + b"?a=b", lane=lane))
        assert (await client.answer()).status == 200
        assert fake.stats.last is not None
        assert fake.stats.last.path.endswith("?a=b")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize("path", [CHAT, *sorted(BODIES)])
async def test_no_redirection_is_followed(start_router, session, status, supervised, path):
    """Neither an engine's nor that of a server elsewhere; the client isn't sent on, either."""
    async with FakeEngine() as inner:
        moved = answer(b"", f"text/plain\r\nlocation: {inner.url}{CHAT}", status)
        async with Lies(moved) as fake:
            router = await start_router([{"url": fake.url, "models": ["demo"], "name": "own"}])
            router.plane.backends["own"].supervised = supervised
            body = {**chat(), **BODIES.get(path, {}), "stream": False}
            async with session.post(router.url + path, json=body, allow_redirects=False) as got:
                assert got.status == 502
                assert "location" not in got.headers
                assert inner.url not in await got.text()
        assert (inner.stats.begun, inner.stats.gets) == (0, 0)
