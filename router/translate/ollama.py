"""Ollama's /api/chat, /api/generate, /api/embed and /api/embeddings, on chat completions and OpenAI's embeddings.

What differs, beside the names of fields:

1. A request asks for a stream unless it says `stream: false`.
2. Calls of tools needn't have ids. Ids are made up in the order of the calls, so that the same conversation gets the
   same ids each time (engines' prompt caches need that), and results are matched to calls by `tool_call_id`, by
   `tool_name`, or else by their order.
3. A request without messages or prompt loads the model: the engine is sent a request for one token. With
   `keep_alive: 0` it unloads the model: no engine is sent anything, and the translation is the answer, its path empty.
4. `think` becomes what engines' chat templates know: `enable_thinking` for most models, `thinking` for some, and
   `reasoning_effort` for others.

Options about how a model is loaded (num_ctx, num_gpu) are ignored: router.yaml says that. So are samplers that engines
don't have in common (mirostat), `context`, and what later versions of Ollama may add.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from router.core.errors import BadRequestError
from router.core.peek import peek
from router.core.reshape import NO_LIMIT
from router.translate.chat import ChatTranslator
from router.translate.completions import NULL
from router.translate.ollama_answer import ChatWriter, EmbeddingTranslator, GenerateWriter, LoadWriter
from router.translate.ollama_conversation import EMPTY, Conversation, Sent, content_of
from router.translate.ollama_request import ABSENT, OfferedTool, OllamaChat, OllamaMessage, OllamaPassed
from router.translate.speech import CHAT, COMPLETIONS, EMBEDDINGS, Context, Translation
from router.translate.writer import Writer

Fields = dict[str, msgspec.Raw]

PASSED: Final = frozenset(OllamaPassed.__struct_fields__)
"""Fields that are passed on. The client's options win over them, as over any default. What a route sets or bounds is
applied to what comes out here once more."""

_EMBEDDINGS_PASSED: Final = frozenset({"priority", "user"})

_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "frequency_penalty": ("frequency_penalty",),
    "min_p": ("min_p",),
    "presence_penalty": ("presence_penalty",),
    # llama.cpp's name, and that of vllm and mlx.
    "repeat_penalty": ("repeat_penalty", "repetition_penalty"),
    "seed": ("seed",),
    "stop": ("stop",),
    "temperature": ("temperature",),
    "top_k": ("top_k",),
    "top_p": ("top_p",),
}
"""Options of a request that are passed on, with their names there."""

_EFFORTS: Final = ("low", "medium", "high", "max")
_THINK: Final = 'think must be true, false, or one of "low", "medium", "high" and "max".'
_FORMAT: Final = 'format must be "json" or a JSON schema.'

_JSON: Final = msgspec.Raw(b'"json"')
_ANY_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
_ANY_OBJECT: Final = msgspec.Raw(b'{"type":"object"}')
_STREAM_OPTIONS: Final = msgspec.Raw(b'{"include_usage":true}')
_ONE_WORD: Final = msgspec.Raw(b'[{"role":"user","content":"Hi"}]')

_BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_OTHER: Final = [name for name in OllamaChat.__struct_fields__ if name not in {"messages", "tools"}]

_encode = msgspec.json.Encoder().encode
_chat_of = msgspec.json.Decoder(OllamaChat).decode
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_messages_of = msgspec.json.Decoder(list[OllamaMessage] | None).decode
_tools_of = msgspec.json.Decoder(list[OfferedTool] | None).decode
_options_of = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode
_number_of = msgspec.json.Decoder(int | float | None).decode
_switch_of = msgspec.json.Decoder(bool | None).decode
_think_of = msgspec.json.Decoder(bool | str | None).decode
_text_of = msgspec.json.Decoder(str | None).decode
_texts_of = msgspec.json.Decoder(list[str] | None).decode
_input_of = msgspec.json.Decoder(str | list[str] | None).decode
_whole_of = msgspec.json.Decoder(int | None).decode


def chat(body: bytes, context: Context) -> Translation:
    """Translate a request of /api/chat. Raises BadRequestError."""
    try:
        given = _chat_of(body)
    except _BROKEN as error:
        raise _misread(body, error) from error
    fields = {name: value for name in _OTHER if (value := getattr(given, name)) is not ABSENT}
    streams, messages, tools = _streams(fields), given.messages, given.tools
    if not messages:
        return _loading(fields, context, chats=True, streams=streams)
    sent = _sent(fields)
    sent["messages"] = Conversation().messages(messages)
    if tools:
        offered = [_tool(each) for each in tools if each.function is not None and each.type in {None, "", "function"}]
        if offered:
            sent["tools"] = offered
    _think(fields, sent)
    return _asking(CHAT, sent, ChatWriter(context, streams=streams))


def generate(body: bytes, context: Context) -> Translation:
    """Translate a request of /api/generate. Raises BadRequestError."""
    fields = _all_fields(body)
    streams = _streams(fields)
    for name, instead in (
        ("suffix", "write the model's own fill-in-the-middle tokens into prompt, and set raw: true"),
        ("template", "leave it out to use the model's own, or write the whole text into prompt, and set raw: true"),
    ):
        if _text(fields, name):
            raise BadRequestError(f"{name} isn't supported: {instead}.", param=name)
    prompt, system = _text(fields, "prompt"), _text(fields, "system")
    images: list[str] | None = _field(fields, "images", _texts_of)
    if not prompt and not images:
        return _loading(fields, context, chats=False, streams=streams)
    sent = _sent(fields)
    writer = GenerateWriter(context, streams=streams)
    if _field(fields, "raw", _switch_of):
        if system or images:
            name = "system" if system else "images"
            raise BadRequestError(f"With raw: true there is no {name}: write all into prompt.", param=name)
        sent["prompt"] = prompt
        # Completions have them in another form.
        sent.pop("logprobs", None)
        sent.pop("top_logprobs", None)
        wanted = fields.get("format", msgspec.Raw())
        if wanted not in EMPTY:
            # llama_server's name for it, in completions.
            sent["json_schema"] = _ANY_OBJECT if wanted == _JSON else wanted
        return _asking(COMPLETIONS, sent, writer)
    messages: list[Sent] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": content_of(prompt, images)})
    sent["messages"] = messages
    _think(fields, sent)
    return _asking(CHAT, sent, writer)


def embed(body: bytes, context: Context) -> Translation:
    """Translate a request of /api/embed. Raises BadRequestError."""
    fields = _all_fields(body)
    given: str | list[str] | None = _field(fields, "input", _input_of)
    dimensions: int | None = _field(fields, "dimensions", _whole_of)
    sent = _embedding(fields, given)
    # What is too long is cut once the engine has said so (`translate.shortening`).
    _field(fields, "truncate", _switch_of)
    answer = EmbeddingTranslator(context, one=False, empty=not given, dimensions=dimensions or 0)
    return Translation(EMBEDDINGS, _encode(sent), answer)


def embeddings(body: bytes, context: Context) -> Translation:
    """Translate a request of /api/embeddings, the older form of /api/embed. Raises BadRequestError."""
    fields = _all_fields(body)
    given: str | None = _field(fields, "prompt", _text_of)
    answer = EmbeddingTranslator(context, one=True, empty=not given, dimensions=0)
    return Translation(EMBEDDINGS, _encode(_embedding(fields, given)), answer)


# Reading


def _all_fields(body: bytes) -> Fields:
    try:
        return _fields_of(body)
    except _BROKEN as error:
        raise BadRequestError(f"The request's body is not as expected: {error}.") from error


def _misread(body: bytes, error: Exception) -> BadRequestError:
    """Tell which field of a chat is wrong."""
    try:
        fields = _all_fields(body)
        _field(fields, "messages", _messages_of)
        _field(fields, "tools", _tools_of)
    except BadRequestError as found:
        return found
    # A field that is given twice, first wrongly.
    return BadRequestError(f"The request's body is not as expected: {error}.")


def _field(fields: Fields, name: str, read: Callable[[msgspec.Raw], Any]) -> Any:  # noqa: ANN401
    """Read a field; None if it isn't given. Raises BadRequestError if its type is wrong."""
    value = fields.get(name)
    if value is None:
        return None
    try:
        return read(value)
    except _BROKEN as error:
        raise BadRequestError(f"The field {name} is not as expected: {error}.", param=name) from error


def _text(fields: Fields, name: str) -> msgspec.Raw | None:
    """Give a text as it is written; None if there is none, or an empty one."""
    value = fields.get(name)
    if value is None or value in EMPTY:
        return None
    if bytes(value)[:1] != b'"':
        raise BadRequestError(f"The field {name} must be a text.", param=name)
    return value


def _streams(fields: Fields) -> bool:
    return _field(fields, "stream", _switch_of) is not False


def _unloads(fields: Fields) -> bool:
    stay = peek(_encode(fields))[3]
    return stay is not None and stay.seconds == 0


# Writing


def _loading(fields: Fields, context: Context, *, chats: bool, streams: bool) -> Translation:
    """Have the engine answer with one token, which the client doesn't get; or answer that the model is unloaded."""
    unloads = _unloads(fields)
    writer = LoadWriter(context, streams=streams, unloads=unloads, chats=chats)
    if unloads:
        return Translation("", writer.line(context.now), ChatTranslator(writer))
    sent = {"model": fields.get("model"), "messages": _ONE_WORD, "max_tokens": 1}
    return Translation(CHAT, _encode(sent), ChatTranslator(writer))


def _asking(path: str, sent: Sent, writer: Writer) -> Translation:
    if writer.streams:
        sent["stream"] = True
        sent["stream_options"] = _STREAM_OPTIONS
    return Translation(path, _encode(sent), ChatTranslator(writer))


def _sent(fields: Fields) -> Sent:
    """Give the fields that a chat and a completion have in common."""
    sent: Sent = {"model": fields.get("model")}
    for name, value in fields.items():
        if name in PASSED and value not in NULL:
            sent[name] = value
    options: Fields | None = _field(fields, "options", _options_of)
    if options:
        _add_options(options, sent)
    _add_format(fields, sent)
    return sent


def _add_options(options: Fields, sent: Sent) -> None:
    for name, value in options.items():
        names = _OPTIONS.get(name)
        if names is not None and value not in NULL:
            for each in names:
                sent[each] = value
    if "num_predict" in options:
        most: float | None = _field(options, "num_predict", _number_of)
        if most is not None:
            sent.pop("max_completion_tokens", None)
            # -1 and -2: to the end of the answer, or of the context. A route's rules must see that.
            sent["max_tokens"] = max(1, int(most)) if 0 < most < 2**53 else NO_LIMIT


def _add_format(fields: Fields, sent: Sent) -> None:
    value = fields.get("format")
    if value is None or value in EMPTY:
        return
    if value == _JSON:
        sent["response_format"] = {"type": "json_object"}
    elif bytes(value)[:1] == b"{":
        sent["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}
    else:
        raise BadRequestError(_FORMAT, param="format")


def _think(fields: Fields, sent: Sent) -> None:
    think: bool | str | None = _field(fields, "think", _think_of)
    if think is None or think == "":
        return
    settings: Sent = dict(_field(fields, "chat_template_kwargs", _options_of) or {})
    settings["enable_thinking"] = settings["thinking"] = think is not False
    if isinstance(think, str):
        if think not in _EFFORTS:
            raise BadRequestError(_THINK, param="think")
        settings["reasoning_effort"] = sent["reasoning_effort"] = think
    sent["chat_template_kwargs"] = settings


def _tool(tool: OfferedTool) -> Sent:
    function = tool.function
    assert function is not None  # noqa: S101  (the caller has looked)
    told: Sent = {"name": function.name}
    if function.description is not None:
        told["description"] = function.description
    told["parameters"] = _ANY_PARAMETERS if function.parameters in NULL else function.parameters
    return {"type": "function", "function": told}


def _embedding(fields: Fields, given: str | list[str] | None) -> Sent:
    sent: Sent = {"model": fields.get("model")}
    for name, value in fields.items():
        if name in _EMBEDDINGS_PASSED and value not in NULL:
            sent[name] = value
    # An empty text only loads the model.
    sent["input"] = given or "Hi"
    sent["encoding_format"] = "float"
    return sent
