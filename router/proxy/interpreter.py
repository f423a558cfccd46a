"""Stands between a connection and its attempt where a backend doesn't speak the client's API, or may not.

`Interpreter` has the answer translated (`router.translate`): the attempt, and all who decide on it, hear of a head and
a body as a backend would have sent them that speaks the API.

`Trial` passes everything on, or has it completed. But if the answer says that there is no such path, it keeps that,
notes that the backend lacks the API, and has the same attempt made again, translated.
"""

from collections.abc import Callable
from typing import Final, Protocol

from router.core import errors, stall
from router.core.apis import PARTIAL, may_lack, says_no_such_path
from router.core.errors import ApiMissingError, BadGatewayError, EngineError, RouterError
from router.core.no_answer import instead
from router.core.retry import Failure
from router.http1.bodies import CHUNKED, CLOSE, LENGTH, payload
from router.http1.heads import status_line
from router.proxy.attempt import Attempt, Between
from router.proxy.heads import AT_ONCE, OURS, ResponseHead
from router.translate.completions import is_error
from router.translate.events import EventReader
from router.translate.speech import CHAT, JSON, AnswerTranslator

MOST_WHOLE = 256 * 1024 * 1024
"""Bytes of an answer in one piece, which is gathered to be translated; thousands of embeddings have a tenth of it."""

MOST_TOLD = 64 * 1024
"""Bytes that are kept of an answer which may say that there is no such path."""

_MAY_BE_REWRITTEN = frozenset({400, 413, 422, 500})
"""Statuses of errors after which the attempt may be made again with another body: with a shorter text, for which
llama.cpp's server says 500, or without a field that was refused."""

_MOST_FIRST = 64 * 1024
"""Bytes of a stream that are kept until its first event is whole, which may refuse a field."""

_UNABLE = 501
"""The status by which a counter says that it can't count this."""


def head_of(status: int, content_type: bytes, *, streams: bool = False, lines: bytes = b"") -> ResponseHead:
    """Make the head of an answer that the router writes; `lines` are further ones."""
    return ResponseHead(
        status,
        ((b"content-type", content_type),),
        CLOSE if streams else LENGTH,
        keep_alive=True,
        is_event_stream=streams,
        odd=status >= 400,
        lines=b"%s%scontent-type: %s\r\n%s" % (status_line(status), OURS, content_type, lines),
    )


def head_of_error(head: ResponseHead, status: int) -> ResponseHead:
    """Make the head of an error that the router writes in the place of a backend's answer."""
    waits = b"".join(b"retry-after: %s\r\n" % value for name, value in head.headers if name == b"retry-after")
    return head_of(status, JSON, lines=waits)._replace(headers=head.headers)


class Rewrite(Protocol):
    """Has an attempt made again with another body, if an error shows how to write it."""

    def __call__(self, status: int, said: bytes, *, whole: bool) -> bool:
        """Tell whether it is made again. `whole`: the answer has ended, and its connection is its pool's again."""


class Interpreter(Between):
    """Has one attempt's answer translated; `clock` gives the loop's time.

    `instead` answers where the engine says that it can't (501); None: nobody does. `raw`: chunks come as they are.
    `target` is the path at which the engine was asked, if it may lack that and nothing stands in for it. `rewrite`
    hears an error's status and words: 200 for an error that comes in the place of an answer, or as a stream's first
    event.
    """

    takes_chunks = False

    def __init__(
        self,
        attempt: Attempt,
        answer: AnswerTranslator,
        clock: Callable[[], float],
        instead: Callable[[], None] | None = None,
        *,
        raw: bool = False,
        target: str = "",
        rewrite: Rewrite | None = None,
    ) -> None:
        self._attempt: Final = attempt
        self._instead: Final = instead
        self._target: Final = target
        # It holds on to the request's body, so it goes with the first sign of a good answer.
        self._rewrite = rewrite
        # Whether chunks come as they are.
        self._raw: Final = raw
        self._answer: Final = answer
        self._clock: Final = clock
        # The engine's head, and what it gave of an answer in one piece. An error's is kept here while only its words
        # can say of what kind it is; a stream's, until its first event has come, if that may be an error.
        self._kept: ResponseHead | None = None
        self._status = 0
        self._streams = False
        self._gathered: list[bytes] = []
        self._size = 0
        self._whole = b""

    def on_head(self, head: ResponseHead, length: int) -> None:  # noqa: ARG002  (a translated body has another)
        """Tell the attempt of a stream or an error now; of an answer in one piece once it is translated."""
        self._status = head.status
        # A stream that wasn't asked for is gathered: the client gets one piece.
        self._streams = head.is_event_stream and not head.odd and self._answer.content_type != JSON
        if self._streams and self._rewrite is None:
            self._tell_stream()
        elif self._streams or (head.odd and self._words_tell(head.status)):
            self._kept = head
        elif head.odd and not self._can_not:
            # A redirection, or an answer without content, can't be translated.
            self._tell_head(head, head.status if head.status >= 400 else 502)
        if head.odd and self._kept is None:
            self._rewrite = None

    def _tell_stream(self) -> None:
        self._kept = self._rewrite = None
        lines = b"cache-control: no-cache\r\n" + AT_ONCE
        self._attempt.on_head(head_of(self._status, self._answer.content_type, streams=True, lines=lines), 0)

    def _words_tell(self, status: int) -> bool:
        """Whether what is wrong is known only with an error's words."""
        lacks = self._target in PARTIAL and may_lack(status, 0)
        return lacks or (self._rewrite is not None and status in _MAY_BE_REWRITTEN)

    def _tell_head(self, head: ResponseHead, status: int) -> None:
        self._attempt.on_head(head_of_error(head, status), 0)

    @property
    def _can_not(self) -> bool:
        """Whether somebody else answers."""
        return self._status == _UNABLE and self._instead is not None

    def on_body(self, data: bytes) -> None:
        """Translate the next bytes of a stream; keep those of anything else."""
        if self._streams and self._kept is None:
            self._feed(data)
            return
        self._gathered.append(data)
        self._size += len(data)
        if self._streams:
            self._look_at_first()
        elif self._size > MOST_WHOLE:
            self._attempt.give_up(Failure.NONSENSE, f"an answer of more than {MOST_WHOLE} bytes")

    def _look_at_first(self) -> None:
        """Begin the stream once its first event or comment is whole, unless that refuses a field."""
        said = next(iter(EventReader().feed(b"".join(self._gathered))), b"")
        if not said and self._size <= _MOST_FIRST:
            return
        if not (is_error(said) and self._made_again(said, whole=False)):
            self._begin_stream()

    def _made_again(self, said: bytes, *, whole: bool) -> bool:
        return self._rewrite is not None and self._rewrite(self._status, said, whole=whole)

    def _begin_stream(self) -> None:
        data, self._gathered = b"".join(self._gathered), []
        self._tell_stream()
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        try:
            told = self._answer.feed(data, self._clock())
        except BadGatewayError as error:
            self._attempt.give_up(Failure.NONSENSE, error.message)
            return
        if told:
            self._attempt.on_body(told)
        elif data[:1] == b":":
            # The client's form has no comments.
            self._attempt.told_read = stall.progress(data)

    def on_remains(self, data: bytes) -> None:
        """Translate what came before a mistake in the framing."""
        if self._streams and self._kept is None:
            try:
                told = self._answer.feed(data, self._clock())
            except BadGatewayError:
                return
            if told:
                self._attempt.on_remains(told)

    def on_end(self) -> None:
        """Give what the client's answer still lacks, and its end."""
        try:
            self._end()
        except Exception as error:  # noqa: BLE001  (the connection tells nothing more: the client would wait for ever)
            self._attempt.on_mistake(error)

    def _end(self) -> None:
        attempt, answer, now = self._attempt, self._answer, self._clock()
        if self._can_not and self._instead is not None:
            attempt.let_go()
            self._instead()
            return
        if self._kept is not None and not self._streams and self._made_again(b"".join(self._gathered), whole=True):
            return
        try:
            told = self._told_at_end(now)
        except EngineError as error:
            # It said 200, and then that something is wrong.
            if self._made_again(self._whole, whole=True):
                return
            attempt.on_head(head_of(error.status, JSON), 0)
            told = answer.error(error.status, errors.body(error, CHAT))
        except BadGatewayError as error:
            self._end_badly(Failure.NONSENSE, error.message)
            return
        if not self._streams:
            self._tell_length(len(told))
        if told and attempt.listens:
            attempt.on_body(told)
        if not attempt.listens:
            return
        if self._streams and not answer.done:
            self._end_badly(Failure.BROKEN, "an answer without its end")
        else:
            attempt.on_end()

    def _tell_length(self, length: int) -> None:
        """Tell of an answer in one piece, which may have become a stream."""
        self._attempt.length = length
        if self._attempt.head is None:
            content_type = self._answer.content_type
            self._attempt.on_head(head_of(200, content_type, streams=content_type != JSON), length)

    def _told_at_end(self, now: float) -> bytes:
        if not self._streams:
            return self._translated(now)
        if self._kept is not None:
            # No event was whole.
            self._begin_stream()
        return self._answer.ended(now)

    def _translated(self, now: float) -> bytes:
        """Translate what was gathered: an error if its head has been told."""
        self._whole = b"".join(self._gathered)
        self._gathered = []
        if self._raw:
            self._whole = payload(self._whole, (0, 0))
        if self._kept is not None:
            self._judge(self._kept)
        if self._attempt.head is not None:
            error = instead(self._status, self._whole) if self._status < 400 else None
            if error is not None:
                return self._answer.error(error.status, error.message.encode())
            return self._answer.error(self._status, self._whole)
        return self._answer.whole(self._whole, now)

    def _judge(self, head: ResponseHead) -> None:
        """Tell of an error's head. It is a 400 if the engine lacks the API: a 404 would mean that the model is gone."""
        if may_lack(head.status, 0) and says_no_such_path(head.status, self._whole):
            error = ApiMissingError(f"This model's engine has no {self._target}: it answered {head.status} there.")
            self._status, self._whole = error.status, errors.body(error, self._target)
        self._tell_head(head, self._status)

    def _end_badly(self, failure: Failure, detail: str) -> None:
        """Fail at the end of an answer, when its connection is its pool's again."""
        self._attempt.let_go()
        self._attempt.on_failure(failure, detail)

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Hand it on."""
        if self._streams and self._kept is not None:
            self._tell_stream()
        self._attempt.on_failure(failure, detail)

    def last_words(self, error: RouterError) -> bytes:
        """End a stream that breaks off as the client's API does."""
        return self._answer.fail(error, self._clock()) if self._streams and not self._answer.done else b""


class Lesson(Protocol):
    """Takes what an answer has taught: whether its backend has the API."""

    def __call__(self, *, speaks: bool) -> None:
        """Note whether the backend has the API."""


class Trial(Between):
    """Passes on the answer of a backend of which it isn't known whether it has the API; `learn` is told whether it has.

    `again` makes the attempt once more. `answer` puts an error into the form of the API and, if it `mends`, completes
    any answer; None: all passes as it is. `clock` gives the loop's time.
    """

    def __init__(
        self,
        attempt: Attempt,
        learn: Lesson,
        again: Callable[[], None],
        clock: Callable[[], float],
        answer: AnswerTranslator | None = None,
        *,
        mends: bool = False,
    ) -> None:
        self.takes_chunks = not mends
        self._attempt: Final = attempt
        self._learn: Final = learn
        self._again: Final = again
        self._clock: Final = clock
        self._answer: Final = answer
        self._mends: Final = mends
        self._interpreter: Interpreter | None = None
        self._head: ResponseHead | None = None
        self._length = 0
        self._kept = b""

    def on_head(self, head: ResponseHead, length: int) -> None:
        """Keep a head that may say that there is no such path."""
        self._length = length
        if may_lack(head.status, 0 if head.is_event_stream else length):
            self._head = head
            return
        self._tell_head(head)

    def _tell_head(self, head: ResponseHead) -> None:
        if head.status == 200:
            self._learn(speaks=True)
        if self._answer is None or not (self._mends or head.status >= 400):
            self._attempt.on_head(head, self._length)
            return
        self._interpreter = Interpreter(self._attempt, self._answer, self._clock, raw=self._is_raw(head))
        self._interpreter.on_head(head, self._length)

    def _is_raw(self, head: ResponseHead) -> bool:
        return head.framing is CHUNKED and self._attempt.position is not None

    def _tell_body(self, data: bytes) -> None:
        if self._interpreter is None:
            self._attempt.on_body(data)
        else:
            self._interpreter.on_body(data)

    def on_body(self, data: bytes) -> None:
        """Keep the words about it."""
        if self._head is None:
            self._tell_body(data)
            return
        self._kept += data
        if len(self._kept) > MOST_TOLD:
            self._pass_on(self._head)

    def on_remains(self, data: bytes) -> None:
        """Hand it on."""
        if self._head is not None:
            self._pass_on(self._head)
        if self._interpreter is None:
            self._attempt.on_remains(data)
        else:
            self._interpreter.on_remains(data)

    def on_end(self) -> None:
        """Have the attempt made again, translated, if there is no such path."""
        head = self._head
        if head is not None:
            if says_no_such_path(head.status, payload(self._kept, (0, 0)) if self._is_raw(head) else self._kept):
                self._learn(speaks=False)
                self._attempt.let_go()
                self._again()
                return
            self._pass_on(head)
        if self._interpreter is not None:
            self._interpreter.on_end()
        elif self._attempt.listens:
            self._attempt.on_end()

    def _pass_on(self, head: ResponseHead) -> None:
        """Pass on what was kept: it is an answer like any other."""
        self._head = None
        self._tell_head(head)
        if self._kept and self._attempt.listens:
            self._tell_body(self._kept)

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Hand it on."""
        if self._head is not None:
            self._pass_on(self._head)
        self._attempt.on_failure(failure, detail)

    def last_words(self, error: RouterError) -> bytes:
        """Ask what translates the stream, if anything does."""
        return b"" if self._interpreter is None else self._interpreter.last_words(error)
