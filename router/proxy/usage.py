"""Has streams tell their usage where their clients don't ask for it, and the client sees nothing of it.

Most engines tell how many tokens a stream had only if `stream_options.include_usage` asks for that, in an event of its
own before the end mark, with `choices: []`. Many clients take the first of the choices unseen, and break there. So for
those that didn't ask, whatever else they say in that field, `asking` writes it into the request, and `UsageTaker` takes
the event out of the answer:

1. Most pieces end with an event that can't be it: they pass as they are, after a look at their last bytes.
2. The event is replaced by a comment of the same length, which clients skip. So the chunks that an engine puts its
   events into stay as they are. What is no JSON (a chunk that ends inside of it, from some proxies) isn't touched.
3. The beginning of an event that isn't whole is held back until its end comes. No client could read it sooner.
4. A server that refuses the field gets the request again without it, and the next ones, too (core.omissions).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.omissions import Omission
from router.core.progress import Passed
from router.core.record import says_error
from router.core.retry import Failure
from router.proxy.attempt import Between
from router.proxy.heads import ResponseHead

if TYPE_CHECKING:
    from router.proxy.attempt import Attempt
    from router.proxy.plane import Plane
    from router.proxy.roles import UnderWay

PATHS: Final = frozenset({"/v1/chat/completions", "/v1/completions"})
"""Paths whose streams tell their usage if they are asked to."""

REFUSED: Final = Omission("stream_options")
"""What is known of a server that refuses it."""

MOST_HELD: Final = 8 * 1024
"""Bytes of an event that isn't whole; one with a usage has a few hundred."""

MOST_SAID: Final = 16 * 1024
"""Bytes of an error that are read."""

_NAME: Final = "stream_options"
_FIELD: Final = b'"stream_options"'
_ASKS: Final = b',"stream_options":{"include_usage":true}}'
_MARK: Final = b'"choices":[]'
_SPACED: Final = b'"choices": []'
_NULL: Final = (b'"usage":null}\n\n', b'"usage":null}\n\n\r\n')

_MAY_REFUSE: Final = frozenset({400, 422, 500, 501})
"""Statuses with which servers refuse a field."""


_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_options_of = msgspec.json.Decoder(dict[str, object]).decode
_encode = msgspec.json.Encoder().encode


def asks_usage(
    attempt: "Attempt", exchange: "UnderWay", body: bytes, plane: "Plane", again: Callable[[], None]
) -> bool:
    """Tell whether a request's stream is to be asked for its usage, and have that taken out of it again if so.

    Not where the client asks itself, or may do so in what has yet to come of a large body. `again` makes the attempt
    once more.
    """
    request, candidate, omissions = exchange.request, attempt.candidate, plane.directory.omissions
    attempt.between = None
    # A quote inside a text is escaped, so what is looked for in the body is a field.
    if (
        not request.stream
        or request.head.path not in PATHS
        or (request.texts is not None and request.texts.goes_on)
        or (_FIELD in body and _asks_itself(body))
        or REFUSED in omissions.of(candidate, plane.loop.time())
    ):
        return False

    def refused() -> None:
        omissions.learn(candidate, frozenset({REFUSED}), plane.loop.time())
        again()

    attempt.between = UsageTaker(attempt, exchange.answer.passed, refused)
    return True


def asking(body: bytes) -> bytes:
    """Write into a body, which is an object with fields, that its stream is to tell its usage.

    It stands last: of two fields with one name, however that is written, servers take the last one.
    """
    if _FIELD in body:
        fields = _fields_of(body)
        options = _options(fields.pop(_NAME, None))
        options["include_usage"] = True
        fields[_NAME] = msgspec.Raw(_encode(options))
        return _encode(fields)
    return body[: body.rfind(b"}")] + _ASKS


def _asks_itself(body: bytes) -> bool:
    """Tell whether a client asks for its stream's usage, or its request can't be read: then that is the backend's."""
    try:
        return _options(_fields_of(body).get(_NAME)).get("include_usage") is True
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True


def _options(said: msgspec.Raw | None) -> dict[str, object]:
    """Read the field; whatever is no object says nothing."""
    return _options_of(said) if said is not None and bytes(said)[:1] == b"{" else {}


class UsageTaker(Between):
    """Takes the usage out of a stream on its way to its attempt; `passed` gets to know it.

    `refused` makes the attempt once more, without asking.
    """

    def __init__(self, attempt: "Attempt", passed: Passed, refused: Callable[[], None]) -> None:
        self._attempt: Final = attempt
        self._passed: Final = passed
        self._refused: Final = refused
        self._streams = False
        self._begun = False
        self._held = b""
        # An error that may be about the field, and what has come of it.
        self._head: ResponseHead | None = None
        self._length = 0

    def on_head(self, head: ResponseHead, length: int) -> None:
        """Keep the head of an error that may be about the field."""
        self._streams = head.is_event_stream
        if head.status in _MAY_REFUSE:
            self._head, self._length = head, length
            self.holds = True
            return
        self._attempt.on_head(head, length)

    def on_body(self, data: bytes) -> None:
        """Pass on the next bytes, without the usage."""
        if self.holds:
            data = self._held + data
            self._held, self.holds = b"", False
            if self._head is not None:
                self._keep(data)
                return
        if not self._begun:
            self._begun = True
            # Some say 200, and only then what they refuse.
            if says_error(data) and _is_about_it(data):
                self._head, self._held, self.holds = self._attempt.head, data, True
                return
        if not self._streams:
            self._attempt.on_body(data)
            return
        if _is_usual(data):
            self._attempt.on_body(data)
            return
        if data[-3:] != b"\n\r\n" and data[-2:] != b"\n\n":
            data = self._whole(data)
        if data.find(_MARK) >= 0 or data.find(_SPACED) >= 0:
            self._take(data)
        elif data:
            self._attempt.on_body(data)

    def _keep(self, data: bytes) -> None:
        if len(data) > MOST_SAID:
            self._pass_on(data)
        else:
            self._held, self.holds = data, True

    def _whole(self, data: bytes) -> bytes:
        """Hold back the beginning of an event that isn't whole; give what stands before it."""
        end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\n\r\n") + 3)
        if end < 3:
            end = 0
        if len(data) - end > MOST_HELD:
            return data
        self._held = data[end:]
        self.holds = self._held != b""
        return data[:end]

    def _take(self, data: bytes) -> None:
        """Pass on bytes without the event, if it is among them."""
        found = b""
        at = -1
        for line in data.split(b"\n"):
            at += 1 + len(line)
            if (_MARK in line or _SPACED in line) and _tells_usage(line):
                found = line
                break
        if not found or at == len(data):
            self._attempt.on_body(data)
            return
        # With the empty line behind it: some clients take one behind a comment for the end of an event without data.
        # What looks like an empty line may be the end of a chunk, which has to stay; then the next one's size follows.
        begin, end, last = at - len(found), at + 1, b"\n"
        if found[-1:] == b"\r":
            last = b"\r\n"
            is_empty = data[end : end + 4] == b"\r\n\r\n" or data[end : end + 7] == b"\r\ndata:"
            end += 2 if is_empty else 0
        elif data[end : end + 1] == last:
            end += 1
        comment = b":" + b" " * (end - begin - 1 - len(last)) + last
        self._attempt.on_body(data[:begin] + comment + data[end:])
        self._passed.tail.add(b"\n%s\n" % found)

    def rest(self) -> bytes:
        """Give what is held back of a stream: nothing more comes."""
        rest, self._held, self.holds = self._held, b"", False
        return rest

    def on_remains(self, data: bytes) -> None:
        """Pass on what came before a mistake."""
        data = self.rest() + data
        if self._head is not None:
            self._pass_on(b"")
        self._attempt.on_remains(data)

    def on_end(self) -> None:
        """Pass on the end; or have the attempt made again, if the field was refused."""
        rest = self.rest()
        if self._head is not None:
            if _is_about_it(rest):
                self._attempt.let_go()
                self._refused()
                return
            self._pass_on(rest)
        elif rest:
            self._attempt.on_body(rest)
        if self._attempt.listens:
            self._attempt.on_end()

    def _pass_on(self, said: bytes) -> None:
        """Pass on an error like any other."""
        head, self._head = self._head, None
        assert head is not None  # noqa: S101  (it was kept)
        self._attempt.on_head(head, self._length)
        if said and self._attempt.listens:
            self._attempt.on_body(said)

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Hand it on."""
        rest = self.rest()
        if self._head is not None:
            self._pass_on(rest)
        elif rest:
            self._attempt.on_remains(rest)
        self._attempt.on_failure(failure, detail)


def _is_usual(data: bytes) -> bool:
    """Whether a piece's last event has a choice, or no usage yet: the one with the usage comes after all others."""
    end = len(data)
    # Behind an event may be the end of a chunk. Single bytes are read at no cost, compiled.
    if end > 7 and data[end - 2] == 13:
        end -= 2
    if end > 5 and data[end - 1] == 10 and data[end - 2] == 10:  # \n
        if data[end - 3] == 125 and data[end - 4] == 93 and data[end - 5] == 125:  # }]}
            return True
        return data.endswith(_NULL)
    return False


def _is_about_it(error: bytes) -> bool:
    return b"stream_options" in error or b"include_usage" in error


def _tells_usage(line: bytes) -> bool:
    """Whether a line is an event without choices that tells the usage."""
    if line[:5] != b"data:":
        return False
    try:
        fields = _fields_of(line[5:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    usage, choices = fields.get("usage"), fields.get("choices")
    return usage is not None and bytes(usage)[:1] == b"{" and (choices is None or not _has_items(bytes(choices)))


def _has_items(said: bytes) -> bool:
    """Whether a field has something in it; what is no list has not."""
    return said[:1] == b"[" and said[1:-1].strip() != b""
