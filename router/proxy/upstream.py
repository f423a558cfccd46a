"""One connection to a backend: an asyncio protocol that sends a request and hands on its answer as it comes.

A connection carries one request at a time. To its receiver it tells four moments and no more: the answer's head, a
piece of its body, its end, its failure; after the last two it forgets the receiver. Nothing is gathered: what one
read brought is handed on before the next. When the answer has ended cleanly, the connection offers itself to its
pool; after anything else it is closed.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from router.core.retry import Failure
from router.http1.bodies import Body, ChunkedBody, body_of
from router.http1.heads import Known, ProtocolError
from router.proxy.heads import ResponseHead, parse_response
from router.tls.faults import MAY_WANT, why_not

if TYPE_CHECKING:
    from router.core.outline import Texts

STALE_WITHIN = 1.0
"""Seconds within which a kept connection shows that it was closed already; later, the engine died at work."""

AT_ONCE = 512 * 1024
"""Bytes of a large request that are written at once: in a millisecond."""


class Receiver:
    """Waits for an answer: an attempt."""

    # A base class, not a Protocol: compiled, its methods are called natively.

    def on_head(self, head: ResponseHead, length: int) -> None:
        """Take the answer's head, and its body's length if that is known; the body has not begun."""
        raise NotImplementedError

    def on_body(self, data: bytes) -> None:
        """Take the next bytes of the body, in their chunks if it was sent `raw`; never empty."""
        raise NotImplementedError

    def on_remains(self, data: bytes) -> None:
        """Take the bytes that came well framed before a mistake in the framing, which is told next."""
        raise NotImplementedError

    def on_end(self) -> None:
        """Note that the answer is whole. The connection is no longer this receiver's."""
        raise NotImplementedError

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Note that nothing more will come. The connection is no longer this receiver's."""
        raise NotImplementedError


class Nobody(Receiver):
    """The receiver of an answer's end that nobody waits for."""

    def on_head(self, head: ResponseHead, length: int) -> None:
        """Do nothing."""

    def on_body(self, data: bytes) -> None:
        """Do nothing."""

    def on_remains(self, data: bytes) -> None:
        """Do nothing."""

    def on_end(self) -> None:
        """Do nothing: the connection is its pool's again."""

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Do nothing: the connection is closed."""


class Connection(asyncio.Protocol):
    """A connection to a backend, made by its pool.

    `on_idle` is called when it could carry another request, `on_closed` once it can't ever.
    """

    # Set by `connection_made`; nobody has the connection before that.
    _transport: asyncio.Transport

    def __init__(self, on_idle: Callable[["Connection"], None], on_closed: Callable[["Connection"], None]) -> None:
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._receiver: Receiver | None = None
        self._body: Body | None = None  # once the head has come
        self._keep_alive = False
        self._raw = False
        self._known: Known[ResponseHead] | None = None  # the latest answer's head
        self._held = b""  # a head that isn't whole yet
        self._reused = False
        # What isn't written yet of a large request, the next piece last; and what tells whether more is to come.
        self._rest: list[bytes] = []
        self._texts: Texts | None = None
        self._full = False
        self._loop = asyncio.get_running_loop()
        self._sent_at = 0.0
        # When the head of the latest answer came.
        self.head_at = 0.0
        self._paused = False
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "busy" if self._receiver else "idle"
        return f"<Connection {state}{' reused' if self._reused else ''}>"

    @property
    def usable(self) -> bool:
        """Whether a request can be sent now."""
        return not self._closed and self._receiver is None

    def send(self, request: bytes, receiver: Receiver, *, raw: bool, texts: "Texts | None" = None) -> None:
        """Send a request; its answer goes to the receiver, a chunked body as it comes if `raw`, else decoded.

        With `texts`, the request is an outline that they fill.
        """
        self._receiver = receiver
        self._body = None
        self._raw = raw
        self._texts = texts
        self._sent_at = self._loop.time()
        if texts is None:
            self._transport.write(request)
        else:
            self._rest = texts.filled(request)
            self._rest.reverse()
            if texts.missing:
                texts.takers.append(self._take)
            self._write_rest()

    def _take(self, piece: bytes) -> None:
        """Write the next bytes of a body that is sent as it comes, or keep them until there is room."""
        if not self._closed:
            self._rest.insert(0, piece)
            if len(self._rest) == 1 and not self._full:
                self._write_rest()

    def _write_rest(self) -> None:
        """Write pieces of a large request, as many at once as take no time that others would notice."""
        rest, now, size = self._rest, [], 0
        while rest and size < AT_ONCE:
            now.append(rest.pop())
            size += len(now[-1])
        self._transport.writelines(now)
        if rest and not self._full:
            self._loop.call_soon(self.resume_writing)

    def pause_writing(self) -> None:
        """Note that the backend has to take what there is first."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on writing a large request."""
        self._full = False
        if self._rest:
            self._write_rest()

    def hand_over(self, receiver: Receiver) -> None:
        """Have another receiver hear the rest of an answer that is under way."""
        if self._receiver is not None:
            self._receiver = receiver

    @property
    def position(self) -> tuple[int, int] | None:
        """Where in the chunks of a raw body is what was handed on so far; None: it is not in chunks, or not raw."""
        return self._body.position if self._raw and isinstance(self._body, ChunkedBody) else None

    def interrupt(self, words: bytes) -> bytes:
        """Frame last words behind what was handed on of a body that breaks off (`bodies.Body.interrupt`)."""
        return b"" if self._body is None else self._body.interrupt(words)

    def pause(self) -> None:
        """Read no more from the backend until `resume`: whoever should take the bytes is slow.

        One whose answer has ended is its pool's, and read on: the next to have it wouldn't know that it is paused.
        """
        if self._receiver is not None and not self._closed and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._closed and self._paused:
            self._paused = False
            self._transport.resume_reading()

    def let_end(self, seconds: float) -> None:
        """Read an answer to its end for nobody, for so long at most: then another request can have the connection."""
        if self._receiver is not None:
            nobody = self._receiver = Nobody()
            self._loop.call_later(seconds, self._end_waiting, nobody)

    def _end_waiting(self, nobody: "Nobody") -> None:
        if self._receiver is nobody:
            self.abort()

    def rest(self) -> None:
        """Take it for one that was used before: it may be closed, by its peer, when its first request comes."""
        self._reused = True

    def abort(self) -> None:
        """Close at once and tell the receiver nothing: it is the one who asked."""
        self._receiver = None
        self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed, self._rest = True, []
            self._transport.abort()
            self._on_closed(self)

    def _fail(self, failure: Failure, detail: str = "") -> None:
        receiver, self._receiver = self._receiver, None
        self._close()
        if receiver is not None:
            receiver.on_failure(failure, detail)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on what came."""
        receiver, body = self._receiver, self._body
        if receiver is None:
            self._close()  # bytes that nobody asked for
            return
        try:
            if body is None:
                self._read_head(self._held + data, receiver)
                return
            data = body.feed(data)
            if data:
                receiver.on_body(data)
            if body.done:
                self._end(body)
        except ProtocolError as error:
            if error.before and self._receiver is not None:  # else the head was turned away
                receiver.on_remains(error.before)
            self._fail(Failure.GARBLED, str(error))

    def _read_head(self, data: bytes, receiver: Receiver) -> None:
        """Read the head, past any interim ones (1xx), and what came behind it."""
        known = self._known
        recalled = None if known is None else known.recall(data)
        if known is None or recalled is None:
            parsed = parse_response(data)
            while parsed is not None and parsed[0].head.status < 200:
                if parsed[0].head.status == 101:
                    raise ProtocolError("a switch of protocols that nobody asked for")
                data = parsed[2]
                parsed = parse_response(data)
            if parsed is None:
                self._held = data
                return
            known, length, data = parsed
            self._known = known
        else:
            length, data = recalled
        self._held = b""
        head = known.head
        self._keep_alive = head.keep_alive
        body = self._body = body_of(head.framing, length, raw=self._raw)
        self.head_at = self._loop.time()
        receiver.on_head(head, length)
        if body.done:  # none was announced
            body.surplus = bool(data)
        elif data:
            data = body.feed(data)
            if data and self._receiver is not None:  # else the head was turned away
                receiver.on_body(data)
        if body.done:
            self._end(body)

    def _end(self, body: Body) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            # It left while it was being told of the last bytes.
            return
        # If there is any, the backend answered before it had read the request.
        unsent = self._transport.get_write_buffer_size() + len(self._rest)
        if self._texts is not None:
            unsent += self._texts.missing
        if self._keep_alive and not body.surplus and not unsent and not self._closed:
            self._reused = True
            if self._paused:
                self.resume()
            self._on_idle(self)
        else:
            self._close()
        receiver.on_end()

    def eof_received(self) -> None:
        """Take the backend's end for the connection's."""
        self.connection_lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the receiver what the lost connection means for its answer."""
        detail = why_not(error) or str(error) if error else "the connection closed"
        if self._body is None:
            soon = not self._held and self._loop.time() - self._sent_at < STALE_WITHIN
            if soon and self._reused:
                self._fail(Failure.STALE, detail)
            elif isinstance(error, ssl.SSLError):
                self._fail(Failure.INSECURE, detail)
            else:
                secured = soon and self._transport.get_extra_info("ssl_object") is not None
                self._fail(Failure.CLOSED, f"{detail}; {MAY_WANT}" if secured else detail)
        elif error is None and self._body.ends_at_eof():
            self._end(self._body)
        else:
            self._fail(Failure.BROKEN, detail)
        self._close()
