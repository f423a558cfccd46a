"""The record of an exchange, and what the end of its answer says. Pure, and read only after the answer is whole.

No answer is parsed on its way. The router keeps the last `TAIL` bytes. All that the router wants of an answer is there:
engines send the token counts, the finish reason and their errors last.
"""

import re
from typing import Final

import msgspec

from router.core.apis import OLLAMA_STREAMS, RESPONSES
from router.core.limits import Charge
from router.core.timeline import Try, Wait

TAIL = 2048
"""Bytes that are kept of an answer's end: a stream's last events, or the last fields of a JSON answer."""

ANSWERED: Final = "answered"
"""The outcome of an exchange whose answer is whole."""

_OPENING: Final = {"/v1/messages": 2, RESPONSES: 4}
"""Events before a stream's first text: of the message and its block; of the response, its item and its part."""

_PIECE = 256
"""Bytes below which a piece is joined with the next."""

_DONE = rb"(?:^|\n)data: ?\[DONE\][ \t]*(?:\r?\n|\Z)"
_ERROR_EVENT = rb"(?:^|\n)event: ?error\r?\ndata:[^\n]*\}\r?\n"
_STOPPED = rb'(?:^|\n)(?:event: ?message_stop\r?\ndata:|data: ?\{[^\n]*"type" ?: ?"message_stop")[^\n]*\}\r?\n'
# OpenAI's clients read no further than this, whatever the API.
_SAYS_DONE = re.compile(_DONE)
_MARKS = {
    "/v1/chat/completions": _SAYS_DONE,
    "/v1/completions": _SAYS_DONE,
    "/v1/messages": re.compile(b"|".join((_STOPPED, _ERROR_EVENT, _DONE))),
    # A quote inside a text is escaped, so that this is a field. After an error nothing follows either.
    **dict.fromkeys(OLLAMA_STREAMS, re.compile(rb'"done":true[^\n]*\}\n|(?:^|\n)\{"error":[^\n]*\}\n')),
}
_RESPONDED = re.compile(
    rb"(?:^|\n)(?:event: ?(?:response\.(?:completed|incomplete|failed)|error)\r?\n"
    rb'|data: ?\{"type": ?"(?:response\.(?:completed|incomplete|failed)|error)")|' + _DONE
)
_NAME = 64
"""Most bytes of what `_RESPONDED` matches."""

_EMPTY_LINE = re.compile(rb"(?:\r?\n){2}\Z")
_CHUNK_LINE = re.compile(rb"\r\n[0-9A-Fa-f]{1,15}[ \t]*(?:;[^\r\n]*)?\r\n")


def has_event(data: bytes) -> bool:
    """Tell whether an event begins in the first bytes of a stream, chunked or not; if none does, they are pings.

    A line of JSON is an event, too: no other stream begins with a brace.
    """
    return b"\ndata:" in data or data.startswith((b"data:", b"{"))


def events_in(data: bytes) -> int:
    """Count the server-sent events that begin in the next bytes of a stream."""
    return data.count(b"\ndata:") + data.startswith(b"data:")


def tokens_in(path: str, events: int) -> int:
    """Tell about how many tokens so many events of a stream bring: one each, but for those that open the stream."""
    return max(0, events - _OPENING.get(path, 0))


def is_lines(path: str) -> bool:
    """Tell whether the streams of this API are lines of JSON (NDJSON), each an event: Ollama's are."""
    return path in OLLAMA_STREAMS


class Tail:
    """The end of an answer, kept at little cost: pieces as they come, small ones joined, and only as many as needed."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = [b""]

    def add(self, data: bytes) -> None:
        """Add the next piece."""
        pieces = self._pieces
        if len(data) > TAIL:
            data = data[-TAIL:]
        if len(pieces[-1]) < _PIECE:
            pieces[-1] += data
            return
        pieces.append(data)
        if len(pieces) > TAIL // _PIECE:
            del pieces[0]

    def bytes(self) -> bytes:
        """Give the last bytes: at most `TAIL`, and not much fewer if the answer has as many."""
        return b"".join(self._pieces)[-TAIL:]

    def is_whole(self, path: str) -> bool:
        """Tell whether a stream of this API has sent its end mark: its own, or if the API has none, `[DONE]`.

        Bytes behind the mark don't matter. A chunked body may be cut anywhere, except into chunks of hexadecimal digits
        alone, which look like sizes.
        """
        return _MARKS.get(path, _SAYS_DONE).search(_CHUNK_LINE.sub(b"", self.bytes())) is not None


class ResponsesTail(Tail):
    """The end of a stream of /v1/responses. Its last event holds the whole answer, so it may be longer than a tail.

    So the beginning of that event is noted as it passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before = b""
        self._is_last = False

    def add(self, data: bytes) -> None:
        """Add the next piece."""
        super().add(data)
        if not self._is_last:
            seen = _CHUNK_LINE.sub(b"", self._before + data)
            self._is_last = _RESPONDED.search(seen) is not None
            self._before = seen[-_NAME:]

    def is_whole(self, path: str) -> bool:  # noqa: ARG002  (of one API)
        """Tell whether the last event has ended, with an empty line."""
        return self._is_last and _EMPTY_LINE.search(self.bytes()[-8:]) is not None


def tail_of(path: str) -> Tail:
    """Make the tail for a stream of this API."""
    return ResponsesTail() if path == RESPONSES else Tail()


def needs_mark(path: str) -> bool:
    """Tell whether a stream of this API ends with a mark, whatever the engine."""
    return path in _MARKS or path == RESPONSES


def is_cut(tail: bytes, length: int) -> bool:
    """Tell whether a JSON answer of `length` bytes lacks its end; `tail` is its last bytes.

    If `tail` isn't all of it, only the last bracket is checked.
    """
    if length > len(tail):
        return not tail.rstrip().endswith((b"}", b"]"))
    try:
        _parse(tail)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True
    return False


class Record:
    """The record of an exchange. Times are in seconds; `status` is 499 for a client that left.

    `ttft` is from the request's arrival to a stream's first event (not a ping), or to another answer's first byte.
    `sent` is the bytes of body, and `events` the server-sent events, that were passed to the client; `tail` is the last
    of these bytes. `waited` is the part of `duration` spent waiting for a backend with room. `key` is the name of the
    key that was shown. `hedge` is how a second attempt ended, if there was one: "won" or "lost". `client` is its
    connection's address. `tries` and `waits` are its attempts and its times in the queue, each in the order of their
    ends. `error` is the code of the router's own error that its client was told; empty: none. `charge` is what its
    key is charged, if that has limits.
    """

    def __init__(
        self,
        id: str,  # noqa: A002
        path: str,
        model: str,
        backend: str | None,
        status: int,
        outcome: str,
        attempts: int,
        ttft: float | None,
        duration: float,
        sent: int,
        events: int,
        tail: bytes,
        waited: float = 0.0,
        key: str = "",
        hedge: str = "",
        client: str = "",
        tries: tuple[Try, ...] = (),
        waits: tuple[Wait, ...] = (),
        error: str = "",
        charge: Charge | None = None,
    ) -> None:
        self.id: Final = id
        self.path: Final = path
        self.model: Final = model
        self.backend: Final = backend
        self.status: Final = status
        self.outcome: Final = outcome
        self.attempts: Final = attempts
        self.ttft: Final = ttft
        self.duration: Final = duration
        self.sent: Final = sent
        self.events: Final = events
        self.tail: Final = tail
        self.waited: Final = waited
        self.key: Final = key
        self.hedge: Final = hedge
        self.client: Final = client
        self.tries: Final = tries
        self.waits: Final = waits
        self.error: Final = error
        self.charge: Final = charge


_SAYS_ERROR = re.compile(
    rb"\s*(?:[0-9A-Fa-f]{1,8}[^\r\n]{0,64}\r\n)?(?:event: ?error\r?\n)?(?:data: ?)?"
    rb'\{\s*"(?:error"\s*:\s*[{"]|(?:type|object)"\s*:\s*"error")'
)


def says_error(data: bytes) -> bool:
    """Tell whether an answer begins with an error: as an event or not, chunked or not, whatever its status."""
    # Nearly every answer in one piece begins so, and the search below costs ten times as much.
    if data[:5] == b'{"id"':
        return False
    return data.find(b"error", 0, 96) >= 0 and _SAYS_ERROR.match(data) is not None


_parse = msgspec.json.Decoder(msgspec.Raw).decode
