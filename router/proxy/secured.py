"""A client's connection over TLS: a transport for its lane, which knows nothing of TLS, on the transport of the socket.

    SHAKING     nothing has come yet, or the handshake isn't whole: it counts as a connection; `Lane.sweep` bounds it
    OPEN        what comes is decrypted for the protocol, and what the protocol writes is encrypted at once
    LINGERING   the client spoke plain HTTP, and was told so: further bytes are dropped until it closes

Nothing is buffered here but the part of a record that has come: what is written waits, encrypted, in the socket's
transport alone. So its bounds, pauses and sizes are those of the connection, and a connection that ends tells the
protocol so in the same turn of the loop.

Not asyncio's own TLS: there a connection is nobody's until its handshake is whole, and one that isn't can't be counted,
or answered, or seen among others. Its certificate is also that of the server's start.

A handshake costs a signature: from 0.1 ms to ten, by the key. So a thread takes the steps of all handshakes, one after
the other, and the loop goes on meanwhile. Nothing is read from a client while a step of its own waits or is taken: then
the thread alone touches what encrypts.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Final, cast

from router.core.errors import BadRequestError, RouterError
from router.proxy.heads import path_in
from router.proxy.lane import GUEST_TIMEOUT, Lane
from router.proxy.requests import error_answer

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds that a handshake may take, from the connection's beginning: as a head may."""

LINGER_TIMEOUT: Final = 5.0
"""Seconds for which a client may go on sending that spoke plain HTTP."""

ONLY_TLS: Final = "This port speaks HTTPS, and the request came as plain HTTP: begin the URL with https://."

_HANDSHAKE: Final = b"\x16"
"""The first byte of every client that speaks TLS."""

_RECORD: Final = 16384
"""Most bytes of a TLS record."""


class State(Enum):
    """What a connection is doing."""

    SHAKING = auto()
    OPEN = auto()
    LINGERING = auto()


SHAKING, OPEN, LINGERING = State


class Secured(asyncio.Transport, asyncio.Protocol):
    """One client's connection. `context` gives the certificate's, and `make` the protocol, once it is open.

    `beside` has the one thread that takes the steps of handshakes.
    """

    _raw: asyncio.Transport

    def __init__(
        self,
        lane: Lane,
        beside: Executor,
        context: Callable[[], ssl.SSLContext],
        make: Callable[[], asyncio.Protocol],
    ) -> None:
        super().__init__()
        self._lane = lane
        self._beside = beside
        self._context = context
        self._make = make
        self._state = SHAKING
        # When the state began.
        self._since = lane.loop.time()
        self._guest = False
        # What comes and goes, encrypted; and what encrypts, once the first bytes have come.
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._protocol: asyncio.Protocol | None = None
        # Whether the client was shown the certificate; and what is said of a handshake that ends here, if anything.
        self._shown = False
        self._cut: str | None = None
        # Whether our side has said that it ends.
        self._ended = False

    def __repr__(self) -> str:
        return f"<Secured {self._state.name.lower()}>"

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the handshake, or for the moment that a guest has (lane.Lane)."""
        self._raw = cast("asyncio.Transport", transport)
        lane = self._lane
        lane.connections.add(self)
        lane.room -= 1
        if lane.room < 0:
            self._guest = True
            lane.receive(self)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._state is OPEN:
            if not self._ended:
                self._coming.write(data)
                self._read()
        elif self._state is SHAKING:
            if self._tls is None and not self._begins(data):
                return
            self._coming.write(data)
            self._raw.pause_reading()
            try:
                self._beside.submit(self._shake)
            except RuntimeError:
                # The listener is closed.
                self._raw.abort()

    def eof_received(self) -> bool:
        """Take the client's end for the connection's; one that doesn't say so over TLS means the same."""
        return bool(self._protocol is not None and self._protocol.eof_received())

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the protocol, in this turn of the loop."""
        protocol, self._protocol = self._protocol, None
        if self._state is OPEN:
            if protocol is not None:
                protocol.connection_lost(error)
            return
        why = self._cut
        if why is None and self._tls is not None:
            likely = "may not trust the certificate" if self._shown else "closed before it was shown the certificate"
            why = f"The TLS handshake broke off: its client {likely}."
        if why:
            self._refuse(why, "")
        self._leave()

    def pause_writing(self) -> None:
        """Have the protocol wait: the client is slower."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Have the protocol go on."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    # The handshake

    def _begins(self, data: bytes) -> bool:
        """Begin a handshake, if that is what came; else say that this port wants one."""
        if data.startswith(_HANDSHAKE):
            self._tls = self._context().wrap_bio(self._coming, self._going, server_side=True)
            return True
        if data[:1].isalpha():
            id_ = self._lane.rules.new_id()
            self._refuse(ONLY_TLS, path_in(data), id_)
            self._raw.write(error_answer(BadRequestError(ONLY_TLS), path_in(data), id_, keep_alive=False))
            if self._raw.can_write_eof():
                self._raw.write_eof()
            self._state, self._since = LINGERING, self._lane.loop.time()
        else:
            self._raw.abort()
        return False

    def _shake(self) -> None:
        """Take the next step of the handshake, in the thread."""
        tls, why = self._tls, None
        assert tls is not None  # noqa: S101  (it has begun)
        try:
            tls.do_handshake()
        except ssl.SSLError as error:
            why = error
        with suppress(RuntimeError):  # the loop may have ended meanwhile
            self._lane.loop.call_soon_threadsafe(self._shaken, why)

    def _shaken(self, why: ssl.SSLError | None) -> None:
        """Go on after a step, which may have failed, or the last one."""
        if self._raw.is_closing():
            return
        self._raw.resume_reading()
        if why is None:
            self._send()
            self._open()
        elif isinstance(why, ssl.SSLWantReadError):
            self._shown = self._shown or self._going.pending > 0
            self._send()
        else:
            self._fail(why)

    def _open(self) -> None:
        """Have the protocol read, which counts the connection by itself."""
        self._leave()
        self._state = OPEN
        protocol = self._protocol = self._make()
        protocol.connection_made(self)
        self._read()

    def _leave(self) -> None:
        """Count it no more."""
        self._lane.connections.discard(self)
        self._lane.guests.pop(self, None)
        self._lane.left()

    def _fail(self, error: ssl.SSLError) -> None:
        """Close, with the alert that says why, if there is one."""
        self._refuse(f"The TLS handshake failed: {_plain(error)}.", "")
        self._send()
        self._tls, self._cut = None, ""
        self._raw.close()

    def _refuse(self, why: str, path: str, request_id: str = "") -> None:
        self._lane.note_refusal(BadRequestError(why), path, self._raw, request_id)

    # Bytes

    def _read(self) -> None:
        """Decrypt what has come, and hand it on at once."""
        tls, pieces, ends = self._tls, [], False
        assert tls is not None  # noqa: S101  (the handshake is whole)
        try:
            while piece := tls.read(_RECORD):
                pieces.append(piece)
            ends = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            # Bytes that aren't this client's.
            self._send()
            self._raw.abort()
            return
        self._send()
        if pieces and self._protocol is not None:
            self._protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if ends and self._protocol is not None and not self._protocol.eof_received():
            self.close()

    def _send(self) -> None:
        if self._going.pending and not self._raw.is_closing():
            self._raw.write(self._going.read())

    def _end(self) -> None:
        """Say over TLS that nothing more comes: what breaks off without it was cut."""
        if self._tls is not None and self._state is OPEN and not self._ended:
            self._ended = True
            with suppress(ssl.SSLError):  # it would wait for the client's own end
                self._tls.unwrap()
            self._send()

    # What the lane asks of a connection (lane.Connection), until the protocol is there

    @property
    def busy(self) -> bool:
        """No request is under way."""
        return False

    def overdue(self, now: float) -> bool:
        """Whether the handshake has lasted too long."""
        limit = LINGER_TIMEOUT if self._state is LINGERING else HANDSHAKE_TIMEOUT
        return now - self._since > (GUEST_TIMEOUT if self._guest else limit)

    def give_up(self) -> None:
        """Cut it, as it is overdue."""
        if self._state is SHAKING and self._cut is None:
            what = "had not begun" if self._tls is None else "was not whole"
            self._cut = f"The TLS handshake {what} within {GUEST_TIMEOUT if self._guest else HANDSHAKE_TIMEOUT:g} s."
        self._raw.abort()

    def refuse_unread(self, error: RouterError) -> None:
        """Do nothing: no request has begun to come."""

    def hang_up(self) -> None:
        """Close it."""
        self._cut = ""
        self._raw.close()

    def make_way(self) -> None:
        """Cut it, for another guest."""
        self._cut = ""
        self._raw.abort()

    # What the protocol asks of its transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt bytes, and send them."""
        tls = self._tls
        if data and tls is not None and not self._ended and not self._raw.is_closing():
            tls.write(data)
            self._raw.write(self._going.read())

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Encrypt and send them all together."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Whether this side can end while the other goes on."""
        return self._raw.can_write_eof()

    def write_eof(self) -> None:
        """End this side; what comes from then on is dropped."""
        self._end()
        self._raw.write_eof()

    def close(self) -> None:
        """Close once all is sent."""
        if not self._raw.is_closing():
            self._end()
            self._raw.close()

    def abort(self) -> None:
        """Close now."""
        self._raw.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        """Read no more from the client."""
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._raw.resume_reading()

    def is_reading(self) -> bool:
        """Whether the client is read from."""
        return self._raw.is_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol read from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the protocol that reads."""
        return self if self._protocol is None else self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say how many bytes may wait for the client."""
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Give these bounds."""
        return self._raw.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """Give the number of bytes that wait for the client."""
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
        """Tell of the connection: the client's address, …; `ssl_object` and `sslcontext` show that it is secure."""
        tls = self._tls
        if tls is not None and name in {"ssl_object", "sslcontext"}:
            return tls if name == "ssl_object" else tls.context
        return self._raw.get_extra_info(name, default)


def _plain(error: ssl.SSLError) -> str:
    """Say what OpenSSL says, in its words: most of it is what the client has told."""
    words = (error.reason or str(error)).replace("_", " ").lower()
    for alert in ("sslv3 alert ", "tlsv1 alert ", "tlsv13 alert "):
        if words.startswith(alert):
            return f"the client said: {words.removeprefix(alert)}"
    return words
