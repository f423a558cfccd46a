"""Serves the endpoints of a part of the router over HTTP: reads what is asked by its type, and writes what is told."""

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from aiohttp import web
from pydantic import ValidationError

from router.api.admin.endpoint import FIELD, Asked, Endpoint, Endpoints, Reply, Sent, Stream
from router.config.problems import bound
from router.core.errors import BadRequestError
from router.core.hops import NAME
from router.management.audit import ASKED, Handler, audited
from router.management.elsewhere import HOPS
from router.proxy.slow import ADMIN
from router.proxy.unusual import expect

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

P = TypeVar("P")
A = TypeVar("A", bound=Asked)

_HOPS: Final = NAME.decode("ascii")

_SENTENCES: Final[dict[str, Callable[[str], str]]] = {
    "missing": lambda name: f"'{name}' is missing.",
    "extra_forbidden": lambda name: f"There is no '{name}' here.",
    "bool_parsing": lambda name: f"Say {name}=true or {name}=false.",
    "string_too_short": lambda name: f"'{name}' is empty.",
    "string_type": lambda name: f"'{name}' is text.",
    "finite_number": lambda name: f"'{name}' is a finite number.",
    **dict.fromkeys(
        ("datetime_from_date_parsing", "datetime_parsing"), lambda name: f"'{name}' is a time: 2026-11-30T04:00:00Z."
    ),
    **dict.fromkeys(("float_parsing", "float_type"), lambda name: f"'{name}' is a number."),
    **dict.fromkeys(
        ("int_from_float", "int_parsing", "int_parsing_size", "int_type"), lambda name: f"'{name}' is a whole number."
    ),
}
"""What is said of pydantic's kinds of errors that have no context."""


def routes(endpoints: Endpoints[P], part: P) -> list[web.RouteDef]:
    """Give the routes of a part's endpoints, for aiohttp."""
    return [
        _route(each, _pattern(each.path, endpoints), _handler(each, part))
        for each in sorted(endpoints, key=lambda each: each.path.count("{"))
    ]


def _pattern(path: str, endpoints: Endpoints[Any]) -> str:
    """Write a path as aiohttp has it. A name may have slashes, but doesn't end as the path of an endpoint below it.

    So `GET …/qwen/load` isn't taken for a model called `qwen/load`: it is a 405 that names POST.
    """
    below = [re.escape(each.path.removeprefix(path)) for each in endpoints if each.path.startswith(f"{path}/")]
    other = f"(?!.*(?:{'|'.join(below)})$)" if below and path.endswith("}") else ""
    return FIELD.sub(lambda field: f"{{{field[1]}:{other}.+}}", path)


def _route(endpoint: Endpoint[Any, Any, Any], path: str, handler: Handler) -> web.RouteDef:
    """Give a route. A HEAD may only ask for what could be read: it is what link checkers send."""
    if endpoint.method == "GET":
        head = endpoint.reads and not endpoint.streams
        return web.get(path, handler, allow_head=head, expect_handler=expect)
    return web.route(endpoint.method, path, handler, expect_handler=expect)


def _handler(endpoint: Endpoint[P, Any, Any], part: P) -> Handler:
    """Make the function that answers an endpoint: it reads, does, and answers.

    Its `scope` is what the asking key needs, and what `lasts` is answered while the router stops, as what only reads:
    `proxy.slow.SlowLane.guard` looks at them.
    """
    handle: Callable[..., Awaitable[Any]] = endpoint.handle(part)

    async def answer(request: web.Request) -> web.StreamResponse:
        if endpoint.passes:
            passed: web.StreamResponse = await handle(request, request[ADMIN])
            return passed
        HOPS.set(",".join(request.headers.getall(_HOPS, ())).encode("latin-1", "replace"))
        asked = request[ASKED] = await asked_of(request, endpoint.asks)
        reply = await handle(asked, request[ADMIN])
        if isinstance(reply, Stream):
            return await _streamed(request, reply, is_text=endpoint.is_text)
        if not isinstance(reply, Reply):
            reply = Reply(reply)
        if endpoint.is_text:
            return web.Response(text=reply.told.root, status=reply.status, headers=reply.headers)
        body = reply.told.model_dump_json(exclude_unset=True).encode()
        return web.Response(body=body, status=reply.status, content_type="application/json", headers=reply.headers)

    served = answer if endpoint.passes or endpoint.reads else audited(endpoint, answer)
    vars(served)["scope"] = endpoint.scope
    vars(served)["lasts"] = endpoint.lasts
    return served


async def _streamed(request: web.Request, stream: Stream[Any], *, is_text: bool) -> web.StreamResponse:
    """Write events, or lines, as they come. A client that takes none of them keeps the next waiting, and nobody else.

    Text has no form for a sign of life.
    """
    kind = "text/plain; charset=utf-8" if is_text else "text/event-stream"
    headers = {"content-type": kind, "cache-control": "no-store", "x-accel-buffering": "no"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    if not is_text:
        await response.write(b": connected\n\n")
    async with aclosing(stream.events) as events:
        async for some in events:
            if data := _text_of(some) if is_text else b"".join(each.event for each in some) or b": still here\n\n":
                await response.write(data)
    return response


def _text_of(some: Sequence[Sent[Any]]) -> bytes:
    return "".join(f"{each.told.root}\n" for each in some).encode()


async def asked_of(request: web.Request, kind: type[A]) -> A:
    """Read what a request says. Raises BadRequestError."""
    said: dict[str, Any] = {**request.query, **request.match_info}
    if "after" in kind.model_fields and "Last-Event-ID" in request.headers:
        # A browser that lost its connection says by itself how far it came.
        said["after"] = request.headers["Last-Event-ID"]
    for name, header in kind.headers.items():
        said.pop(name, None)
        if header in request.headers:
            said[name] = request.headers[header]
    if kind.raw:
        said[kind.raw] = _text(await request.read())
    elif request.body_exists and (body := await request.read()):
        said = {**_fields(body), **said}
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        raise _refused(error) from error


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("The request's body isn't UTF-8.") from error


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError("The request's body isn't JSON.") from error
    if not isinstance(fields, dict):
        raise BadRequestError("The request's body must be a JSON object.")
    return fields


def _refused(error: ValidationError) -> BadRequestError:
    """Say what is wrong with the first field that is."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(map(str, first["loc"])) or "body"
    return BadRequestError(sentence(name, first), param=name)


def sentence(name: str, error: "ErrorDetails") -> str:
    """Say what is wrong with a field."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _SENTENCES:
        return _SENTENCES[kind](name)
    if must_be := bound(kind, context):
        return f"'{name}' {must_be}."
    if kind == "literal_error":
        return f"'{name}' must be {context['expected']}."
    # The others' words are ours: those of the types of `api.admin`.
    return f"'{name}': {context['error'] if kind == 'value_error' else error['msg']}."
