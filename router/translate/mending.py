"""Completes what an engine with a /v1/responses of its own answers there, for clients that need what it leaves out.

llama_server (of November 2026) leaves out of its events the numbers and places (`sequence_number`, `output_index`,
`content_index`), out of the response what its request decides, out of a call its id, and says "completed" at the token
limit. The AI SDK fails without some of these. Everything that it does send is kept, but for `model`, which becomes the
name that the client asked for, and an error in a stream, which becomes a response that failed.

Some requests it would not answer as meant, whatever its answer lacked. Those go to its chats instead:

1. Tools in namespaces and custom ones, which it ignores, and a `tool_choice` that isn't `auto` or `none`, which it may
   ignore.
2. Items that it refuses: reasoning without its text (as Codex sends back a summary), and types that it doesn't know.
"""

import re
from typing import Final, TypeVar

import msgspec

from router.core import errors
from router.core.errors import BadGatewayError, RouterError
from router.translate import responses_event as told
from router.translate import responses_request as request
from router.translate.completions import NULL
from router.translate.events import EventReader
from router.translate.reading import read
from router.translate.responses import refuse_stored
from router.translate.responses_answer import Echo, ResponsesWriter
from router.translate.responses_event import Event, Usage
from router.translate.responses_request import Glance, Seen
from router.translate.responses_tools import Tools
from router.translate.speech import EVENT_STREAM, JSON, AnswerTranslator, Context

Fields = dict[str, msgspec.Raw]
T = TypeVar("T")

KNOWN = frozenset({None, "message", "function_call", "function_call_output"})
"""Types of items that llama_server takes; it takes reasoning with its text, too."""

_OTHER_TOOL = re.compile(rb'"type"\s*:\s*"(?:namespace|custom)"')
"""A tool in JSON that it ignores, though it becomes a function in a chat; these are no types of a JSON schema."""

LAST = ("usage", "incomplete_details", "status")
"""Fields that stand at the end of a response: what the access log wants (core.record)."""

ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})


_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(Fields)
_list = msgspec.json.Decoder(list[msgspec.Raw])


def mender(body: bytes, context: Context) -> "Mender | None":
    """Give what completes the answer to a request of /v1/responses; None if it must become a chat.

    Raises BadRequestError.
    """
    if (b'"namespace"' in body or b'"custom"' in body) and _OTHER_TOOL.search(body):
        return None
    asked = read(request.glance, body, "")
    refuse_stored(asked)
    if _is_for_chat(asked):
        return None
    limit = min([each for each in (asked.max_output_tokens, asked.max_tokens) if each is not None], default=0)
    return Mender(context, Echo(asked), limit, streams=bool(asked.stream))


def _is_for_chat(asked: Glance) -> bool:
    """Do 1 and 2 above."""
    choice = asked.tool_choice
    if choice not in NULL and bytes(choice) not in {b'"auto"', b'"none"'}:
        return True
    said = asked.input
    return isinstance(said, list) and not all(_is_known(item) for item in said)


def _is_known(item: Seen) -> bool:
    if item.type == "reasoning":
        return bytes(memoryview(item.content)[:1]) == b"["
    return item.type in KNOWN and (item.type is not None or item.role is not None) and not item.namespace


class Mender(AnswerTranslator):
    """Completes an answer. `limit` is the request's, of tokens of the answer; 0 for none."""

    def __init__(self, context: Context, echo: Echo, limit: int, *, streams: bool) -> None:
        self.done = False
        self._context: Final = context
        self._echo = echo
        self._limit = limit
        self._streams = streams
        self._events = EventReader()
        # The number of the next event, and the place of each item by its id.
        self._number = 0
        self._places: dict[str, int] = {}

    @property
    def content_type(self) -> bytes:
        """The content type of a good answer."""
        return EVENT_STREAM if self._streams else JSON

    def feed(self, data: bytes, now: float) -> bytes:
        """Take the next bytes of a stream, cut anywhere; give the client's."""
        return b"".join([self._mend(said, now) for said in self._events.feed(data)])

    def ended(self, now: float) -> bytes:
        """Take the end of the stream; give what the client's still lacks."""
        return b"".join([self._mend(said, now) for said in self._events.end()])

    def fail(self, error: RouterError, now: float) -> bytes:
        """End the client's stream with an error."""
        self.done = True
        return ResponsesWriter(
            self._context, self._echo, Tools(), streams=True, summarizes=False, number=self._number
        ).fail(error, now)

    def whole(self, body: bytes, now: float) -> bytes:  # noqa: ARG002 -- other answers need the time
        """Complete an answer in one piece."""
        self.done = True
        fields = _read(_fields, body)
        if fields.get("error", NULL[0]) not in NULL and "object" not in fields:
            raise errors.of_engine(500, body)
        return _encode(self._response(fields))

    def error(self, status: int, body: bytes) -> bytes:
        """Give an error's body in the form of the API."""
        return errors.body(errors.of_engine(status, body), self._context.path)

    # Events

    def _mend(self, said: bytes, now: float) -> bytes:
        """Complete an event, or pass a comment on."""
        if self.done:
            return b""
        if said[:1] == b":":
            return said + b"\n\n"
        event = _read(told.event, said)
        if not event.type or event.type == "error":
            return self.fail(errors.of_engine(500, said), now)
        kind = event.type
        if kind in ENDS:
            self.done = True
        if event.response not in NULL:
            kind, said = self._with_response(kind, said)
        elif event.item not in NULL:
            said = self._with_item(event, said)
        else:
            said = self._with_place(event, said)
        if event.sequence_number is None:
            said = b'%b,"sequence_number":%d}' % (said[:-1], self._number)
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), said)

    def _with_response(self, kind: str, said: bytes) -> tuple[str, bytes]:
        """Complete an event with the whole response, whose status decides the event's type."""
        fields = _read(_fields, said)
        inner = self._response(_read(_fields, fields["response"]))
        fields["response"] = msgspec.Raw(_encode(inner))
        if kind == "response.completed" and inner["status"] == msgspec.Raw(b'"incomplete"'):
            kind = "response.incomplete"
            fields["type"] = msgspec.Raw(_encode(kind))
        return kind, _encode(fields)

    def _with_item(self, event: Event, said: bytes) -> bytes:
        """Complete an event that brings an item, or its end."""
        fields = _read(_fields, said)
        item, id_ = _item(event.item)
        fields["item"] = item
        if event.output_index is None:
            place = self._places.setdefault(id_, len(self._places))
            fields["output_index"] = msgspec.Raw(b"%d" % place)
        else:
            self._places[id_] = event.output_index
        return _encode(fields)

    def _with_place(self, event: Event, said: bytes) -> bytes:
        """Complete an event of what is in an item. They are many, so only what lacks is written."""
        said = said.rstrip()
        if event.part not in NULL:
            fields = _read(_fields, said)
            fields["part"] = _part(event.part)
            said = _encode(fields)
        lacks = b""
        if event.output_index is None and event.item_id is not None:
            lacks += b',"output_index":%d' % self._places.get(event.item_id, max(0, len(self._places) - 1))
        if "reasoning_summary" in event.type:
            if event.summary_index is None:
                lacks += b',"summary_index":0'
        elif "function_call" not in event.type and event.content_index is None:
            lacks += b',"content_index":0'
        if event.type in {"response.output_text.delta", "response.output_text.done"} and event.logprobs in NULL:
            lacks += b',"logprobs":[]'
        return b"%b%b}" % (said[:-1], lacks)

    # The response

    def _response(self, fields: Fields) -> Fields:
        """Complete the response."""
        token = self._context.token.encode()
        lacking = {
            "id": b'"resp_%b"' % token,
            "object": b'"response"',
            "created_at": b"%d" % int(self._context.unix),
            "completed_at": b"null",
            "status": b'"completed"',
            "error": b"null",
            "incomplete_details": b"null",
            "output": b"[]",
            **self._echo.fields,
        }
        for name, value in lacking.items():
            if name not in fields:
                fields[name] = msgspec.Raw(value)
        fields["model"] = msgspec.Raw(_encode(self._context.model))
        fields["output"] = msgspec.Raw(_encode([_item(item)[0] for item in _read(_list, fields["output"])]))
        if fields.get("usage", NULL[0]) in NULL:
            fields["usage"] = msgspec.Raw(b"null")
        else:
            usage = _read(told.usage, fields["usage"])
            fields["usage"] = _whole_usage(fields["usage"], usage)
            if 0 < self._limit <= usage.output_tokens and bytes(fields["status"]) == b'"completed"':
                fields["status"] = msgspec.Raw(b'"incomplete"')
                fields["incomplete_details"] = msgspec.Raw(b'{"reason":"max_output_tokens"}')
                fields["completed_at"] = msgspec.Raw(b"null")
        for name in LAST:
            fields[name] = fields.pop(name)
        return fields


def _item(given: msgspec.Raw) -> tuple[msgspec.Raw, str]:
    """Complete an item of the output; give its id, too."""
    named = _read(told.named, given)
    if named.id is not None:
        return given, named.id
    fields = _read(_fields, given)
    id_ = named.call_id or ""
    fields["id"] = msgspec.Raw(_encode(id_))
    return msgspec.Raw(_encode(fields)), id_


def _part(given: msgspec.Raw) -> msgspec.Raw:
    """Complete a part of a message."""
    if _read(told.typed, given).type != "output_text":
        return given
    fields = _read(_fields, given)
    for name in ("annotations", "logprobs"):
        fields.setdefault(name, msgspec.Raw(b"[]"))
    return msgspec.Raw(_encode(fields))


def _whole_usage(given: msgspec.Raw, usage: Usage) -> msgspec.Raw:
    fields = _read(_fields, given)
    fields.setdefault("total_tokens", msgspec.Raw(b"%d" % (usage.input_tokens + usage.output_tokens)))
    for name, lacking in (
        ("input_tokens_details", {"cached_tokens": b"0", "cache_write_tokens": b"0"}),
        ("output_tokens_details", {"reasoning_tokens": b"0"}),
    ):
        told = fields.get(name, NULL[0])
        details = {} if told in NULL else _read(_fields, told)
        fields[name] = msgspec.Raw(_encode({key: msgspec.Raw(value) for key, value in lacking.items()} | details))
    return msgspec.Raw(_encode(fields))


def _read(decoder: msgspec.json.Decoder[T], said: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadGatewayError(f"The engine's answer is not as /v1/responses should be: {error}.") from error
