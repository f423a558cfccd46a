"""One try of a request at one backend: its connection there, and what has come of an answer so far.

    connect → sent → the head has come → bytes of the body, which may be held back → its end, or its failure

An attempt knows nothing of clients, of other attempts or of health: its `Owner`, the exchange, hears of each moment
and decides. A hedge is a second attempt beside the first; whichever wins, nothing has to be copied.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from router.core.catalog import Backend, Candidate
from router.core.errors import RouterError
from router.core.estimate.ask import Sent
from router.core.retry import Failure
from router.http1.bodies import CHUNKED, CLOSE
from router.proxy.dialling import ConnectError
from router.proxy.heads import ResponseHead
from router.proxy.pool import Pool
from router.proxy.upstream import Connection, Receiver

if TYPE_CHECKING:
    from router.core.decision import Decision
    from router.core.omissions import Omission
    from router.core.outline import Texts


MOST_COMMENT: Final = 4096
"""Bytes of a comment in a stream."""


class Owner:
    """What decides on an attempt: its exchange, or, for a second attempt beside the first, the exchange's hedge."""

    # A base class, not a Protocol: compiled, its methods are called natively.

    def written(self, attempt: "Attempt", pool: Pool) -> bytes:
        """The request as the attempt's backend is to have it. Raises RouterError if its engine can't be told it."""
        raise NotImplementedError

    def takes_chunks(self) -> bool:
        """Whether a body in chunks is wanted as it comes; else its data alone."""
        raise NotImplementedError

    def on_odd_head(self, attempt: "Attempt", head: ResponseHead) -> None:
        """Hear of the head of an answer that isn't good (ResponseHead.odd). Its body follows."""
        raise NotImplementedError

    def on_body(self, attempt: "Attempt", data: bytes) -> None:
        """Take the next bytes of the body; see upstream.Receiver."""
        raise NotImplementedError

    def on_remains(self, attempt: "Attempt", data: bytes) -> None:
        """Take the bytes that came before a mistake in the framing, whose failure follows."""
        raise NotImplementedError

    def on_comment(self, attempt: "Attempt", words: bytes) -> None:
        """Hear what a peer says while it loads its model; by itself that is nothing."""

    def on_end(self, attempt: "Attempt") -> None:
        """Hear that the answer is whole by its framing."""
        raise NotImplementedError

    def on_failure(self, attempt: "Attempt", failure: Failure, detail: str) -> None:
        """Hear that nothing more will come."""
        raise NotImplementedError

    def on_mistake(self, attempt: "Attempt", error: Exception) -> None:
        """Hear that the router has a bug, or that the engine can't be told the request."""
        raise NotImplementedError


class Between(Receiver):
    """Hears an answer before its attempt does (proxy.interpreter, proxy.usage).

    `takes_chunks`: chunks are left as they are. `holds`: some bytes that came are held back.
    """

    takes_chunks = True
    holds = False

    def rest(self) -> bytes:
        """Give what is held back of an answer that breaks off."""
        return b""

    def last_words(self, error: RouterError) -> bytes:  # noqa: ARG002  (an interface)
        """The end of a stream that breaks off; nothing if only the stream's own API has a form for it."""
        return b""


class Attempt(Receiver):
    """One try at one backend, made when the ledger has counted it (`sent`), at the time `sent.at`.

    `why` is what was compared when its backend was chosen. `head_at` is when the head of its answer came.
    `held` are the first bytes of the body, while they aren't passed on. `status` is that of an answer that isn't good,
    else 0. `doubted_at` is since when the answer is doubted: kept until another backend was asked. None: it isn't.
    `worked_at` is when its backend last showed that it works on it. `told_read` is how many tokens of the prompt an
    engine says to have read, in comments that its client doesn't get. `paused`: the client is slow. `between` hears the
    answer first, where it may have to be translated; `Owner.written` sets it, and the `texts` of a body that is an
    outline. `rewrites` has, for each time that it was made again with another body, the fields that were refused.
    """

    between: Between | None = None
    texts: "Texts | None" = None
    told_read = 0
    rewrites: "tuple[frozenset[Omission], ...]" = ()
    head_at: float | None = None

    def __init__(self, owner: Owner, candidate: Candidate, sent: Sent, why: "Decision | None") -> None:
        self.candidate = candidate
        self.backend: Backend = candidate.backend
        self.sent = sent
        self.why = why
        self.head: ResponseHead | None = None
        self.length = 0
        self.held = b""
        self.status = 0
        self.doubted_at: float | None = None
        self.worked_at = sent.at
        self.tokens_read = 0
        self.paused = False
        self._owner = owner
        self._connecting: asyncio.Task[Connection] | None = None
        self._connection: Connection | None = None

    def __repr__(self) -> str:
        connecting = self._connection is None and self.head is None
        state = "connecting" if connecting else "sent" if self.head is None else f"answered {self.head.status}"
        return f"<Attempt at {self.backend.name}: {state}>"

    def connect(self, pool: Pool, loop: asyncio.AbstractEventLoop, *, fresh: bool = False) -> None:
        """Send the request, on a kept connection if there is one and `fresh` isn't asked for.

        Raises what `Owner.written` raises, if the request is sent at once.
        """
        connection = None if fresh else pool.take()
        if connection is not None:
            self._send(connection, pool)
            return
        connecting = self._connecting = loop.create_task(pool.connect())
        connecting.add_done_callback(lambda connecting: self._connected(connecting, pool))

    def _connected(self, connecting: "asyncio.Task[Connection]", pool: Pool) -> None:
        if connecting is not self._connecting:  # the attempt has ended
            if not connecting.cancelled() and not connecting.exception():
                connecting.result().abort()
            return
        self._connecting = None
        try:
            self._send(pool.made(connecting), pool)
        except ConnectError as refused:
            self.on_failure(refused.failure, str(refused))
        except Exception as error:  # noqa: BLE001  (the owner answers its client, whatever it is)
            self._owner.on_mistake(self, error)

    def _send(self, connection: Connection, pool: Pool) -> None:
        self._connection = connection
        request = self._owner.written(self, pool)
        if self.between is None and self.backend.estimate.unloaded:
            self.between = Loads(self)
        between = self.between
        connection.send(request, self if between is None else between, raw=self.raw, texts=self.texts)
        if self.paused:
            connection.pause()

    def hand_over(self, owner: Owner) -> None:
        """Let another owner decide from now on."""
        self._owner = owner

    def pause(self) -> None:
        """Read no more of the answer: the client is slower."""
        self.paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        self.paused = False
        if self._connection is not None:
            self._connection.resume()

    @property
    def raw(self) -> bool:
        """Whether a body in chunks comes as it is."""
        return self._owner.takes_chunks() and (self.between is None or self.between.takes_chunks)

    @property
    def position(self) -> tuple[int, int] | None:
        """Where in the chunks of a raw body is what has come so far (upstream.Connection.position)."""
        if self._connection is None or (self.between is not None and self.between.holds):
            return None
        return self._connection.position

    @property
    def listens(self) -> bool:
        """Whether it still waits for more of an answer: nobody has ended it."""
        return self._connection is not None

    def interrupt(self, words: bytes) -> bytes:
        """Frame last words behind what has come of a body that breaks off (framing of upstream.Connection)."""
        between = self.between
        if between is not None and not between.takes_chunks:
            return words  # the body's framing is the router's
        rest = b"" if between is None else between.rest()
        return rest if self._connection is None else rest + self._connection.interrupt(words)

    def let_end(self, seconds: float) -> None:
        """Have the rest of the answer read for nobody, for so many seconds: then its connection can be kept."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.let_end(seconds)

    def let_go(self) -> None:
        """Leave the connection to its pool: the answer is whole."""
        self._connection = None

    def give_up(self, failure: Failure, detail: str) -> None:
        """Close the connection, and hand on that nothing more will come: what came makes no sense."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self.on_failure(failure, detail)

    def end(self) -> None:
        """Close the connection: the engine is free in the same turn of the loop."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    # What the connection tells (upstream.Receiver)

    def on_head(self, head: ResponseHead, length: int) -> None:
        """Keep the head until the body begins."""
        self.head, self.length = head, length
        if self._connection is not None:
            self.head_at = self._connection.head_at
        if head.odd:
            self._owner.on_odd_head(self, head)

    def on_body(self, data: bytes) -> None:
        """Hand the next bytes on."""
        self._owner.on_body(self, data)

    def on_comment(self, words: bytes) -> None:
        """Hand on what a peer says while it loads its model."""
        self._owner.on_comment(self, words)

    def on_remains(self, data: bytes) -> None:
        """Hand on what came before a mistake."""
        self._owner.on_remains(self, data)

    def on_mistake(self, error: Exception) -> None:
        """Hand on that the router has a bug, or that the engine can't be told the request."""
        self._owner.on_mistake(self, error)

    # After these two the connection tells nothing more: a bug in what follows would leave the client waiting.

    def on_end(self) -> None:
        """Hand on that the answer is whole."""
        try:
            self._owner.on_end(self)
        except Exception as error:  # noqa: BLE001  (the owner answers its client, whatever it is)
            self._owner.on_mistake(self, error)

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Hand on that nothing more will come."""
        try:
            self._owner.on_failure(self, failure, detail)
        except Exception as error:  # noqa: BLE001  (as above)
            self._owner.on_mistake(self, error)


class Loads(Between):
    """Hears an answer of a peer that has to load its model first, and says so in comments before the first event.

    They are told to the client, and aren't passed on: it has nothing of an answer yet, and another backend may still
    give one if the peer fails.
    """

    takes_chunks = False

    def __init__(self, attempt: Attempt) -> None:
        self._attempt: Final = attempt
        self._held = b""
        self._begun = False

    def on_head(self, head: ResponseHead, length: int) -> None:
        """Hand it on; what came in chunks comes without them."""
        self._begun = not head.is_event_stream
        self._attempt.on_head(head._replace(framing=CLOSE) if head.framing is CHUNKED else head, length)

    def on_body(self, data: bytes) -> None:
        """Tell comments, and pass on what follows them."""
        if self._begun:
            self._attempt.on_body(data)
            return
        *lines, rest = (self._held + data).split(b"\n")
        self._held, self.holds = rest, True
        for place, line in enumerate(lines):
            if line[:1] == b":":
                self._attempt.on_comment(line[1:].strip())
            elif line.strip():
                self._pass_on(b"\n".join([*lines[place:], rest]))
                return
        if rest.strip() and (rest[:1] != b":" or len(rest) > MOST_COMMENT):
            self._pass_on(rest)

    def _pass_on(self, data: bytes) -> None:
        self._begun, self._held, self.holds = True, b"", False
        if data and self._attempt.listens:
            self._attempt.on_body(data)

    def rest(self) -> bytes:
        """Give what is held back of a stream that breaks off: a part of a comment is nothing."""
        return b""

    def on_remains(self, data: bytes) -> None:
        """Pass on what came before a mistake."""
        self._attempt.on_remains(data if self._begun else b"")

    def on_end(self) -> None:
        """Pass on the end."""
        self._attempt.on_end()

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Hand it on."""
        self._attempt.on_failure(failure, detail)
