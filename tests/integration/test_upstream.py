"""/upstream: an engine's own paths, for admins."""

import json

import pytest
from aiohttp import web
from yarl import URL


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
    assert (got["authorization"], got["x-other"]) == ("Bearer secret", "c")
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
