"""The conversation of a request of /v1/responses, as messages of a chat.

1. `instructions`, and system and developer messages before the first turn, become one system message. Later ones become
   text of the user's turn, in <system-reminder> tags: many chat templates refuse a system message there.
2. Consecutive items of the assistant (reasoning, text, calls) are one message. So are consecutive messages of the
   user: many templates demand that roles alternate.
3. Results of tools become messages of the role `tool`. Their images go to a user's message behind them, since most
   engines take images from users alone.
4. Reasoning goes back as `reasoning_content`: its text, else its summary. OpenAI's encrypted reasoning is left out.
5. Calls and results of the client's other tools (custom, local_shell, apply_patch …) are shown as calls of functions.
   What OpenAI's servers did themselves (web_search and such) is left out.
6. What a server must have stored, or is encrypted and can't be left out, is an error.
"""

import base64
import binascii
from typing import Final

import msgspec

from router.core.errors import BadRequestError
from router.translate.completions import NULL
from router.translate.responses_request import Call, Function, Item, Message, Part
from router.translate.responses_tools import Fields, Tools

LATER_SYSTEM = "<system-reminder>\n%s\n</system-reminder>"


_encode = msgspec.json.Encoder().encode

_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})


class Conversation:
    """Makes a chat's messages from one item after the other; tools that stand among the items are added to `tools`."""

    def __init__(self, tools: Tools) -> None:
        self.messages: Final[list[Message]] = []
        self._tools = tools
        # Images of the results of tools, for the next message of the user.
        self._images: list[Fields] = []

    def system(self, text: str) -> None:
        """Do 1 above."""
        if not text:
            return
        if not self.messages or self.messages[-1].role == "system":
            self._say("system", text, "\n\n")
        else:
            self._say("user", LATER_SYSTEM % text, "\n\n")

    def take(self, said: str | list[Item] | None) -> None:
        """Take `input`. Raises BadRequestError."""
        if isinstance(said, str):
            self._say("user", said, "\n\n")
        elif said is not None:
            for number, item in enumerate(said):
                self._take(item, number)
        self._show_images()
        if not self.messages:
            raise BadRequestError("input must be a text, or a list of one message or more.", param="input")

    def _take(self, item: Item, number: int) -> None:
        kind = item.type or ("message" if item.role is not None else "item_reference")
        if kind == "message":
            self._message(item, number)
        elif kind == "reasoning":
            self._reasoning(item)
        elif kind == "function_call":
            self._call(item, kind, number)
        elif kind.endswith("_call_output"):
            self._result(item, number)
        elif kind.endswith("_call"):
            self._call(item, kind, number)
        elif kind == "additional_tools":
            self._tools.add(item.tools, f"input[{number}].tools")
        elif kind in {"item_reference", "compaction"}:
            raise BadRequestError(
                f"input[{number}] is of type {kind}, whose content isn't stored here: send the items themselves,"
                " as SDKs do with store: false.",
                param=f"input[{number}]",
            )

    def _message(self, item: Item, number: int) -> None:
        role, content = item.role or "user", item.content
        if content is None:
            content = ""
        if role == "user":
            self._show_images()
            if isinstance(content, str):
                self._say("user", content, "\n\n")
            else:
                self._say_parts(_shown(content, number))
        elif role == "assistant":
            self._say("assistant", content if isinstance(content, str) else "".join(_texts(content, number)), "\n")
        elif role in {"system", "developer"}:
            self.system(content if isinstance(content, str) else "\n".join(_texts(content, number)))
        else:
            raise BadRequestError(
                f"input[{number}] is of the role {role}, which is none of the API's.", param=f"input[{number}].role"
            )

    def _say_parts(self, shown: list[str | Fields]) -> None:
        """Add a message of the user: one text, if its parts are all text."""
        texts = [part for part in shown if isinstance(part, str)]
        if len(texts) == len(shown):
            self._say("user", "\n".join(texts), "\n\n")
            return
        for part in shown:
            if not isinstance(part, str):
                self._show(part)
            elif part:
                self._say("user", part, "\n")

    def _reasoning(self, item: Item) -> None:
        content = item.content
        if isinstance(content, list):
            content = "\n\n".join([part.text or "" for part in content])
        text = content or "\n\n".join([part.text or "" for part in item.summary or ()])
        if text:
            turn = self._turn("assistant")
            before = turn.reasoning_content
            turn.reasoning_content = f"{before}\n\n{text}" if before else text

    def _call(self, item: Item, kind: str, number: int) -> None:
        if kind == "function_call":
            if not item.name:
                raise BadRequestError(f"input[{number}] is a call without a name.", param=f"input[{number}]")
            given = item.arguments
            arguments = given if isinstance(given, str) else _json(given, number)
        elif not item.call_id:
            return
        elif kind == "custom_tool_call":
            arguments = _json({"input": item.input or ""}, number)
        else:
            arguments = _json(item.operation if item.action in NULL else item.action, number)
        name = self._tools.flat(item.namespace, item.name or kind[:-5])
        turn = self._turn("assistant")
        if turn.tool_calls is None:
            turn.tool_calls = []
        id_ = item.call_id or item.id or f"call_{len(self.messages)}_{len(turn.tool_calls)}"
        turn.tool_calls.append(Call(id_, Function(name, arguments or "{}")))

    def _result(self, item: Item, number: int) -> None:
        said = item.output
        text = said if isinstance(said, str) else ""
        if isinstance(said, list):
            shown = _shown(said, number)
            images = [part for part in shown if not isinstance(part, str)]
            text = "\n".join([part for part in shown if isinstance(part, str)])
            text = text or ("The image follows." if images else "")
            self._images += images
        elif isinstance(said, dict):
            text = _json(said, number)
        self.messages.append(Message("tool", text, tool_call_id=item.call_id or self._last_call()))

    def _last_call(self) -> str:
        """Give the id of the call that an output without one must mean."""
        for message in reversed(self.messages):
            if message.tool_calls:
                return message.tool_calls[-1].id
        return ""

    # Messages

    def _turn(self, role: str) -> Message:
        """Give the last message if it is this role's, else a new one."""
        if role == "assistant":
            self._show_images()
        if not self.messages or self.messages[-1].role != role:
            self.messages.append(Message(role, ""))
        return self.messages[-1]

    def _say(self, role: str, text: str, joint: str) -> None:
        turn = self._turn(role)
        content = turn.content
        if isinstance(content, list):
            content.append({"type": "text", "text": text})
        else:
            turn.content = f"{content}{joint}{text}" if content else text

    def _show(self, part: Fields) -> None:
        turn = self._turn("user")
        content = turn.content
        if isinstance(content, list):
            content.append(part)
        else:
            turn.content = [{"type": "text", "text": content}, part] if content else [part]

    def _show_images(self) -> None:
        images, self._images = self._images, []
        for image in images:
            self._show(image)


def _shown(parts: list[Part], number: int) -> list[str | Fields]:
    """Give each part as a chat has it; a text as it is."""
    return [_part(part, number, place) for place, part in enumerate(parts)]


def _texts(parts: list[Part], number: int) -> list[str]:
    """Give the texts of a message that can't have other parts."""
    return [said for said in _shown(parts, number) if isinstance(said, str)]


def _part(part: Part, number: int, place: int) -> str | Fields:
    """Give a part's text, or the part as chats have it."""
    kind = part.type
    if kind in _TEXTS or (not kind and part.text is not None):
        return part.text or ""
    if kind == "refusal":
        return part.refusal or ""
    if kind in {"input_image", "image_url"}:
        return _image(part, number, place)
    if kind == "input_audio" and part.input_audio not in NULL:
        return {"type": "input_audio", "input_audio": part.input_audio}
    if kind == "input_file":
        return _file(part, number, place)
    if part.stdout is not None or part.stderr is not None:
        return f"{part.stdout or ''}{part.stderr or ''}"
    raise _unfit(
        number, place, f"of type {kind or 'none'}; engines of chats take input_text, input_image and input_audio."
    )


def _image(part: Part, number: int, place: int) -> Fields:
    url = part.image_url
    if url is None:
        raise _unfit(number, place, "an image without image_url; no files are stored here, so send it as a data: URL.")
    image: Fields = {"url": url if isinstance(url, str) else url.url}
    if part.detail is not None:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _file(part: Part, number: int, place: int) -> str:
    """Give the text of a file, with its name."""
    kind, _, data = (part.file_data or "").partition(",")
    is_text = kind.startswith(("data:text/", "data:application/json"))
    try:
        text = base64.b64decode(data, validate=True).decode() if is_text and kind.endswith(";base64") else None
    except (binascii.Error, ValueError):
        text = None
    if text is None:
        raise _unfit(number, place, "a file that is no text in a data: URL; send its text as input_text.")
    return f"{part.filename}:\n{text}" if part.filename else text


def _unfit(number: int, place: int, problem: str) -> BadRequestError:
    where = f"input[{number}].content[{place}]"
    return BadRequestError(f"{where} is {problem}", param=where)


def _json(given: object, number: int) -> str:
    """Give JSON as a text; "" for none."""
    if given is None or given == NULL[0]:
        return ""
    try:
        return _encode(given).decode()
    except UnicodeDecodeError as error:
        raise BadRequestError(f"input[{number}] must be UTF-8.", param=f"input[{number}]") from error
