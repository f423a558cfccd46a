"""A running router, asked over its management API: for `ps`, `load` and `unload`."""

import argparse
import asyncio
import errno
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from router.cli.exits import BAD_START, REFUSED, STOPPED_NOW, CommandError, printed
from router.config import load
from router.config.keys.values import url as checked_url
from router.telemetry.logs import printable
from router.telemetry.terminal import say

T = TypeVar("T")

CONNECT_WITHIN: Final = 5.0
"""Seconds until a router that is there has taken the connection."""

ANSWER_WITHIN: Final = 30.0
"""Seconds until it has answered what takes no time. A load takes as long as it takes."""

EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a router can be asked that listens everywhere."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A launched model, as /admin/models describes it. A router of another version may tell more, or less.

    `footprint` is the bytes that it takes when it is loaded, by device; `reserved` is what it holds now. `expires` is
    the seconds until it is unloaded if nobody uses it. `stays`: its router never unloads it. `note` is what was chosen
    because it doesn't fit whole.
    """

    name: str
    state: str
    models: tuple[str, ...] = ()
    engine: str | None = None
    pid: int | None = None
    pinned: bool = False
    stays: bool = False
    footprint: Mapping[str, int] = {}
    reserved: Mapping[str, int] = {}
    in_flight: int = 0
    waiting: int = 0
    idle: float | None = None
    expires: float | None = None
    share: float | None = None
    detail: str = ""
    note: str = ""
    failure: Mapping[str, object] | None = None


class _Content(msgspec.Struct, frozen=True):
    models: tuple[Model, ...] = ()
    error: Mapping[str, object] | None = None


class Reply(NamedTuple):
    """What a router answers: the models concerned, and all of it as plain data. `error` is why it couldn't do it."""

    models: Sequence[Model]
    told: dict[str, Any]
    error: str = ""


class Running:
    """A running router at `url`. All methods raise CommandError where it can't be asked."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def models(self) -> Reply:
        """Ask for all launched models."""
        return await self._ask("GET", "", ANSWER_WITHIN)

    async def load(self, name: str) -> Reply:
        """Load what a name means, and wait until it is loaded."""
        return await self._ask("POST", f"/{quote(name, safe='')}/load", None)

    async def unload(self, name: str) -> Reply:
        """Unload what a name means, and wait until it is gone."""
        return await self._ask("POST", f"/{quote(name, safe='')}/unload", None)

    async def _ask(self, method: str, path: str, within: float | None) -> Reply:
        timeout = aiohttp.ClientTimeout(within, sock_connect=CONNECT_WITHIN)
        try:
            url = f"{self._url}/admin/models{path}"
            async with self._session.request(method, url, timeout=timeout) as answer:
                return _read(answer.status, await answer.read(), self._url)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise CommandError(
                f"no router answers at {self._url} ({_reason(error)}): start it with `python -m router --config FILE`, "
                "or say where it is with --config or --url",
                BAD_START,
            ) from None


def ask(options: argparse.Namespace, do: Callable[[Running], Awaitable[T]]) -> T:
    """Ask the router that the options mean. Raises ConfigError, and CommandError where it can't be asked."""

    async def ask_it() -> T:
        url, key = address(options)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with aiohttp.ClientSession(headers=headers) as session:
            return await do(Running(session, url))

    return asyncio.run(ask_it())


def tell(
    options: argparse.Namespace,
    do: Callable[[Running], Awaitable[list[Reply]]],
    lines: Callable[[Sequence[Reply]], Sequence[str]],
    stopped: str,
) -> int:
    """Ask the router, and print what it did: its errors, and `lines`, or with --json all of it. Gives the exit code.

    `stopped` is what goes on though a person doesn't wait for it any more. Raises ConfigError and CommandError.
    """
    try:
        replies = ask(options, do)
    except KeyboardInterrupt:
        say(f"{stopped}\n", sys.stderr)
        return STOPPED_NOW
    for reply in replies:
        if reply.error:
            say(f"{reply.error}\n", sys.stderr)
    said = [json.dumps(together(replies), indent=1)] if options.json else lines(replies)
    return (printed("\n".join(said)) if said else 0) or code_of(replies)


def address(options: argparse.Namespace) -> tuple[str, str]:
    """Find a router's URL and an admin key, "" if there is none. Raises ConfigError and CommandError."""
    if options.url is not None:
        try:
            # The address that clients are given ends in /v1.
            return checked_url(options.url.rstrip("/").removesuffix("/v1")), options.key or ""
        except ValueError:
            sentence = f"{options.url!r} is no address of a router: write http://HOST:PORT"
            raise CommandError(sentence, BAD_START) from None
    config = load(options.config, os.environ).config
    keys = config.auth.admin_keys
    if not config.server.port:
        raise CommandError(
            f"{options.config} has server.port: 0, which is any free port: say where its router is with --url",
            BAD_START,
        )
    host = EVERYWHERE.get(config.server.host, config.server.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{config.server.port}"
    return url, options.key or (keys[0].get_secret_value() if keys else "")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it says nothing"
    if isinstance(error, OSError):
        return "nothing listens there" if error.errno == errno.ECONNREFUSED else error.strerror or str(error)
    return str(error) or type(error).__name__


def _read(status: int, body: bytes, url: str) -> Reply:
    """Read an answer. Raises CommandError if it isn't a router's, or if the router doesn't take the key."""
    try:
        content, told = msgspec.json.decode(body, type=_Content), msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        content, told = _Content(), {}
    error = "" if content.error is None else printable(str(content.error.get("message", "")))
    code = None if content.error is None else content.error.get("code")
    if (status >= 400 and not error) or not ("models" in told or error) or code in {"not_found", "method_not_allowed"}:
        raise CommandError(f"what answers at {url} is no router, or an older one ({status})", BAD_START)
    if status in {401, 403}:
        raise CommandError(f"{error} The key is that of --key, or the first of auth.admin_keys in the file.", BAD_START)
    return Reply(content.models, told, error)


def code_of(replies: Sequence[Reply]) -> int:
    """Give the exit code after these answers."""
    return REFUSED if any(reply.error for reply in replies) else 0


def together(replies: Sequence[Reply]) -> dict[str, Any]:
    """Put answers together for programs: the models, each once, and the errors if there are any."""
    models = {model["name"]: model for reply in replies for model in reply.told.get("models", ())}
    errors = [reply.told["error"] for reply in replies if reply.error]
    return {"models": list(models.values())} | ({"errors": errors} if errors else {})
