"""The record of an exchange, and what the end of its answer says. Pure, and read only after the answer is whole.

No answer is parsed on its way. The router keeps the last `TAIL` bytes. All that the router wants of an answer is there:
engines send the token counts, the finish reason and their errors last.
"""

import re
from typing import Final

import msgspec

from router.core.apis import OLLAMA_STREAMS, RESPONSES
from router.core.timeline import Try, Wait

TAIL = 2048
"""Bytes that are kept of an answer's end: a stream's last events, or the last fields of a JSON answer."""

ANSWERED: Final = "answered"
"""The outcome of an exchange whose answer is whole."""

_OPENING: Final = {"/v1/messages": 2, RESPONSES: 4}
"""Events before a stream's first text: of the message and its block; of the response, its item and its part."""

_PIECE = 256
"""Bytes below which a piece is joined with the next."""

_MOST_TOKENS = 10**12
"""Token counts above this are mistakes."""

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
_WORD = re.compile(rb'\s*:\s*(?:\{\s*"reason"\s*:\s*)?"([A-Za-z_]{1,40})"')
_REASONS = (b'"finish_reason"', b'"stop_reason"', b'"done_reason"', b'"incomplete_details"', b'"status"')
"""Fields that say why an answer ended; answers of OpenAI's Responses have the last two alone."""

_ERROR = re.compile(rb'(?:\n|^)(?:data: ?)?\{\s*"(?:error"\s*:\s*[{"]|(?:type|object)"\s*:\s*"error")')
_FAILED = re.compile(rb'"status":"failed"\}(?:,"sequence_number":\d+)?\}\s*\Z')
"""The end of a stream of /v1/responses that failed, as `router.translate` writes it."""


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


class Record(msgspec.Struct):
    """The record of an exchange. Times are in seconds; `status` is 499 for a client that left.

    `ttft` is from the request's arrival to a stream's first event (not a ping), or to another answer's first byte.
    `sent` is the bytes of body, and `events` the server-sent events, that were passed to the client; `tail` is the last
    of these bytes. `waited` is the part of `duration` spent waiting for a backend with room. `key` is the name of the
    key that was shown. `hedge` is how a second attempt ended, if there was one: "won" or "lost". `client` is its
    connection's address. `tries` and `waits` are its attempts and its times in the queue, each in the order of their
    ends.
    """

    id: str
    path: str
    model: str
    backend: str | None
    status: int
    outcome: str
    attempts: int
    ttft: float | None
    duration: float
    sent: int
    events: int
    tail: bytes
    waited: float = 0.0
    key: str = ""
    hedge: str = ""
    client: str = ""
    tries: tuple[Try, ...] = ()
    waits: tuple[Wait, ...] = ()


class Ending(msgspec.Struct):
    """What the end of an answer says; None if it doesn't. `error`: it ends with an error, whatever its status."""

    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    error: bool


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


_CACHED = ("cache_read_input_tokens", "cache_creation_input_tokens")

_read = msgspec.json.Decoder(dict[str, object]).decode
_parse = msgspec.json.Decoder(msgspec.Raw).decode


def ending(tail: bytes) -> Ending:
    """Read the end of an answer. The last mention of each figure counts."""
    usage = _usage(tail)
    prompt = _count(usage, "prompt_tokens", "input_tokens", "prompt_eval_count")
    if prompt is not None:
        # Anthropic's API counts them apart.
        prompt += sum(_count(usage, name) or 0 for name in _CACHED)
    return Ending(
        prompt,
        _count(usage, "completion_tokens", "output_tokens", "eval_count"),
        next(filter(None, (_reason(tail, name) for name in _REASONS)), None),
        ends_in_error(tail),
    )


def told_by(record: Record) -> Ending:
    """Read how an exchange ended. What was cut has no reason of the engine's, and the counts of its beginning are none.

    Its tokens are about as many as its events.
    """
    said = ending(record.tail)
    if record.outcome != ANSWERED:
        said.finish_reason = None
        if record.events:
            said.prompt_tokens = said.prompt_tokens or None
            said.completion_tokens = max(said.completion_tokens or 0, tokens_in(record.path, record.events))
    return said


def cached_tokens(tail: bytes) -> int | None:
    """Read how many of the prompt's tokens the engine had in its cache; None if the end of its answer doesn't say.

    Anthropic's API has it beside the other counts, OpenAI's two have it inside.
    """
    usage = _usage(tail)
    details = usage.get("prompt_tokens_details", usage.get("input_tokens_details"))
    if isinstance(details, dict):
        return _count(details, "cached_tokens")
    return _count(usage, _CACHED[0])


def ends_in_error(tail: bytes) -> bool:
    """Tell whether there is an error in the end of an answer."""
    return (tail.rfind(b'"error"') >= 0 and _ERROR.search(tail) is not None) or _FAILED.search(tail[-64:]) is not None


def _usage(tail: bytes) -> dict[str, object]:
    """Read the last object named usage; it may have objects inside."""
    at = tail.rfind(b'"usage"')
    begins = ends = tail.find(b"{", at + 7, at + 12) if at >= 0 else -1
    while begins >= 0 and (ends := tail.find(b"}", ends) + 1) > 0:
        said = tail[begins:ends]
        if said.count(b"{") == said.count(b"}"):
            try:
                return _read(said)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                break
    return _read_or_nothing(tail.rstrip().rpartition(b"\n")[2]) if b'"eval_count"' in tail else {}


def _read_or_nothing(said: bytes) -> dict[str, object]:
    """Read an object: the last line of Ollama's, which has its counts at the top."""
    try:
        return _read(said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _count(usage: dict[str, object], *names: str) -> int | None:
    """Give a token count by its first name found: OpenAI's older one, or Anthropic's, which OpenAI's newer API has."""
    for name in names:
        said = usage.get(name)
        if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < _MOST_TOKENS:
            return said
    return None


def _reason(tail: bytes, name: bytes) -> str | None:
    """Find the last text in a field of this name: engines send null until they have one."""
    at = tail.rfind(name)
    while at >= 0:
        said = _WORD.match(tail, at + len(name))
        if said is not None:
            return said[1].decode("ascii")
        at = tail.rfind(name, 0, at)
    return None
