"""Turns the messages of Ollama's /api/chat into those of chat completions.

Texts pass as they are written. `bytes(value)[:1]` would copy all of a value for a look at its first byte.
"""

from typing import Final

import msgspec

from router.core.errors import BadRequestError
from router.translate.completions import NULL
from router.translate.ollama_request import ABSENT, MadeCall, OllamaMessage

Sent = dict[str, object]

_MIME: Final = (("iVBORw0KGgo", "png"), ("/9j/", "jpeg"), ("R0lGOD", "gif"), ("UklGR", "webp"), ("Qk", "bmp"))
"""How files of each type begin in base64."""

NO_TEXT: Final = msgspec.Raw(b'""')
EMPTY: Final = (*NULL, NO_TEXT)
_QUOTE: Final = ord('"')


class Conversation:
    """Turns messages into those of a chat, and gives ids to the calls of tools."""

    def __init__(self) -> None:
        # Calls whose results haven't come yet: id and name.
        self._open: list[tuple[str, str]] = []
        self._made = 0

    def messages(self, messages: list[OllamaMessage]) -> list[Sent]:
        """Translate all messages. Raises BadRequestError."""
        return [self._message(each) for each in messages]

    def _message(self, message: OllamaMessage) -> Sent:
        content, role, calls = message.content, message.role, message.tool_calls
        if content is ABSENT or memoryview(content)[0] != _QUOTE:
            content = _unusual_content(content)
        told: Sent = {"role": role, "content": content_of(content, message.images) if message.images else content}
        if message.thinking is not ABSENT and message.thinking not in EMPTY:
            told["reasoning_content"] = message.thinking
        if calls:
            told["tool_calls"] = [self._call(each) for each in calls]
        if role == "tool":
            told["tool_call_id"] = self._answered(message)
        return told

    def _call(self, call: MadeCall) -> Sent:
        function = call.function
        name, written = function.name, function.arguments
        id_ = call.id or self._new_id()
        self._open.append((id_, name))
        arguments: object = "{}"
        if written not in NULL:
            try:
                text = bytes(written).decode()
            except UnicodeDecodeError as error:
                raise BadRequestError(f"The arguments of a call are no text: {error}.", param="messages") from error
            # A text is one of JSON already.
            arguments = written if text[0] == '"' else text
        return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}

    def _new_id(self) -> str:
        # Nine letters and digits: the templates of some models refuse any other id.
        self._made += 1
        return "call" + str(self._made).zfill(5)

    def _answered(self, message: OllamaMessage) -> str:
        """Give the id of the call that this message has the result of."""
        if message.tool_call_id:
            at = [id_ for id_, _ in self._open].index(message.tool_call_id) if self._is_open(message) else None
            if at is not None:
                del self._open[at]
            return message.tool_call_id
        for at, (id_, name) in enumerate(self._open):
            if name == message.tool_name:
                del self._open[at]
                return id_
        return self._open.pop(0)[0] if self._open else self._new_id()

    def _is_open(self, message: OllamaMessage) -> bool:
        return any(id_ == message.tool_call_id for id_, _ in self._open)


def _unusual_content(content: msgspec.Raw) -> msgspec.Raw:
    """Give content that doesn't begin as a text does."""
    if content in NULL:
        return NO_TEXT
    if bytes(content)[:1] != b"[":
        raise BadRequestError("The content of a message must be a text.", param="messages")
    return content


def content_of(text: msgspec.Raw | None, images: list[str] | None) -> object:
    """Give the content of a message: a text, or parts if there are images."""
    if not images:
        return text
    parts: list[object] = []
    if text is not None and text not in EMPTY:
        if bytes(text)[:1] == b"[":
            raise BadRequestError("A message with images must have a text as its content.", param="messages")
        parts.append({"type": "text", "text": text})
    parts.extend({"type": "image_url", "image_url": {"url": _image_url(image)}} for image in images)
    return parts


def _image_url(image: str) -> str:
    if image.startswith("data:"):
        return image
    if image.startswith(("http://", "https://")):
        raise BadRequestError("images must be files in base64, not addresses.", param="images")
    if "\n" in image:
        image = "".join(image.split())
    for begins, name in _MIME:
        if image.startswith(begins):
            return f"data:image/{name};base64,{image}"
    # Engines look at the bytes themselves.
    return f"data:image/jpeg;base64,{image}"
