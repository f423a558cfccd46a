"""A client's request on the data plane, and the rules by which both lanes make one.

The lanes differ only in how they read. The checks of a request and their order are here, once: the path, the key, the
size, the body, the id. `writing` has the way it is written for a backend.
"""

import random
import re
import time
from asyncio import BaseTransport
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from router.core import errors
from router.core.access import Access, Asked, asked_of, unnamed
from router.core.apis import READ_WHOLE
from router.core.decision import HELD
from router.core.errors import RouterError
from router.core.form import FormOutline, check_model, peek_form
from router.core.gate import Gate
from router.core.keys import NEVER, Key, Keys
from router.core.outline import Outline, Outliner, Texts
from router.core.peek import Stay, peek
from router.core.reshape import with_one_model
from router.core.scopes import Admin, Scope
from router.http1.heads import Headers, status_line
from router.proxy.caller import Caller
from router.proxy.heads import OURS, RequestHead
from router.proxy.naming import addressed, completed
from router.proxy.uploads import DEFAULT_BUDGET, Upload, Uploads
from router.telemetry.refusals import RefusalLog

if TYPE_CHECKING:
    from router.core.limits import Charge
    from router.core.trace import Trace
    from router.proxy.capture import Captures
    from router.proxy.charging import Charging

_MOST_EXPLAINED = 16
"""Most candidates in an x-router-explain header."""

NO_TLS = "This port speaks plain HTTP, and the request began with a TLS handshake: begin the URL with http://."
"""What a client is told that speaks TLS; such clients show but the handshake's error, so the log has it, too."""

UNREADABLE = "The request's body can't be read as its headers say."

FULL = errors.UnavailableError(
    "The router has as many connections open as it may. Try again soon, or raise limits.max_connections.", retry_after=1
)

_CORS = b"access-control-allow-origin: %s\r\naccess-control-expose-headers: %s\r\nvary: origin\r\n"
_METHODS = b"GET, HEAD, POST"
_READABLE = b"x-request-id, x-router-backend, x-router-queue-ms, x-router-explain, retry-after"
_MAY_SEND = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z, ]{0,4096}")
_PREFLIGHT_LASTS = 7200
"""Seconds for which a browser may remember a preflight's answer: the most that any browser allows."""


_NONE: Mapping[str, str] = MappingProxyType({})
_NOBODY: Final = Keys()
_NO_ADMINS: Mapping[bytes, Admin] = MappingProxyType({})


class Request:
    """A client's request, read and checked, without its body, which is freed sooner.

    `credentials` are the client's header lines with a key for the backend, if the router has no keys of its own.
    Without `http11` no chunk may be sent. `keep_alive`: the client's connection may go on after the answer. `priority`
    is its class in the queue, the lowest first. `stay` is what it says of how long its model stays loaded, if it does.
    `elective` and `counts` are as in its head. With `texts`, its body is an outline (`core.outline`). `charge` is what
    its key is charged, once it has begun, if that has limits. `choices` is how many answers it asks for, if looked at.
    `captured` takes what its client gets, if that is kept. `trace` is its part of a trace, if it is traced.
    """

    # No msgspec.Struct, no NamedTuple: attributes of a compiled class are read in a tenth of the time.

    def __init__(
        self,
        head: RequestHead,
        id_: str,
        model: str,
        caller: Caller,
        priority: int,
        *,
        stream: bool,
        credentials: bytes,
        http11: bool,
        keep_alive: bool,
        stay: Stay | None = None,
        elective: bool = False,
        texts: Texts | None = None,
    ) -> None:
        self.head: Final = head
        self.id: Final = id_
        self.model: Final = model
        self.stream: Final = stream
        self.credentials: Final = credentials
        self.http11: Final = http11
        self.keep_alive: Final = keep_alive
        self.caller: Final = caller
        self.priority: Final = priority
        self.stay: Final = stay
        self.elective: Final = elective
        self.counts: Final = elective and head.counts
        self.texts: Final = texts
        self.charge: Charge | None = None
        self.choices = 1
        self.captured: Callable[[bytes], None] | None = None
        self.trace: Trace | None = None

    def size(self, body: bytes) -> int:
        """Give the bytes that a body has."""
        return len(body) if self.texts is None else len(body) + self.texts.size


class Rules:
    """The checks of every request, whichever lane reads it.

    `source` gives the randomness for the ids of requests that have none, and `clock` the Unix time, in seconds.
    """

    def __init__(self, source: random.Random, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.draining = False
        self.uploads = Uploads(b"%032x" % source.getrandbits(128))
        self.refusals = RefusalLog()
        # Who charges the requests of keys that have limits.
        self.charging: Charging | None = None
        # The name that requests without one mean; empty: there is none (`Catalog.nameless`).
        self.nameless: Callable[[], str] = str
        self.capture: Captures | None = None
        self.tracing: Callable[[Headers], Trace | None] | None = None
        self.set_up()
        # Our ids have the form of UUIDs (RFC 9562, 5.4), with the last part counted up: they are names, not secrets.
        bits = f"{source.getrandbits(72):018x}"
        self._own = f"{bits[:8]}-{bits[8:12]}-4{bits[12:15]}-8{bits[15:]}-"
        # Twelve decimal digits, which are valid hexadecimal ones.
        self._number = count(source.randrange(10**11, 5 * 10**11))

    def set_up(
        self,
        *,
        max_body: int = 64 * 1024 * 1024,
        max_uploads: int = DEFAULT_BUDGET,
        keys: Keys = _NOBODY,
        admins: Mapping[bytes, Admin] = _NO_ADMINS,
        access: Access | None = None,
        beside: Mapping[str, str] = _NONE,
    ) -> None:
        """Replace the rules, for the requests from now on.

        A client must show one of `keys`; for /admin, one whose digest is in `admins`. Where there are none, `access`
        decides. `max_body` and `max_uploads` are in bytes.
        """
        self.max_body = max_body
        # Paths of commands that aren't under /v1, each with the model that it is for unless a request names another.
        self.beside = beside
        # One upload alone never has to make room.
        self.uploads.budget = max(max_uploads, max_body)
        # A new object each time, so that heads which an earlier one let in are checked again.
        if self.charging is not None:
            self.charging.set_up(keys)
        self.gate = Gate(keys, admins, access or Access())

    def admit(self, headers: Headers, path: str, authority: str = "", address: str = "") -> Caller:
        """Check that a request of this path is allowed, and give its caller.

        `authority` is that of its target, if it has one; `address` is the client's.

        Raises UnavailableError while the router stops, and what `Gate.client` raises.
        """
        if self.draining:
            raise stopping()
        asked = asked_of(headers, authority)
        key = self.gate.client(headers, asked, path, self._clock())
        cors = self._cors(asked)
        if key is None:
            return Caller(cors=cors, address=address)
        payer = None if self.charging is None else self.charging.payer(key.name)
        return Caller(key.name, key.priority, cors, address, key, payer)

    def has_expired(self, key: Key | None) -> bool:
        """Tell whether the key that let in a request before no longer lets in the next one."""
        return key is not None and key.expires != NEVER and key.has_expired(self._clock())

    def admit_admin(
        self, headers: Headers, remote: str, scope: Scope | None, authority: str = "", *, http11: bool = True
    ) -> Admin:
        """Tell who manages the router; see `Gate.admin`.

        `remote` is the address of the client, `authority` that of the request's target, if it has one.
        """
        return self.gate.admin(headers, asked_of(headers, authority), remote, scope, http11=http11)

    def may_look(self, headers: Headers, remote: str, authority: str = "", *, http11: bool = True) -> bool:
        """Whether a request may see models and backends: its sender may use or manage them."""
        return self.gate.may_look(headers, asked_of(headers, authority), remote, self._clock(), http11=http11)

    def shows_key(self, headers: Headers) -> bool:
        """Whether a request shows a valid key, of either kind."""
        return self.gate.shows_key(headers, self._clock())

    def key_of(self, headers: Headers) -> Key | None:
        """Give the client's key that a request shows, which bounds what it is told of."""
        return self.gate.key_of(headers, self._clock())

    def cors(self, headers: Headers) -> bytes:
        """Write the lines of an answer's head that let the asking page read it; none if it may not."""
        return self._cors(asked_of(headers))

    def _cors(self, asked: Asked) -> bytes:
        reader = self.gate.access.reader(asked) if asked.origins else ""
        return b"" if not reader else _CORS % (reader.encode("latin-1"), _READABLE)

    def preflight(self, headers: Headers) -> bytes:
        """Write the lines that answer a browser's CORS preflight. Raises ForbiddenError if the page isn't allowed.

        A preflight carries no key, so none is required here.
        """
        asked, fields = asked_of(headers), dict(headers)
        cors = self._cors(asked)
        if not cors:
            raise unnamed(asked)
        lines = cors + b"access-control-allow-methods: %s\r\naccess-control-max-age: %d\r\n" % (
            _METHODS,
            _PREFLIGHT_LASTS,
        )
        wanted = fields.get(b"access-control-request-headers", b"")
        if wanted and _MAY_SEND.fullmatch(wanted):
            lines += b"access-control-allow-headers: %s\r\n" % wanted
        if fields.get(b"access-control-request-private-network") == b"true":
            lines += b"access-control-allow-private-network: true\r\n"
        return lines

    def check_length(self, length: int) -> None:
        """Raise BodyTooLargeError for a body over `max_body`."""
        if length > self.max_body:
            raise errors.BodyTooLargeError(
                f"The request's body is over {self.max_body} bytes. Send less, or raise limits.max_body."
            )

    def new_id(self) -> str:
        """Make an id, a UUID, for a request whose client gave no usable one."""
        return self._own + str(next(self._number))

    def upload(self, head: RequestHead | None, refuse: Callable[[RouterError], None], now: float) -> Upload:
        """Begin to gather a body; without a head, it is for no model."""
        outliner: Callable[[], Outliner] | None = None
        if head is not None and head.boundary:
            outliner = partial(FormOutline, self.uploads.secret, head.boundary)
        elif head is not None and head.path not in READ_WHOLE:
            outliner = partial(Outline, self.uploads.secret, translatable=head.translatable)
        return Upload(self.uploads, refuse, now, outliner)

    def understand(
        self,
        head: RequestHead,
        id_: str,
        body: bytes,
        caller: Caller,
        *,
        http11: bool,
        keep_alive: bool,
        texts: Texts | None = None,
    ) -> tuple[Request, bytes]:
        """Make a request of its head and body, and give the body to send. Raises BadRequestError."""
        nameless, goes_on = self.nameless, texts is not None and texts.goes_on
        if not head.plain:
            of_path = self.beside.get(head.path, "")
            if of_path:
                nameless = partial(str, of_path)
            body = addressed(head, body, nameless, beside=bool(of_path), goes_on=goes_on)
        elective = head.elective or head.path in self.beside
        key = caller.key
        is_bound = key is not None and not key.models.everything
        if head.boundary:
            model, stream, wish, stay = peek_form(body, head.boundary, goes_on=goes_on)
            if is_bound:
                check_model(body, head.boundary)
            if texts is not None:
                texts.names_one_model = is_bound
        else:
            streams = elective and head.streams
            try:
                model, stream, wish, stay = peek(body, streams=streams)
            except errors.BadRequestError as error:
                body = completed(head, body, error, nameless)
                model, stream, wish, stay = peek(body, streams=streams)
            if is_bound:
                body = with_one_model(body, model)
        # If the router has keys, the client's key is for the router, and no backend may see it.
        credentials = b"" if self.gate.has_keys else head.credentials
        lasts = keep_alive and http11 and not self.draining
        priority = caller.priority if wish is None else max(wish, caller.priority) if self.gate.has_keys else wish
        request = Request(
            head,
            id_,
            model,
            caller,
            priority,
            stream=stream,
            credentials=credentials,
            http11=http11,
            keep_alive=lasts,
            stay=stay,
            elective=elective,
            texts=texts,
        )
        if self.tracing is not None:
            request.trace = self.tracing(head.headers)
        if self.capture is not None:
            whole = texts is None
            request.captured = self.capture.begin(id_, head.path, model, caller.name, body, is_whole=whole)
        return request, body


def address_of(transport: BaseTransport) -> str:
    """Give a client's address, without its port; empty if the connection is gone."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else ""


def stopping() -> errors.StoppingError:
    """Give the error for a request that comes while the router stops."""
    return errors.StoppingError("The router is stopping. Try again soon.", retry_after=5)


def late_head(seconds: float) -> errors.RequestTimeoutError:
    """Give the error for a head that doesn't end."""
    return errors.RequestTimeoutError(f"The request's head didn't come within {seconds:g} s.")


def error_answer(error: RouterError, path: str, request_id: str, *, keep_alive: bool, cors: bytes = b"") -> bytes:
    """Write an error as a whole answer, in the form of the path's API; `cors` are lines of its head."""
    body = errors.body(error, path)
    lines = b"%s%scontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n%s" % (
        status_line(error.status),
        OURS,
        len(body),
        request_id.encode("latin-1"),
        cors,
    )
    if error.retry_after is not None:
        lines += b"retry-after: %d\r\n" % error.retry_after
    if not keep_alive:
        lines += b"connection: close\r\n"
    return b"%s\r\n%s" % (lines, body)


def explained(figures: list[dict[str, object]]) -> bytes:
    """Write the x-router-explain header, which says why a request goes where it goes; only the first candidates.

    Which admin has drained one is nothing for clients.
    """
    shown = [
        {**each, "passed_over": HELD} if str(each.get("passed_over", "")).startswith(HELD) else each
        for each in figures[:_MOST_EXPLAINED]
    ]
    return b"x-router-explain: %s\r\n" % msgspec.json.encode(shown)


@lru_cache(maxsize=256)
def header_value(text: str) -> bytes:
    """Write a backend's name for a header, in ASCII."""
    return text.encode("ascii", "replace")
