"""What clients of /v1/responses get: an answer in its form, streamed or in one piece.

A stream is `response.created`, `response.in_progress`, then each item of the output (`output_item.added`, what is in
it, `output_item.done`), and the whole response once more: completed, incomplete or failed. Every event has the fields
that OpenAI's SDK declares, though most clients do without some.

Reasoning is an item with its text, as llama_server and vllm answer. If the client asked for a summary, it stands there
instead: Codex shows a summary to its user, and sends either back with the next request. `encrypted_content` is an empty
text, as llama_server's: with null, the AI SDK doesn't send reasoning back.
"""

from typing import Final

import msgspec

from router.core.errors import RouterError
from router.translate.completions import NULL
from router.translate.responses_custom import InputReader
from router.translate.responses_request import Asked
from router.translate.responses_tools import Tools
from router.translate.speech import Context
from router.translate.writer import FILTERED, LENGTH, Usage, WholeAnswer, Writer

_encode = msgspec.json.Encoder().encode

_NOTHING, _THINKING, _TEXT, _CALL, _CUSTOM = range(5)
"""The item that is open."""

_PREFIXES = (b"", b"rs", b"msg", b"fc", b"ctc")
"""What an item's id begins with."""

_EVENT = b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n'
_REASONS = {LENGTH: b"max_output_tokens", FILTERED: b"content_filter"}
_ITEM = b'{"id":"%b","type":"%b","status":"%b",%b}'
_TEXT_PART = b'{"type":"output_text","annotations":[],"logprobs":[],"text":%b}'
_THINKING_PART = b'{"type":"reasoning_text","text":%b}'
_SUMMARY_PART = b'{"type":"summary_text","text":%b}'

ECHOED: tuple[tuple[str, bytes], ...] = (
    ("instructions", b"null"),
    ("max_output_tokens", b"null"),
    ("max_tool_calls", b"null"),
    ("metadata", b"{}"),
    ("parallel_tool_calls", b"true"),
    ("prompt_cache_key", b"null"),
    ("reasoning", b'{"effort":null,"summary":null}'),
    ("safety_identifier", b"null"),
    ("temperature", b"null"),
    ("text", b'{"format":{"type":"text"}}'),
    ("tool_choice", b'"auto"'),
    ("tools", b"[]"),
    ("top_p", b"null"),
    ("user", b"null"),
)
"""Fields of a request that stand in its response, too, and what they are if the request lacks them."""

FIXED: tuple[tuple[str, bytes], ...] = (
    ("background", b"false"),
    ("previous_response_id", b"null"),
    ("service_tier", b'"default"'),
    ("store", b"false"),
    ("top_logprobs", b"0"),
    ("truncation", b'"disabled"'),
)
"""Fields of a response that are the same in all."""


class Echo:
    """The fields of a response that its request decides, each as JSON."""

    def __init__(self, asked: Asked) -> None:
        self.fields: Final[dict[str, bytes]] = dict(FIXED)
        for name, usual in ECHOED:
            value = getattr(asked, name)
            if value is None or value in NULL:
                self.fields[name] = usual
            elif isinstance(value, msgspec.Raw):
                # An event is one line.
                self.fields[name] = bytes(value).replace(b"\n", b" ").replace(b"\r", b" ")
            else:
                self.fields[name] = _encode(value)

    @property
    def json(self) -> bytes:
        """All of them, as they stand in an object behind another field."""
        return b"".join([b',"%b":%b' % (name.encode(), value) for name, value in self.fields.items()])


class ResponsesWriter(Writer):
    """Writes an answer in the form of OpenAI's Responses API."""

    def __init__(
        self, context: Context, echo: Echo, tools: Tools, *, streams: bool, summarizes: bool, number: int = 0
    ) -> None:
        super().__init__(context, streams=streams)
        self._token = context.token.encode()
        self._echo = echo.json
        self._tools = tools
        self._summarizes = summarizes
        # The number of the next event.
        self._number = number
        # The items that are done, as JSON.
        self._items: list[bytes] = []
        self._open = _NOTHING
        self._id = b""
        # What has come of the item that is open; the beginning of each event that brings more; a call's other fields.
        self._pieces: list[str] = []
        self._delta = b""
        self._call = b""
        self._input = InputReader()

    # A stream

    def begin(self, now: float) -> bytes:
        """Begin a stream."""
        response = b'"response":' + self._response(b"in_progress", b"null", None, now)
        return self._event(b"response.created", response) + self._event(b"response.in_progress", response)

    def thinking(self, text: str) -> bytes:
        """Write a piece of the reasoning."""
        told = b"" if self._open == _THINKING else self._begin_thinking()
        return told + self._piece(text)

    def text(self, text: str) -> bytes:
        """Write a piece of the text."""
        told = b"" if self._open == _TEXT else self._begin_text()
        return told + self._piece(text)

    def call(self, id_: str, name: str) -> bytes:
        """Begin a call."""
        if self._tools.is_custom(name):
            return self._begin_custom(id_, name)
        told = self._begin(_CALL)
        self._call = self._call_fields(id_, name)
        self._delta = self._delta_of(b"response.function_call_arguments.delta", b"")
        return told + self._added(b"function_call", b'%b,"arguments":""' % self._call)

    def arguments(self, text: str) -> bytes:
        """Write a piece of the call's arguments."""
        if self._open == _CUSTOM:
            text = self._input.feed(text)
        return self._piece(text) if text else b""

    def end(self, finish: str, usage: Usage, stopped_by: str | None, now: float) -> bytes:  # noqa: ARG002
        """End a stream."""
        reason = _REASONS.get(finish)
        status = b"completed" if reason is None else b"incomplete"
        told = self._close(status)
        response = b'"response":' + self._response(status, _incomplete(reason), usage, now)
        return told + self._event(b"response." + status, response)

    def fail(self, error: RouterError, now: float) -> bytes:
        """End a stream with an error: clients show the message of a response that failed, but not that of `error`."""
        told = self.begin(now) if not self._number else b""
        self._open = _NOTHING
        response = self._response(b"failed", b"null", None, now, _error(error))
        return told + self._event(b"response.failed", b'"response":' + response)

    # An answer in one piece

    def whole(self, answer: WholeAnswer, now: float) -> bytes:
        """Write an answer in one piece."""
        reason = _REASONS.get(answer.finish)
        status = b"completed" if reason is None else b"incomplete"
        found = [(kind, b"", said) for kind, said in ((_THINKING, answer.thinking), (_TEXT, answer.text)) if said]
        for call in answer.calls:
            kind, said = _CALL, call.arguments
            if self._tools.is_custom(call.name):
                reader = InputReader()
                kind, said = _CUSTOM, reader.feed(said) + reader.end()
            found.append((kind, self._call_fields(call.id, call.name), said))
        for number, (kind, fields, said) in enumerate(found):
            self._id, self._call = self._new_id(kind), fields
            self._items.append(self._item(kind, _encode(said), status if number == len(found) - 1 else b"completed"))
        return self._response(status, _incomplete(reason), answer.usage, now)

    # Items

    def _begin(self, kind: int) -> bytes:
        """End the item that is open, and begin another."""
        told = self._close(b"completed")
        self._open = kind
        self._id = self._new_id(kind)
        return told

    def _new_id(self, kind: int) -> bytes:
        return b"%b_%b%d" % (_PREFIXES[kind], self._token, len(self._items))

    def _begin_custom(self, id_: str, name: str) -> bytes:
        told = self._begin(_CUSTOM)
        self._input = InputReader()
        self._call = self._call_fields(id_, name)
        self._delta = self._delta_of(b"response.custom_tool_call_input.delta", b"")
        return told + self._added(b"custom_tool_call", b'%b,"input":""' % self._call)

    def _begin_thinking(self) -> bytes:
        told = self._begin(_THINKING)
        told += self._added(b"reasoning", b'"summary":[],"encrypted_content":""')
        if self._summarizes:
            part = b'"summary_index":0,"part":' + _SUMMARY_PART % b'""'
            self._delta = self._delta_of(b"response.reasoning_summary_text.delta", b'"summary_index":0,')
            return told + self._item_event(b"response.reasoning_summary_part.added", part)
        self._delta = self._delta_of(b"response.reasoning_text.delta", b'"content_index":0,')
        part = b'"content_index":0,"part":' + _THINKING_PART % b'""'
        return told + self._item_event(b"response.content_part.added", part)

    def _begin_text(self) -> bytes:
        told = self._begin(_TEXT)
        told += self._added(b"message", b'"role":"assistant","content":[]')
        self._delta = self._delta_of(b"response.output_text.delta", b'"content_index":0,"logprobs":[],')
        return told + self._item_event(
            b"response.content_part.added", b'"content_index":0,"part":' + _TEXT_PART % b'""'
        )

    def _piece(self, text: str) -> bytes:
        self._pieces.append(text)
        number = self._number
        self._number = number + 1
        return b'%b%b,"sequence_number":%d}\n\n' % (self._delta, _encode(text), number)

    def _close(self, status: bytes) -> bytes:
        """End the item that is open."""
        kind, self._open = self._open, _NOTHING
        if kind == _NOTHING:
            return b""
        told = b""
        if kind == _CUSTOM:
            rest = self._input.end()
            told = self._piece(rest) if rest else b""
        said = _encode("".join(self._pieces))
        self._pieces.clear()
        if kind == _CUSTOM:
            told += self._item_event(b"response.custom_tool_call_input.done", b'"input":%b' % said)
        elif kind == _CALL:
            told = self._item_event(b"response.function_call_arguments.done", b'%b,"arguments":%b' % (self._call, said))
        elif kind == _TEXT:
            place = b'"content_index":0,'
            told = self._item_event(b"response.output_text.done", b'%b"logprobs":[],"text":%b' % (place, said))
            told += self._item_event(b"response.content_part.done", b'%b"part":%b' % (place, _TEXT_PART % said))
        elif self._summarizes:
            place = b'"summary_index":0,'
            told = self._item_event(b"response.reasoning_summary_text.done", b'%b"text":%b' % (place, said))
            part = b'%b"part":%b' % (place, _SUMMARY_PART % said)
            told += self._item_event(b"response.reasoning_summary_part.done", part)
        else:
            place = b'"content_index":0,'
            told = self._item_event(b"response.reasoning_text.done", b'%b"text":%b' % (place, said))
            told += self._item_event(b"response.content_part.done", b'%b"part":%b' % (place, _THINKING_PART % said))
        item = self._item(kind, said, status)
        told += self._event(b"response.output_item.done", b'"output_index":%d,"item":%b' % (len(self._items), item))
        self._items.append(item)
        return told

    def _item(self, kind: int, said: bytes, status: bytes) -> bytes:
        if kind == _CALL:
            return _ITEM % (self._id, b"function_call", status, b'%b,"arguments":%b' % (self._call, said))
        if kind == _CUSTOM:
            return _ITEM % (self._id, b"custom_tool_call", status, b'%b,"input":%b' % (self._call, said))
        if kind == _TEXT:
            fields = b'"role":"assistant","content":[%b]' % (_TEXT_PART % said)
            return _ITEM % (self._id, b"message", status, fields)
        if self._summarizes:
            fields = b'"summary":[%b],"encrypted_content":""' % (_SUMMARY_PART % said)
        else:
            fields = b'"summary":[],"encrypted_content":"","content":[%b]' % (_THINKING_PART % said)
        return _ITEM % (self._id, b"reasoning", status, fields)

    def _call_fields(self, id_: str, name: str) -> bytes:
        space, name = self._tools.parted(name)
        fields = b'"call_id":%b,"name":%b' % (_encode(id_), _encode(name))
        return b'%b,"namespace":%b' % (fields, _encode(space)) if space else fields

    # Events

    def _event(self, kind: bytes, fields: bytes) -> bytes:
        number = self._number
        self._number = number + 1
        return _EVENT % (kind, kind, number, fields)

    def _item_event(self, kind: bytes, fields: bytes) -> bytes:
        """Write an event of the item that is open."""
        return self._event(kind, b'"item_id":"%b","output_index":%d,%b' % (self._id, len(self._items), fields))

    def _added(self, kind: bytes, fields: bytes) -> bytes:
        item = _ITEM % (self._id, kind, b"in_progress", fields)
        return self._event(b"response.output_item.added", b'"output_index":%d,"item":%b' % (len(self._items), item))

    def _delta_of(self, kind: bytes, fields: bytes) -> bytes:
        """Give the beginning of the events that bring pieces of the item."""
        head = b'event: %b\ndata: {"type":"%b","item_id":"%b","output_index":%d,%b"delta":'
        return head % (kind, kind, self._id, len(self._items), fields)

    # The response

    def _response(
        self, status: bytes, incomplete: bytes, usage: Usage | None, now: float, error: bytes = b"null"
    ) -> bytes:
        context = self.context
        completed = b"%d" % int(context.unix + now - context.now) if status == b"completed" else b"null"
        # What the access log wants comes last (core.record): the tools of a request may be long.
        return (
            b'{"id":"resp_%b","object":"response","created_at":%d,"completed_at":%b,"model":%b,"output":[%b]%b,'
            b'"error":%b,"usage":%b,"incomplete_details":%b,"status":"%b"}'
        ) % (
            self._token,
            int(context.unix),
            completed,
            _encode(context.model),
            b",".join(self._items),
            self._echo,
            error,
            b"null" if usage is None else _usage(usage),
            incomplete,
            status,
        )


def _incomplete(reason: bytes | None) -> bytes:
    return b"null" if reason is None else b'{"reason":"%b"}' % reason


def _error(error: RouterError) -> bytes:
    """Give an error by one of OpenAI's codes; Codex asks again at the first two, and shows the message of the last."""
    code = b"rate_limit_exceeded" if error.status == 429 else b"server_error"
    if 400 <= error.status < 500 and error.status != 429:
        code = b"invalid_prompt"
    return b'{"code":"%b","message":%b}' % (code, _encode(error.message))


def _usage(usage: Usage) -> bytes:
    return (
        b'{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d,"cache_write_tokens":0},'
        b'"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}'
    ) % (usage.prompt, usage.cached, usage.completion, usage.reasoning, usage.prompt + usage.completion)
