"""What an exchange came to, and what the end of its answer says: pure, and read only after the answer is whole.

No answer is parsed on its way. The router keeps the last `TAIL` bytes, and what is wanted of an answer stands there:
engines send the counts of tokens, the reason why they stopped, and their errors last.
"""

import re

import msgspec

TAIL = 2048
"""Bytes that are kept of an answer's end: a stream's last events, or the last fields of a JSON answer."""

RESPONSES = "/v1/responses"

_PIECE = 256  # bytes: what is shorter is joined with the next
_MOST_TOKENS = 10**12  # what is more is a mistake

_DONE = rb"(?:^|\n)data: ?\[DONE\][ \t]*(?:\r?\n|\Z)"
_ERROR_EVENT = rb"(?:^|\n)event: ?error\r?\ndata:[^\n]*\}\r?\n"
_STOPPED = rb'(?:^|\n)(?:event: ?message_stop\r?\ndata:|data: ?\{[^\n]*"type" ?: ?"message_stop")[^\n]*\}\r?\n'
_SAYS_DONE = re.compile(_DONE)  # to clients, whatever API it is: OpenAI's read no further
_MARKS = {
    "/v1/chat/completions": _SAYS_DONE,
    "/v1/completions": _SAYS_DONE,
    "/v1/messages": re.compile(b"|".join((_STOPPED, _ERROR_EVENT, _DONE))),
}
_RESPONDED = re.compile(
    rb"(?:^|\n)(?:event: ?(?:response\.(?:completed|incomplete|failed)|error)\r?\n"
    rb'|data: ?\{"type": ?"(?:response\.(?:completed|incomplete|failed)|error)")|' + _DONE
)
_NAME = 64  # bytes that the beginning of such an event takes at most

_EMPTY_LINE = re.compile(rb"(?:\r?\n){2}\Z")
_CHUNK_LINE = re.compile(rb"\r\n[0-9A-Fa-f]{1,15}[ \t]*(?:;[^\r\n]*)?\r\n")
_WORD = re.compile(rb'\s*:\s*"([A-Za-z_]{1,40})"')
_ERROR = re.compile(rb'(?:\n|^)(?:data: ?)?\{\s*"(?:error"\s*:\s*[{"]|(?:type|object)"\s*:\s*"error")')


def has_event(data: bytes) -> bool:
    """Whether an event begins in the first bytes of a stream, chunked or not; if none does, they are pings."""
    return b"\ndata:" in data or data.startswith(b"data:")


class Tail:
    """The end of an answer, kept at little cost: pieces as they come, small ones joined, no more than are needed."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = [b""]

    def add(self, data: bytes) -> None:
        """Take the next piece."""
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
        """Give the last bytes: `TAIL` at most, and not much less where there are as many."""
        return b"".join(self._pieces)[-TAIL:]

    def is_whole(self, path: str) -> bool:
        """Tell whether a stream of this API has said its end mark: its own, or where it has none, `[DONE]`.

        What an engine says behind the mark doesn't count. A body in chunks may be cut into them anywhere, but for
        chunks of hexadecimal digits alone, which look like sizes.
        """
        return _MARKS.get(path, _SAYS_DONE).search(_CHUNK_LINE.sub(b"", self.bytes())) is not None


class ResponsesTail(Tail):
    """The end of a stream of /v1/responses, whose last event has all of the answer in it: it may exceed a tail.

    So the beginning of that event is noted as it passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before = b""
        self._is_last = False

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        super().add(data)
        if not self._is_last:
            seen = _CHUNK_LINE.sub(b"", self._before + data)
            self._is_last = _RESPONDED.search(seen) is not None
            self._before = seen[-_NAME:]

    def is_whole(self, path: str) -> bool:  # noqa: ARG002  (of one API)
        """Tell whether the last event has come to its end, an empty line."""
        return self._is_last and _EMPTY_LINE.search(self.bytes()[-8:]) is not None


def tail_of(path: str) -> Tail:
    """Give what keeps the end of a stream of this API."""
    return ResponsesTail() if path == RESPONSES else Tail()


def needs_mark(path: str) -> bool:
    """Tell whether a stream of this API ends with a mark, whatever the engine."""
    return path in _MARKS or path == RESPONSES


def is_cut(tail: bytes, length: int) -> bool:
    """Tell whether an answer of JSON, of so many bytes, of which these are the last, lacks its end.

    Of one that isn't kept whole only the last bracket is known.
    """
    if length > len(tail):
        return not tail.rstrip().endswith((b"}", b"]"))
    try:
        _parse(tail)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True
    return False


class Record(msgspec.Struct):
    """What an exchange came to. Times are in seconds; `status` is 499 for a client that left."""

    id: str
    path: str
    model: str
    backend: str | None
    status: int
    outcome: str
    attempts: int
    ttft: float | None  # from the request's arrival to a stream's first event (no ping), or another answer's first byte
    duration: float
    sent: int  # bytes of body passed to the client
    events: int  # server-sent events passed to the client
    tail: bytes  # the last of them
    waited: float = 0.0  # for a backend with room, of the duration
    key: str = ""  # whose: the name of the key that was shown
    hedge: str = ""  # how a second attempt beside the first ended, if there was one: "won" or "lost"


class Ending(msgspec.Struct):
    """What the end of an answer says; None is what it doesn't."""

    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    error: bool  # whether it ends with an error, whatever its status was


_SAYS_ERROR = re.compile(
    rb"\s*(?:[0-9A-Fa-f]{1,8}[^\r\n]{0,64}\r\n)?(?:event: ?error\r?\n)?(?:data: ?)?"
    rb'\{\s*"(?:error"\s*:\s*[{"]|(?:type|object)"\s*:\s*"error")'
)


def says_error(data: bytes) -> bool:
    """Tell whether an answer begins with an error: as an event or not, in its chunk or not, whatever its status."""
    if data[:5] == b'{"id"':  # as nearly every answer in one piece begins: the search below costs ten times this
        return False
    return data.find(b"error", 0, 96) >= 0 and _SAYS_ERROR.match(data) is not None


_read = msgspec.json.Decoder(dict[str, object]).decode
_parse = msgspec.json.Decoder(msgspec.Raw).decode


def ending(tail: bytes) -> Ending:
    """Read the end of an answer: the last mention of each counts."""
    usage = _usage(tail)
    return Ending(
        _count(usage, "prompt_tokens", "input_tokens"),
        _count(usage, "completion_tokens", "output_tokens"),
        _reason(tail, b'"finish_reason"') or _reason(tail, b'"stop_reason"'),
        ends_in_error(tail),
    )


def ends_in_error(tail: bytes) -> bool:
    """Tell whether there is an error in the end of an answer."""
    return tail.rfind(b'"error"') >= 0 and _ERROR.search(tail) is not None


def _usage(tail: bytes) -> dict[str, object]:
    """Read the last object that is called usage; it may hold others."""
    at = tail.rfind(b'"usage"')
    begins = ends = tail.find(b"{", at + 7, at + 12) if at >= 0 else -1
    while begins >= 0 and (ends := tail.find(b"}", ends) + 1) > 0:
        said = tail[begins:ends]
        if said.count(b"{") == said.count(b"}"):
            try:
                return _read(said)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                break
    return {}


def _count(usage: dict[str, object], *names: str) -> int | None:
    """Give a count of tokens by the first of its names: OpenAI's older one, or Anthropic's and OpenAI's newer one."""
    for name in names:
        said = usage.get(name)
        if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < _MOST_TOKENS:
            return said
    return None


def _reason(tail: bytes, name: bytes) -> str | None:
    """Find the last word said as this: engines say null until there is one."""
    at = tail.rfind(name)
    while at >= 0:
        said = _WORD.match(tail, at + len(name))
        if said is not None:
            return said[1].decode("ascii")
        at = tail.rfind(name, 0, at)
    return None
