"""A running router, asked over its management API, for all commands that do so."""

import argparse
import asyncio
import errno
import json
import os
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import aiohttp
from pydantic import BaseModel, RootModel, ValidationError
from yarl import URL

from router.api.admin.backends import BackendsTold
from router.api.admin.endpoint import Endpoint, ErrorTold
from router.api.admin.models import ModelsTold, ModelTold
from router.cli.exits import BAD_START, REFUSED, STOPPED_NOW, CommandError, NobodyReadsError, printed
from router.config import load
from router.config.keys.values import url as checked_url
from router.distribution import called
from router.telemetry import unreached
from router.telemetry.logs import printable
from router.telemetry.terminal import say
from router.tls.certificate import files_of, pinned
from router.tls.faults import TlsError, read, why_not
from router.tls.trust import trusting

R = TypeVar("R")
T = TypeVar("T", bound=BaseModel)

Plain = RootModel[dict[str, Any] | list[Any]]

CONNECT_WITHIN: Final = 5.0
"""Seconds until a router that is there has taken the connection."""

ANSWER_WITHIN: Final = 30.0
"""Seconds until it has answered what takes no time. A load takes as long as it takes."""

ALIVE_WITHIN: Final = 40.0
"""Seconds without a sign of life after which a stream is taken to be lost: the router gives one each 15 s."""

TRIES: Final = 12
"""How often a lost stream is asked for again before that is given up: for a minute, in which a router restarts."""

EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a router can be asked that listens everywhere."""


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """What a router answers: what is `told`, and all of it as `plain` data. `error` is why it couldn't do it all."""

    told: T | None
    plain: Any
    error: str = ""


class Running:
    """A running router at `url`. It `stops` if it said so last. Methods raise CommandError where it can't be asked.

    `pinned` is the file with the one certificate that is trusted; empty: it is trusted as other servers are.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, pinned: str = "") -> None:
        self._session = session
        self._url = url
        self._pinned = pinned
        self.stops = False

    async def call(
        self, endpoint: Endpoint[Any, Any, T], *, within: float | None = ANSWER_WITHIN, **fields: str | int
    ) -> Reply[T]:
        """Ask at an endpoint; the answer comes `within` seconds, or whenever it does."""
        if empty := next((name for name in endpoint.in_path if not str(fields[name])), ""):
            raise CommandError(f"the {empty} is empty: say which one", BAD_START)
        timeout = aiohttp.ClientTimeout(within, sock_connect=CONNECT_WITHIN)
        try:
            url = URL(f"{self._url}{endpoint.target(fields)}", encoded=True)
            async with self._session.request(endpoint.method, url, timeout=timeout) as answer:
                self.stops = answer.ok and answer.headers.get("x-router-state") == "stopping"
                return _read(endpoint.tells, answer.status, await answer.read(), self._url)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise nobody(self._url, error, self._pinned) from None

    async def follow(
        self, endpoint: Endpoint[Any, Any, T], *, after: int | None = None, **fields: str | int
    ) -> AsyncGenerator[T, None]:
        """Follow a stream of events, and go on with it where its connection is lost."""
        lost = 0
        while True:
            headers = {} if after is None else {"last-event-id": str(after)}
            timeout = aiohttp.ClientTimeout(None, sock_connect=CONNECT_WITHIN, sock_read=ALIVE_WITHIN)
            try:
                url = URL(f"{self._url}{endpoint.target(fields)}", encoded=True)
                async with self._session.get(url, headers=headers, timeout=timeout) as answer:
                    if answer.status != 200:
                        reply = _read(endpoint.tells, answer.status, await answer.read(), self._url)
                        raise CommandError(reply.error, REFUSED)
                    if answer.content_type != "text/event-stream":
                        raise _no_router(self._url, answer.status)
                    lost = 0
                    async for line in answer.content:
                        if line.startswith(b"id: "):
                            after = int(line[4:])
                        told = _as(endpoint.tells, line[6:]) if line.startswith(b"data: ") else None
                        if told is not None:
                            yield told
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                if lost == TRIES or after is None:
                    raise nobody(self._url, error, self._pinned) from None
            lost += 1
            await asyncio.sleep(min(lost, 5))


class NoRouterError(CommandError):
    """No router answers there."""


def nobody(url: str, error: Exception, pinned: str) -> CommandError:
    """Say why a router can't be asked; `pinned` is the file with the one certificate that it has to show."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError) and pinned:
        why = f"it shows another certificate than that of {pinned}: its log says why it didn't take this one"
        return CommandError(f"{url}: {why}", BAD_START)
    if why := why_not(error, ca="with --ca", name="write one that it has in --url"):
        return CommandError(f"{url}: {why}", BAD_START)
    return NoRouterError(
        f"no router answers at {url} ({_reason(error)}): start it with `{called()} --config FILE`, "
        "or say where it is with --config or --url",
        BAD_START,
    )


def _no_router(url: str, status: int) -> CommandError:
    return CommandError(f"what answers at {url} is no router, or one of another version ({status})", BAD_START)


def ask(options: argparse.Namespace, do: Callable[[Running], Awaitable[R]]) -> R:
    """Ask the router that the options mean. Raises ConfigError, and CommandError where it can't be asked."""

    async def ask_it() -> R:
        url, key = address(options)
        opened, file = session(options, url, key)
        async with opened:
            router = Running(opened, url, file)
            found = await do(router)
        if router.stops:
            say("This router is stopping: what is under way may end, and nothing new is taken.\n", sys.stderr)
        return found

    return asyncio.run(ask_it())


def session(options: argparse.Namespace, url: str, key: str) -> tuple[aiohttp.ClientSession, str]:
    """Open a session for a router, which shows it this key; and give the file of `trusted`. Raises CommandError."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    trust, file = trusted(options) if url.startswith("https:") else (True, "")
    return aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=trust)), file


def tell(
    options: argparse.Namespace,
    do: Callable[[Running], Awaitable[list[Reply[T]]]],
    lines: Callable[[Sequence[Reply[T]]], Sequence[str]],
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


def shown(options: argparse.Namespace, reply: Reply[T], lines: Callable[[T], Sequence[str]]) -> int:
    """Print an answer: its error, or `lines` of it, or with --json all of it. Gives the exit code."""
    if reply.error:
        say(f"{reply.error}\n", sys.stderr)
    if options.json:
        return printed(json.dumps(reply.plain, indent=1)) or code_of([reply])
    return (printed("\n".join(lines(reply.told))) if reply.told is not None else 0) or code_of([reply])


def act(
    options: argparse.Namespace,
    endpoint: Endpoint[Any, Any, T],
    lines: Callable[[T], Sequence[str]],
    **fields: str | int,
) -> int:
    """Ask at an endpoint, and print the answer, as `shown` does. Raises ConfigError and CommandError."""
    reply = ask(options, lambda router: router.call(endpoint, within=ANSWER_WITHIN, **fields))
    return shown(options, reply, lines)


def said_of(words: str) -> Callable[[BackendsTold | ModelsTold], list[str]]:
    """Make a function that says these words of each backend of an answer."""

    def lines(told: BackendsTold | ModelsTold) -> list[str]:
        entries = told.backends if isinstance(told, BackendsTold) else told.models
        return [f"{printable(name)} {words}" for name in dict.fromkeys(each.name for each in entries)]

    return lines


def follow(options: argparse.Namespace, do: Callable[[Running], Awaitable[None]]) -> int:
    """Follow what the router tells until Ctrl-C or the end of `| head`. Raises ConfigError and CommandError."""
    try:
        ask(options, do)
    except NobodyReadsError:
        pass
    except KeyboardInterrupt:
        say("\n", sys.stderr)
    return 0


def address(options: argparse.Namespace) -> tuple[str, str]:
    """Find a router's URL and an admin key, "" if there is none. Raises ConfigError and CommandError."""
    where = _where(options)
    # One that was read from a file ends with its line.
    key = (options.key or os.environ.get("ROUTER_ADMIN_KEY", "")).strip()
    if not key.isprintable():
        raise CommandError("the admin key has a line break in it, or another character that no key has", BAD_START)
    if where is not None:
        try:
            # The address that clients are given ends in /v1.
            return checked_url(where.rstrip("/").removesuffix("/v1")), key
        except ValueError:
            sentence = f"{where!r} is no address of a router: write http://HOST:PORT"
            raise CommandError(sentence, BAD_START) from None
    config = load(options.config, os.environ).config
    keys = [each.key.get_secret_value() for each in config.auth.admin_keys if each.key is not None]
    if not config.server.port:
        raise CommandError(
            f"{options.config} has server.port: 0, which is any free port: say where its router is with --url",
            BAD_START,
        )
    host = EVERYWHERE.get(config.server.host, config.server.host)
    scheme = "http" if config.server.tls is None else "https"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.server.port}"
    return url, key or (keys[0] if keys else "")


def _where(options: argparse.Namespace) -> str | None:
    """Give the URL that was said; None: it is as router.yaml says."""
    return os.environ.get("ROUTER_URL") if options.url is None else options.url


def trusted(options: argparse.Namespace) -> tuple[ssl.SSLContext, str]:
    """Say which certificate a router must show; and its file, if it is that one alone. Raises CommandError.

    One that is found by router.yaml shows the certificate of the file that stands there, whatever names and dates it
    has: it needs no CA, and not to be asked by one of its names. Any other must be trusted as servers are.
    """
    said = options.ca or os.environ.get("ROUTER_CA")
    try:
        if said or _where(options) is not None:
            return trusting(Path(said) if said else None, "--ca"), ""
        config = load(options.config, os.environ).config.server.tls
        assert config is not None  # noqa: S101  (its address is one of https)
        cert, _ = files_of(config, options.config.resolve().parent)
        return pinned(read(cert, "cert"), cert), str(cert)
    except TlsError as error:
        raise CommandError(str(error), BAD_START) from None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it says nothing"
    if isinstance(error, OSError):
        return "nothing listens there" if error.errno == errno.ECONNREFUSED else unreached.reason(error)
    return str(error) or type(error).__name__


def _read(kind: type[T], status: int, body: bytes, url: str) -> Reply[T]:
    """Read an answer. Raises CommandError if it isn't a router's, or if the router doesn't take the key."""
    told, failed, plain = _as(kind, body), _as(ErrorTold, body), _as(Plain, body)
    error = "" if failed is None else printable(failed.error.message)
    code = None if failed is None else failed.error.code
    absent = failed is not None and failed.error.param is None and code in {"not_found", "method_not_allowed"}
    if plain is None or (told is None and failed is None) or absent:
        raise _no_router(url, status)
    if status in {401, 403}:
        where = "It is that of --key or ROUTER_ADMIN_KEY; without --url, else the first of auth.admin_keys in the file."
        raise CommandError(f"{error} {where}", BAD_START)
    return Reply(told, plain.root, error)


def _as(kind: type[T], body: bytes) -> T | None:
    """Read it as this type, if it can be; a router of another version may tell more."""
    try:
        return kind.model_validate_json(body, extra="ignore")
    except ValidationError:
        return None


def doubted(reply: Reply[T], error: str) -> Reply[T]:
    """Give an answer that says that it was done, and doesn't show it, as an error."""
    plain = reply.plain if isinstance(reply.plain, dict) else {}
    return Reply(None, {**plain, "error": {"message": error}}, error)


def code_of(replies: Sequence[Reply[Any]]) -> int:
    """Give the exit code after these answers."""
    return REFUSED if any(reply.error for reply in replies) else 0


def together(replies: Sequence[Reply[Any]]) -> dict[str, Any]:
    """Put answers together for programs: the models, each once, and the errors if there are any."""
    models = {model["name"]: model for reply in replies for model in reply.plain.get("models", ())}
    errors = [reply.plain["error"] for reply in replies if reply.error]
    return {"models": list(models.values())} | ({"errors": errors} if errors else {})


def models_of(reply: Reply[ModelsTold]) -> Sequence[ModelTold]:
    """Give the models of an answer; none of one that is an error alone."""
    return () if reply.told is None else reply.told.models
