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
9. `max_tokens` is wanted, as in Anthropic's API. 0 is 1: it asks that the prompt be read and cached, and engines make
   one token at least.

What is read of a request is in `messages_request`, the answer's side in `messages_answer`.
"""

from typing import Final

import msgspec

from router.core.errors import BadRequestError
from router.translate.billing import without_billing_line
from router.translate.chat import ChatTranslator
from router.translate.counting import estimate
from router.translate.messages_answer import CountTranslator, MessagesMender, MessagesWriter
from router.translate.messages_request import (
    NULL,
    PASSED,
    Block,
    Choice,
    Format,
    Message,
    Request,
    Source,
    Tool,
    read_request,
)
from router.translate.speech import CHAT, Context, Translation

__all__ = ["COUNTER", "count_tokens", "estimate", "messages", "without_billing_line"]

COUNTER = "/v1/router/count_tokens"
"""The path at which an engine's wrapper counts the tokens of a chat."""

_ANY_ARGUMENTS = msgspec.Raw(b'{"type":"object","properties":{}}')
_ZERO = msgspec.Raw(b"0")
_EFFORTS = {"low": "low", "medium": "medium", "xhigh": "high", "max": "high"}

Fields = dict[str, object]
_encode = msgspec.json.Encoder().encode


def messages(body: bytes, context: Context) -> Translation:
    """Turn a request of /v1/messages into a chat. Raises BadRequestError."""
    given = read_request(body)
    chat = _chat(given)
    _limit(given, chat)
    if given.stream:
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    return Translation(CHAT, _encode(chat), ChatTranslator(MessagesWriter(context, streams=bool(given.stream))))


def mender(body: bytes, context: Context) -> MessagesMender | None:
    """Give what corrects the answer to a request of /v1/messages; None if it must become a chat."""
    if asks_for_format(body):
        return None
    return MessagesMender(context, streams=context.streams)


def asks_for_format(body: bytes) -> bool:
    """Whether a request asks for an answer by a schema; what can't be read does not."""
    if b'"output_config"' not in body and b'"output_format"' not in body:
        return False
    try:
        given = read_request(body)
    except BadRequestError:
        return False
    return _format(given) is not None


def count_tokens(body: bytes, context: Context) -> Translation:
    """Turn a request of /v1/messages/count_tokens into one for an engine's counter. Raises BadRequestError."""
    return Translation(COUNTER, _encode(_chat(read_request(body))), CountTranslator(context))


def _chat(given: Request) -> Fields:
    """Make the chat's body."""
    chat: Fields = {"messages": _messages(given)}
    tools = _functions(given.tools or [])
    if tools:
        chat["tools"] = list(tools.values())
    if given.tool_choice is not None:
        _choose(given.tool_choice, tools, chat)
    stops = [stop for stop in given.stop_sequences or () if stop]
    if stops:
        chat["stop"] = stops
    _put_thinking(given, chat)
    form = _format(given)
    if form is not None:
        schema = {"name": "answer", "schema": form.schema, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    for name in PASSED:
        value = getattr(given, name)
        if value not in NULL:
            chat[name] = value
    return chat


def _limit(given: Request, chat: Fields) -> None:
    """Do 9 above."""
    limits = [limit for limit in (given.max_tokens, given.max_completion_tokens) if limit not in NULL]
    if not limits:
        raise BadRequestError("The request has no max_tokens; it must be a whole number.", param="max_tokens")
    if limits == [_ZERO]:
        chat["max_tokens"] = 1


def _format(given: Request) -> Format | None:
    """Give the form of the answer that is asked for, in the present field or the one before it."""
    form = given.output_config.format if given.output_config is not None else None
    form = form or given.output_format
    return form if form is not None and form.type == "json_schema" and form.schema not in NULL else None


def _put_thinking(given: Request, chat: Fields) -> None:
    """Do 8 above; what the chat's own fields say comes first."""
    kwargs: Fields = {}
    if given.thinking is not None and given.thinking.type in {"enabled", "disabled"}:
        kwargs["enable_thinking"] = given.thinking.type == "enabled"
    if given.chat_template_kwargs:
        kwargs.update(given.chat_template_kwargs)
    if kwargs:
        chat["chat_template_kwargs"] = kwargs
    effort = given.output_config.effort if given.output_config is not None else None
    if effort in _EFFORTS:
        chat["reasoning_effort"] = _EFFORTS[effort]


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


def _messages(given: Request) -> list[Fields]:
    """Make the chat's messages."""
    turns, number = _Turns(), -1
    try:
        turns.system(given.system)
        for message in given.messages or ():
            number += 1
            turns.take(message)
    except BadRequestError as error:
        place, param = ("system", "system") if number < 0 else (f"messages[{number}]", "messages")
        raise BadRequestError(f"{place}: {error.message}", param=param) from error
    if not turns.written:
        raise BadRequestError("messages must be a list of one message or more, with content.", param="messages")
    return turns.written


class _Turns:
    """The chat's messages, made from one message of the client after the other."""

    def __init__(self) -> None:
        self.written: Final[list[Fields]] = []

    def system(self, content: str | list[Block] | None) -> None:
        """Do 1 and 2 above."""
        text = _text_of(content)
        if not text:
            return
        if not self.written or self.written[-1]["role"] == "system":
            self._say("system", text, "\n")
        else:
            self._say("user", f"<system-reminder>\n{text}\n</system-reminder>", "\n")

    def take(self, message: Message) -> None:
        """Take a message."""
        role, content = message.role, message.content
        if role == "user":
            if isinstance(content, str):
                self._say(role, content, "\n")
            elif content is not None:
                self._user(content)
        elif role == "assistant":
            if isinstance(content, str):
                self._say(role, content, "")
            elif content is not None:
                self._assistant(content)
        elif role in {"system", "developer"}:
            self.system(content)
        else:
            raise BadRequestError(f"the role is {role}, but must be user, assistant or system.")

    def _user(self, blocks: list[Block]) -> None:
        images: list[Fields] = []
        others: list[Block] = []
        for block in blocks:
            if block.type == "tool_result":
                self._result(block, images)
            else:
                others.append(block)
        for image in images:
            self._show(image)
        for block in others:
            if block.type == "image":
                self._show(_image(block))
            else:
                text = _text(block)
                if text:
                    self._say("user", text, "\n")

    def _result(self, block: Block, images: list[Fields]) -> None:
        """Add a tool's result, and its images to `images`."""
        content, text = block.content, ""
        if isinstance(content, str):
            text = content
        elif isinstance(content, list):
            found = [_image(part) for part in content if part.type == "image"]
            text = _text_of(content) or ("The image follows." if found else "")
            images += found
        if block.is_error and not text.lower().startswith(("error", "<tool_use_error>")):
            text = f"Error: {text}"
        self.written.append({"role": "tool", "tool_call_id": block.tool_use_id or "", "content": text})

    def _assistant(self, blocks: list[Block]) -> None:
        for block in blocks:
            kind = block.type
            if kind == "tool_use":
                self._call(block)
            elif kind == "thinking":
                turn = self._turn("assistant")
                turn["reasoning_content"] = f"{turn.get('reasoning_content', '')}{block.thinking or ''}"
            else:
                text = _text(block)
                if text:
                    self._say("assistant", text, "")

    def _call(self, block: Block) -> None:
        name = block.name
        try:
            arguments = str(block.input, "utf-8")
        except UnicodeDecodeError as error:
            raise BadRequestError("the input of a block tool_use must be UTF-8.") from error
        if arguments in {"", "null"}:
            arguments = "{}"
        if not name or not arguments.startswith("{"):
            raise BadRequestError("a block tool_use must have a name, and an object as input.")
        function = {"name": name, "arguments": arguments}
        turn = self._turn("assistant")
        calls = turn.get("tool_calls")
        if not isinstance(calls, list):
            calls = turn["tool_calls"] = []
        id_ = block.id or f"call_{len(self.written)}_{len(calls)}"
        calls.append({"id": id_, "type": "function", "function": function})

    def _turn(self, role: str) -> Fields:
        """Give the last turn if it is this role's, else a new one."""
        written = self.written
        if written:
            turn = written[-1]
            if turn["role"] == role:
                return turn
        turn = {"role": role, "content": ""}
        written.append(turn)
        return turn

    def _say(self, role: str, text: str, joint: str) -> None:
        """Add a text to the role's turn."""
        turn = self._turn(role)
        content = turn["content"]
        if not content:
            turn["content"] = text
        elif text:
            if isinstance(content, list):
                content.append({"type": "text", "text": text})
            else:
                turn["content"] = f"{content}{joint}{text}"

    def _show(self, image: Fields) -> None:
        """Add an image to the user's turn."""
        turn = self._turn("user")
        content = turn["content"]
        if isinstance(content, list):
            content.append(image)
        else:
            turn["content"] = [{"type": "text", "text": content}, image] if content else [image]


def _text_of(content: object) -> str:
    """Give the text of a content: a text, blocks, or something else, which has none."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    if len(content) == 1:
        return _text(content[0])
    return "\n".join([text for block in content if (text := _text(block))])


def _text(block: Block) -> str:
    """Give what a block says; nothing if it has no text, or is of a type that isn't known."""
    if block.type == "text":
        return block.text or ""
    if block.type == "document":
        source = block.source
        if not isinstance(source, Source) or source.type not in {"text", "content"}:
            raise BadRequestError("engines can't read a document that is no text: send its text.")
        return "\n".join([text for text in (block.title, source.data, _text_of(source.content)) if text])
    if block.type == "search_result":
        return "\n".join([text for text in (block.title, _text_of(block.content)) if text])
    return block.tool_name or "" if block.type == "tool_reference" else ""


def _image(block: Block) -> Fields:
    """Give an image as a part of a chat's content."""
    source = block.source
    if not isinstance(source, Source):
        source = Source()
    if source.type == "base64" and source.data:
        url = f"data:{source.media_type or 'image/jpeg'};base64,{source.data}"
    elif source.type == "url" and source.url:
        url = source.url
    else:
        raise BadRequestError("an image must be in base64, or at a url.")
    return {"type": "image_url", "image_url": {"url": url}}


def _is_object(value: msgspec.Raw) -> bool:
    return memoryview(value)[0] == 0x7B
