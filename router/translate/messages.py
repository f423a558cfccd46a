"""Anthropic's Messages API on chat completions, and its count_tokens.

What differs between the two, and what becomes of it:

1. `system`, and system messages before the first turn, become one system message.
2. Later system messages become text of the user's turn, in <system-reminder> tags. Claude Code sends one in each
   request, and many chat templates refuse a system message there. Moved to the front, they would change the prompt's
   beginning, which engines have cached.
3. Consecutive messages of one role are one turn, as in Anthropic's API; many templates demand that roles alternate.
4. A user's tool results become messages of the role `tool`, before the rest of that turn. Their images go to the rest,
   since most engines take images from users alone.
5. Text blocks are joined by line ends, those of an answer by nothing: citations cut its sentences.
6. Earlier reasoning goes back as `reasoning_content`, from which templates take what their model wants to see again:
   most leave out what stands before the last question.
7. Built-in tools that a server runs (web_search and such) are left out, and so are the blocks that they made.
8. `thinking` turns reasoning on or off in the template (`enable_thinking`). Its budget has no equivalent, and is left
   out. An `effort` of high is Anthropic's default, so the model's own default applies.

What is read of a request is in `messages_request`, the answer's side in `messages_answer`.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from router.core.errors import BadRequestError
from router.translate.billing import without_billing_line
from router.translate.chat import ChatTranslator
from router.translate.counting import CountTranslator, estimate
from router.translate.messages_answer import MessagesWriter
from router.translate.messages_request import (
    NULL,
    Block,
    Choice,
    Content,
    Given,
    Message,
    Output,
    Tool,
    read_choice,
    read_content,
    read_fields,
    read_format,
    read_messages,
    read_object,
    read_output,
    read_source,
    read_switch,
    read_texts,
    read_thinking,
    read_tools,
)
from router.translate.speech import CHAT, Context, Translation

__all__ = ["COUNTER", "count_tokens", "estimate", "messages", "without_billing_line"]

COUNTER = "/v1/router/count_tokens"
"""The path at which an engine's wrapper counts the tokens of a chat."""

PASSED = (
    "model", "temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "max_tokens", "max_completion_tokens",
    "stop", "presence_penalty", "frequency_penalty", "repeat_penalty", "repetition_penalty", "logit_bias", "user",
    "reasoning_effort", "response_format", "parallel_tool_calls",
)  # fmt: skip
"""Fields that go into the chat as they are. Most are not of this API, but a route may have set them."""

_ANY_ARGUMENTS = msgspec.Raw(b'{"type":"object","properties":{}}')
_EFFORTS = {"low": "low", "medium": "medium", "xhigh": "high", "max": "high"}

Fields = dict[str, object]
Value = bytes | msgspec.Raw
_encode = msgspec.json.Encoder().encode
T = TypeVar("T")


def messages(body: bytes, context: Context) -> Translation:
    """Turn a request of /v1/messages into a chat. Raises BadRequestError."""
    given = _fields(body)
    streams = bool(_read(given, "stream", read_switch))
    chat = _chat(given)
    if streams:
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    return Translation(CHAT, _encode(chat), ChatTranslator(MessagesWriter(context, streams=streams)))


def count_tokens(body: bytes, context: Context) -> Translation:
    """Turn a request of /v1/messages/count_tokens into one for an engine's counter. Raises BadRequestError."""
    return Translation(COUNTER, _encode(_chat(_fields(body))), CountTranslator(context))


def _fields(body: bytes) -> Given:
    return _decoded(read_fields, body, "")


def _read(given: Given, name: str, decode: Callable[[Value], T]) -> T | None:
    """Read a field; None if it is missing or null."""
    value = given.get(name)
    return None if value is None else _decoded(decode, value, name)


def _decoded(decode: Callable[[Value], T], value: Value, place: str) -> T:
    try:
        return decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem = f"{place or 'The body'} is not as the Messages API wants it: {error}."
        raise BadRequestError(problem, param=place.partition("[")[0] or None) from error


def _chat(given: Given) -> Fields:
    """Make the chat's body."""
    turns = _Turns()
    turns.system(_read(given, "system", read_content), "system")
    said = _read(given, "messages", read_messages)
    if not said:
        raise BadRequestError("messages must be a list of one message or more.", param="messages")
    for number, message in enumerate(said):
        turns.take(message, f"messages[{number}]")
    chat: Fields = {"messages": turns.written}
    tools = _functions(_read(given, "tools", read_tools) or [])
    if tools:
        chat["tools"] = list(tools.values())
    choice = _read(given, "tool_choice", read_choice)
    if choice is not None:
        _choose(choice, tools, chat)
    stops = [stop for stop in _read(given, "stop_sequences", read_texts) or () if stop]
    if stops:
        chat["stop"] = stops
    _put_output(given, chat)
    for name in PASSED:
        value = given.get(name)
        if value is not None and value not in NULL:
            chat[name] = value
    return chat


def _put_output(given: Given, chat: Fields) -> None:
    """Put into the chat what is said of the answer: its reasoning, and its form."""
    kwargs: Fields = {}
    thinking = _read(given, "thinking", read_thinking)
    if thinking is not None and thinking.type in {"enabled", "disabled"}:
        kwargs["enable_thinking"] = thinking.type == "enabled"
    kwargs.update(_read(given, "chat_template_kwargs", read_object) or {})
    if kwargs:
        chat["chat_template_kwargs"] = kwargs
    output = _read(given, "output_config", read_output) or Output()
    if output.effort in _EFFORTS:
        chat["reasoning_effort"] = _EFFORTS[output.effort]
    form = output.format or _read(given, "output_format", read_format)
    if form is not None and form.type == "json_schema" and form.schema not in NULL:
        schema = {"name": "answer", "schema": form.schema, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}


def _functions(tools: list[Tool]) -> dict[str, Fields]:
    """Give the client's own tools, by name, as functions."""
    functions: dict[str, Fields] = {}
    for number, tool in enumerate(tools):
        schema = tool.input_schema
        if schema in NULL:
            if tool.type not in {None, "custom"}:
                continue
            schema = _ANY_ARGUMENTS
        if not tool.name or not _is_object(schema):
            raise BadRequestError(f"tools[{number}] must have a name, and an object as input_schema.", param="tools")
        function: Fields = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        function["parameters"] = schema
        if tool.strict:
            function["strict"] = True
        functions[tool.name] = {"type": "function", "function": function}
    return functions


def _choose(choice: Choice, tools: dict[str, Fields], chat: Fields) -> None:
    """Put into the chat which tool the model must call."""
    if choice.type == "tool" and choice.name not in tools:
        problem = f"tool_choice names {choice.name}, but the engine doesn't get such a tool"
    elif choice.type == "any" and not tools:
        problem = "tool_choice wants a call, but the engine gets no tools"
    else:
        problem = ""
    if problem:
        raise BadRequestError(f"{problem}: those that a server runs are left out.", param="tool_choice")
    if not tools:
        return
    if choice.type == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    else:
        chat["tool_choice"] = {"any": "required", "none": "none"}.get(choice.type, "auto")
    if choice.disable_parallel_tool_use:
        chat["parallel_tool_calls"] = False


class _Turns:
    """The chat's messages, made from one message of the client after the other."""

    def __init__(self) -> None:
        self.written: Final[list[Fields]] = []

    def system(self, content: Content, place: str) -> None:
        """Do 1 and 2 above."""
        text = _text_of(content, place)
        if not text:
            return
        if not self.written or self.written[-1]["role"] == "system":
            self._say("system", text, "\n")
        else:
            self._say("user", f"<system-reminder>\n{text}\n</system-reminder>", "\n")

    def take(self, message: Message, place: str) -> None:
        """Take a message."""
        role, content = message.role, message.content
        if role in {"system", "developer"}:
            self.system(content, place)
        elif role not in {"user", "assistant"}:
            raise BadRequestError(f"{place}.role is {role}, but must be user, assistant or system.", param="messages")
        elif isinstance(content, str):
            self._say(role, content, "\n" if role == "user" else "")
        elif content is not None:
            if role == "user":
                self._user(content, place)
            else:
                self._assistant(content, place)

    def _user(self, blocks: list[Block], place: str) -> None:
        images: list[Fields] = []
        for number, block in enumerate(blocks):
            if block.type == "tool_result":
                images += self._result(block, f"{place}.content[{number}]")
        for image in images:
            self._show(image)
        for number, block in enumerate(blocks):
            if block.type == "image":
                self._show(_image(block, f"{place}.content[{number}]"))
            elif block.type != "tool_result":
                text = _text(block, f"{place}.content[{number}]")
                if text:
                    self._say("user", text, "\n")

    def _result(self, block: Block, place: str) -> list[Fields]:
        """Add a tool's result; give its images."""
        content: Content = None if block.content in NULL else _decoded(read_content, block.content, place)
        images = [
            _image(part, f"{place}.content[{number}]")
            for number, part in enumerate(content if isinstance(content, list) else ())
            if part.type == "image"
        ]
        text = _text_of(content, place) or ("The image follows." if images else "")
        if block.is_error and not text.lower().startswith(("error", "<tool_use_error>")):
            text = f"Error: {text}"
        self.written.append({"role": "tool", "tool_call_id": block.tool_use_id or "", "content": text})
        return images

    def _assistant(self, blocks: list[Block], place: str) -> None:
        for number, block in enumerate(blocks):
            if block.type == "tool_use":
                self._call(block, f"{place}.content[{number}]")
            elif block.type == "thinking":
                turn = self._turn("assistant")
                turn["reasoning_content"] = f"{turn.get('reasoning_content', '')}{block.thinking or ''}"
            else:
                text = _text(block, f"{place}.content[{number}]")
                if text:
                    self._say("assistant", text, "")

    def _call(self, block: Block, place: str) -> None:
        arguments = b"{}" if block.input in NULL else bytes(block.input)
        if not block.name or arguments[:1] != b"{":
            raise BadRequestError(f"{place} must have a name, and an object as input.", param="messages")
        try:
            function = {"name": block.name, "arguments": arguments.decode()}
        except UnicodeDecodeError as error:
            raise BadRequestError(f"{place}.input must be UTF-8.", param="messages") from error
        calls = self._turn("assistant").setdefault("tool_calls", [])
        assert isinstance(calls, list)  # noqa: S101 -- for mypy; nothing else puts it there
        calls.append(
            {"id": block.id or f"call_{len(self.written)}_{len(calls)}", "type": "function", "function": function}
        )

    def _turn(self, role: str) -> Fields:
        """Give the last turn if it is this role's, else a new one."""
        if not self.written or self.written[-1]["role"] != role:
            self.written.append({"role": role, "content": ""})
        return self.written[-1]

    def _say(self, role: str, text: str, joint: str) -> None:
        turn = self._turn(role)
        content = turn["content"]
        if isinstance(content, list):
            content.append({"type": "text", "text": text})
        else:
            turn["content"] = f"{content}{joint}{text}" if content else text

    def _show(self, image: Fields) -> None:
        turn = self._turn("user")
        content = turn["content"]
        if isinstance(content, list):
            content.append(image)
        else:
            turn["content"] = [{"type": "text", "text": content}, image] if content else [image]


def _text_of(content: Content, place: str) -> str:
    """Give the text of a content."""
    if not isinstance(content, list):
        return content or ""
    if len(content) == 1:
        return _text(content[0], place)
    return "\n".join([text for block in content if (text := _text(block, place))])


def _text(block: Block, place: str) -> str:
    """Give what a block says; nothing if it has no text, or is of a type that isn't known."""
    if block.type == "text":
        return block.text or ""
    if block.type == "document":
        source = _decoded(read_source, block.source, f"{place}.source")
        if source.type not in {"text", "content"}:
            raise BadRequestError(
                f"{place} is a document that is no text, which chat engines can't read: send its text.",
                param="messages",
            )
        return "\n".join([text for text in (block.title, source.data, _text_of(source.content, place)) if text])
    if block.type == "search_result":
        found = None if block.content in NULL else _decoded(read_content, block.content, place)
        return "\n".join([text for text in (block.title, _text_of(found, place)) if text])
    return block.tool_name or "" if block.type == "tool_reference" else ""


def _image(block: Block, place: str) -> Fields:
    """Give an image as a part of a chat's content."""
    source = _decoded(read_source, block.source, f"{place}.source")
    if source.type == "base64" and source.data:
        url = f"data:{source.media_type or 'image/jpeg'};base64,{source.data}"
    elif source.type == "url" and source.url:
        url = source.url
    else:
        raise BadRequestError(f"{place} must be an image in base64, or one at a url.", param="messages")
    return {"type": "image_url", "image_url": {"url": url}}


def _is_object(value: msgspec.Raw) -> bool:
    return memoryview(value)[0] == 0x7B
