"""What the client gets: the states of an answer, what each moment comes to, and the bytes that it is told in.

    WAITING     The client has got nothing: whatever fails, another backend may still answer.
    PROMISED    It has got the head of a stream from the queue, and its place there in comments. All that follows has to
                be a part of this stream.
    PINGING     It gets the engine's stream, which has had no event yet, only comments.
    STREAMING   It gets the engine's body: a stream, or any other.
    REFUSING    It was promised a stream, and the engine gave something else. That is gathered, to be told as an event.
    DONE        It gets nothing any more.

An answer is over where its framing ends, or its message: many clients leave, and some engines break off, between its
API's own end mark (`[DONE]`, message_stop, response.completed) and the end of the framing. So:

  1. The framing ends: the answer is whole. But where the connection's end is all that frames it, a stream's mark must
     have come, or JSON's end.
  2. The mark has come, and the engine breaks off: it is whole, and the client gets a proper end of the framing.
  3. The mark has come, and then nothing, or pings, until the next look at it: the same.
  4. The mark has come, and the client leaves: it is whole; the engine's connection is read to the end, and kept.
  5. The client leaves before the mark: nobody is at fault; the engine's connection is closed at once.
  6. The engine breaks off before the mark: it has failed, and the client is told.

Bytes that are held back, before anything of them is passed on, belong to their attempt: two may hold some. The table of
the states is `TRANSITIONS`. An answer alone writes to its client's sink, and does no other I/O.
"""

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from router.core import errors
from router.core.apis import RESPONSES
from router.core.errors import RouterError
from router.core.progress import Passed
from router.http1.bodies import CHUNKED, LAST_CHUNK, LENGTH, NONE, chunk
from router.http1.heads import status_line
from router.proxy.heads import AT_ONCE, OURS, ResponseHead
from router.proxy.requests import Request, error_answer, header_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.proxy.sink import Sink

MOST_GATHERED = 64 * 1024
"""Bytes that are read of what an engine gave instead of the promised stream."""

_STREAM_HEAD = (
    status_line(200)
    + OURS
    + b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    + AT_ONCE
    + b"transfer-encoding: chunked\r\n"
)


class AnswerState(IntEnum):
    """What the client has got; see the module's theory."""

    WAITING = 0
    PROMISED = 1
    PINGING = 2
    STREAMING = 3
    REFUSING = 4
    DONE = 5


class Moment(IntEnum):
    """What changes the state of an answer."""

    PLACE_TOLD = 0
    PINGS_CAME = 1
    BODY_CAME = 2
    OTHER_CAME = 3
    EVENT_CAME = 4
    ENDED = 5


# Final, each by itself: compiled, such a constant is no look-up in the module's names.
WAITING: Final = AnswerState.WAITING
PROMISED: Final = AnswerState.PROMISED
PINGING: Final = AnswerState.PINGING
STREAMING: Final = AnswerState.STREAMING
REFUSING: Final = AnswerState.REFUSING
DONE: Final = AnswerState.DONE

PLACE_TOLD: Final = Moment.PLACE_TOLD
PINGS_CAME: Final = Moment.PINGS_CAME
BODY_CAME: Final = Moment.BODY_CAME
OTHER_CAME: Final = Moment.OTHER_CAME
EVENT_CAME: Final = Moment.EVENT_CAME
ENDED: Final = Moment.ENDED

TRANSITIONS: Final[dict[AnswerState, dict[Moment, AnswerState]]] = {
    WAITING: {PLACE_TOLD: PROMISED, PINGS_CAME: PINGING, BODY_CAME: STREAMING, ENDED: DONE},
    PROMISED: {PLACE_TOLD: PROMISED, PINGS_CAME: PINGING, BODY_CAME: STREAMING, OTHER_CAME: REFUSING, ENDED: DONE},
    PINGING: {EVENT_CAME: STREAMING, ENDED: DONE},
    STREAMING: {ENDED: DONE},
    REFUSING: {ENDED: DONE},
    DONE: {},
}


class IllegalMomentError(Exception):
    """A moment that can't come in an answer's state; nothing has changed."""


class Answer:
    """What one client gets, by its sink.

    `first_byte_at` is when the first byte of the body came; `begun_at` the same, but of a stream the time of its first
    event, not of a ping. Both are in seconds. `head` is the engine's, once its body is passed on. `error` is the code
    of the error that the client was told.
    """

    def __init__(self, request: Request, sink: "Sink") -> None:
        self.state = WAITING
        self.passed = Passed(request.head.path)
        self.first_byte_at: float | None = None
        self.begun_at: float | None = None
        self.head: ResponseHead | None = None
        self.error = ""
        self._request = request
        self._sink = sink
        self._write = sink.write if request.captured is None else _to_both(sink.write, request.captured)
        # The head, until it goes with the first piece of the body.
        self._lead = b""
        # Whether the body is put into chunks here.
        self._chunking = False
        self._gathered = b""

    def __repr__(self) -> str:
        return f"<Answer {self.state.name}: {self.passed.size} bytes>"

    def _move(self, moment: Moment) -> None:
        """Change the state. Raises IllegalMomentError."""
        after = TRANSITIONS[self.state].get(moment)
        if after is None:
            raise IllegalMomentError(f"an answer that is {self.state.name} can't meet {moment.name}")
        self.state = after

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client."""
        return self._sink.unsent()

    # Before the engine's answer

    def tell_place(self, place: bytes, lines: bytes) -> None:
        """Tell a request's place in the queue; `lines` go into the head, if that has yet to be sent.

        A client that hasn't taken the last comment gets no other. No empty line follows a comment: some SDKs take that
        for the end of an event without data, which is no JSON.
        """
        words = chunk(b": %s\n" % place)
        if self.state is WAITING:
            id_ = self._request.id.encode("ascii")
            words = b"%sx-request-id: %s\r\n%s\r\n%s" % (_STREAM_HEAD, id_, lines, words)
        elif self._sink.unsent():
            return
        self._move(PLACE_TOLD)
        self._write(words)

    # The engine's answer

    def begin(self, head: ResponseHead, length: int, backend: str, lines: bytes, now: float, *, pings: bool) -> None:
        """Begin to pass the engine's answer on: from here on there is no other attempt.

        `length` is the body's, if the head says it, `lines` go into the head; `pings`: no event has come yet.
        """
        promised = self.state is PROMISED
        if promised and not (head.status == 200 and head.is_event_stream):
            self._move(OTHER_CAME)
        else:
            self._move(PINGS_CAME if pings else BODY_CAME)
        self.first_byte_at, self.begun_at, self.head = now, None if pings else now, head
        self.passed.begin(head.status, head.lines, streams=head.is_event_stream)
        if promised:
            self._chunking = self.state is not REFUSING
            return
        request = self._request
        self._lead = b"%sx-request-id: %s\r\nx-router-backend: %s\r\n%s%s%s\r\n" % (
            head.lines,
            request.id.encode("ascii"),
            header_value(backend),
            lines,
            b"" if request.keep_alive else b"connection: close\r\n",
            self._frame(head, length),
        )

    def _frame(self, head: ResponseHead, length: int) -> bytes:
        """Tell the client how it knows the body's end."""
        if head.framing is LENGTH and not head.is_event_stream:
            return b"content-length: %d\r\n" % length
        if head.framing is NONE:
            return b""
        if self._request.http11:
            # The engine's own chunks pass as they are. A body in none gets them: something may have to be added.
            self._chunking = head.framing is not CHUNKED
            return b"transfer-encoding: chunked\r\n"
        # The body ends with the connection: of HTTP/1.0 none is kept alive.
        return b""

    def pass_on(self, data: bytes) -> None:
        """Pass the next bytes of the body on."""
        self.passed.add(data)
        if self._chunking:
            data = chunk(data)
        if self._lead:
            data, self._lead = self._lead + data, b""
        self._write(data)

    def speak(self, now: float) -> None:
        """Note when the answer began, which pings don't count for."""
        if self.state is PINGING:
            self._move(EVENT_CAME)
        self.begun_at = now

    def gather(self, data: bytes) -> bool:
        """Keep what the engine gave instead of the promised stream; tell whether that is enough."""
        self.passed.add(data)
        self._gathered += data
        return len(self._gathered) >= MOST_GATHERED

    def refusal(self) -> RouterError:
        """What the engine gave instead of the promised stream, as an error."""
        status = 0 if self.head is None else self.head.status
        return errors.refusal(status, self._gathered[:MOST_GATHERED])

    # The end

    def complete(self) -> None:
        """End an answer that is whole by its framing."""
        end = self._lead + LAST_CHUNK if self._chunking else self._lead
        if end:
            self._write(end)
        self._sink.finish(keep_alive=self._request.keep_alive)

    def complete_message(self, end: bytes) -> None:
        """End an answer that is whole by its API's end mark, while its framing isn't.

        `end` is what ends the engine's own framing (framed by upstream.Connection.interrupt).
        """
        request = self._request
        if self._chunking:
            end = LAST_CHUNK
        if end:
            self._write(end)
        # It may have stopped in the middle of a chunk of the engine's own that can't be filled up.
        is_cut = not end and self.head is not None and self.head.framing is CHUNKED and request.http11
        self._sink.finish(keep_alive=request.keep_alive and not is_cut)

    def break_off(
        self,
        error: RouterError,
        interrupt: "Callable[[bytes], bytes] | None",
        words: bytes = b"",
        lines: bytes = b"",
    ) -> int:
        """Say why there is no more. Give the status that the client got.

        `interrupt` frames words behind what the engine gave (upstream.Connection.interrupt); None: there is no engine.
        `words` are those of a stream that is translated; those of /v1/responses are its proper end. `lines` go into the
        head, if that has yet to be sent.
        """
        request, head, self.error = self._request, self.head, error.code
        path, keep_alive = request.head.path, request.keep_alive
        # With `_lead` the head of an answer was made, but nothing of it was sent yet.
        if self.state is WAITING or self._lead:
            self._write(error_answer(error, path, request.id, keep_alive=keep_alive, cors=lines))
            self._sink.finish(keep_alive=keep_alive)
            return error.status
        ends = bool(words) and path == RESPONSES
        words = words or errors.event(error, path, self.passed.events)
        if self.state is PROMISED or self.state is REFUSING:
            self._chunking = True
            # Between two lines: an empty one would end an event without data.
            self._write(chunk(words.lstrip(b"\n")))
        elif self.passed.streams and interrupt is not None:
            words = interrupt(words)
            if words:
                self._write(chunk(words) if self._chunking else words)
        if ends:
            self.complete()
        else:
            # A stream that breaks off doesn't end as if it were whole.
            self._sink.hang_up()
        return error.status if head is None else head.status

    def abandon(self) -> None:
        """Close the client's connection: it takes nothing."""
        self._sink.abort()

    def end(self) -> None:
        """Note that nothing more is sent."""
        self._move(ENDED)


def _to_both(write: "Callable[[bytes], None]", take: "Callable[[bytes], None]") -> "Callable[[bytes], None]":
    """Have what is written kept, too."""

    def both(data: bytes) -> None:
        write(data)
        take(data)

    return both
