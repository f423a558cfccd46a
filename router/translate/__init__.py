"""Other APIs than chat completions, for engines that don't speak them. Pure: bytes in, bytes out.

Each API has one module, in both directions: a function that turns a request's body into a `Translation`, which has the
body for the engine and an `AnswerTranslator` for what comes back.

    messages    Anthropic's /v1/messages and /v1/messages/count_tokens
    responses   OpenAI's /v1/responses
    ollama      Ollama's /api/chat, generate, embed and embeddings

Between them and the engine stands `chat`, which reads chat completions and has the API's `Writer` write what they say.
`completions` has the types of that, `events` reads server-sent events, `thinking` parts reasoning from text, `speech`
says what a translation is.

`SPEECHES` has these functions by the client's path. `MENDERS` has those that complete the answers of engines which
speak the API themselves but leave out what clients need, and `ESTIMATES` those that answer what no engine can.

A translator raises BadRequestError for a request that can't be said in chat completions, and no other error, whatever
the JSON. It raises BadGatewayError for an answer that isn't one, and EngineError for an error that
came with the status 200.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from router.core.apis import COUNT, MESSAGES, RESPONSES
from router.translate import mending, messages, ollama, responses, shortening
from router.translate.speech import AnswerTranslator, Context, Translation

Speech = Callable[[bytes, Context], Translation]

SPEECHES: Mapping[str, Speech] = MappingProxyType({
    MESSAGES: messages.messages,
    COUNT: messages.count_tokens,
    RESPONSES: responses.responses,
    "/api/chat": ollama.chat,
    "/api/generate": ollama.generate,
    "/api/embed": ollama.embed,
    "/api/embeddings": ollama.embeddings,
})  # fmt: skip

Menders = Mapping[str, Callable[[bytes, Context], AnswerTranslator | None]]
MENDERS: Menders = MappingProxyType({RESPONSES: mending.mender, MESSAGES: messages.mender})
"""Each gives what completes the answer to a request; None for one that such an engine can only do as a chat."""

ESTIMATES: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType({COUNT: messages.estimate})

SHORTENED: Mapping[str, Callable[[bytes, bytes], bytes | None]] = MappingProxyType({
    "/api/embed": shortening.shortened,
})  # fmt: skip
"""Each makes a request shorter for which it is too long, by its error; None: it isn't, or mustn't be."""

OWN_FIELDS = frozenset({
    "background", "context", "context_management", "conversation", "format", "images", "include", "input",
    "instructions", "keep_alive", "max_output_tokens", "max_tool_calls", "metadata", "num_predict", "options",
    "output_config", "output_format", "previous_response_id", "prompt", "prompt_cache_key", "raw",
    "reasoning", "stop_sequences", "store", "suffix", "system", "template", "text", "think", "thinking",
    "truncate", "truncation",
})  # fmt: skip
"""Fields that the APIs here have and chats have not, or with another meaning."""

_HAVE_BILLING = frozenset({MESSAGES, COUNT})


def tidied(path: str, body: bytes) -> bytes:
    """Take out of a request's body what differs each time and says nothing; the same object if there is none."""
    return messages.without_billing_line(body) if path in _HAVE_BILLING else body
