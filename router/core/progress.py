"""What has passed of an answer to its client, and what has come of it since the last look. Pure.

`Passed` counts what passes; it is on the hot path. Whatever needs a closer reading waits for a look
(`AnswerProgress.look`), some times a second. A look finds one of these:

  1. Bytes have come, with content among them: the backend works.
  2. Bytes have come, but only pings. If the API's own end mark came before them, the message is whole.
  3. Bytes have come, but only pings. Some say that the engine has read on in the prompt.
  4. No bytes have come since the last look, and the end mark came before it: the message is whole.
  5. No bytes have come for `idle_timeout`: the engine is idle; while the client holds it up, the client is.
"""

from enum import Enum, auto

from router.core import stall
from router.core.ending import ends_in_error
from router.core.record import events_in, is_cut, is_lines, needs_mark, tail_of
from router.core.statuses import LIES
from router.http1.bodies import payload


class Found(Enum):
    """What a look has found."""

    NOTHING = auto()
    CONTENT = auto()
    READING = auto()
    WHOLE = auto()
    ENGINE_IDLE = auto()
    CLIENT_IDLE = auto()


class Passed:
    """What has passed of an answer to its client.

    `size` counts the bytes of its body, `events` its events. `streams`: the body is a stream of events.
    """

    def __init__(self, path: str) -> None:
        self.size = 0
        self.events = 0
        self.streams = False
        self.tail = tail_of(path)
        self._path = path
        self._is_lines = is_lines(path)
        self._status = 0
        self._lines = b""

    def begin(self, status: int, lines: bytes, *, streams: bool) -> None:
        """Note the head, whose status line and headers are `lines`; the body follows."""
        self._status, self._lines, self.streams = status, lines, streams

    def add(self, data: bytes) -> None:
        """Count the next bytes of the body."""
        self.size += len(data)
        if self.streams:
            self.events += data.count(b"\n") if self._is_lines else events_in(data)
        self.tail.add(data)

    def is_whole(self) -> bool:
        """Whether a stream's message is whole by its API's own end mark, whatever its framing still lacks."""
        return self.streams and self._status == 200 and self.tail.is_whole(self._path)

    def lacks_its_end(self, status: int, lines: bytes, *, streams: bool) -> bool:
        """Whether an answer with this head, which ended with its connection, ended too soon: its framing can't say."""
        if status != 200:
            return False
        if streams:
            return needs_mark(self._path) and not self.is_whole()
        lines = lines.lower()
        is_json = b"\r\ncontent-type: application/json" in lines and b"\r\ncontent-encoding:" not in lines
        return is_json and self.size > 0 and is_cut(self.tail.bytes(), self.size)

    def status(self, status: int) -> int:
        """The status that the answer counts by, of which its head said `status`: a stream may end with an error."""
        return LIES if status == 200 and self.streams and ends_in_error(self.tail.bytes()) else status

    @property
    def is_compressed(self) -> bool:
        """Whether the body can't be read here."""
        return b"\r\ncontent-encoding:" in self._lines.lower()


class AnswerProgress:
    """What the looks at one answer have seen of it.

    `begun_at` is when its first byte came, in seconds; `tokens_read` is how many tokens of the prompt it had said to
    have read before. `spoken`: it has had content. `moved_at` is when bytes were last seen to come, or its client to
    read on.
    """

    def __init__(self, begun_at: float, tokens_read: int) -> None:
        self.spoken = False
        self.moved_at = begun_at
        self._seen = 0  # bytes
        self._events = 0
        # The size at which the end mark was last looked for.
        self._checked = 0
        # In the chunks of a raw body (upstream.Connection.position).
        self._position: tuple[int, int] | None = None
        # The first byte of the stream's latest line; None: not known.
        self._line: bytes | None = None
        self._tokens_read = tokens_read
        self._unsent = -1

    def look(
        self, passed: Passed, position: tuple[int, int] | None, now: float, idle_timeout: float, *, paused: bool
    ) -> Found:
        """Look at what has passed. `position` is in the chunks of a raw body; `paused`: the client holds it up."""
        came = passed.size - self._seen
        if came:
            found = self._read(passed, came, position, paused=paused)
            if found is not Found.WHOLE:
                self._seen, self.moved_at = passed.size, now
            return found
        if passed.streams and self._checked != passed.size and not paused and passed.is_whole():
            return Found.WHOLE
        if now < self.moved_at + idle_timeout:
            self._checked = passed.size
            return Found.NOTHING
        return Found.CLIENT_IDLE if paused else Found.ENGINE_IDLE

    def note_client(self, unsent: int, now: float) -> None:
        """Note before a look that `unsent` bytes wait for a slow client: one that took some has moved."""
        if unsent != self._unsent:
            self._unsent, self.moved_at = unsent, now

    def _read(self, passed: Passed, came: int, position: tuple[int, int] | None, *, paused: bool) -> Found:
        if self._has_content(passed, came, position):
            return Found.CONTENT
        if self.spoken:
            return Found.WHOLE if not paused and passed.is_whole() else Found.NOTHING
        tokens = stall.progress(passed.tail.bytes()) if passed.streams else 0
        if tokens <= self._tokens_read:
            return Found.NOTHING
        self._tokens_read = tokens
        return Found.READING

    def _has_content(self, passed: Passed, came: int, ends_at: tuple[int, int] | None) -> bool:
        """Whether the bytes that came hold more than pings, however they were cut.

        Events that begin a piece, or come whole in one, have been counted. Without any the bytes are read.
        """
        position, line = self._position, self._line
        self._position = ends_at
        if not self._seen and ends_at is not None:
            position = 0, 0
        if passed.events != self._events:
            self._events, self._line = passed.events, None
            return True
        kept = passed.tail.bytes()
        if came > len(kept) or passed.is_compressed:
            self._line = None
            return True  # pings are few and short
        data = kept[-came:] if position is None else payload(kept[-came:], position)
        if not passed.streams:
            return bool(data.strip())
        if line is None:
            line = kept[:-came].rpartition(b"\n")[2][:1]
        found, self._line = stall.content(data, line)
        return found
