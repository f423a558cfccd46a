"""Reads an engine's answer in the API of chat completions, and has a `Writer` write it in the client's API.

Each other API has one writer, which is told what comes in an order that every API can show:

    begin → (thinking | text)* → (call → arguments*)* → (thinking | text)* → end

Chat completions allow more. Several calls may come in turns, and text between the pieces of a call. So the first call
is passed on as it comes, and all that isn't its own waits for the end. Engines send calls one after the other, so in
practice only the second call and those after it are delayed.

An answer is over with `[DONE]`, or with the end of the stream if its finish reason came before. Without both it broke
off.
"""

from router.core import errors
from router.core.errors import BadGatewayError, RouterError
from router.translate.completions import (
    NULL,
    Answer,
    Choice,
    Function,
    Message,
    ToldCall,
    arguments_of,
    first_choice,
    read_answer,
    read_usage,
    text_of,
)
from router.translate.events import EventReader
from router.translate.speech import AnswerTranslator
from router.translate.thinking import ThinkingSplitter
from router.translate.writer import CALLS, FILTERED, LENGTH, STOP, Call, Gatherer, Usage, WholeAnswer, Writer

_DONE = b"[DONE]"


class _Pending:
    """A call as far as it has come; `pieces` are arguments that weren't passed on yet."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.name = ""
        self.pieces: list[str] = []


class ChatTranslator(AnswerTranslator):
    """Has `writer` write what a stream or an answer of chat completions, or of completions, says."""

    def __init__(self, writer: Writer) -> None:
        self.done = False
        self._writer = writer
        self._events = EventReader()
        self._splitter: ThinkingSplitter | None = ThinkingSplitter()
        self._begun = False
        self._calls: dict[int, _Pending] = {}
        # The call that is passed on as it comes.
        self._open: _Pending | None = None
        # What waits for the end: whether it is reasoning, and the text.
        self._late: list[tuple[bool, str]] = []
        self._finish = ""
        self._stopped_by: str | None = None
        self._usage = Usage()

    @property
    def content_type(self) -> bytes:
        """The content type of a good answer."""
        return self._writer.content_type

    # A stream

    def feed(self, data: bytes, now: float) -> bytes:
        """Take the next bytes of a stream, cut anywhere; give the client's."""
        return self._take(self._events.feed(data), now)

    def ended(self, now: float) -> bytes:
        """Take the end of the stream; give what the client's still lacks. If `done` is False then, it broke off."""
        told = self._take(self._events.end(), now)
        if not self.done and self._finish:
            told += self._close(now)
        return told

    def _take(self, found: list[bytes], now: float) -> bytes:
        told: list[bytes] = []
        for said in found:
            if self.done:
                break
            if said[:1] == b":":
                told.append(self._writer.comment(said))
            elif said == _DONE:
                told.append(self._close(now))
            else:
                told.append(self._chunk(said, now))
        return told[0] if len(told) == 1 else b"".join(told)

    def _chunk(self, said: bytes, now: float) -> bytes:
        answer = read_answer(said)
        if answer.error not in NULL:
            return self.fail(errors.of_engine(500, said), now)
        told = b""
        if not self._begun:
            self._begun = True
            told = self._writer.begin(now)
        choice = first_choice(answer)
        if choice is not None:
            if choice.logprobs:
                self._writer.probabilities(choice.logprobs)
            message = choice.delta or choice.message
            if message is not None:
                told += self._message(message)
            elif choice.text:
                told += self._say("", choice.text)
            self._note_finish(choice)
        self._note_usage(answer)
        return told

    def _message(self, message: Message) -> bytes:
        reasoning, text = message.reasoning_content or message.reasoning or "", text_of(message)
        if reasoning:
            # The engine parts them itself.
            told, self._splitter = self._rest(), None
            told += self._say(reasoning, "")
        else:
            told = b""
        if text:
            splitter = self._splitter
            if splitter is None or splitter.is_answering:
                told += self._say("", text)
            else:
                told += self._say(*splitter.feed(text))
        if message.tool_calls:
            told += self._rest()
            for call in message.tool_calls:
                told += self._piece(call)
        return told

    def _rest(self) -> bytes:
        """Write what the splitter has held back."""
        return b"" if self._splitter is None else self._say(*self._splitter.end())

    def _say(self, reasoning: str, text: str) -> bytes:
        """Write reasoning, then text, now or at the end."""
        if self._open is not None:
            self._late += [(thinks, said) for thinks, said in ((True, reasoning), (False, text)) if said]
            return b""
        told = self._writer.thinking(reasoning) if reasoning else b""
        return told + self._writer.text(text) if text else told

    def _piece(self, piece: ToldCall) -> bytes:
        """Take a piece of a call."""
        function = piece.function
        name = "" if function is None or function.name is None else function.name
        arguments = "" if function is None else arguments_of(function.arguments)
        index = piece.index
        if index is None:
            # Engines that don't number them send each call whole.
            index = len(self._calls) if piece.id or name or not self._calls else len(self._calls) - 1
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = _Pending(piece.id or self._new_id(len(self._calls)))
        call.name = call.name or name
        if call is not self._open:
            if arguments:
                call.pieces.append(arguments)
            if self._open is not None or not call.name:
                return b""
            self._open = call
            return self._begin_call(call)
        return self._writer.arguments(arguments) if arguments else b""

    def _begin_call(self, call: _Pending) -> bytes:
        told, pieces = self._writer.call(call.id, call.name), "".join(call.pieces)
        call.pieces.clear()
        return told + self._writer.arguments(pieces) if pieces else told

    def _new_id(self, number: int) -> str:
        return f"call_{self._writer.context.token}{number}"

    def _note_finish(self, choice: Choice) -> None:
        if choice.finish_reason:
            self._finish = choice.finish_reason
            self._stopped_by = _stop_text(choice)

    def _note_usage(self, answer: Answer) -> None:
        if answer.usage not in NULL or answer.timings is not None:
            self._usage = _usage(answer, self._usage)

    def _close(self, now: float) -> bytes:
        """End the client's stream."""
        self.done = True
        told = b"" if self._begun else self._writer.begin(now)
        told += self._rest()
        for call in self._calls.values():
            if call is not self._open:
                told += self._begin_call(call)
        self._open = None
        for thinks, said in self._late:
            told += self._say(said, "") if thinks else self._say("", said)
        finish = _finish(self._finish, calls=bool(self._calls))
        return told + self._writer.end(finish, self._usage, self._stopped_by, now)

    def fail(self, error: RouterError, now: float) -> bytes:
        """End the client's stream with an error."""
        self.done = True
        return self._writer.fail(error, now)

    # An answer in one piece

    def whole(self, body: bytes, now: float) -> bytes:
        """Translate an answer in one piece: into one piece, or into a stream if the client asked for that."""
        if not body.lstrip().startswith(b"{") and EventReader().feed(body):
            return self._gathered(body, now)
        said = read_answer(body)
        choice = first_choice(said)
        if said.error not in NULL:
            raise errors.of_engine(500, body)
        if choice is None:
            raise BadGatewayError("The engine's answer has no choices.")
        if self._writer.streams:
            return self._chunk(body, now) + self._close(now)
        self.done = True
        if choice.logprobs:
            self._writer.probabilities(choice.logprobs)
        self._note_finish(choice)
        self._note_usage(said)
        message = choice.message or choice.delta or Message()
        thinking, text = message.reasoning_content or message.reasoning or "", text_of(message)
        if choice.text:
            # Of completions: as the model wrote it, as in a stream.
            text = choice.text
        elif not thinking:
            splitter = ThinkingSplitter()
            thinking, text = _sum(splitter.feed(text), splitter.end())
        calls = tuple(self._whole_call(each, number) for number, each in enumerate(message.tool_calls or ()))
        finish = _finish(self._finish, calls=bool(calls))
        return self._writer.whole(WholeAnswer(thinking, text, calls, finish, self._usage, self._stopped_by), now)

    def _gathered(self, body: bytes, now: float) -> bytes:
        """Write what a stream says that nobody has asked for in one piece."""
        gatherer = Gatherer(self._writer.context)
        stream = ChatTranslator(gatherer)
        stream.feed(body, now)
        stream.ended(now)
        if gatherer.failed is not None:
            raise gatherer.failed
        if gatherer.answer is None:
            raise BadGatewayError("The engine streamed an answer that wasn't to be a stream, and it broke off.")
        self.done = True
        return self._writer.whole(gatherer.answer, now)

    def _whole_call(self, call: ToldCall, number: int) -> Call:
        function = call.function or Function()
        return Call(call.id or self._new_id(number), function.name or "", arguments_of(function.arguments))

    def error(self, status: int, body: bytes) -> bytes:
        """Translate an error's body."""
        return errors.body(errors.of_engine(status, body), self._writer.context.path)


def _stop_text(choice: Choice) -> str | None:
    """Give the stop text that ended the answer; vllm says it, and a token's number if that ended it."""
    text = bytes(choice.stop_reason)
    return arguments_of(choice.stop_reason) if text[:1] == b'"' else None


def _usage(answer: Answer, before: Usage) -> Usage:
    told, timings = read_usage(answer.usage), answer.timings
    if told is not None:
        cached = told.prompt_tokens_details.cached_tokens if told.prompt_tokens_details is not None else 0
        reasoning = told.completion_tokens_details.reasoning_tokens if told.completion_tokens_details is not None else 0
        before = before._replace(
            prompt=told.prompt_tokens or 0,
            completion=told.completion_tokens or 0,
            cached=min(cached or 0, told.prompt_tokens or 0),
            reasoning=reasoning or 0,
            told=True,
        )
    if timings is not None:
        before = before._replace(
            prompt_seconds=(timings.prompt_ms or 0.0) / 1000, completion_seconds=(timings.predicted_ms or 0.0) / 1000
        )
    return before


def _finish(said: str, *, calls: bool) -> str:
    """Give one of the known finish reasons; engines that called a tool may say `stop`."""
    if said in {LENGTH, FILTERED}:
        return said
    return CALLS if calls else STOP


def _sum(first: tuple[str, str], second: tuple[str, str]) -> tuple[str, str]:
    return first[0] + second[0], first[1] + second[1]
