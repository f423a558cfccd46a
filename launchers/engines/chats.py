"""How a chat is put into a form that every engine takes: its messages, its tools, what it may call, where it stops.

Clients send more forms than engines take. Each function here changes a body's fields in place; what can't be said to
an engine raises UnfitRequestError, in one sentence. Most chats need nothing: `usual` tells them by their type, in one
pass, and only the others are taken apart.

1. A null inside a message means what leaving the field out means. `model_dump()` of an answer is full of them.
2. A message without content has an empty one: chat templates add it to other text.
3. A list of parts that are all text is one text, its parts on lines of their own. Other parts are for the engine.
4. `developer` is what OpenAI calls the system now; templates know `system`.
5. A tool without parameters takes none.
6. `allowed_tools` is a shorter list of tools, and a mode.
7. A message's `function_call` is a call of a tool, and the role `function` that of what a tool came to.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from launchers.engines import bodies
from launchers.engines.bodies import NULL, Fields, Text
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


Parts = list[str | dict[str, msgspec.Raw]]
Call = dict[str, Any]

LIST, TEXT, OBJECT = b'["{'
TEXTS = ("name", "tool_call_id", "refusal", "reasoning_content")
"""Fields of a message that are texts, whoever knows them."""
SYSTEM, TOOL = bodies.raw("system"), bodies.raw("tool")
NO_PARAMETERS = {"type": "object", "properties": {}}
TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Types of parts that are text → the field that has it."""
THOUGHTS = frozenset({"thinking", "redacted_thinking", "reasoning"})
"""Types of parts that a model isn't shown again: templates leave out what was thought before an answer, too."""

_MESSAGES = "messages must be a list of one message or more, each an object with its role."
_TOOLS = "tools must be a list of objects, each with its type and its function."
_CHOICE = "tool_choice must be auto, none or required, or an object that names a function."


_plain = msgspec.json.Decoder(UsualPlain).decode
_native = msgspec.json.Decoder(UsualNative).decode
_whole = msgspec.json.Decoder(WholeTools).decode
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
        return _begins(_any(text)) == OBJECT
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _is_text(body: bytes) -> bool:
    """Whether a body is UTF-8, of which parts were not looked at."""
    try:
        bodies.check_text(body)
    except UnfitRequestError:
        return False
    return True


def _read(value: msgspec.Raw | bytes, kind: Any, problem: str, param: str) -> Any:  # noqa: ANN401
    """Read JSON as a type; what is none raises UnfitRequestError."""
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnfitRequestError(problem, param) from error


# Messages


@dataclass(frozen=True, slots=True)
class Takes:
    """What an engine takes of messages: roles, and types of parts beside texts. None: it tells by itself.

    `reads_arguments`: it reads what a tool was called with, which a model may have written as no JSON. `functions`: it
    knows what tools were before there were tools.
    """

    engine: str
    roles: frozenset[str] | None = None
    parts: frozenset[str] | None = None
    reads_arguments: bool = False
    functions: bool = False


def put_messages_right(found: Fields, takes: Takes) -> None:
    """1 to 4 and 7 above. A chat without messages is refused: some engines would answer it without end."""
    given = found.get("messages")
    if given is None:
        raise UnfitRequestError(f"The request has no messages; {_MESSAGES}", "messages")
    messages: list[Fields] = _read(given, list[Fields], _MESSAGES, "messages")
    if not messages:
        raise UnfitRequestError(_MESSAGES, "messages")
    changed = False
    for place, message in enumerate(messages):
        changed |= _put_message_right(message, f"messages[{place}]", takes)
    if changed:
        found["messages"] = bodies.raw(messages)


def _put_message_right(message: Fields, place: str, takes: Takes) -> bool:
    """Tell whether anything was to be put right."""
    was = dict(message)
    role: str = _read(message.get("role", NULL), str, _MESSAGES, "messages")
    if role == "developer":
        message["role"] = SYSTEM
    elif takes.roles is not None and role not in takes.roles:
        known = ", ".join(sorted({*takes.roles, "developer"}))
        raise UnfitRequestError(f"{place}.role is {role}; {takes.engine} knows {known}.", "messages")
    for name in [name for name, value in message.items() if value == NULL]:
        del message[name]
    if not takes.functions:
        _put_function_right(message, role, place)
    for name in TEXTS:
        if name in message and _begins(message[name]) != TEXT:
            raise UnfitRequestError(f"{place}.{name} must be a text.", "messages")
    begins = _begins(message.setdefault("content", bodies.NO_TEXT))
    if begins == LIST:
        message["content"] = _joined(message["content"], f"{place}.content", takes)
    elif begins != TEXT:
        raise UnfitRequestError(f"{place}.content must be a text or a list of parts.", "messages")
    if "tool_calls" in message:
        _put_calls_right(message, f"{place}.tool_calls", takes)
    return message != was


def _put_function_right(message: Fields, role: str, place: str) -> None:
    """7 above. Of a function that was called, and what it came to, templates would show nothing, or half."""
    if role == "function":
        name: str = _read(message.get("name", NULL), str, f"{place}.name must be that of the function.", "messages")
        message |= {"role": TOOL, "tool_call_id": bodies.raw(f"call_{name}")}
    called = message.pop("function_call", None)
    if called is not None and "tool_calls" not in message:
        problem = f"{place}.function_call must be an object with the function's name."
        name = _read(called, Named, problem, "messages").name
        message["tool_calls"] = bodies.raw([{"id": f"call_{name}", "type": "function", "function": called}])


def _begins(value: msgspec.Raw) -> int:
    """The first byte of JSON, which tells its kind; the value may be an image of megabytes."""
    return memoryview(value)[0]


def _joined(content: msgspec.Raw, place: str, takes: Takes) -> msgspec.Raw:
    """Parts that are all text, as one; as parts where others are among them, which the engine takes."""
    texts, others, changed = [], False, False
    parts: Parts = _read(content, Parts, _parts(place), "messages")
    for number, part in enumerate(parts):
        if isinstance(part, str):
            texts.append(part)
            continue
        kind: str = _read(part.get("type", NULL), str, _parts(place), "messages")
        if name := TEXT_PARTS.get(kind):
            texts.append(_read(part.get(name, NULL), str, f"{place}[{number}].{name} must be a text.", "messages"))
        elif kind in THOUGHTS:
            continue
        elif takes.parts is None or kind in takes.parts:
            if kind == "image_url":
                changed |= _put_image_right(part, f"{place}[{number}]")
            others = True
        else:
            known = ", ".join(["text", *sorted(takes.parts)])
            raise UnfitRequestError(f"{place}[{number}] is of type {kind}; {takes.engine} takes {known}.", "messages")
    if not others:
        return bodies.raw("\n".join(texts))
    return bodies.raw(parts) if changed else content


def _put_image_right(part: Fields, place: str) -> bool:
    """An image is an object with its URL, or was the URL alone; which may be megabytes, and is not read."""
    image = part.get("image_url", NULL)
    if _begins(image) == TEXT:
        part["image_url"] = bodies.raw({"url": image})
        return True
    problem = f"{place}.image_url must be an object with the image's url."
    inner: Fields = _read(image, Fields, problem, "messages")
    if _begins(inner.get("url", NULL)) != TEXT:
        raise UnfitRequestError(problem, "messages")
    return False


def _parts(place: str) -> str:
    return f"{place} must be a text or a list of parts, each an object with its type."


def _put_calls_right(message: Fields, place: str, takes: Takes) -> None:
    """A call needs its id, its type, and arguments that are JSON in a text. A message that makes none needs no list."""
    problem = f"{place} must be a list of objects, each with its function and the function's name."
    given = message["tool_calls"]
    calls: list[Call] = _read(given, list[Call], problem, "messages")
    changed = not calls
    for number, call in enumerate(calls):
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UnfitRequestError(problem, "messages")
        was = dict(call), dict(function)
        call["id"] = call.get("id") or f"call_{number}"
        call["type"] = call.get("type") or "function"
        arguments = function.get("arguments") or {}
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        elif takes.reads_arguments and not is_json_object(arguments):
            problem = f"{place}[{number}].function.arguments must be a JSON object in a text."
            raise UnfitRequestError(problem, "messages")
        function["arguments"] = arguments
        changed |= was != (call, function)
    if not calls:
        del message["tool_calls"]
    elif changed:
        message["tool_calls"] = bodies.raw(calls)


# Tools


def put_tools_right(found: Fields, engine: str) -> None:
    """5 and 6 above. An empty list of tools is none; a tool that is no function is refused."""
    given = found.get("tools")
    if given is not None:
        try:
            _whole(given)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _put_each_tool_right(found, given, engine)
    _narrow(found)


def _put_each_tool_right(found: Fields, given: msgspec.Raw, engine: str) -> None:
    every: list[dict[str, Any]] = _read(given, list[dict[str, Any]], _TOOLS, "tools")
    if every:
        found["tools"] = bodies.raw([_whole_tool(tool, f"tools[{place}]", engine) for place, tool in enumerate(every)])
        return
    for name in ("tools", "parallel_tool_calls"):
        found.pop(name, None)


def _whole_tool(tool: dict[str, Any], place: str, engine: str) -> dict[str, Any]:
    kind = tool.get("type") or "function"
    if kind != "function":
        raise UnfitRequestError(f"{place} is of type {kind}; {engine} takes tools of type function only.", "tools")
    function = tool.get("function") or {name: value for name, value in tool.items() if name != "type"}
    return {**tool, "type": kind, "function": whole_function(function, f"{place}.function", "tools")}


def whole_function(function: object, place: str, param: str) -> dict[str, Any]:
    """A function with its parameters, and without nulls."""
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise UnfitRequestError(f"{place} must be an object with the function's name.", param)
    whole = {name: value for name, value in function.items() if value is not None}
    parameters = whole.get("parameters") or NO_PARAMETERS
    if not isinstance(parameters, dict):
        raise UnfitRequestError(f"{place}.parameters must be an object, a JSON schema.", param)
    return {**whole, "parameters": parameters}


def _narrow(found: Fields) -> None:
    """Leave `allowed_tools` alone of the tools; what names a function must name one of them."""
    choice = chosen(found)
    if not isinstance(choice, dict):
        _check_word(found, choice)
        return
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        allowed = allowed if isinstance(allowed, dict) else choice
        names = allowed.get("tools")
        only(found, {_name(each) for each in names} if isinstance(names, list) else ())
        found["tool_choice"] = bodies.raw("required" if allowed.get("mode") == "required" else "auto")
        return
    name = _name(choice)
    only(found, {name}, keep=True)
    found["tool_choice"] = bodies.raw({"type": "function", "function": {"name": name}})


def _check_word(found: Fields, choice: str | None) -> None:
    """A word that leaves the choice says nothing without tools; one that wants a call can't be followed."""
    if choice not in (None, "auto", "none", "required"):
        raise UnfitRequestError(_CHOICE, "tool_choice")
    if choice and "tools" not in found and "functions" not in found:
        if choice == "required":
            raise UnfitRequestError("tool_choice is required, but there are no tools.", "tool_choice")
        del found["tool_choice"]


def chosen(found: Fields) -> str | dict[str, Any] | None:
    """What may be called: a word, an object, or nothing said."""
    given = found.get("tool_choice")
    return None if given is None else _read(given, str | dict[str, Any], _CHOICE, "tool_choice")


def tools(found: Fields) -> list[dict[str, Any]]:
    """The tools that `put_tools_right` has passed."""
    return bodies.value(found["tools"]) if "tools" in found else []


def only(found: Fields, names: Iterable[str], *, keep: bool = False) -> None:
    """Leave the tools of these names, of which there must be one; with `keep`, the others, too."""
    left = [tool for tool in tools(found) if tool["function"]["name"] in names]
    if not left:
        raise UnfitRequestError(f"tool_choice names {', '.join(names)}, which is none of the tools.", "tool_choice")
    if not keep:
        found["tools"] = bodies.raw(left)


def _name(of: object) -> str:
    """The name of the function of a tool, or of a choice of one: beside its type, or in an object of its own."""
    if isinstance(of, dict):
        function = of.get("function")
        name = (function if isinstance(function, dict) else of).get("name")
        if isinstance(name, str):
            return name
    raise UnfitRequestError(_CHOICE, "tool_choice")


def refuse_functions(found: Fields, engine: str) -> None:
    """What tools were before there were tools: an engine that knows tools alone would leave them out, silently."""
    for name in ("functions", "function_call"):
        if name in found:
            raise UnfitRequestError(f"{name} is not for {engine}; say it by tools and tool_choice.", name)


# The end


def put_stop_right(found: Fields) -> None:
    """Take out words that are empty: they would end each answer before its first."""
    given = found.get("stop")
    if given is None:
        return
    words = _read(given, str | list[str], "stop must be a text or a list of texts.", "stop")
    kept = [word for word in ([words] if isinstance(words, str) else words) if word]
    if not kept:
        del found["stop"]
    elif isinstance(words, list) and len(kept) < len(words):
        found["stop"] = bodies.raw(kept)
