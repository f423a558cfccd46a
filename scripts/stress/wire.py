"""An answer as its bytes come: HTTP/1.1 head, body by length, chunks or close, and the events of a stream.

No I/O and no clock in here: `feed` is given the bytes of a read and when they came. It is the hot path of the load
generator, so an event is looked at once: is there content in it? A token is an event with content, as clients see it;
engines that put several tokens into an event say how many in `usage`, which is taken over where it comes.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from scripts.stress.meter import Meter

_CONTENT = re.compile(rb'"(?:content|text|reasoning|reasoning_content|arguments)": ?"(?!")')
_MOST = 16 * 1024 * 1024
"""The largest head, line or kept body, in bytes."""

BACKEND: Final = "x-router-backend"
QUEUE_TIME: Final = "x-router-queue-ms"

Record = Callable[[float], None]


class MalformedError(ValueError):
    """Bytes that are no HTTP answer."""


class Answer:
    """One answer, as far as it has come.

    `due` is when its request should have been sent, on the clock of `feed`'s `now`. `gaps` gives, for a backend's name,
    where the times between its tokens are recorded. The client leaves after `leave_after` tokens; 0: never. With
    `keep`, the body of a stream is kept, too. `failure` is empty while nothing is wrong; `detail` says more of it.
    """

    __slots__ = (
        "_chunked", "_done", "_gap", "_gaps", "_held", "_keep", "_leave_after", "_left_of_body", "_line", "_meter",
        "_record_gap", "_stream", "body", "detail", "due", "failure", "first", "head", "headers", "keep_alive", "last",
        "left", "prompt_tokens", "sent", "status", "tokens", "usage",
    )  # fmt: skip

    def __init__(
        self, due: float, meter: Meter, gaps: Callable[[str], Record], leave_after: int = 0, *, keep: bool = False
    ) -> None:
        self.due = self.sent = due
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head = 0.0  # when its first bytes came; first, last: when its first and its last token did
        self.first = self.last = 0.0
        self.tokens = 0
        self.usage = 0  # tokens, as the engine counts them; 0: it didn't say
        self.prompt_tokens = 0
        self.body = b""
        self.keep_alive = True
        self.left = False
        self.failure = self.detail = ""
        self._meter = meter
        self._gaps = gaps
        self._leave_after = leave_after
        self._keep = keep
        self._held = self._line = b""
        self._left_of_body: int | None = None
        self._chunked = self._stream = self._done = False

    def feed(self, data: bytes, now: float) -> bool:
        """Take what came. True: nothing more is wanted, as it is whole, or left. Raises MalformedError."""
        if self._chunked and not self._held:  # one chunk in one read, as engines and proxies mostly send it
            at = data.find(b"\r\n", 0, 10)
            if at > 0 and len(data) == at + 4 + _size(data[:at]) and at + 4 < len(data):
                self._body(data[at + 2 : -2], now)
                return self.left
        return self._any(data, now)

    def _any(self, data: bytes, now: float) -> bool:
        self._held += data
        if len(self._held) > _MOST:
            raise MalformedError("a head or a chunk that doesn't end")
        while not self.status:
            end = self._held.find(b"\r\n\r\n")
            if end < 0:
                return False
            head, self._held = self._held[:end], self._held[end + 4 :]
            self._read_head(head, now)
        if self._chunked:
            return self._chunks(now)
        taken, self._held = self._held[: self._left_of_body], b""
        self._body(taken, now)
        if self._left_of_body is not None:
            self._left_of_body -= len(taken)
        return self._left_of_body == 0 or self.left

    def _read_head(self, head: bytes, now: float) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
            raise MalformedError(f"no HTTP answer: {first[:60]!r}")
        status = int(rest[:3])
        if status < 200:  # 100 Continue: the answer is still to come
            return
        self.status, self.head = status, now
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.keep_alive = version != "HTTP/1.0" and self.headers.get("connection", "").lower() != "close"
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length", "0" if status == 204 else "")
        self._left_of_body = int(length) if length.isdecimal() and not self._chunked else None
        self._stream = status == 200 and self.headers.get("content-type", "").startswith("text/event-stream")
        self._record_gap = self._gaps(self.backend)

    def _chunks(self, now: float) -> bool:
        held, at, last = self._held, 0, False
        while (line_end := held.find(b"\r\n", at)) >= 0:
            size = _size(held[at:line_end])
            end = line_end + 2 + size
            last = size == 0
            if last or len(held) < end + 2:
                break
            self._body(held[line_end + 2 : end], now)
            at = end + 2
        self._held = held[at:]
        return self.left or (last and b"\r\n\r\n" in self._held)  # behind the last chunk there may be trailers

    def _body(self, data: bytes, now: float) -> None:
        if not self._stream or self._keep:
            self.body += data
            if len(self.body) > _MOST:
                raise MalformedError("a body that doesn't end")
        if self._stream:
            *lines, self._line = (self._line + data).split(b"\n")
            for line in lines:
                if line.startswith(b"data:") and not self.left:
                    self._event(line, now)

    def _event(self, line: bytes, now: float) -> None:
        if _CONTENT.search(line):
            if self.tokens:
                self._record_gap(now - self.last)
            else:
                self.first = now
                self._meter.first_token(now - self.due)
            self.tokens += 1
            self.last = now
            self._meter.tokens += 1
            if self.tokens == self._leave_after:
                self.left = True
        elif line[5:].strip() == b"[DONE]":
            self._done = True
        elif b'"usage"' in line or b'"error"' in line:
            self._read(line[5:])

    def _read(self, text: bytes) -> None:
        """Take what JSON says of tokens, and of what went wrong."""
        try:
            said: Any = msgspec.json.decode(text)
        except msgspec.DecodeError:
            said = None
        if not isinstance(said, dict):
            self.failure = self.failure or "malformed"
            self.detail = self.detail or text[:200].decode(errors="replace")
            return
        if said.get("error"):
            self.failure, self.detail = "error event", str(said["error"])[:200]
        usage = said.get("usage")
        if isinstance(usage, dict):
            self.usage = int(usage.get("completion_tokens") or 0)
            self.prompt_tokens = int(usage.get("prompt_tokens") or 0)

    def end(self, lost: str | None) -> None:
        """Take note that nothing more will come: whole, or `lost`, for this reason, with the connection."""
        by_close = self.status and not self._chunked and self._left_of_body is None
        if lost or (lost is not None and not by_close):
            self.failure, self.detail = "cut off" if self.status else "no answer", lost or "the connection was closed"
        elif self.status != 200:
            self.failure, self.detail = f"status {self.status}", self.body[:200].decode(errors="replace")
        elif self._stream and not self._done and not self.failure:
            self.failure, self.detail = "cut off", "the stream ended without [DONE]"
        elif not self._stream:
            self._read(self.body)

    @property
    def streamed(self) -> bool:
        """Whether it is a stream of events."""
        return self._stream

    @property
    def backend(self) -> str:
        """Who answered, where a router says so; else empty."""
        return self.headers.get(BACKEND, "")

    @property
    def queue_time(self) -> float | None:
        """Seconds in a router's queue, where it says so."""
        try:
            return float(self.headers[QUEUE_TIME]) / 1000
        except (KeyError, ValueError):
            return None


def _size(digits: bytes) -> int:
    try:
        return int(digits.partition(b";")[0], 16)
    except ValueError:
        raise MalformedError(f"no size of a chunk: {digits[:20]!r}") from None
