"""The fast lane: a client's connection, read by an asyncio protocol. Unusual requests are handed to aiohttp.

The fast lane takes ordinary requests (heads.parse_request): their head is parsed once, their body is peeked at once, no
request or response object of a framework is made, and the connection itself is the sink of the exchange. A connection
that sends anything else is handed over to aiohttp, with the bytes read so far, for the rest of its life: the slow lane.

A connection is in one of these states:

    READING    a request isn't whole yet, or hasn't begun: then the connection is idle
    ASKING     an exchange is under way; bytes that come meanwhile belong to the next request, and wait. Or they are the
               rest of this one's body, which is sent on as it comes
    LINGERING  a request was refused before its body was read: further bytes are dropped until the client closes

`Lane.sweep` cuts connections that make no progress: a head that isn't whole in time, an idle connection, a lingering
one. One sweep looks at all connections, so none needs a timer of its own. `proxy.uploads` bounds bodies.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

from router.core.errors import BadRequestError, RouterError
from router.http1.requests import TLS_HANDSHAKE, is_well_formed, without_empty_lines
from router.proxy.answer import WAITING
from router.proxy.caller import ANYBODY
from router.proxy.exchange import Exchange
from router.proxy.heads import CHUNKS, MAX_REQUEST_HEAD, RequestHead, parse_request, path_in
from router.proxy.incoming import Incoming
from router.proxy.lane import GUEST_TIMEOUT, HEALTH, HIGH_WATER, MAX_PIPELINED, Lane
from router.proxy.requests import FULL, NO_TLS, address_of, late_head
from router.proxy.uploads import BODY_TIMEOUT, late_body

if TYPE_CHECKING:
    from router.core.gate import Gate
    from router.core.outline import Texts
    from router.http1.heads import Known

HEAD_TIMEOUT = 10.0
"""Seconds that a request's head may take to arrive; the client is told so within SWEEP_EVERY more."""

IDLE_TIMEOUT = 75.0
"""Seconds that a connection may stay open without a request."""

LINGER_TIMEOUT = 5.0
"""Seconds for which a refused client may go on sending its body."""


class ClientState(Enum):
    """What a connection is doing."""

    READING = auto()
    ASKING = auto()
    LINGERING = auto()


READING, ASKING, LINGERING = ClientState

_NOTHING_YET = (b"", b"\r")
"""What is kept of the empty lines before a request: nothing, or half of one."""


class Client(asyncio.Protocol):
    """One client's connection, and the sink of its exchanges (sink.Sink)."""

    _transport: asyncio.Transport
    write: Callable[[bytes], None]
    """Send bytes: the transport's own method, as each piece of an answer passes here."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._state = READING
        # When the timeout of the current state began to run.
        self._since = lane.loop.time()
        # Bytes that are read and not parsed yet.
        self._buffer = b""
        # The latest request's head, to recognise the next one by.
        self._known: Known[RequestHead] | None = None
        # A body that isn't whole yet.
        self._incoming: Incoming | None = None
        self._id = ""
        self._caller = ANYBODY
        # The rules that let in the latest head, and so let in another like it.
        self._let_in_by: Gate | None = None
        self._exchange: Exchange | None = None
        # Whether too many bytes wait for the client.
        self._full = False
        # Whether too many bytes came while a request was under way: the connection is closed after its answer.
        self._drops = False
        # Whether there is no room for it.
        self._guest = False
        # Bytes that waited for the client at the last sweep.
        self._unsent = 0

    def __repr__(self) -> str:
        return f"<Client {self._state.name.lower()}>"

    @property
    def busy(self) -> bool:
        """Whether a request is under way, or the last bytes of its answer are."""
        return self._state is ASKING or self._incoming is not None or self._transport.get_write_buffer_size() > 0

    def overdue(self, now: float) -> bool:
        """Whether the current state has lasted too long."""
        incoming = self._incoming
        if self._state is ASKING or (incoming is not None and incoming.begun):
            # The exchange, or the upload, has its own limits.
            return False
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        if self._unsent < before:
            # The client is still reading the last answer.
            self._since = now
        if self._guest:
            limit = GUEST_TIMEOUT
        elif self._state is LINGERING:
            limit = LINGER_TIMEOUT
        elif incoming is not None:
            limit = BODY_TIMEOUT
        else:
            limit = IDLE_TIMEOUT if self._buffer in _NOTHING_YET else HEAD_TIMEOUT
        return now - self._since > limit

    def give_up(self) -> None:
        """Cut a client that is overdue; one that owes the rest of a request is told why."""
        if self._state is not READING or self._transport.is_closing():
            self.abort()
        elif self._guest:
            self._turn_away(FULL, "")
        elif self._incoming is not None:
            self._refuse_rest(late_body())
        elif self._buffer not in _NOTHING_YET:
            self._turn_away(late_head(HEAD_TIMEOUT), path_in(self._buffer))
        else:
            self.abort()

    def refuse_unread(self, error: RouterError) -> None:
        """Refuse the request that has begun to come and isn't whole, if there is one."""
        if self._incoming is not None:
            self._refuse_rest(error)

    def _refuse_rest(self, error: RouterError) -> None:
        """Answer with this error instead of reading the body to its end."""
        incoming = self._incoming
        assert incoming is not None  # noqa: S101  (what is refused is the rest of it)
        if self._exchange is not None:
            self._exchange.break_off(error, error.message)
            return
        self._forget_body()
        self._turn_away(error, incoming.head.path, self._caller.cors)

    def _forget_body(self) -> None:
        if self._incoming is not None:
            self._incoming.close()
            self._incoming = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read, or refuse the connection if there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        self._transport.set_write_buffer_limits(HIGH_WATER)
        lane = self._lane
        lane.connections.add(self)
        lane.room -= 1
        if lane.room < 0:
            self._guest = True
            lane.receive(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Free the engine, in this turn of the loop."""
        self._lane.connections.discard(self)
        self._lane.left()
        if self._guest:
            self._lane.guests.pop(self, None)
        self._forget_body()
        if self._exchange is not None:
            self._exchange.cancel()
            self._exchange = None

    def pause_writing(self) -> None:
        """Stop reading from the engine: the client is slower."""
        self._full = True
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        """Read from the engine again."""
        self._full = False
        if self._exchange is not None:
            self._exchange.resume()

    def data_received(self, data: bytes) -> None:
        """Take the next bytes of a request; while one is under way, keep them for later."""
        if self._incoming is not None:
            self._read_body(data)
        elif self._state is READING:
            self._read_head(self._buffer + data if self._buffer else data)
        elif self._state is ASKING and not self._drops:
            self._buffer += data
            if len(self._buffer) > MAX_PIPELINED:
                # Reading isn't paused: a client that leaves would go unnoticed.
                self._drops, self._buffer = True, b""

    # Reading

    def _read_head(self, data: bytes) -> None:
        known = self._known
        recalled = None if known is None else known.recall(data)
        if known is None or recalled is None:
            self._read_new_head(data)
        else:
            self._admit(known.head, *recalled)

    def _read_new_head(self, data: bytes) -> None:
        # Empty lines before a request are ignored (RFC 9112, 2.2).
        if data.startswith(b"\r\n"):
            data = without_empty_lines(data)
        end = data.find(b"\r\n\r\n", 0, MAX_REQUEST_HEAD) + 4
        if end < 4:
            self._wait_for_head(data)
            return
        ordinary = parse_request(data[:end])
        if self._guest:
            self._answer_guest(data, end)
        elif ordinary is not None:
            known, length = ordinary
            # Its length is all that a recalled head tells of a body.
            self._known = None if length == CHUNKS else known
            self._let_in_by = None
            self._admit(known.head, length, data[end:])
        elif is_well_formed(data[: end - 4]):
            self._hand_over(data)
        else:
            self._turn_away(BadRequestError("This is no well-formed HTTP request."), path_in(data))

    def _answer_guest(self, data: bytes, end: int) -> None:
        if data.startswith(HEALTH) and is_well_formed(data[: end - 4]):
            self._hand_over(data[: end - 2] + b"connection: close\r\n\r\n")
        else:
            self._turn_away(FULL, path_in(data))

    def make_way(self) -> None:
        """Close at once: there is no room for it, and another has come."""
        if self._state is READING:
            self._turn_away(FULL, "")
        self._transport.close()

    def _admit(self, head: RequestHead, length: int, rest: bytes) -> None:
        """Refuse a request that isn't allowed, or read its body."""
        rules = self._lane.rules
        self._id = head.id or rules.new_id()
        try:
            if self._let_in_by is not rules.gate or rules.draining or rules.has_expired(self._caller.key):
                address = self._caller.address or address_of(self._transport)
                self._caller = rules.admit(head.headers, head.path, "", address)
                self._let_in_by = rules.gate
            rules.check_length(length)
        except RouterError as error:
            if len(rest) == length <= rules.max_body:
                self._refuse(error, head, rules.cors(head.headers))
            else:
                self._turn_away(error, head.path, rules.cors(head.headers))
            return
        self._buffer = b""
        if len(rest) == length:
            self._ask(head, rest)
        else:
            self._since = self._lane.loop.time()
            self._incoming = Incoming(head, length, rules, self._refuse_rest)
            self._read_body(rest)

    def _wait_for_head(self, data: bytes) -> None:
        if len(data) >= MAX_REQUEST_HEAD:
            self._turn_away(BadRequestError(f"The request's head is over {MAX_REQUEST_HEAD} bytes."), path_in(data))
            return
        if data.startswith(TLS_HANDSHAKE):
            self._turn_away(BadRequestError(NO_TLS), "")
            return
        if self._buffer in _NOTHING_YET and data not in _NOTHING_YET:
            # Empty lines begin no head: a client that sends nothing else stays idle.
            self._since = self._lane.loop.time()
        self._buffer = data

    def _read_body(self, data: bytes) -> None:
        """Take the next bytes of a body; with its last ones, start the exchange."""
        incoming, loop = self._incoming, self._lane.loop
        assert incoming is not None  # noqa: S101  (they are of it)
        try:
            last = incoming.feed(data, loop.time())
        except RouterError as error:
            self._refuse_rest(error)
            return
        if last is not None:
            self._incoming, self._buffer = None, incoming.rest
            body, texts = incoming.whole(last)
            if self._state is READING:
                self._ask(incoming.head, body, texts)
            return
        if self._state is READING and incoming.goes_on(loop.time()):
            self._ask(incoming.head, *incoming.go_on(loop.time(), self._take_back))
        if incoming.is_large and self._incoming is incoming:
            # The loop would read as long as more comes, up to 8 MiB, and nobody else would be served.
            self._transport.pause_reading()
            loop.call_soon(self._read_more)

    def _take_back(self) -> bool:
        """Free the engine that waits for the rest of a body, which is gathered first; tell whether one did."""
        exchange = self._exchange
        if exchange is None or exchange.backend is None or exchange.answer.state is not WAITING:
            return False
        self._exchange, self._state = None, READING
        exchange.cancel("the body came too slowly: it is sent again once it is whole")
        return True

    def _read_more(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _ask(self, head: RequestHead, body: bytes, texts: "Texts | None" = None) -> None:
        lane, self._state = self._lane, ASKING
        try:
            request, body = lane.rules.understand(
                head, self._id, body, self._caller, http11=True, keep_alive=head.keep_alive, texts=texts
            )
        except RouterError as error:
            self._refuse(error, head, self._caller.lines(head.path, lane.loop.time()))
            return
        exchange = self._exchange = Exchange(lane.plane, request, body, self)
        if self._full:
            # The client hasn't read the last answer yet.
            exchange.pause()
        exchange.start()

    def _refuse(self, error: RouterError, head: RequestHead, cors: bytes) -> None:
        """Refuse a request whose body has been read: the next one may follow."""
        lane, keep_alive = self._lane, head.keep_alive and not self._lane.rules.draining
        self.write(lane.refusal(error, head.path, self._transport, self._id, cors, keep_alive=keep_alive))
        self.finish(keep_alive=keep_alive)

    def _turn_away(self, error: RouterError, path: str, cors: bytes = b"") -> None:
        """Refuse a request whose body hasn't been read, and let the client read that before the connection closes."""
        self.write(self._lane.refusal(error, path, self._transport, self._id, cors))
        self._linger()

    def _linger(self) -> None:
        """Read nothing more, and let the client read its answer before the connection closes."""
        self._state, self._since, self._buffer = LINGERING, self._lane.loop.time(), b""
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _hand_over(self, data: bytes) -> None:
        """Give the connection to the slow lane, with the bytes read so far."""
        self._lane.connections.discard(self)
        self._lane.guests.pop(self, None)
        protocol = self._lane.slow_lane(self._lane.left)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._full:
            protocol.pause_writing()
        protocol.data_received(data)

    # What the exchange calls (sink.Sink)

    def finish(self, *, keep_alive: bool) -> None:
        """Go on with the next request, or close."""
        self._exchange, self._id = None, ""
        if self._incoming is not None:
            # It is answered before all of it has come.
            self._forget_body()
            self._linger()
            return
        self._state, self._since = READING, self._lane.loop.time()
        if not keep_alive or self._drops:
            self._transport.close()
            return
        if self._buffer:
            # A pipelined request. Not at once: a thousand of them would make a stack of a thousand calls.
            self._lane.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        data, self._buffer = self._buffer, b""
        if data and self._state is READING and not self._transport.is_closing():
            self._read_head(data)

    def hang_up(self) -> None:
        """Close once all is sent."""
        self._exchange = None
        self._forget_body()
        # `overdue` bounds how long the client may take for the rest.
        self._state, self._since = READING, self._lane.loop.time()
        self._transport.close()

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    def unsent(self) -> int:
        """Give the number of bytes that wait for the client."""
        return self._transport.get_write_buffer_size()
