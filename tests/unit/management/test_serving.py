import math
from typing import Annotated, Any, ClassVar, Literal

import pytest
from aiohttp import web
from pydantic import AfterValidator, Field, RootModel, ValidationError

from router.api.admin import TABLE
from router.api.admin.endpoint import Asked, Endpoint, Reply, Switch
from router.core.errors import RouterError
from router.core.scopes import LOCAL, Scope
from router.management.serving import routes, sentence
from router.proxy.slow import ADMIN


def _day(said):
    if said:
        raise ValueError(f"{said!r} is no day")
    return said


class Fields(Asked):
    name: str
    count: Annotated[int, Field(ge=1, le=64)] = 1
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    order: Literal["asc", "desc"] = "asc"
    since: Annotated[str, AfterValidator(_day)] = ""
    wait: Switch = True


class Name(Asked):
    name: str


class Text(Asked):
    raw: ClassVar[str] = "text"

    text: Annotated[str, Field(min_length=1)]
    name: str = ""


class Said(RootModel[dict[str, Any]]):
    """What was asked."""


class Echo:
    """Says what it was asked, and by whom."""

    async def fields(self, asked, admin):
        """With a status and a header of its own."""
        return Reply(Said({**asked.model_dump(), "by": admin.name}), 202, {"x-mine": "1"})

    async def text(self, asked, admin):
        """As it is."""
        del admin
        return Said(asked.model_dump())


ENDPOINTS = (
    Endpoint[Echo, Fields, Said](
        operation="fields",
        method="POST",
        path="/admin/{name}/do",
        scope=Scope.MANAGE,
        doc="Does it.",
        asks=Fields,
        tells=Said,
        handle=lambda part: part.fields,
    ),
    Endpoint[Echo, Name, Said](
        operation="one",
        method="GET",
        path="/admin/{name}",
        scope=Scope.READ,
        doc="Says its name.",
        asks=Name,
        tells=Said,
        handle=lambda part: part.text,
    ),
    Endpoint[Echo, Text, Said](
        operation="text",
        method="PUT",
        path="/admin/text",
        scope=Scope.CONFIGURE,
        doc="Takes a text.",
        asks=Text,
        tells=Said,
        handle=lambda part: part.text,
    ),
)


@pytest.fixture
async def ask(aiohttp_client):
    """Give a function that asks at a path: the answer's status and content, or the error's message and field."""

    @web.middleware
    async def let_in(request, handler):
        request[ADMIN] = LOCAL
        try:
            return await handler(request)
        except RouterError as error:
            return web.json_response([error.message, error.param], status=error.status)

    app = web.Application(middlewares=[let_in])
    app.add_routes(routes(ENDPOINTS, Echo()))
    client = await aiohttp_client(app)

    async def asking(method, path, data=None):
        async with client.request(method, path, data=data) as answer:
            return answer.status, await answer.json()

    return asking


async def test_fields_come_from_path_query_and_body(ask):
    """The path's win: they are what the endpoint is."""
    told = {"name": "a/b", "count": 7, "share": 0.5, "order": "asc", "since": "", "wait": False, "by": "this machine"}
    assert await ask("POST", "/admin/a/b/do?count=7&wait=false") == (202, told)
    assert await ask("POST", "/admin/a%2Fb/do", '{"count": 7, "wait": false, "name": "c"}') == (202, told)


async def test_a_body_that_is_text(ask):
    """It isn't taken apart, and other fields stand in the query."""
    assert await ask("PUT", "/admin/text?name=n", "a: ä\n".encode()) == (200, {"text": "a: ä\n", "name": "n"})


@pytest.mark.parametrize(
    ("path", "body", "sentence", "param"),
    [
        ("?count=many", None, "'count' is a whole number.", "count"),
        ("?wait=no", None, "Say wait=true or wait=false.", "wait"),
        ("?nmae=x", None, "There is no 'nmae' here.", "nmae"),
        ("", "[]", "The request's body must be a JSON object.", None),
        ("", "{", "The request's body isn't JSON.", None),
        ("", b'{"\xff": 1}', "The request's body isn't JSON.", None),
        ("", "[" * 100_000, "The request's body isn't JSON.", None),
        ("", '{"wait": []}', "Say wait=true or wait=false.", "wait"),
        ("", '{"count": null}', "'count' is a whole number.", "count"),
        ("", '{"count": 1.5}', "'count' is a whole number.", "count"),
        ("?count=0", None, "'count' must be at least 1.", "count"),
        ("?count=65", None, "'count' must be at most 64.", "count"),
        ("?share=-1", None, "'share' must be more than 0.", "share"),
        ("?share=1", None, "'share' must be less than 1.", "share"),
        ("?order=up", None, "'order' must be 'asc' or 'desc'.", "order"),
        ("?since=Tomorrow", None, "'since': 'Tomorrow' is no day.", "since"),
    ],
)
async def test_what_is_wrong_is_said(ask, path, body, sentence, param):
    """With the field's name, for people and programs."""
    assert await ask("POST", f"/admin/a/do{path}", body) == (400, [sentence, param])


@pytest.mark.parametrize("value", [None, "x", "", [], {}, -1, 0, 10**30, 1.5, math.nan, "2026-13-45T04:00:00Z"])
def test_no_field_of_any_endpoint_is_refused_in_words_of_a_library(value):
    """Whoever sends it sees the router, and no library of its."""
    said = [each for endpoint in TABLE for each in _refusals(endpoint.asks, value)]
    assert said
    assert not [each for each in said if any(word in each.lower() for word in ("input", "valid", "value error"))]


def _refusals(asked, value):
    for name in asked.model_fields:
        try:
            asked.model_validate({name: value})
        except ValidationError as error:
            yield from (sentence(name, each) for each in error.errors() if each["loc"][0] == name)


async def test_a_text_that_is_no_text(ask):
    """What isn't UTF-8 is refused; what is missing is named."""
    assert await ask("PUT", "/admin/text", b"\xff") == (400, ["The request's body isn't UTF-8.", None])
    assert await ask("PUT", "/admin/text") == (400, ["'text' is empty.", "text"])


@pytest.mark.parametrize("name", ["qwen", "org/qwen", "do", "do/qwen", "qwen/redo", "qwen/do/2"])
async def test_a_name_may_have_slashes(ask, name):
    assert await ask("GET", f"/admin/{name}") == (200, {"name": name})


async def test_a_method_that_is_forgotten_is_told(aiohttp_client):
    """A path of the table is no name that ends so: it takes its own methods alone."""
    app = web.Application()
    app.add_routes(routes(ENDPOINTS, Echo()))
    client = await aiohttp_client(app)
    answer = await client.get("/admin/org/qwen/do")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
