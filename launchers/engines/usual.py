"""Chats that every engine takes as they are, as most are: told by their types, in one pass.

Only the others are taken apart (`chats`, `tools`).
"""

from typing import Annotated, Literal

import msgspec

from launchers.engines import bodies
from launchers.engines.bodies import Text
from launchers.errors import UnfitRequestError


class WholeFunction(msgspec.Struct):
    """A function that needs nothing."""

    name: str
    parameters: Annotated[dict[str, msgspec.Raw], msgspec.Meta(min_length=1)]
    description: str = ""
    strict: bool = False


class WholeTool(msgspec.Struct):
    """A tool that needs nothing."""

    type: Literal["function"]
    function: WholeFunction


class WholeCalled(msgspec.Struct):
    """What a call calls."""

    name: str
    arguments: Text


class WholeCall(msgspec.Struct):
    """A call that needs nothing."""

    id: str
    type: Literal["function"]
    function: WholeCalled


class Named(msgspec.Struct):
    """What has a name."""

    name: str


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    """A part of a content that is text."""

    text: str


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    """One that is an image, which isn't looked at."""

    image_url: msgspec.Raw


class StreamOptions(msgspec.Struct):
    """Of a stream."""

    include_usage: bool


class Plain(msgspec.Struct, forbid_unknown_fields=True):
    """A message that any engine takes."""

    role: Literal["user", "assistant", "system"]
    content: str


class Native(msgspec.Struct, forbid_unknown_fields=True, tag_field="role", kw_only=True):
    """A message that an engine takes that follows OpenAI's API of today."""

    name: str = ""


class FromUser(Native, tag="user", kw_only=True):
    """One by the user."""

    content: str | list[TextPart | ImagePart]


class FromSystem(Native, tag="system", kw_only=True):
    """One by whoever made the application."""

    content: str | list[TextPart]


class FromTool(Native, tag="tool", kw_only=True):
    """What a call came to."""

    content: str | list[TextPart | ImagePart]
    tool_call_id: str = ""


class FromAssistant(Native, tag="assistant", kw_only=True):
    """One by the model, which may have called tools and said nothing."""

    content: str | list[TextPart] | None
    tool_calls: list[WholeCall] | None = None
    refusal: str | None = None


WholeTools = Annotated[list[WholeTool], msgspec.Meta(min_length=1)]


class Usual(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A chat of fields that mean the same to every engine: as most are."""

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
    """One whose messages are roles and texts."""

    messages: Annotated[list[Plain], msgspec.Meta(min_length=1)]


class UsualNative(Usual, kw_only=True):
    """One whose messages may have tools and images in them."""

    messages: Annotated[list[FromUser | FromSystem | FromTool | FromAssistant], msgspec.Meta(min_length=1)]
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1


_plain = msgspec.json.Decoder(UsualPlain).decode

_native = msgspec.json.Decoder(UsualNative).decode

_any = msgspec.json.Decoder(msgspec.Raw).decode


def usual(body: bytes, *, native: bool) -> Usual | None:
    """The chat, where it is one that any engine takes as it is, or any that is `native`; else None, and look closer."""
    try:
        chat = _native(body) if native else _plain(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    says_nothing = (chat.stream_options and not chat.stream) or (chat.tool_choice and not chat.tools)
    if says_nothing or (chat.tools and not _is_text(body)):
        return None
    return chat


def calls_are_json(chat: UsualNative) -> bool:
    """Whether what tools were called with are JSON objects, which a model may have failed to write."""
    called = [message.tool_calls for message in chat.messages if isinstance(message, FromAssistant)]
    return all(is_json_object(call.function.arguments) for calls in called if calls for call in calls)


def is_json_object(text: str) -> bool:
    """Whether a text is one, which isn't taken apart."""
    try:
        return bodies.begins(_any(text)) == bodies.AN_OBJECT
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _is_text(body: bytes) -> bool:
    """Whether a body is UTF-8, of which parts were not looked at."""
    try:
        bodies.check_text(body)
    except UnfitRequestError:
        return False
    return True
