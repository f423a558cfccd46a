"""Rewrites a chat's messages and stop words into forms that every engine accepts.

Clients send more forms than engines accept. Each function here changes a body's fields in place. If a form can't be
rewritten, it raises UnfitRequestError, with one sentence. Most chats need nothing: `usual` recognises them by their
types, and only the others are parsed, here and in `tools`.

1. A null inside a message means the same as no field. `model_dump()` of an answer is full of nulls.
2. A message without content gets an empty one: chat templates add it to other text.
3. A list of parts that are all text becomes one text, a line for each part. Other parts are left to the engine.
4. `developer` is OpenAI's new name of the system's role; templates know `system`.
5. A message's `function_call` becomes a tool call, and the role `function` becomes `tool`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from launchers.engines import bodies, usual
from launchers.engines.bodies import NULL, Fields
from launchers.errors import UnfitRequestError

Parts = list[str | dict[str, msgspec.Raw]]

Call = dict[str, Any]


TEXTS = ("name", "tool_call_id", "refusal", "reasoning_content")
"""Fields of a message that are texts, in every API that has them."""

SYSTEM, TOOL = bodies.raw("system"), bodies.raw("tool")

TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Types of parts that are text → the field with the text."""

THOUGHTS = frozenset({"thinking", "redacted_thinking", "reasoning"})
"""Types of parts that a model doesn't get again: templates leave out earlier reasoning, too."""

_MESSAGES = "messages must be a list of one message or more, each an object with its role."


@dataclass(frozen=True, slots=True)
class Takes:
    """What an engine accepts in messages: roles, and types of parts beside texts. None: it gives good errors itself.

    `reads_arguments`: it parses the arguments of calls, which a model may have written as invalid JSON. `functions`:
    it knows functions, the predecessors of tools. `look` is given each message as it came (`private.refuse`).
    """

    engine: str
    roles: frozenset[str] | None = None
    parts: frozenset[str] | None = None
    reads_arguments: bool = False
    functions: bool = False
    look: Callable[[Fields, str], None] | None = None


def put_messages_right(found: Fields, takes: Takes) -> None:
    """Do 1 to 5 above. A chat without messages is refused: some engines would answer it without end."""
    given = found.get("messages")
    if given is None:
        raise UnfitRequestError(f"The request has no messages; {_MESSAGES}", "messages")
    messages: list[Fields] = bodies.read(given, list[Fields], _MESSAGES, "messages")
    if not messages:
        raise UnfitRequestError(_MESSAGES, "messages")
    changed = False
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if takes.look is not None:
            takes.look(message, place)
        changed |= _put_message_right(message, place, takes)
    if changed:
        found["messages"] = bodies.raw(messages)


def _put_message_right(message: Fields, place: str, takes: Takes) -> bool:
    """Rewrite one message; tell whether anything changed."""
    was = dict(message)
    role: str = bodies.read(message.get("role", NULL), str, _MESSAGES, "messages")
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
        if name in message and bodies.begins(message[name]) != bodies.A_TEXT:
            raise UnfitRequestError(f"{place}.{name} must be a text.", "messages")
    begins = bodies.begins(message.setdefault("content", bodies.NO_TEXT))
    if begins == bodies.A_LIST:
        message["content"] = _joined(message["content"], f"{place}.content", takes)
    elif begins != bodies.A_TEXT:
        raise UnfitRequestError(f"{place}.content must be a text or a list of parts.", "messages")
    if "tool_calls" in message:
        _put_calls_right(message, f"{place}.tool_calls", takes)
    return message != was


def _put_function_right(message: Fields, role: str, place: str) -> None:
    """Do 5 above: templates would show a function's call and its result not at all, or only half of it."""
    if role == "function":
        name: str = bodies.read(
            message.get("name", NULL), str, f"{place}.name must be that of the function.", "messages"
        )
        message |= {"role": TOOL, "tool_call_id": bodies.raw(f"call_{name}")}
    called = message.pop("function_call", None)
    if called is not None and "tool_calls" not in message:
        problem = f"{place}.function_call must be an object with the function's name."
        name = bodies.read(called, usual.Named, problem, "messages").name
        message["tool_calls"] = bodies.raw([{"id": f"call_{name}", "type": "function", "function": called}])


def _joined(content: msgspec.Raw, place: str, takes: Takes) -> msgspec.Raw:
    """Join parts that are all text; keep parts if there are others among them that the engine accepts."""
    texts, others, changed = [], False, False
    parts: Parts = bodies.read(content, Parts, _parts(place), "messages")
    for number, part in enumerate(parts):
        if isinstance(part, str):
            texts.append(part)
            continue
        kind: str = bodies.read(part.get("type", NULL), str, _parts(place), "messages")
        if name := TEXT_PARTS.get(kind):
            texts.append(
                bodies.read(part.get(name, NULL), str, f"{place}[{number}].{name} must be a text.", "messages")
            )
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
    """Make an image an object with its URL; some clients send the URL alone. It may be megabytes, so isn't parsed."""
    image = part.get("image_url", NULL)
    if bodies.begins(image) == bodies.A_TEXT:
        part["image_url"] = bodies.raw({"url": image})
        return True
    problem = f"{place}.image_url must be an object with the image's url."
    inner: Fields = bodies.read(image, Fields, problem, "messages")
    if bodies.begins(inner.get("url", NULL)) != bodies.A_TEXT:
        raise UnfitRequestError(problem, "messages")
    return False


def _parts(place: str) -> str:
    return f"{place} must be a text or a list of parts, each an object with its type."


def _put_calls_right(message: Fields, place: str, takes: Takes) -> None:
    """Complete calls: each needs an id, a type, and arguments that are JSON in a string. Drop empty lists of calls."""
    problem = f"{place} must be a list of objects, each with its function and the function's name."
    given = message["tool_calls"]
    calls: list[Call] = bodies.read(given, list[Call], problem, "messages")
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
        elif takes.reads_arguments and not usual.is_json_object(arguments):
            problem = f"{place}[{number}].function.arguments must be a JSON object in a text."
            raise UnfitRequestError(problem, "messages")
        function["arguments"] = arguments
        changed |= was != (call, function)
    if not calls:
        del message["tool_calls"]
    elif changed:
        message["tool_calls"] = bodies.raw(calls)


def put_stop_right(found: Fields, name: str = "stop") -> None:
    """Drop empty stop words: they would end each answer before its first token. `name` is the API's field of them."""
    given = found.get(name)
    if given is None:
        return
    words = bodies.read(given, str | list[str], f"{name} must be a text or a list of texts.", name)
    kept = [word for word in ([words] if isinstance(words, str) else words) if word]
    if not kept:
        del found[name]
    elif isinstance(words, list) and len(kept) < len(words):
        found[name] = bodies.raw(kept)
