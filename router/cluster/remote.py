"""A peer's management API, asked with an admin key of the peer's, by the types of `router.api.admin`.

What a peer answers is another machine's word. Its length and its time are bounded, fields that this version doesn't
know are ignored, and what isn't of the endpoint's type is an error, as is no answer at all. All errors are mapped here,
once:

    what happens                                       the error, whose sentence names the peer
    1. it can't be reached, or breaks off              PeerError: 502 peer_failed
    2. it says nothing for too long                    PeerTimeoutError: 504 peer_timeout
    3. it takes the key for none, or for too little    PeerError: 502; the caller's key isn't the one that is wrong
    4. it refuses, and says why                        its own error: status, code and words
    5. it answers with anything else                   PeerError: 502
    6. there is no admin key for it                    NoAdminKeyError: 409 no_admin_key
"""

import re
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, Final, TypeVar

import aiohttp
import msgspec
from aiohappyeyeballs import AddrInfoType
from pydantic import BaseModel, ValidationError
from yarl import URL

from router.api.admin.endpoint import Endpoint, ErrorTold, Reply, Sent
from router.core.errors import BadGatewayError, ConflictError, GatewayTimeoutError, RouterError, of_engine
from router.core.hops import NAME, ids_of
from router.proxy.dialling import Address
from router.proxy.resolve import Names, Resolver
from router.proxy.watching.asking import NO_ANSWER, read

T = TypeVar("T", bound=BaseModel)

CONNECT_WITHIN: Final = 5.0
"""Seconds until a peer that is there has taken a connection: one on the same network needs milliseconds."""

ANSWER_WITHIN: Final = 10.0
"""Seconds until it has answered what takes no time: a person waits for it."""

ALIVE_WITHIN: Final = 40.0
"""Seconds without a sign of life after which a stream is lost: a router gives one each 15 s."""

DEAD_AFTER: Final = {"TCP_KEEPIDLE": 10, "TCP_KEEPALIVE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""A load may take an hour, without a byte. So the systems ask each other: 30 s after a cable was cut, it has failed.

macOS calls the first one by the second one's name.
"""

MOST: Final = 4 * 1024 * 1024
"""Bytes of an answer: a thousand models, or a thousand lines of a log, take less."""

MOST_EVENT: Final = 512 * 1024
"""Bytes of an event's line."""

MOST_WORDS: Final = 1000
"""Characters of a peer's sentence."""

_RETRY: Final = re.compile(r"[0-9]{1,6}")

_LARGEST: Final = 1 << 63
"""No number of a router's is as large; one that is can't be counted with everywhere."""


class PeerError(BadGatewayError):
    """A peer can't be asked, or its answer can't be used."""

    code: ClassVar[str] = "peer_failed"


class PeerTimeoutError(GatewayTimeoutError):
    """A peer says nothing."""

    code: ClassVar[str] = "peer_timeout"


class NoAdminKeyError(ConflictError):
    """The peer's models are managed by its own router, which this one has no key for."""

    code: ClassVar[str] = "no_admin_key"

    def __init__(self, peer: str) -> None:
        super().__init__(
            f"'{peer}' is another router, which manages its models: this needs admin_key in router.yaml for this peer."
        )


class Remote:
    """The management API of the peer `name`, at `address`. All methods raise RouterError; see the cases above.

    `hops` are the routers that what is asked for has passed before this one.
    """

    def __init__(self, names: Names, name: str, address: Address, admin_key: str, hops: bytes = b"") -> None:
        self.name = name
        self._hops = hops
        self._names = names
        self._address = address
        self._key = admin_key

    async def call(
        self, endpoint: Endpoint[Any, Any, T], *, within: float | None = ANSWER_WITHIN, **fields: str | int
    ) -> Reply[T]:
        """Ask at an endpoint. The answer comes `within` seconds; with None, it takes as long as it takes."""
        patience = aiohttp.ClientTimeout(within, sock_connect=CONNECT_WITHIN)
        async with self._asked(endpoint, fields, patience) as answer:
            return self._reply(endpoint, answer, await self._body(answer))

    async def follow(
        self, endpoint: Endpoint[Any, Any, T], *, after: int | None = None, **fields: str | int
    ) -> AsyncGenerator[list[Sent[T]], None]:
        """Give the events of a stream as they come, some at a time; none as a sign of life, and when it has begun.

        It ends when the peer ends it. An event that isn't of the endpoint's type is left out.
        """
        patience = aiohttp.ClientTimeout(None, sock_connect=CONNECT_WITHIN, sock_read=ALIVE_WITHIN)
        headers = {} if after is None else {"last-event-id": str(after)}
        async with self._asked(endpoint, fields, patience, headers) as answer:
            if answer.status != 200 or answer.content_type != "text/event-stream":
                self._reply(endpoint, answer, await self._body(answer))
                raise self._odd(answer.status, "no stream of events")
            yield []
            left, event = b"", _Event()
            async for piece in answer.content.iter_any():
                *lines, left = (left + piece).split(b"\n")
                if len(left) > MOST_EVENT:
                    raise self._odd(answer.status, "an event that doesn't end")
                yield [told for line in lines if (told := event.ended(line, endpoint.tells)) is not None]

    @asynccontextmanager
    async def _asked(
        self,
        endpoint: Endpoint[Any, Any, Any],
        fields: Mapping[str, str | int],
        patience: aiohttp.ClientTimeout,
        more: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Send a request, and map what goes wrong until its answer was read."""
        headers = {
            **dict(self._address.headers),
            **(more or {}),
            NAME.decode("ascii"): ",".join(filter(None, (*ids_of(self._hops), self._address.hop))),
            "authorization": f"Bearer {self._key}",
            "accept-encoding": "identity",
        }
        url = URL(self._address.url(endpoint.target(fields)), encoded=True)
        try:
            async with (
                _session(self._names) as session,
                session.request(
                    endpoint.method,
                    url,
                    headers=headers,
                    allow_redirects=False,
                    timeout=patience,
                    **self._address.secured,
                ) as answer,
            ):
                yield answer
        except TimeoutError as error:
            raise PeerTimeoutError(f"'{self.name}' at {self._address} says nothing.") from error
        except NO_ANSWER as error:
            raise PeerError(f"'{self.name}' can't be asked at {self._address}: {self._address.fault(error)}") from error

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        page = await read(answer, MOST)
        if not page.whole:
            raise self._odd(answer.status, f"more than {MOST >> 20} MiB")
        return page.data

    def _reply(self, endpoint: Endpoint[Any, Any, T], answer: aiohttp.ClientResponse, body: bytes) -> Reply[T]:
        """Read an answer. One that tells what it is to tell may have another status, if the endpoint has that."""
        status, plain = answer.status, _plain(body)
        failed = _as(ErrorTold, plain)
        if status in {401, 403}:
            raise PeerError(f"'{self.name}' doesn't take the admin_key of its entry in router.yaml{_why(failed)}")
        why = "none of the answers of a router's management"
        if plain is not None and (status == 200 or status in endpoint.others):
            try:
                told = endpoint.tells.model_validate(plain, extra="ignore")
                retry = answer.headers.get("retry-after", "")
                return Reply(told, status, {"retry-after": retry} if _RETRY.fullmatch(retry) else {})
            except ValidationError as error:
                why = _first(error)
        if failed is None or status < 400:
            raise self._odd(status, why)
        raise self._refusal(status, body, answer.headers.get("retry-after", ""))

    def _refusal(self, status: int, body: bytes, retry: str) -> RouterError:
        refused = of_engine(status, body)
        refused.message = f"'{self.name}' says: {refused.message[:MOST_WORDS]}"
        refused.retry_after = int(retry) if _RETRY.fullmatch(retry) else None
        return refused

    def _odd(self, status: int, what: str) -> PeerError:
        return PeerError(
            f"'{self.name}' at {self._address} gives {what} (status {status}): it is no router, or one of a version "
            "that this one doesn't understand."
        )


class _Event:
    """An event whose lines come one by one."""

    def __init__(self) -> None:
        self._id = 0
        self._kind = "message"

    def ended(self, line: bytes, kind: type[T]) -> Sent[T] | None:
        """Read a line; give the event if this is its data, and it can be read. A router's has one line of it."""
        name, _, value = line.rstrip(b"\r").partition(b": ")
        if name == b"id":
            with suppress(ValueError):
                self._id = int(value[:20])
        elif name == b"event":
            self._kind = value[:64].decode("utf-8", "replace")
        elif name == b"data" and (told := _as(kind, _plain(value))) is not None:
            return Sent(self._id, self._kind, told)
        return None


def _session(names: Names) -> aiohttp.ClientSession:
    """Make what sends a request: on a connection of its own, which learns that it was cut while it waits."""
    connector = aiohttp.TCPConnector(
        force_close=True, resolver=Resolver(names), use_dns_cache=False, socket_factory=_socket
    )
    return aiohttp.ClientSession(connector=connector, auto_decompress=False)


def _socket(where: AddrInfoType) -> socket.socket:
    made = socket.socket(*where[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in DEAD_AFTER.items():
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


def _plain(body: bytes) -> object:
    """Read JSON; of what is none, nothing. Numbers are ones that can be counted with."""
    try:
        found = msgspec.json.decode(body)
        return found if _counts(found) else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _counts(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_counts, value.values()))
    if isinstance(value, list):
        return all(map(_counts, value))
    return not isinstance(value, int) or -_LARGEST < value < _LARGEST


def _as(kind: type[T], plain: object) -> T | None:
    try:
        return kind.model_validate(plain, extra="ignore")
    except ValidationError:
        return None


def _first(error: ValidationError) -> str:
    """Name what is wrong first of an answer."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"no such answer as it should ({'.'.join(map(str, first['loc']))[:80] or 'all'}: {first['msg'].lower()})"


def _why(failed: ErrorTold | None) -> str:
    return "." if failed is None else f": {failed.error.message[:MOST_WORDS]}"
