"""What is read of a request in Anthropic's Messages API, by Structs that ignore the fields that nothing here needs.

No file that mypyc compiles may define such classes: msgspec reads the types of the fields, and mypyc leaves none.
"""

import msgspec

Given = dict[str, msgspec.Raw]
"""A JSON object, whose values aren't read."""

NULL = (msgspec.Raw(), msgspec.Raw(b"null"))
"""No value, and null; only a Raw equals a Raw."""


class Block(msgspec.Struct):
    """A block of content, of any type."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    source: msgspec.Raw = msgspec.Raw()
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    tool_use_id: str | None = None
    content: msgspec.Raw = msgspec.Raw()
    is_error: bool | None = None
    title: str | None = None
    tool_name: str | None = None


Content = str | list[Block] | None


class Message(msgspec.Struct):
    """A message."""

    role: str
    content: Content = None


class Source(msgspec.Struct):
    """Where an image or a document is: in `data`, at `url`, or in blocks."""

    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: Content = None


class Tool(msgspec.Struct):
    """A tool, of any type."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = msgspec.Raw()
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
    schema: msgspec.Raw = msgspec.Raw()


class Output(msgspec.Struct):
    """How hard the model works, and the form of the answer."""

    effort: str | None = None
    format: Format | None = None


read_fields = msgspec.json.Decoder(Given).decode
read_messages = msgspec.json.Decoder(list[Message]).decode
read_content = msgspec.json.Decoder(Content).decode
read_source = msgspec.json.Decoder(Source).decode
read_tools = msgspec.json.Decoder(list[Tool] | None).decode
read_choice = msgspec.json.Decoder(Choice | None).decode
read_thinking = msgspec.json.Decoder(Thinking | None).decode
read_output = msgspec.json.Decoder(Output | None).decode
read_format = msgspec.json.Decoder(Format | None).decode
read_object = msgspec.json.Decoder(Given | None).decode
read_texts = msgspec.json.Decoder(list[str] | None).decode
read_switch = msgspec.json.Decoder(bool | None).decode
