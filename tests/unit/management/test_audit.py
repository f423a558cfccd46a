import asyncio
from typing import Any, ClassVar

import pytest
from aiohttp import web
from pydantic import RootModel
from structlog.testing import capture_logs

from router.api.admin.endpoint import Asked, Endpoint
from router.core.errors import ConflictError, RouterError
from router.core.scopes import LOCAL, Scope
from router.core.statuses import LEFT
from router.management.audit import LONGEST, audited
from router.management.serving import routes
from router.proxy.slow import ADMIN, ID


class Named(Asked):
    raw: ClassVar[str] = "text"

    name: str
    text: str = ""


class Said(RootModel[dict[str, Any]]):
    """What was asked."""


class Part:
    """Does what the name says."""

    async def do(self, asked, _):
        """Answer, or fail."""
        if asked.name == "conflict":
            raise ConflictError("It is busy.")
        if asked.name == "bug":
            raise ZeroDivisionError("a secret")
        return Said({})


def endpoint(method: str, path: str, scope: Scope) -> Endpoint[Part, Named, Said]:
    return Endpoint(
        operation=f"{method} {path}",
        method=method,
        path=path,
        scope=scope,
        doc="Does it.",
        asks=Named,
        tells=Said,
        handle=lambda part: part.do,
    )


ENDPOINTS = (endpoint("PUT", "/admin/{name}/do", Scope.CONFIGURE), endpoint("GET", "/admin/{name}", Scope.READ))


@pytest.fixture
async def ask(aiohttp_client):
    """Give a function that asks, and gives what is written of it."""

    @web.middleware
    async def let_in(request, handler):
        request[ADMIN], request[ID] = LOCAL, "one"
        try:
            return await handler(request)
        except RouterError as error:
            return web.Response(status=error.status)
        except ZeroDivisionError:
            return web.Response(status=500)

    app = web.Application(middlewares=[let_in])
    app.add_routes(routes(ENDPOINTS, Part()))
    client = await aiohttp_client(app)

    async def asking(method, path, data=""):
        with capture_logs() as logged:
            async with client.request(method, path, data=data) as answer:
                await answer.read()
        return logged

    return asking


async def test_a_change_is_written_down(ask):
    """Who, from where, what, and what became of it, but for texts of files, which have secrets."""
    (line,) = await ask("PUT", "/admin/qwen/do", "a secret")
    assert line.pop("seconds") >= 0
    assert line == {
        "event": "PUT /admin/{name}/do",
        "by": "this machine",
        "client": "127.0.0.1",
        "request_id": "one",
        "method": "PUT",
        "path": "/admin/qwen/do",
        "asked": {"name": "qwen"},
        "status": 200,
        "error": "",
        "log_level": "info",
    }


@pytest.mark.parametrize(
    ("name", "status", "error"), [("conflict", 409, "It is busy."), ("bug", 500, "ZeroDivisionError")]
)
async def test_so_is_one_that_failed(ask, name, status, error):
    """With the words that its client got; of a bug, with its kind alone."""
    (line,) = await ask("PUT", f"/admin/{name}/do", "a secret")
    assert (line["status"], line["error"]) == (status, error)
    assert "secret" not in str(line)


async def test_so_is_one_that_could_not_be_read(ask):
    """Before anything is known of what it asks."""
    (line,) = await ask("PUT", "/admin/qwen/do?nmae=x", "a")
    assert (line["status"], line["asked"]) == (400, {})


async def test_what_only_reads_is_not(ask):
    """Pages ask for it again and again."""
    assert await ask("GET", "/admin/qwen") == []


async def test_what_clients_choose_is_bounded(ask):
    """A name may be as long as a path."""
    (line,) = await ask("PUT", f"/admin/{'x' * 1000}/do")
    assert len(line["path"]) == len(line["asked"]["name"]) == LONGEST


async def test_one_whose_client_left_is_written_down():
    """It may have been done all the same."""

    async def answer(_: web.Request) -> web.StreamResponse:
        raise asyncio.CancelledError

    class Request(dict[Any, Any]):
        method, path, remote, transport = "PUT", "/admin/x", "10.0.0.7", None

    request: Any = Request({ADMIN: LOCAL, ID: "one"})
    with capture_logs() as logged, pytest.raises(asyncio.CancelledError):
        await audited(ENDPOINTS[0], answer)(request)
    assert (logged[0]["status"], logged[0]["error"]) == (LEFT, "the client left")
