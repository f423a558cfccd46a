"""What is read of requests of /v1/responses, in one pass. mypyc doesn't compile this: msgspec reads the annotations.

Fields of type Raw pass unread: into the chat, or into the response, which tells what its request asked for.
"""

import msgspec

NOTHING = msgspec.Raw()


class Function(msgspec.Struct, gc=False):
    """A function that was called, as a chat has it."""

    name: str
    arguments: str


class Call(msgspec.Struct, gc=False):
    """A call, as a chat has it."""

    id: str
    function: Function
    type: str = "function"


class Message(msgspec.Struct, gc=False, omit_defaults=True):
    """A message, as a chat has it; not a dict, because a conversation has hundreds of them."""

    role: str
    content: str | list[object]
    reasoning_content: str = ""
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None


class Url(msgspec.Struct, gc=False):
    """An image's URL, as chats write it."""

    url: str = ""


class Part(msgspec.Struct, gc=False):
    """A part of a content or an output, of any type."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: str | Url | None = None
    detail: str | None = None
    file_data: str | None = None
    filename: str | None = None
    input_audio: msgspec.Raw = NOTHING
    stdout: str | None = None
    stderr: str | None = None


class Item(msgspec.Struct, gc=False):
    """An item of `input`, of any type."""

    type: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    summary: list[Part] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | dict[str, msgspec.Raw] | None = None
    input: str | None = None
    action: msgspec.Raw = NOTHING
    operation: msgspec.Raw = NOTHING
    output: str | list[Part] | dict[str, msgspec.Raw] | None = None
    tools: msgspec.Raw = NOTHING


class Seen(msgspec.Struct, gc=False):
    """What is read of an item if only its type matters."""

    type: str | None = None
    role: str | None = None
    content: msgspec.Raw = NOTHING
    namespace: str | None = None


class Sampling(msgspec.Struct, kw_only=True):
    """How the engine chooses tokens."""

    temperature: msgspec.Raw = NOTHING
    top_p: msgspec.Raw = NOTHING
    top_k: msgspec.Raw = NOTHING
    min_p: msgspec.Raw = NOTHING
    typical_p: msgspec.Raw = NOTHING
    seed: msgspec.Raw = NOTHING
    stop: msgspec.Raw = NOTHING
    presence_penalty: msgspec.Raw = NOTHING
    frequency_penalty: msgspec.Raw = NOTHING
    repeat_penalty: msgspec.Raw = NOTHING
    repetition_penalty: msgspec.Raw = NOTHING
    logit_bias: msgspec.Raw = NOTHING


class Chat(Sampling, kw_only=True):
    """What else passes into the chat."""

    model: msgspec.Raw = NOTHING
    user: msgspec.Raw = NOTHING
    max_completion_tokens: msgspec.Raw = NOTHING
    reasoning_effort: msgspec.Raw = NOTHING
    response_format: msgspec.Raw = NOTHING
    chat_template_kwargs: msgspec.Raw = NOTHING
    priority: msgspec.Raw = NOTHING
    cache_prompt: msgspec.Raw = NOTHING
    id_slot: msgspec.Raw = NOTHING


class Asked(Chat, kw_only=True):
    """A request, but for its input."""

    instructions: str | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    max_tokens: int | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    tools: msgspec.Raw = NOTHING
    tool_choice: msgspec.Raw = NOTHING
    reasoning: msgspec.Raw = NOTHING
    text: msgspec.Raw = NOTHING
    previous_response_id: msgspec.Raw = NOTHING
    conversation: msgspec.Raw = NOTHING
    prompt: msgspec.Raw = NOTHING
    # Only told again
    max_tool_calls: msgspec.Raw = NOTHING
    metadata: msgspec.Raw = NOTHING
    prompt_cache_key: msgspec.Raw = NOTHING
    safety_identifier: msgspec.Raw = NOTHING


class Request(Asked, kw_only=True):
    """A request."""

    input: str | list[Item] | None = None


class Glance(Asked, kw_only=True):
    """A request that is passed on as it is."""

    input: str | list[Seen] | None = None


PASSED = (
    "model", "temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "max_completion_tokens", "stop",
    "presence_penalty", "frequency_penalty", "repeat_penalty", "repetition_penalty", "logit_bias", "user",
    "reasoning_effort", "response_format", "chat_template_kwargs", "priority", "cache_prompt", "id_slot",
)  # fmt: skip
"""Fields that go into the chat as they are. Most are not of this API, but a route may have set them."""


class Reasoning(msgspec.Struct, gc=False):
    """What is said of the reasoning."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class Format(msgspec.Struct, gc=False):
    """The form of the text."""

    type: str = "text"
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = NOTHING
    strict: bool | None = None


class Text(msgspec.Struct, gc=False):
    """What is said of the text."""

    format: Format | None = None


class Grammar(msgspec.Struct, gc=False):
    """The form of a custom tool's input."""

    definition: str | None = None


class Tool(msgspec.Struct, gc=False):
    """A tool: a function (in `function`, if a client writes it as in chats), a namespace of others, or any other."""

    type: str = ""
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = NOTHING
    strict: bool | None = None
    format: msgspec.Raw = NOTHING
    tools: "list[Tool] | None" = None
    function: "Tool | None" = None


class Allowed(msgspec.Struct, gc=False):
    """A tool that `tool_choice` allows."""

    type: str = ""
    name: str = ""
    namespace: str | None = None


class Choice(msgspec.Struct, gc=False):
    """A `tool_choice` that isn't a word."""

    type: str = ""
    name: str = ""
    namespace: str | None = None
    mode: str | None = None
    tools: list[Allowed] | None = None


request = msgspec.json.Decoder(Request)
glance = msgspec.json.Decoder(Glance)
reasoning = msgspec.json.Decoder(Reasoning | None)
text = msgspec.json.Decoder(Text | None)
tools = msgspec.json.Decoder(list[Tool] | None)
choice = msgspec.json.Decoder(str | Choice)
