"""What is read of a request, and of an engine's embeddings, for Ollama's API.

mypyc must not compile this file: msgspec reads the types of the fields, and mypyc leaves none.
"""

import msgspec

from router.translate.completions import ToldUsage

ABSENT = msgspec.Raw()
"""The value of a field that isn't given."""


# gc=False: there are no cycles in what is read, so the garbage collector needn't look at it.


class CalledFunction(msgspec.Struct, gc=False):
    """The function of a call; its arguments are an object."""

    name: str
    arguments: msgspec.Raw = ABSENT


class MadeCall(msgspec.Struct, gc=False):
    """A call that the model made earlier; older clients know no ids."""

    function: CalledFunction
    id: str | None = None


class OllamaMessage(msgspec.Struct, gc=False):
    """A message; texts are passed on as they are written."""

    role: str
    content: msgspec.Raw = ABSENT
    thinking: msgspec.Raw = ABSENT
    images: list[str] | None = None
    tool_calls: list[MadeCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OfferedFunction(msgspec.Struct, gc=False):
    """A function that the model may call; its parameters are a JSON schema."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()


class OfferedTool(msgspec.Struct, gc=False):
    """A tool that the model may use; only functions are known."""

    type: str | None = None
    function: OfferedFunction | None = None


class OllamaSampling(msgspec.Struct):
    """How tokens are chosen, in chat completions; a route may have added it."""

    frequency_penalty: msgspec.Raw = ABSENT
    logit_bias: msgspec.Raw = ABSENT
    min_p: msgspec.Raw = ABSENT
    presence_penalty: msgspec.Raw = ABSENT
    repeat_penalty: msgspec.Raw = ABSENT
    repetition_penalty: msgspec.Raw = ABSENT
    seed: msgspec.Raw = ABSENT
    temperature: msgspec.Raw = ABSENT
    top_k: msgspec.Raw = ABSENT
    top_p: msgspec.Raw = ABSENT


class OllamaPassed(OllamaSampling):
    """Fields that are passed on as they are: those of chat completions, which a route may have added."""

    chat_template_kwargs: msgspec.Raw = ABSENT
    logprobs: msgspec.Raw = ABSENT
    max_completion_tokens: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT
    parallel_tool_calls: msgspec.Raw = ABSENT
    priority: msgspec.Raw = ABSENT
    reasoning_effort: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    stop: msgspec.Raw = ABSENT
    tool_choice: msgspec.Raw = ABSENT
    top_logprobs: msgspec.Raw = ABSENT
    user: msgspec.Raw = ABSENT


class OllamaChat(OllamaPassed):
    """A request of /api/chat: a long conversation is gone through once."""

    model: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT
    keep_alive: msgspec.Raw = ABSENT
    options: msgspec.Raw = ABSENT
    format: msgspec.Raw = ABSENT
    think: msgspec.Raw = ABSENT
    messages: list[OllamaMessage] | None = None
    tools: list[OfferedTool] | None = None


class Probabilities(msgspec.Struct):
    """The log probabilities of tokens, in chat completions; Ollama has the same list."""

    content: list[msgspec.Raw] | None = None


class Embedding(msgspec.Struct):
    """The embedding of one text."""

    embedding: msgspec.Raw = msgspec.Raw()
    index: int | None = None


class EmbeddingAnswer(msgspec.Struct):
    """An engine's answer in the API of OpenAI's embeddings."""

    data: list[Embedding] | None = None
    usage: ToldUsage | None = None
    error: msgspec.Raw = msgspec.Raw()
