"""/upstream: an engine's own paths, for admins."""

import asyncio
import json

import pytest
from aiohttp import web
from structlog.testing import capture_logs
from yarl import URL

from router.management import upstream


@pytest.fixture
async def echo(aiohttp_server):
    """Give the URL of a server that says what it got, one line at a time."""

    async def said(request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode()
        told = {"path": request.raw_path, "method": request.method, "body": body, "headers": dict(request.headers)}
        response = web.StreamResponse(headers={"content-type": "application/json", "set-cookie": "a=b"})
        await response.prepare(request)
        await response.write(json.dumps({name.lower(): value for name, value in told.items()}).encode())
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", said)
    server = await aiohttp_server(app)
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
async def router(start_router, echo):
    return await start_router(
        [
            {"url": echo, "models": ["org/demo"], "name": "box", "api_key": "secret"},
            {"url": "http://127.0.0.1:9", "models": ["gone"], "name": "far"},
        ]
    )


@pytest.mark.parametrize("name", ["box", "org/demo", "org%2Fdemo"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_an_engines_own_paths(router, session, name, method):
    """By the backend's name or a model's; with the backend's key and not the admin's. Its page is in a sandbox."""
    headers = {"authorization": "Bearer mine", "cookie": "a=b", "x-other": "c", "sec-fetch-site": "none"}
    headers |= {"connection": "x-mine", "x-mine": "d"}
    url = URL(f"{router.url}/upstream/{name}//slots/a%2Fb/?x=1", encoded=True)
    async with session.request(method, url, data=b"hi", headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["content-security-policy"].startswith("sandbox")
        assert "set-cookie" not in answer.headers
        assert answer.headers["x-request-id"]
        told = await answer.json()
    assert (told["path"], told["method"], told["body"]) == ("//slots/a%2Fb/?x=1", method, "hi")
    got = {name.lower(): value for name, value in told["headers"].items()}
    assert (got["authorization"], got["x-other"], got["via"]) == ("Bearer secret", "c", "1.1 router")
    assert not got.keys() & {"cookie", "sec-fetch-site", "x-mine"}


@pytest.mark.parametrize("path", ["../x", "a/../../x", "%2e%2e/x", "."])
async def test_no_way_up(router, session, path):
    """A backend's url may have a base, beyond which nothing is reached."""
    async with session.get(URL(f"{router.url}/upstream/box/{path}", encoded=True)) as answer:
        assert answer.status == 400


async def test_what_is_not_there(router, session):
    """It is said."""
    async with session.get(f"{router.url}/upstream/nope/health") as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (404, "name")
    async with session.get(f"{router.url}/upstream/far/health") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (502, "engine_failed")


async def test_who_went_where_is_logged(monkeypatch):
    """Each request that may change something; of GETs, the first of each path within a minute, others are counted."""
    waits = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda *later: waits.append(later))
    visits = upstream.Visits()
    with capture_logs() as logs:
        for path in ("/slots", "/slots?x=1", "/props", *(f"/{number}" for number in range(40))):
            visits.note("GET", "box", path, "ops")
        for _ in range(2):
            visits.note("POST", "box", "/slots", "ops")
    lines = [(each["event"], each["path"], each["by"]) for each in logs]
    assert lines[:2] == [("admin: GET at box", "/slots", "ops"), ("admin: GET at box", "/props", "ops")]
    assert lines[-2:] == [("admin: POST at box", "/slots", "ops")] * 2
    assert len(lines) == upstream.MOST_LINES + 2
    ((seconds, tell),) = waits
    assert seconds == upstream.WINDOW
    with capture_logs() as logs:
        tell()
        visits.note("GET", "box", "/slots", "ops")
    assert [each["event"] for each in logs] == ["admin: 11 more GETs at box", "admin: GET at box"]


async def test_a_page_that_is_read_is_logged(router, session):
    """With who reads it, and what."""
    with capture_logs() as logs:
        async with session.get(f"{router.url}/upstream/box/slots?x=1") as answer:
            assert answer.status == 200
    assert {"event": "admin: GET at box", "by": "this machine", "path": "/slots?x=1", "log_level": "info"} in logs


@pytest.mark.parametrize("path", ["/upstream/box/slots", "/admin/plan"])
async def test_who_waits_to_be_asked_for_the_body_is_asked_once(router, raw, path):
    client = await raw(router)
    client.send(
        b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\nexpect: 100-continue\r\n"
        b"connection: close\r\n\r\n" % path.encode()
    )
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hi")
    assert b"100 Continue" not in await client.rest()
