"""llama_server: llama.cpp's C++ server. GGUF models, any machine; several requests at once, and the newer APIs.

It comes in two forms with one command line: the program `llama-server` (of Homebrew, of a package, of one's own
build), or the package xllamacpp, which has the same server as a library (see wrappers/xllamacpp_server.py).

What running it taught (xllamacpp 2026.10):

1. /health is reliable: nobody listens, then 503 while it loads, then 200, busy or not.
2. A flag that isn't on the command line is read from a variable, LLAMA_ARG_ and its name. Some would change what it
   serves, or ask for a key; LLAMA_SERVER_ROUTER_PORT makes it the child of another server.
3. By default it takes four requests at once, which share one context. The command sets it, so that `parallel` is true.
4. Once a second it checks whether a client has left, of a stream or not, and stops the work then. At a SIGTERM during
   work, the program waits for the work to end; the package has no handler, and ends.
5. It accepts most forms of OpenAI's API. But a null in a tool or in `encoding_format` is an error. It silently ignores
   a `tool_choice` that is no word, `functions`, `suffix`, `echo`, `best_of`, the `dimensions` of embeddings, a
   `response_format` that it can't read and `text.format` of /v1/responses. An empty stop word ends the answer. It
   writes the log probabilities of completions in the form of chats. If the model's template knows no tools, they go
   nowhere, whatever `tool_choice` says; else a call that is required comes at the end of what the model says.
6. It continues an assistant's last message; if that is empty, it cuts off the end of the prompt.
7. On /v1/messages it gives system messages among the turns to the template, which may refuse them (`reminders`).
8. An image without `mmproj`, a call without a name and one whose arguments are no JSON are a 500, and an empty prompt
   or a list of no messages is answered.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from launchers.engines import bodies, chats, common, private, tools, usual
from launchers.engines.base import Options
from launchers.engines.bodies import CHAT, COMPLETIONS, EMBEDDINGS, Fields, Rule, Text
from launchers.engines.messages import COUNT, MESSAGES, Items, keep_tool, put_messages_right, wanted_call
from launchers.engines.messages import RULES as MESSAGES_RULES
from launchers.engines.reminders import put_reminders_right
from launchers.errors import UnfitRequestError
from launchers.spec import ArgValue, Command, LaunchSpec

if TYPE_CHECKING:
    from launchers.engines.base import Files

SCRIPT = common.wrapper("xllamacpp_server.py")

NOT_TO_SET: Mapping[str, str] = MappingProxyType({
    "host": common.LISTENS,
    "port": common.PORT,
    "reuse_port": common.PORT,
    "model": common.MODEL,
    "model_url": common.MODEL,
    "docker_repo": common.MODEL,
    "hf_repo": "say it in launch.model, as org/name:Q4_K_M",
    "hf_file": "say it in launch.model, as org/name:file.gguf",
    "models_dir": "the router itself decides which models run",
    "models_preset": "the router itself decides which models run",
    "alias": common.NAME,
    "api_key": common.KEY,
    "api_key_file": common.KEY,
    "api_prefix": common.PATHS,
    "ssl_key_file": common.PLAIN,
    "ssl_cert_file": common.PLAIN,
})  # fmt: skip
"""Arguments that the user can't set, each with the reason that the error gives."""

VARIABLES: Mapping[str, str] = MappingProxyType({
    "llama_api_key": common.KEY,
    "llama_server_router_port": "it would make this the child of another server",
    "llama_server_child_mode": "it would make this the child of another server",
    **{f"llama_arg_{name}": reason for name, reason in NOT_TO_SET.items()},
})  # fmt: skip

SETTINGS = (
    "agent", "embeddings", "pooling", "reranking", "n_predict", "ctx_size", "n_parallel", "kv_unified", "mmproj",
    "mmproj_url", "rpc", "tools", "mcp_servers_config", "mcp_servers_json", "log_file", "offline",
)  # fmt: skip
"""Names after LLAMA_ARG_ that would change what is served; variables that only change speed may come from the shell."""

SWITCHES = frozenset({
    "check-tensors", "cpu-moe", "embedding", "embeddings", "metrics", "mlock", "offline", "props", "rerank",
    "reranking", "special", "swa-full", "verbose",
})  # fmt: skip
"""Flags without a --no-…: false leaves them out."""

ON_OFF = frozenset({"flash-attn", "fit", "log-colors"})
"""Flags that take the word on or off."""
STYLE = common.Style(dashes=True, booleans="pairs", lists="commas", switches=SWITCHES)
OPTIONS = Options(re.compile(r"(?<![\w-])--([a-z][\w.-]*)"), script=SCRIPT)

RESPONSES = "/v1/responses"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
APIS = frozenset({
    CHAT, COMPLETIONS, RESPONSES, MESSAGES, COUNT, EMBEDDINGS, "/v1/rerank", "/v1/reranking", TRANSCRIPTIONS,
    "/v1/responses/input_tokens",
    "/apply-template", "/completion", "/detokenize", "/embedding", "/infill", "/rerank", "/reranking", "/tokenize",
})  # fmt: skip

SPECULATIVE = ("n_max", "n_min", "p_min", "type", "types", "ngram_size_n", "ngram_size_m", "ngram_min_hits")
PRIVATE = frozenset({
    "n_discard", "n_cache_reuse", "id_slot", "slot_id", "response_fields",
    "chat_template", "chat_format", "chat_parser", "generation_prompt", "grammar_lazy", "grammar_triggers",
    "grammar_type", "parse_tool_calls", "preserved_tokens", "thinking_forced_open", "backend_sampling", "lora",
    "speculative", *(f"speculative.{name}" for name in SPECULATIVE),
})  # fmt: skip
"""Fields of tools/server/server-schema.cpp that reach into its memory, are its templates' own, or hide its counts."""

Prompts = Annotated[
    list[int | Text | Annotated[list[int | Text], msgspec.Meta(min_length=1)] | dict[str, object]],
    msgspec.Meta(min_length=1),
]


class BySchema(msgspec.Struct, tag_field="type", tag="json_schema"):
    """A response format of JSON by a schema."""

    json_schema: bodies.Schema


class NamedSchema(bodies.Schema, tag_field="type", tag="json_schema"):
    """The same in the form of /v1/responses."""


class TextOptions(msgspec.Struct):
    """The response format in /v1/responses."""

    format: bodies.AnyForm | bodies.AnyJson | NamedSchema | None = None


TYPES: Mapping[str, Rule] = {
    **bodies.TYPES,
    "reasoning_format": Rule(
        Literal["none", "auto", "deepseek", "deepseek-legacy"], "must be none, auto, deepseek or deepseek-legacy"
    ),
    "logit_bias": Rule(dict[str, float | bool] | list[object], "must be an object of numbers"),  # or llama.cpp's form
}
SCHEMAS = "must be an object whose type is text, json_object or json_schema, the last with a schema"
RULES: Mapping[str, Mapping[str, Rule]] = MappingProxyType({
    CHAT: {**bodies.CHAT_TYPES, **TYPES, "response_format": Rule(bodies.AnyForm | bodies.AnyJson | BySchema, SCHEMAS)},
    COMPLETIONS: {
        **TYPES,
        "prompt": Rule(
            Text | Prompts | dict[str, object],
            "must be a text, or a list of texts or of tokens, and not an empty one",
            required=True,
        ),
        "suffix": Rule(Literal[""], "is not for llama_server here; /infill fills in what stands before it"),
        "best_of": bodies.WHOLE,
        "echo": Rule(Literal[False], "is not for llama_server: it gives the answer alone"),
        "logprobs": Rule(Literal[False], "is not for llama_server, but in chats; n_probs gives them in its own form"),
    },
    EMBEDDINGS: {
        "dimensions": Rule(None, "must be left out: llama_server gives as many as the model has"),
    },
    RESPONSES: {
        "input": Rule(Text | Items, "must be a text or a list of one item or more, none empty"),
        "text": Rule(TextOptions, f"must be an object whose format {SCHEMAS}"),
        "temperature": bodies.NUMBER,
        "top_p": bodies.NUMBER,
        "max_output_tokens": bodies.WHOLE,
    },
    **MESSAGES_RULES,
})  # fmt: skip


RERANKS = frozenset({"rerank", "reranking"})
NEEDS: Mapping[str, tuple[frozenset[str], str]] = MappingProxyType({
    **dict.fromkeys((EMBEDDINGS, "/embedding"), (RERANKS | {"embedding", "embeddings"}, "embeddings: true")),
    **dict.fromkeys(
        ("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"), (RERANKS | {"pooling"}, "reranking: true")
    ),
    TRANSCRIPTIONS: (frozenset({"mmproj", "mmproj-url"}), "mmproj: FILE of a model that hears"),
})  # fmt: skip
"""An API → the options that enable it, any one of them, and the one that an error names."""

IMAGE = b"image_url"
TEXT_ALONE = chats.Takes("llama_server without launch.args.mmproj", parts=frozenset(), reads_arguments=True)
MEDIA: Mapping[str, tuple[str, ...]] = MappingProxyType({
    RESPONSES: ("input_image", "input_audio"), MESSAGES: ("image",), COUNT: ("image",),
})  # fmt: skip
"""Types of parts that need a projector, in the APIs that aren't chats."""
CONVERSATIONS: Mapping[str, str] = MappingProxyType({
    CHAT: "messages", MESSAGES: "messages", COUNT: "messages", RESPONSES: "input",
})  # fmt: skip
"""An API → its field with the conversation."""


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """See launchers.engines.Engine for the meaning of each member."""

    name: str = "llama_server"
    module: str = "xllamacpp"
    program: str | None = "llama-server"
    suits: str = "GGUF models, several requests at once, more APIs (/v1/responses, /v1/messages, rerank); no compiler"
    install: str = "pip install xllamacpp"
    options: Options | None = OPTIONS
    ready_path: str = "/health"
    ready_request: tuple[str, bytes] | None = None
    key_variable: str = "LLAMA_API_KEY"
    uuid_request_ids: bool = False
    parallel: int = 4
    accepts_slowly: bool = False
    opaque: bool = False
    apis: frozenset[str] = APIS
    private: frozenset[str] = PRIVATE
    counter: str = ""
    mends: frozenset[str] = frozenset({RESPONSES, MESSAGES})
    usage_in_streams: str = "always"
    publishes: bool = True
    works_on_cpu: bool = True

    def works_on(self, args: Mapping[str, ArgValue]) -> int:
        """The value of --parallel."""
        return common.number(args, "parallel") or self.parallel

    def find_model(self, model: str, files: "Files") -> str:
        """Find a *.gguf file, a folder with one, or `org/name:Q4_K_M` (or `:file.gguf`) of a hub."""
        return common.find_gguf(model, files, self.name, "Q4_K_M")

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """Run `llama-server`, or our wrapper in a Python with xllamacpp: both read the same flags."""
        common.check_ownership(spec, NOT_TO_SET, VARIABLES)
        args = common.over({"parallel": 4, "kv-unified": True, "jinja": True, "metrics": True}, spec.args, STYLE)
        for name in ON_OFF & args.keys():
            if isinstance(args[name], bool):
                args[name] = "on" if args[name] else "off"
        if isinstance(samplers := args.get("samplers"), list | tuple):
            args["samplers"] = ";".join(map(str, samplers))
        args |= _place(spec.model)
        args |= {"host": "127.0.0.1", "port": port, "alias": spec.served_name}
        is_program = python.rpartition("/")[2].startswith("llama-server")
        return Command(
            argv=(python, *(() if is_program else ("-P", SCRIPT)), *common.flags(args, STYLE)),
            env={**common.PYTHON_ENV, **spec.env},
            unset=(*VARIABLES, *(f"llama_arg_{name}" for name in SETTINGS)),
        )

    def put_right(self, path: str, body: bytes, spec: LaunchSpec | None = None) -> bytes:
        """Rewrite what it would ignore or fail at."""
        bodies.check_path(path, self.apis, self.name, spec.allow if spec else ())
        if spec is not None and path in NEEDS:
            _check_options(spec, path)
        reads_media = spec is None or _reads_media(spec)
        if path == CHAT and (reads_media or IMAGE not in body) and _is_usual(body):
            return body
        found, nulls = bodies.fields(body)
        look = private.refuse(found, PRIVATE, self.name, spec, but="messages" if path == CHAT else "")
        was = dict(found)
        bodies.check(found, RULES.get(path, {}))
        if path == CHAT:
            takes = chats.Takes(self.name, reads_arguments=True, look=look) if reads_media else TEXT_ALONE
            _put_chat_right(found, takes, spec)
        elif path in MEDIA:
            _check_media(found, path, reads_media=reads_media)
            if path == RESPONSES:
                _put_response_right(found)
            else:
                _put_messages_right(found, None if path == COUNT else spec)
        if path in CONVERSATIONS:
            _drop_empty_end(found, CONVERSATIONS[path])
        if path == COMPLETIONS:
            bodies.check_best_of(found, self.name)
        if path in {CHAT, COMPLETIONS}:
            bodies.check_limits(found)
            chats.put_stop_right(found)
        return bodies.written(found) if nulls or found != was else body


def _is_usual(body: bytes) -> bool:
    """Tell whether a chat needs no change; 6 and 8 above are the exceptions."""
    chat = usual.usual(body, native=True)
    if not isinstance(chat, usual.UsualNative):
        return False
    last = chat.messages[-1]
    return not (isinstance(last, usual.FromAssistant) and not last.content) and usual.calls_are_json(chat)


def _put_chat_right(found: Fields, takes: chats.Takes, spec: LaunchSpec | None) -> None:
    chats.put_messages_right(found, takes)
    _put_log_probabilities_right(found)
    tools.put_tools_right(found, "llama_server")
    if spec is not None and spec.calls is False:
        tools.refuse_wanted_call(found, tools.NO_CALLS)
    _force(found)
    tools.refuse_functions(found, "llama_server")


def _drop_empty_end(found: Fields, name: str) -> None:
    """Drop an empty last message of the assistant (6 above): continuing nothing is starting an answer."""
    messages = bodies.value(found.get(name, bodies.NO_TEXT))
    if not isinstance(messages, list):
        return
    kept = len(messages)
    while kept > 1 and _is_empty_answer(messages[kept - 1]):
        kept -= 1
    if kept < len(messages):
        found[name] = bodies.raw(messages[:kept])


def _is_empty_answer(message: object) -> bool:
    """Tell whether a message is the assistant's, without content and calls."""
    if not isinstance(message, dict) or message.get("role") != "assistant" or message.get("tool_calls"):
        return False
    content = message.get("content")
    return not content or (
        isinstance(content, list) and all(isinstance(part, dict) and part.get("text") == "" for part in content)
    )


def _put_log_probabilities_right(found: Fields) -> None:
    """Ask for one log probability instead of none beside the token's own: for none it gives no log probabilities."""
    if found.get("logprobs") == bodies.TRUE and found.get("top_logprobs") == bodies.ZERO:
        found["top_logprobs"] = bodies.raw(1)


def _check_media(found: Fields, path: str, *, reads_media: bool) -> None:
    """Do 8 above for APIs that aren't chats."""
    for kind in () if reads_media else _kinds(bodies.value(found.get(CONVERSATIONS[path], bodies.NO_TEXT))):
        if kind in MEDIA[path]:
            raise UnfitRequestError(f"A part is of type {kind}; {TEXT_ALONE.engine} takes text.")


def _kinds(items: object) -> Iterator[str]:
    """Give the types of parts in messages or items, and in results of calls."""
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            if isinstance(item.get("type"), str):
                yield item["type"]
            yield from _kinds(item.get("content"))
            yield from _kinds(item.get("output"))


def _put_response_right(found: Fields) -> None:
    """Put the response format where it reads it, in the form of chats; drop empty reasoning; say what is a message."""
    if "text" in found:
        form = bodies.value(found["text"]).get("format") or {}
        if form.get("type") == "json_schema":
            found["response_format"] = bodies.raw({"type": "json_schema", "json_schema": form})
        elif form.get("type") == "json_object":
            found["response_format"] = bodies.raw(form)
    items = bodies.value(found.get("input", bodies.NO_TEXT))
    if isinstance(items, list):
        told = [_typed(each) for each in items if each.get("type") != "reasoning" or each.get("content")]
        if told != items:
            found["input"] = bodies.raw(told)


def _put_messages_right(found: Fields, spec: LaunchSpec | None) -> None:
    choice = wanted_call(found)
    if choice and spec is not None and spec.calls is False:
        raise UnfitRequestError(f"tool_choice wants a call, but {tools.NO_CALLS}.", "tool_choice")
    if choice.get("type") == "tool":
        # It takes a name for `any`.
        keep_tool(found, choice.get("name"))
    put_messages_right(found)
    put_reminders_right(found)


def _typed(item: dict[str, Any]) -> dict[str, Any]:
    """Say that an item is a message: it doesn't know the assistant's without that."""
    return item if "type" in item or "role" not in item else {"type": "message", **item}


def not_enabled(spec: LaunchSpec) -> Mapping[str, str]:
    """Give the APIs that a launch doesn't enable, each with what would."""
    given = {name.replace("_", "-") for name, value in spec.args.items() if value is not False}
    given |= {name.lower().removeprefix("llama_arg_") for name in spec.env}
    return {path: example for path, (options, example) in NEEDS.items() if not given & options}


def _check_options(spec: LaunchSpec, path: str) -> None:
    """Refuse an API that isn't enabled: it would answer 501, which clients retry."""
    needed = not_enabled(spec).get(path)
    if needed:
        raise UnfitRequestError(f"This model is launched without {path}: it needs {needed} in its launch.args.")


def _reads_media(spec: LaunchSpec) -> bool:
    """Tell whether it may read media: a hub's model may come with a projector."""
    named = {name.replace("_", "-") for name in spec.args}
    return bool(named & {"mmproj", "mmproj-url"}) or common.HUB_FILE.fullmatch(spec.model) is not None


def _force(found: Fields) -> None:
    """Require a call instead of naming a tool, and keep only that tool: it knows words alone."""
    choice = tools.chosen(found)
    if isinstance(choice, dict):
        tools.only(found, {choice["function"]["name"]})
        found["tool_choice"] = bodies.raw("required")


def _place(model: str) -> dict[str, ArgValue]:
    """Give the flags for the model's place."""
    hub = common.HUB_FILE.fullmatch(model)
    if hub is None:
        return {"model": model}
    if hub["file"].lower().endswith(".gguf"):
        return {"hf-repo": hub["repo"], "hf-file": hub["file"]}
    return {"hf-repo": model}
