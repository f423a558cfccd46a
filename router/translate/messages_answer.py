"""What clients of Anthropic's Messages API get: an answer in its form, streamed or in one piece.

A stream is `message_start`, then each block of content (`content_block_start`, deltas, `content_block_stop`), then
`message_delta` with the reason of its end and the usage, and `message_stop`. Engines tell the usage at the end, so
`message_start` has zeros, and `message_delta` the numbers of both.

A call's arguments may be no JSON object: models err, and a limit of tokens cuts them off. A stream passes on what
comes. An answer in one piece gives them as `{"INVALID_JSON": text}`, a form that Anthropic's documentation names: the
client's own check of the arguments fails then, and the model can be told why.
"""

import re
from typing import Final

import msgspec

from router.core import errors
from router.core.errors import BadGatewayError, RouterError
from router.core.record import says_error
from router.translate.events import MOST
from router.translate.messages_request import read_count
from router.translate.speech import EVENT_STREAM, JSON, AnswerTranslator, Context
from router.translate.writer import CALLS, FILTERED, LENGTH, STOP, Call, Usage, WholeAnswer, Writer

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, object]).decode

_REASONS = {STOP: b"end_turn", LENGTH: b"max_tokens", CALLS: b"tool_use", FILTERED: b"refusal"}
_NOTHING, _THINKING, _TEXT, _CALL = range(4)
"""The block that is open."""

_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b%b}}\n\n'
_BEGINS = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":{"type":%b}}\n\n'
_ENDS = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'

_ENDED_TURN = re.compile(rb'"stop_reason" ?: ?"end_turn" ?, ?"stop_sequence" ?: ?(?=")')
_IS_OVER = re.compile(rb'"type" ?: ?"message_stop"')
_SAYS_ERROR = re.compile(rb"(?:^|\n)event: ?error\r?\ndata: ?([^\r\n]*)")


class MessagesWriter(Writer):
    """Writes an answer in the form of Anthropic's Messages API."""

    def __init__(self, context: Context, *, streams: bool) -> None:
        super().__init__(context, streams=streams)
        self._open = _NOTHING
        # The number of the block that is open, or comes next.
        self._index = 0

    def begin(self, now: float) -> bytes:  # noqa: ARG002 -- other writers need the time
        """Begin a stream."""
        return b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n' % self._message(
            b"[]", b"null", b"null", Usage()
        )

    def thinking(self, text: str) -> bytes:
        """Write a piece of the reasoning."""
        told = b"" if self._open == _THINKING else self._begin(_THINKING, b'"thinking","thinking":"","signature":""')
        return told + _DELTA % (self._index, b'"thinking_delta","thinking":', _encode(text))

    def text(self, text: str) -> bytes:
        """Write a piece of the text."""
        told = b"" if self._open == _TEXT else self._begin(_TEXT, b'"text","text":""')
        return told + _DELTA % (self._index, b'"text_delta","text":', _encode(text))

    def call(self, id_: str, name: str) -> bytes:
        """Begin a call."""
        return self._begin(_CALL, b'"tool_use","id":%b,"name":%b,"input":{}' % (_encode(id_), _encode(name)))

    def arguments(self, text: str) -> bytes:
        """Write a piece of the call's arguments."""
        return _DELTA % (self._index, b'"input_json_delta","partial_json":', _encode(text))

    def end(self, finish: str, usage: Usage, stopped_by: str | None, now: float) -> bytes:  # noqa: ARG002
        """End a stream."""
        reason, stop = _reason(finish, stopped_by)
        return (
            b'%bevent: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":%b,"stop_sequence":%b},'
            b'"usage":%b}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
        ) % (self._close(), reason, stop, _usage(usage) if usage.told else b'{"output_tokens":0}')

    def whole(self, answer: WholeAnswer, now: float) -> bytes:  # noqa: ARG002
        """Write an answer in one piece."""
        blocks = [b'{"type":"thinking","thinking":%b,"signature":""}' % _encode(answer.thinking)] * bool(
            answer.thinking
        )
        if answer.text:
            blocks.append(b'{"type":"text","text":%b}' % _encode(answer.text))
        blocks += [_call(call) for call in answer.calls]
        reason, stop = _reason(answer.finish, answer.stopped_by)
        return self._message(b"[%b]" % b",".join(blocks), reason, stop, answer.usage)

    def _message(self, content: bytes, reason: bytes, stop: bytes, usage: Usage) -> bytes:
        return (
            b'{"id":%b,"type":"message","role":"assistant","model":%b,"content":%b,"stop_reason":%b,"stop_sequence":%b,'
            b'"usage":%b}'
        ) % (
            _encode(f"msg_{self.context.token}"), _encode(self.context.model), content, reason, stop, _usage(usage),
        )  # fmt: skip

    def _begin(self, kind: int, block: bytes) -> bytes:
        told = self._close()
        self._open = kind
        return told + _BEGINS % (self._index, block)

    def _close(self) -> bytes:
        """End the block that is open."""
        if self._open == _NOTHING:
            return b""
        told = _ENDS % self._index
        if self._open == _THINKING:
            # SDKs end a block of thinking with its signature, and send it back; here it means nothing.
            told = _DELTA % (self._index, b'"signature_delta","signature":', b'""') + told
        self._open = _NOTHING
        self._index += 1
        return told


def _reason(finish: str, stopped_by: str | None) -> tuple[bytes, bytes]:
    """Give the stop reason and the stop sequence as JSON."""
    if stopped_by is not None and finish == STOP:
        return b'"stop_sequence"', _encode(stopped_by)
    return b'"%b"' % _REASONS.get(finish, b"end_turn"), b"null"


def _usage(usage: Usage) -> bytes:
    """Give the usage; here, `input_tokens` are those that weren't cached."""
    return (b'{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":%d,"output_tokens":%d}') % (
        usage.prompt - usage.cached,
        usage.cached,
        usage.completion,
    )


def _call(call: Call) -> bytes:
    return b'{"type":"tool_use","id":%b,"name":%b,"input":%b}' % (
        _encode(call.id), _encode(call.name), _input(call.arguments),
    )  # fmt: skip


def _input(arguments: str) -> bytes:
    """Give arguments as a JSON object, whatever the model wrote."""
    if not arguments:
        return b"{}"
    try:
        _decode_object(arguments)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _encode({"INVALID_JSON": arguments})
    return arguments.encode()


class CountTranslator(AnswerTranslator):
    """Passes on the count of an engine's counter, which has the form that clients expect."""

    def __init__(self, context: Context) -> None:
        self._context: Final = context
        self.done = False

    def feed(self, data: bytes, now: float) -> bytes:  # noqa: ARG002
        """Counts don't come as streams."""
        raise BadGatewayError("The engine answered a count of tokens with a stream.")

    def ended(self, now: float) -> bytes:  # noqa: ARG002
        """Counts don't come as streams."""
        raise BadGatewayError("The engine answered a count of tokens with a stream.")

    def whole(self, body: bytes, now: float) -> bytes:  # noqa: ARG002 -- other answers need the time
        """Pass on the count."""
        if says_error(body):
            raise errors.of_engine(500, body)
        self.done = True
        return b'{"input_tokens":%d}' % read_count(body)

    def error(self, status: int, body: bytes) -> bytes:
        """Translate an error's body."""
        return errors.body(errors.of_engine(status, body), self._context.path)


class MessagesMender(AnswerTranslator):
    """Corrects what an engine with a /v1/messages of its own answers there; `streams`: as a stream.

    llama_server (of November 2026) names the stop sequence that ended an answer, but says `end_turn`, errors in its
    streams have OpenAI's form, and a stream's end doesn't repeat, as Anthropic's does, what its beginning says of the
    prompt's tokens. All else passes as it comes.
    """

    def __init__(self, context: Context, *, streams: bool) -> None:
        self.done = False
        self._context: Final = context
        self._streams: Final = streams
        # The beginning of an event that isn't whole yet.
        self._rest = b""
        # Fields of the usage that count the prompt's tokens.
        self._prompt = b""

    @property
    def content_type(self) -> bytes:
        """The content type of a good answer."""
        return EVENT_STREAM if self._streams else JSON

    def feed(self, data: bytes, now: float) -> bytes:  # noqa: ARG002 -- other answers need the time
        """Take the next bytes of a stream, cut anywhere; give the events that are whole."""
        data = self._rest + data
        last = data.rfind(b"\n\n")
        end = 0 if last < 0 else last + 2
        self._rest = data[end:]
        if len(self._rest) > MOST:
            raise BadGatewayError(f"The engine sent an event of more than {MOST} bytes.")
        return self._mended(data[:end])

    def ended(self, now: float) -> bytes:  # noqa: ARG002
        """Give what came last, even if nothing ends it."""
        rest, self._rest = self._rest, b""
        return self._mended(rest)

    def fail(self, error: RouterError, now: float) -> bytes:  # noqa: ARG002
        """End the client's stream with an error."""
        self.done = True
        return errors.event(error, self._context.path)

    def whole(self, body: bytes, now: float) -> bytes:  # noqa: ARG002
        """Correct an answer in one piece."""
        if says_error(body):
            raise errors.of_engine(500, body)
        self.done = True
        return _with_reason(body)

    def error(self, status: int, body: bytes) -> bytes:
        """Give an error's body in the form of the API."""
        return errors.reworded(status, body, self._context.path)

    def _mended(self, said: bytes) -> bytes:
        """Correct events that are whole."""
        if b"error" in said:
            found = _SAYS_ERROR.search(said)
            if found is not None:
                self.done = True
                said = said[: found.start(1)] + errors.reworded(500, found[1], self._context.path) + b"\n\n"
        if b'"message_start"' in said:
            found = _BEGAN.search(said)
            if found is not None:
                self._prompt = b"".join([b"%s," % field for field in _COUNTS.findall(found[1])])
        if b'"stop_reason"' in said:
            said = _with_reason(said)
            if self._prompt:
                said = _ENDS_WITH.sub(lambda found: found[0] + self._prompt, said, count=1)
        if b"message_stop" in said and _IS_OVER.search(said):
            self.done = True
        return said


_BEGAN = re.compile(rb'"type": ?"message_start"[^\n]*"usage": ?(\{[^{}]*\})')
_COUNTS = re.compile(rb'"(?:cache_read_input_tokens|cache_creation_input_tokens|input_tokens)": ?\d+')
_ENDS_WITH = re.compile(rb'"type": ?"message_delta"[^\n]*"usage": ?\{(?=")(?![^{}]*"input_tokens")')


def _with_reason(said: bytes) -> bytes:
    """Give the right reason where a stop sequence ended an answer; fields in the content stand before it."""
    found = _ENDED_TURN.match(said, max(0, said.rfind(b'"stop_reason"')))
    if found is None:
        return said
    return said[: found.start()] + b'"stop_reason":"stop_sequence","stop_sequence":' + said[found.end() :]
