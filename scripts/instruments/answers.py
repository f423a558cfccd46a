"""An answer as its bytes come: HTTP/1.1 head, body by length, chunks or close, and the events of a stream.

There is no I/O and no clock in here: `feed` is given the bytes of a read, and the moment at which they came. It is the
hot path of a load, so each event is looked at once: does it have content? A token is an event with content, as clients
see it. Engines that put several tokens into an event say how many in `usage`, which is taken over where it comes.
"""

import re
from typing import Any, Final

import msgspec

_CONTENT = re.compile(rb'"(?:content|text|reasoning|reasoning_content|arguments)": ?"(?!")')
_MOST = 16 * 1024 * 1024
"""The largest head, line or kept body, in bytes."""

BACKEND: Final = "x-router-backend"
QUEUE_TIME: Final = "x-router-queue-ms"


class MalformedError(ValueError):
    """Bytes that are no HTTP answer."""


class HttpAnswer:
    """One answer, as far as it has come; its body is kept.

    `sent` is when its request was written, `head` when the first bytes of its head came. `failure` is empty while
    nothing is wrong; `detail` says more of it. `left`: the client wants nothing more of it.
    """

    __slots__ = (
        "_chunked", "_held", "_left_of_body", "body", "detail", "failure", "head", "headers", "keep_alive", "left",
        "sent", "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sent = self.head = 0.0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.keep_alive = True
        self.left = False
        self.failure = self.detail = ""
        self._held = b""
        self._left_of_body: int | None = None
        self._chunked = False

    @property
    def backend(self) -> str:
        """Name the backend that answered, where a router says so; else empty."""
        return self.headers.get(BACKEND, "")

    @property
    def queue_time(self) -> float | None:
        """Give the seconds that it waited in a router's queue, where the router says so."""
        try:
            return float(self.headers[QUEUE_TIME]) / 1000
        except (KeyError, ValueError):
            return None

    def feed(self, data: bytes, now: float) -> bool:
        """Take a read. True: nothing more is wanted, since the answer is whole, or left. Raises MalformedError."""
        if self._chunked and not self._held:  # one chunk in one read, as engines and proxies mostly send it
            at = data.find(b"\r\n", 0, 10)
            if at > 0 and len(data) == at + 4 + _size(data[:at]) and at + 4 < len(data):
                self._take_body(data[at + 2 : -2], now)
                return self.left
        return self._feed_any(data, now)

    def _feed_any(self, data: bytes, now: float) -> bool:
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
            return self._read_chunks(now)
        taken, self._held = self._held[: self._left_of_body], b""
        self._take_body(taken, now)
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

    def _read_chunks(self, now: float) -> bool:
        held, at, last = self._held, 0, False
        while (line_end := held.find(b"\r\n", at)) >= 0:
            size = _size(held[at:line_end])
            end = line_end + 2 + size
            last = size == 0
            if last or len(held) < end + 2:
                break
            self._take_body(held[line_end + 2 : end], now)
            at = end + 2
        self._held = held[at:]
        # Trailers may follow the last chunk.
        return self.left or (last and b"\r\n\r\n" in self._held)

    def _take_body(self, data: bytes, _now: float) -> None:
        self.body += data
        if len(self.body) > _MOST:
            raise MalformedError("a body that doesn't end")

    def end(self, lost: str | None) -> None:
        """Note that nothing more will come: the answer is whole (None), or its connection was `lost`, with a reason."""
        by_close = self.status and not self._chunked and self._left_of_body is None
        if lost or (lost is not None and not by_close):
            self.failure, self.detail = "cut off" if self.status else "no answer", lost or "the connection was closed"
        elif self.status != 200:
            self.failure, self.detail = f"status {self.status}", self.body[:200].decode(errors="replace")
        else:
            self._check_whole()

    def _check_whole(self) -> None:
        """Look at an answer that came whole, with a 200."""

    def late(self, timeout: float) -> None:
        """Note that it didn't end in time, in seconds."""
        self.failure, self.detail = "timeout", f"no end after {timeout:g} s"


class TimedAnswer(HttpAnswer):
    """An answer of a model, and when its tokens came.

    `due` is when its request should have been sent, `first` and `last` when its first and its last token came. `usage`
    counts tokens as the engine does; 0: it didn't say. The client leaves after `leave_after` tokens; 0: never. The body
    of a stream is kept only with `keep`.
    """

    __slots__ = (
        "_done", "_keep", "_leave_after", "_line", "due", "first", "last", "prompt_tokens", "streamed", "tokens",
        "usage",
    )  # fmt: skip

    def __init__(self, due: float, leave_after: int = 0, *, keep: bool = False) -> None:
        super().__init__()
        self.due = self.sent = due
        self.first = self.last = 0.0
        self.tokens = self.usage = self.prompt_tokens = 0
        self.streamed = False
        self._leave_after = leave_after
        self._keep = keep
        self._line = b""
        self._done = False

    def _read_head(self, head: bytes, now: float) -> None:
        super()._read_head(head, now)
        self.streamed = self.status == 200 and self.headers.get("content-type", "").startswith("text/event-stream")

    def _take_body(self, data: bytes, now: float) -> None:
        if not self.streamed or self._keep:
            super()._take_body(data, now)
        if self.streamed:
            *lines, self._line = (self._line + data).split(b"\n")
            for line in lines:
                if line.startswith(b"data:") and not self.left:
                    self._event(line, now)

    def _event(self, line: bytes, now: float) -> None:
        if _CONTENT.search(line):
            self._token(now)
        elif line[5:].strip() == b"[DONE]":
            self._done = True
        elif b'"usage"' in line or b'"error"' in line:
            self._read_fields(line[5:])

    def _token(self, now: float) -> None:
        if not self.tokens:
            self.first = now
        self.tokens += 1
        self.last = now
        if self.tokens == self._leave_after:
            self.left = True

    def _read_fields(self, text: bytes) -> None:
        """Read from JSON how many tokens there were, and what went wrong."""
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

    def _check_whole(self) -> None:
        if self.streamed and not self._done and not self.failure:
            self.failure, self.detail = "cut off", "the stream ended without [DONE]"
        elif not self.streamed:
            self._read_fields(self.body)

    def late(self, timeout: float) -> None:
        """Note that it didn't end in time, in seconds."""
        super().late(timeout)
        self.detail += f", {self.tokens} tokens came"


def _size(digits: bytes) -> int:
    try:
        return int(digits.partition(b";")[0], 16)
    except ValueError:
        raise MalformedError(f"no size of a chunk: {digits[:20]!r}") from None
