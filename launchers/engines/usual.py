"""Recognises chats that every engine accepts unchanged, as most are, by their types and in one pass.

Only the others are parsed further (`chats`, `tools`).
"""

from typing import Annotated, Literal

import msgspec

from launchers.engines import bodies
from launchers.engines.bodies import Text
from launchers.errors import UnfitRequestError


class WholeFunction(msgspec.Struct):
    """A function that needs no change."""

    name: str
    parameters: Annotated[dict[str, msgspec.Raw], msgspec.Meta(min_length=1)]
    description: str = ""
    strict: bool = False


class WholeTool(msgspec.Struct):
    """A tool that needs no change."""

    type: Literal["function"]
    function: WholeFunction


class WholeCalled(msgspec.Struct):
    """The function of a call, with its arguments."""

    name: str
    arguments: Text


class WholeCall(msgspec.Struct):
    """A call that needs no change."""

    id: str
    type: Literal["function"]
    function: WholeCalled


class Named(msgspec.Struct):
    """Anything with a name."""

    name: str


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    """A text part of a content."""

    text: str


Inline = Annotated[str, msgspec.Meta(pattern="^data:")]
"""A URL that has what it names in itself; others are for `private` to judge."""


class InlineImage(msgspec.Struct):
    """An image in a request."""

    url: Inline


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    """An image part."""

    image_url: Inline | InlineImage


class StreamOptions(msgspec.Struct):
    """The options of a stream."""

    include_usage: bool


class Plain(msgspec.Struct, forbid_unknown_fields=True):
    """A message that any engine accepts."""

    role: Literal["user", "assistant", "system"]
    content: str


class Native(msgspec.Struct, forbid_unknown_fields=True, tag_field="role", kw_only=True):
    """A message for engines that follow OpenAI's present API."""

    name: str = ""


class FromUser(Native, tag="user", kw_only=True):
    """A message by the user."""

    content: str | list[TextPart | ImagePart]


class FromSystem(Native, tag="system", kw_only=True):
    """A message by the application's author."""

    content: str | list[TextPart]


class FromTool(Native, tag="tool", kw_only=True):
    """The result of a tool call."""

    content: str | list[TextPart | ImagePart]
    tool_call_id: str = ""


class FromAssistant(Native, tag="assistant", kw_only=True):
    """A message by the model, which may have only tool calls."""

    content: str | list[TextPart] | None
    tool_calls: list[WholeCall] | None = None
    refusal: str | None = None


WholeTools = Annotated[list[WholeTool], msgspec.Meta(min_length=1)]


class Usual(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A chat with fields that mean the same to every engine."""

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] = 0
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] = 0
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    stop: Text | Annotated[list[Text], msgspec.Meta(min_length=1, max_length=4)] = "-"
    user: str = ""
    tools: WholeTools | None = None
    tool_choice: Literal["auto"] | None = None
    parallel_tool_calls: bool = True


class UsualPlain(Usual, kw_only=True):
    """A chat whose messages are roles and texts."""

    messages: Annotated[list[Plain], msgspec.Meta(min_length=1)]


class UsualNative(Usual, kw_only=True):
    """A chat whose messages may contain tool calls and images."""

    messages: Annotated[list[FromUser | FromSystem | FromTool | FromAssistant], msgspec.Meta(min_length=1)]
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1


_plain = msgspec.json.Decoder(UsualPlain).decode

_native = msgspec.json.Decoder(UsualNative).decode

_any = msgspec.json.Decoder(msgspec.Raw).decode


def usual(body: bytes, *, native: bool) -> Usual | None:
    """Give the chat if any engine, or any `native` one, accepts it unchanged; else None, and it must be parsed."""
    try:
        chat = _native(body) if native else _plain(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    says_nothing = (chat.stream_options and not chat.stream) or (chat.tool_choice and not chat.tools)
    if says_nothing or (chat.tools and not _is_text(body)):
        return None
    return chat


def calls_are_json(chat: UsualNative) -> bool:
    """Tell whether the arguments of all calls are JSON objects; a model may have written them wrongly."""
    called = [message.tool_calls for message in chat.messages if isinstance(message, FromAssistant)]
    return all(is_json_object(call.function.arguments) for calls in called if calls for call in calls)


def is_json_object(text: str) -> bool:
    """Tell whether a text is a JSON object, without keeping its parts."""
    try:
        return bodies.begins(_any(text)) == bodies.AN_OBJECT
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _is_text(body: bytes) -> bool:
    """Tell whether a body is UTF-8; parts of it were not decoded."""
    try:
        bodies.check_text(body)
    except UnfitRequestError:
        return False
    return True
