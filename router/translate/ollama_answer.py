"""Writes answers in Ollama's API: lines of JSON, of which the last one has the counts and durations.

`created_at` of a stream's lines is the time of its first one, which a writer is told. A call of
a tool is one line, so it waits until its arguments are whole. Durations are in nanoseconds: the engine's own, if it
tells them; else as they were measured from the moment at which the request was sent. `load_duration` is the time before
that, in which it waited for its model, or for room there; `total_duration` has it, too.
"""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec

from router.core import errors
from router.core.errors import BadGatewayError
from router.translate.completions import NULL
from router.translate.ollama_request import Embedding, EmbeddingAnswer, Probabilities
from router.translate.speech import JSON, NDJSON, AnswerTranslator, Context
from router.translate.writer import LENGTH, STOP, Call, Usage, WholeAnswer, Writer

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_floats = msgspec.json.Decoder(list[float]).decode
_read_probabilities = msgspec.json.Decoder(Probabilities).decode
_read_embeddings = msgspec.json.Decoder(EmbeddingAnswer).decode


def time_text(unix: float) -> str:
    """Write a Unix time as RFC 3339 says, to the microsecond."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


class _LineWriter(Writer):
    """What the writers of /api/chat and /api/generate have in common."""

    def __init__(self, context: Context, *, streams: bool) -> None:
        super().__init__(context, streams=streams)
        self._begins = b""
        self._begun = context.now
        # The call whose arguments come: its id and name.
        self._id = self._name = ""
        self._pieces: list[str] = []
        self._calls = 0
        # Log probabilities of tokens that weren't written yet.
        self._probabilities: list[bytes] = []

    @property
    def content_type(self) -> bytes:
        """The content type of a good answer."""
        return NDJSON if self.streams else JSON

    def comment(self, line: bytes) -> bytes:  # noqa: ARG002
        """Leave it out: lines of JSON have no comments."""
        return b""

    def begin(self, now: float) -> bytes:
        """Note the time; the first line comes with the first text."""
        self._begun = now
        self._begins = self._head(now)
        return b""

    def _head(self, now: float) -> bytes:
        context = self.context
        at = time_text(context.unix + max(0.0, now - context.now))
        return b'{"model":%s,"created_at":"%s",' % (_encode(context.model), at.encode())

    def probabilities(self, told: msgspec.Raw) -> None:
        """Keep the log probabilities for the next line. What isn't a list of them is left out."""
        try:
            found = _read_probabilities(told).content
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        self._probabilities += [msgspec.json.format(bytes(each), indent=-1) for each in found or ()]

    def _told_probabilities(self) -> bytes:
        """Write the log probabilities that wait."""
        if not self._probabilities:
            return b""
        told = b'"logprobs":[%s],' % b",".join(self._probabilities)
        self._probabilities.clear()
        return told

    def _tail(self, finish: str, usage: Usage, now: float) -> bytes:
        """Write the end of the last line."""
        sent, waited = self.context.now, self.context.waited
        prompt, answer = usage.prompt_seconds, usage.completion_seconds
        if not prompt and not answer:
            # If the answer came in one piece, nothing says how long the prompt took.
            prompt, answer = self._begun - sent, now - self._begun
        counts = b'"prompt_eval_count":%d,"eval_count":%d,' % (usage.prompt, usage.completion) if usage.told else b""
        return b'%s"done":true,"done_reason":"%s",%s"total_duration":%d,"load_duration":%d,%s}\n' % (
            self._told_probabilities(),
            b"length" if finish == LENGTH else b"stop",
            counts,
            _nanoseconds(now - sent + waited),
            _nanoseconds(waited),
            b'"prompt_eval_duration":%d,"eval_duration":%d' % (_nanoseconds(prompt), _nanoseconds(answer)),
        )

    def call(self, id_: str, name: str) -> bytes:
        """Begin a call of a tool, which is written when its arguments are whole."""
        told = self._end_call()
        self._id, self._name = id_, name
        return told

    def arguments(self, text: str) -> bytes:
        """Keep a piece of the arguments."""
        self._pieces.append(text)
        return b""

    def _end_call(self) -> bytes:
        """Write the call that came last, if there is one."""
        if not self._name:
            return b""
        call = Call(self._id, self._name, "".join(self._pieces))
        self._id = self._name = ""
        self._pieces.clear()
        written = _written_call(call, self._calls)
        if written is None:
            return self._text(_unreadable(call))
        self._calls += 1
        return self._tool_call(written)

    def text(self, text: str) -> bytes:
        """Write a piece of the answer's text."""
        return self._end_call() + self._text(text) if self._name else self._text(text)

    def thinking(self, text: str) -> bytes:
        """Write a piece of the reasoning."""
        return self._end_call() + self._thinking(text) if self._name else self._thinking(text)

    def end(self, finish: str, usage: Usage, stopped_by: str | None, now: float) -> bytes:  # noqa: ARG002
        """Write the last line."""
        return self._end_call() + self._head(now) + self._last() + self._tail(finish, usage, now)

    def whole(self, answer: WholeAnswer, now: float) -> bytes:
        """Write an answer in one piece."""
        calls: list[bytes] = []
        text = answer.text
        for call in answer.calls:
            written = _written_call(call, len(calls))
            if written is None:
                text += _unreadable(call)
            else:
                calls.append(written)
        told = self._message(text, answer.thinking, calls)
        return (self._head(now) + told + self._tail(answer.finish, answer.usage, now)).rstrip()

    # What the two APIs write differently

    def _text(self, text: str) -> bytes:
        raise NotImplementedError

    def _thinking(self, text: str) -> bytes:
        raise NotImplementedError

    def _tool_call(self, written: bytes) -> bytes:
        raise NotImplementedError

    def _last(self) -> bytes:
        raise NotImplementedError

    def _message(self, text: str, thinking: str, calls: list[bytes]) -> bytes:
        raise NotImplementedError


class ChatWriter(_LineWriter):
    """Writes an answer of /api/chat."""

    def _text(self, text: str) -> bytes:
        return b'%s"message":{"role":"assistant","content":%s},%s"done":false}\n' % (
            self._begins,
            _encode(text),
            self._told_probabilities(),
        )

    def _thinking(self, text: str) -> bytes:
        return b'%s"message":{"role":"assistant","content":"","thinking":%s},%s"done":false}\n' % (
            self._begins,
            _encode(text),
            self._told_probabilities(),
        )

    def _tool_call(self, written: bytes) -> bytes:
        return b'%s"message":{"role":"assistant","content":"","tool_calls":[%s]},"done":false}\n' % (
            self._begins,
            written,
        )

    def _last(self) -> bytes:
        return b'"message":{"role":"assistant","content":""},'

    def _message(self, text: str, thinking: str, calls: list[bytes]) -> bytes:
        thought = b',"thinking":' + _encode(thinking) if thinking else b""
        called = b',"tool_calls":[%s]' % b",".join(calls) if calls else b""
        return b'"message":{"role":"assistant","content":%s%s%s},' % (_encode(text), thought, called)


class GenerateWriter(_LineWriter):
    """Writes an answer of /api/generate. No tools are offered there, so calls are written as text."""

    def _text(self, text: str) -> bytes:
        return b'%s"response":%s,%s"done":false}\n' % (self._begins, _encode(text), self._told_probabilities())

    def _thinking(self, text: str) -> bytes:
        return b'%s"response":"","thinking":%s,%s"done":false}\n' % (
            self._begins,
            _encode(text),
            self._told_probabilities(),
        )

    def _tool_call(self, written: bytes) -> bytes:
        return self._text(written.decode())

    def _last(self) -> bytes:
        return b'"response":"",'

    def _message(self, text: str, thinking: str, calls: list[bytes]) -> bytes:
        thought = b'"thinking":%s,' % _encode(thinking) if thinking else b""
        return b'"response":%s,%s' % (_encode(text + "".join(call.decode() for call in calls)), thought)


class LoadWriter(_LineWriter):
    """Writes the answer to a request that only loads the model, or unloads it: whatever an engine said, no text."""

    def __init__(self, context: Context, *, streams: bool, unloads: bool, chats: bool) -> None:
        super().__init__(context, streams=streams)
        self._unloads = unloads
        self._chats = chats

    def line(self, now: float) -> bytes:
        """Write the one line that it has."""
        return self.end(STOP, Usage(), None, now)

    def _text(self, text: str) -> bytes:  # noqa: ARG002
        return b""

    def _thinking(self, text: str) -> bytes:  # noqa: ARG002
        return b""

    def _tool_call(self, written: bytes) -> bytes:  # noqa: ARG002
        return b""

    def _last(self) -> bytes:
        return b'"message":{"role":"assistant","content":""},' if self._chats else b'"response":"",'

    def _message(self, text: str, thinking: str, calls: list[bytes]) -> bytes:  # noqa: ARG002
        return self._last()

    def _tail(self, finish: str, usage: Usage, now: float) -> bytes:  # noqa: ARG002
        return b'"done":true,"done_reason":"%s"}\n' % (b"unload" if self._unloads else b"load")


def _written_call(call: Call, index: int) -> bytes | None:
    """Write a call, in one line; None if its arguments are no JSON object."""
    arguments = b"{}"
    if call.arguments.strip():
        try:
            _object(call.arguments)
            arguments = msgspec.json.format(call.arguments.encode(), indent=-1)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
    named = (_encode(call.id), index, _encode(call.name), arguments)
    return b'{"id":%s,"function":{"index":%d,"name":%s,"arguments":%s}}' % named


def _unreadable(call: Call) -> str:
    """Give a call whose arguments are no JSON object as the text that the model wrote; as Ollama does."""
    return f'{{"name": "{call.name}", "arguments": {call.arguments}}}'


class EmbeddingTranslator(AnswerTranslator):
    """Turns OpenAI's embeddings into those of /api/embed or, for `one`, of /api/embeddings.

    `empty`: the client gave no text, and gets no embedding. Of `dimensions`, if not 0, the first ones are taken. Those
    of /api/embed are brought to a length of 1, as Ollama does with any model; engines differ in that.
    """

    def __init__(self, context: Context, *, one: bool, empty: bool, dimensions: int) -> None:
        self.done = False
        self._context = context
        self._one = one
        self._empty = empty
        self._dimensions = dimensions

    def feed(self, data: bytes, now: float) -> bytes:  # noqa: ARG002
        """Refuse a stream: embeddings never come as one."""
        raise BadGatewayError("The engine answered with a stream where embeddings come in one piece.")

    def ended(self, now: float) -> bytes:
        """Refuse a stream."""
        return self.feed(b"", now)

    def whole(self, body: bytes, now: float) -> bytes:
        """Translate an answer."""
        try:
            answer = _read_embeddings(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadGatewayError(f"The engine's answer is not as embeddings should be: {error}.") from error
        if answer.error not in NULL:
            raise errors.of_engine(500, body)
        if answer.data is None:
            raise BadGatewayError("The engine's answer has no embeddings.")
        self.done = True
        vectors = [] if self._empty else [self._vector(each) for each in sorted(answer.data, key=_index)]
        if self._one:
            return b'{"embedding":%s}' % (vectors[0] if vectors else b"[]")
        usage, waited = answer.usage, self._context.waited
        return b'{"model":%s,"embeddings":[%s],"total_duration":%d,"load_duration":%d,"prompt_eval_count":%d}' % (
            _encode(self._context.model),
            b",".join(vectors),
            _nanoseconds(now - self._context.now + waited),
            _nanoseconds(waited),
            0 if usage is None or self._empty else usage.prompt_tokens or 0,
        )

    def _vector(self, embedding: Embedding) -> bytes:
        written = bytes(embedding.embedding)
        if written[:1] != b"[":
            raise BadGatewayError("The engine's embeddings are no lists of numbers.")
        if self._one:
            return written
        try:
            first = _floats(written)[: self._dimensions or None]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadGatewayError(f"The engine's embeddings are no lists of numbers: {error}.") from error
        length = math.sqrt(math.fsum(each * each for each in first)) or 1.0
        return _encode([each / length for each in first])

    def error(self, status: int, body: bytes) -> bytes:
        """Translate an error's body."""
        return errors.body(errors.of_engine(status, body), self._context.path)


def _index(embedding: Embedding) -> int:
    return embedding.index or 0
