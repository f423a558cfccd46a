"""What is read of requests in Anthropic's Messages API, and of counts: Structs ignore the fields that nothing needs.

No file that mypyc compiles may define such classes: msgspec reads the types of the fields, and mypyc leaves none.
"""

from __future__ import annotations

import msgspec

from router.core.errors import BadGatewayError, BadRequestError

Raw = msgspec.Raw

NULL = (Raw(), Raw(b"null"))
"""No value, and null; only a Raw equals a Raw."""


# gc=False: there are no cycles in what is read, so the garbage collector needn't look at it.


class Source(msgspec.Struct, gc=False):
    """Where an image or a document is: in `data`, at `url`, or in blocks."""

    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: str | list[Block] | None = None


class Block(msgspec.Struct, gc=False):
    """A block of content, of any type; a search result's source is a text, an error's content an object."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    source: Source | str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw()
    tool_use_id: str | None = None
    content: str | list[Block] | dict[str, Raw] | None = None
    is_error: bool | None = None
    title: str | None = None
    tool_name: str | None = None


class Message(msgspec.Struct, gc=False):
    """A message."""

    role: str
    content: str | list[Block] | None = None


class Tool(msgspec.Struct, gc=False):
    """A tool, of any type."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: Raw = Raw()
    strict: bool | None = None


class Choice(msgspec.Struct):
    """Which tool must be called."""

    type: str = "auto"
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    """Whether the model reasons."""

    type: str = ""


class Format(msgspec.Struct):
    """The form of the answer."""

    type: str = ""
    schema: Raw = Raw()


class Output(msgspec.Struct):
    """How hard the model works, and the form of the answer."""

    effort: str | None = None
    format: Format | None = None


class Passed(msgspec.Struct):
    """Fields that go into the chat as they are, so aren't read.

    Most are not of this API, but a route may have set them.
    """

    model: Raw = Raw()
    max_tokens: Raw = Raw()
    max_completion_tokens: Raw = Raw()
    temperature: Raw = Raw()
    top_p: Raw = Raw()
    top_k: Raw = Raw()
    min_p: Raw = Raw()
    typical_p: Raw = Raw()
    seed: Raw = Raw()
    stop: Raw = Raw()
    presence_penalty: Raw = Raw()
    frequency_penalty: Raw = Raw()
    repeat_penalty: Raw = Raw()
    repetition_penalty: Raw = Raw()
    logit_bias: Raw = Raw()
    user: Raw = Raw()
    reasoning_effort: Raw = Raw()
    response_format: Raw = Raw()
    parallel_tool_calls: Raw = Raw()


class Request(Passed):
    """A request."""

    messages: list[Message] | None = None
    system: str | list[Block] | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    stop_sequences: list[str] | None = None
    thinking: Thinking | None = None
    output_config: Output | None = None
    output_format: Format | None = None
    chat_template_kwargs: dict[str, Raw] | None = None


PASSED = Passed.__struct_fields__


class Count(msgspec.Struct):
    """What an engine's counter answers."""

    input_tokens: int


_decode = msgspec.json.Decoder(Request).decode
_decode_count = msgspec.json.Decoder(Count).decode
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_request(body: bytes) -> Request:
    """Read a request. Raises BadRequestError."""
    try:
        return _decode(body)
    except _BROKEN as error:
        _, _, place = str(error).partition("$.")
        field = place.rstrip("`").replace("[", ".").partition(".")[0]
        problem = f"The request is not as the Messages API wants it: {error}."
        raise BadRequestError(problem, param=field or None) from error


def read_count(said: bytes) -> int:
    """Read an engine's count of tokens. Raises BadGatewayError."""
    try:
        return _decode_count(said).input_tokens
    except _BROKEN as error:
        raise BadGatewayError(f"The engine's count of tokens is none: {error}.") from error
