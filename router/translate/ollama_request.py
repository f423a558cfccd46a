"""What is read of a request, and of an engine's embeddings, for Ollama's API.

mypyc must not compile this file: msgspec reads the types of the fields, and mypyc leaves none.
"""

import msgspec

from router.translate.completions import ToldUsage


class CalledFunction(msgspec.Struct):
    """The function of a call; its arguments are an object."""

    name: str
    arguments: msgspec.Raw = msgspec.Raw()


class MadeCall(msgspec.Struct):
    """A call that the model made earlier; older clients know no ids."""

    function: CalledFunction
    id: str | None = None


class OllamaMessage(msgspec.Struct):
    """A message; texts are passed on as they are written."""

    role: str
    content: msgspec.Raw = msgspec.Raw()
    thinking: msgspec.Raw = msgspec.Raw()
    images: list[str] | None = None
    tool_calls: list[MadeCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OfferedFunction(msgspec.Struct):
    """A function that the model may call; its parameters are a JSON schema."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()


class OfferedTool(msgspec.Struct):
    """A tool that the model may use; only functions are known."""

    type: str | None = None
    function: OfferedFunction | None = None


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
