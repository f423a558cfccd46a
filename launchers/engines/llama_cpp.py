"""llama_cpp: the server that comes with llama-cpp-python, `llama_cpp.server`. GGUF models, any machine.

What running it taught (0.3.36):

1. It works on one request at a time. By default the next one, even a GET of /v1/models, cuts off the stream
   that is running, which then looks complete: hence `--interrupt_requests false`, always.
2. Its port opens when the model has loaded. /openapi.json takes no lock, so it is answered during a generation, too;
   /v1/models waits for the running answer to end.
3. Its settings are pydantic-settings: a setting that isn't on the command line is read from the environment variable
   of its name, in any case. `MODEL`, `SEED` or `CACHE` of somebody's shell must not get in.
   HOST, PORT and CONFIG_FILE win even over the command line; WEB_CONCURRENCY makes uvicorn refuse to start.
4. Of a repeated flag only the last counts: a list is one flag with several values.
5. A chat without messages is answered with noise to the end of the context; a field of the wrong type, a null where
   there is a default, an empty prompt or a list of prompts is a 500, often one that names the server's files. A
   grammar that can't be read is a segmentation fault.
6. It notices that its client has left only between the pieces of a stream; wrappers/llama_cpp_server.py always does.
   The wrapper also answers 400 to what it can't do, reports usage in streams, and writes embeddings as base64.
7. It accepts OpenAI's API of 2023: not `max_completion_tokens` (it would run to the end of the context), `developer`,
   `json_schema`, a tool without parameters, nulls and lists of texts within messages. It gives one answer a request,
   whatever `n` is, and for a `suffix` it puts tokens into the prompt that mean something else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from launchers.engines import bodies, chats, common, private, tools, usual
from launchers.engines.base import Options
from launchers.engines.bodies import CHAT, COMPLETIONS, EMBEDDINGS, Fields, Rule, Text
from launchers.errors import UnfitRequestError
from launchers.spec import ArgValue, Command, LaunchSpec

if TYPE_CHECKING:
    from launchers.engines.base import Files

SCRIPT = common.wrapper("llama_cpp_server.py")

NOT_TO_SET: Mapping[str, str] = MappingProxyType({
    "host": common.LISTENS,
    "port": common.PORT,
    "model": common.MODEL,
    "hf_model_repo_id": "say it in launch.model, as org/name:*Q4_K_M.gguf",
    "model_alias": common.NAME,
    "interrupt_requests": "true would let any request cut off the stream of another",
    "config_file": "it would replace the whole command line",
    "api_key": common.KEY,
    "ssl_keyfile": common.PLAIN,
    "ssl_certfile": common.PLAIN,
})  # fmt: skip
"""Arguments that the user can't set, each with the reason that the error gives."""

SETTINGS = (
    "api_key", "cache", "cache_size", "cache_type", "chat_format", "chat_template_kwargs", "clip_model_path",
    "disable_ping_events", "draft_model", "draft_model_num_pred_tokens", "embedding", "flash_attn",
    "hf_model_repo_id", "hf_pretrained_model_name_or_path", "hf_tokenizer_config_path", "host",
    "interrupt_requests", "kv_overrides", "last_n_tokens_size", "logits_all", "lora_base", "lora_path", "main_gpu",
    "model", "model_alias", "models", "mul_mat_q", "n_batch", "n_ctx", "n_gpu_layers", "n_threads",
    "n_threads_batch", "n_ubatch", "numa", "offload_kqv", "port", "root_path", "rope_freq_base",
    "rope_freq_scale", "rope_scaling_type", "rpc_servers", "seed", "split_mode", "ssl_certfile", "ssl_keyfile",
    "tensor_split", "type_k", "type_v", "use_mlock", "use_mmap", "verbose", "vocab_only", "yarn_attn_factor",
    "yarn_beta_fast", "yarn_beta_slow", "yarn_ext_factor", "yarn_orig_ctx",
)  # fmt: skip
"""Every field of llama_cpp.server.settings; a test compares them with those of the installed version."""

PRIVATE = frozenset({"chat_template"})
"""Fields of requests that clients may not send; its server knows no others that are private."""

OneText = Annotated[list[Text], msgspec.Meta(min_length=1, max_length=1)]
Texts = Annotated[list[Text], msgspec.Meta(min_length=1)]
Limit = Annotated[int, msgspec.Meta(ge=-1)]

STYLE = common.Style(dashes=False, booleans="words", lists="words")
OPTIONS = Options(re.compile(r"^    (\w+): ", re.MULTILINE), files=("server/settings.py",))

ONE = Rule(bodies.One, "must be 1: llama_cpp gives one answer a request")
LIMIT = Rule(Limit, "must be a whole number, 1 or more")
"""-1 is allowed too, as in llama.cpp: to the end of the context."""

_ALWAYS: Mapping[str, Rule] = MappingProxyType({
    **bodies.TYPES,
    "grammar": Rule(Literal[""], "is not for llama_cpp: a mistake in it would end it; response_format takes a schema"),
    "n": ONE,
})  # fmt: skip
RULES: Mapping[str, Mapping[str, Rule]] = MappingProxyType({
    CHAT: {**bodies.CHAT_TYPES, **_ALWAYS, **dict.fromkeys(bodies.LIMITS, LIMIT)},
    COMPLETIONS: {
        **_ALWAYS,
        "prompt": Rule(Text | OneText, "must be one text, and not an empty one", required=True),
        **dict.fromkeys(bodies.LIMITS, LIMIT),
        "best_of": ONE,
        "suffix": Rule(Literal[""], "is not for llama_cpp: it can't fill in what stands before it"),
    },
    EMBEDDINGS: {
        "input": Rule(
            Text | Texts,
            "must be a text or a list of texts, none empty; not tokens (LangChain: check_embedding_ctx_length=False)",
            required=True,
        ),
        "encoding_format": Rule(Literal["float", "base64"], "must be float or base64"),
        "dimensions": Rule(bodies.Positive, "must be a whole number, 1 or more"),
    },
})  # fmt: skip
"""The fields that are checked before a request is sent; see 5 and 7 above."""

TAKES = chats.Takes(
    "llama_cpp",
    frozenset({"system", "user", "assistant", "tool", "function"}),
    frozenset({"image_url"}),
    functions=True,
)
FORMATS = "response_format must be an object whose type is text, json_object or json_schema"


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """See launchers.engines.Engine for the meaning of each member."""

    name: str = "llama_cpp"
    module: str = "llama_cpp"
    program: str | None = None
    suits: str = "GGUF models, one request at a time; compiled on this machine"
    install: str = "pip install 'llama-cpp-python[server]'"
    options: Options | None = OPTIONS
    ready_path: str = "/openapi.json"
    ready_request: tuple[str, bytes] | None = None
    key_variable: str = "API_KEY"
    uuid_request_ids: bool = True
    parallel: int = 1
    accepts_slowly: bool = False
    opaque: bool = False
    apis: frozenset[str] = frozenset({CHAT, COMPLETIONS, EMBEDDINGS})
    private: frozenset[str] = PRIVATE
    counter: str = bodies.COUNTER
    mends: frozenset[str] = frozenset()
    usage_in_streams: str = "always"
    publishes: bool = False
    works_on_cpu: bool = True

    def works_on(self, args: Mapping[str, ArgValue]) -> int:  # noqa: ARG002
        """Always one."""
        return self.parallel

    def find_model(self, model: str, files: "Files") -> str:
        """Find a *.gguf file, a folder with one, or `org/name:pattern` of a hub."""
        return common.find_gguf(model, files, self.name, "*Q4_K_M.gguf")

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """Run `llama_cpp.server` in our wrapper, with the user's arguments over ours."""
        common.check_ownership(spec, NOT_TO_SET, NOT_TO_SET)
        hub = common.HUB_FILE.fullmatch(spec.model)
        args: dict[str, ArgValue] = {"verbose": False, **spec.args}
        if hub:
            args |= {"hf_model_repo_id": hub["repo"], "model": hub["file"]}
        else:
            args["model"] = spec.model
        args |= {
            "host": "127.0.0.1",
            "port": port,
            "model_alias": spec.served_name,
            "interrupt_requests": False,
        }
        return Command(
            argv=(python, "-P", SCRIPT, *common.flags(args, STYLE)),
            env={**common.PYTHON_ENV, **spec.env},
            unset=(*SETTINGS, "config_file", "web_concurrency"),
        )

    def put_right(self, path: str, body: bytes, spec: LaunchSpec | None = None) -> bytes:
        """Use the forms that it knows; refuse requests that it would answer without end, wrongly, or with a 500."""
        path = CHAT if path == self.counter else path
        if path == CHAT and usual.usual(body, native=False):
            return body
        rules = RULES.get(path)
        if rules is None:
            bodies.check_path(path, self.apis, self.name, spec.allow if spec else ())
            return body
        found, nulls = bodies.fields(body)
        look = private.refuse(found, PRIVATE, self.name, spec, but="messages" if path == CHAT else "")
        was = dict(found)
        bodies.check(found, rules)
        if path == CHAT:
            _put_chat_right(found, look)
            _force_the_only_tool(found)
        if path != EMBEDDINGS:
            chats.put_stop_right(found)
            bodies.check_limits(found)
            bodies.put_limit_right(found)
            # It is empty, as others were refused; but it would put tokens into the prompt even for this one.
            found.pop("suffix", None)
        return bodies.written(found) if nulls or found != was else body


def _put_chat_right(found: Fields, look: private.Look) -> None:
    """Rewrite fields that only chats have."""
    chats.put_messages_right(found, replace(TAKES, look=look))
    tools.put_tools_right(found, "llama_cpp")
    if "functions" in found:
        functions = bodies.value(found["functions"])
        if not isinstance(functions, list):
            raise UnfitRequestError("functions must be a list of objects.", "functions")
        whole = [tools.whole_function(each, f"functions[{n}]", "functions") for n, each in enumerate(functions)]
        found["functions"] = bodies.raw(whole)
    bodies.check_log_probabilities(found)
    if found.get("logprobs") == bodies.TRUE:
        # Without it, it gives no log probabilities at all.
        found.setdefault("top_logprobs", bodies.ZERO)
    if "response_format" in found:
        form = _form(bodies.value(found.pop("response_format")))
        if form is not None:
            found["response_format"] = bodies.raw(form)


def _force_the_only_tool(found: Fields) -> None:
    """Name the only tool if a call is required: it ignores "required", but not a name."""
    if tools.chosen(found) == "required":
        names = [tool["function"]["name"] for tool in tools.all_of(found)]
        if len(names) == 1:
            found["tool_choice"] = bodies.raw({"type": "function", "function": {"name": names[0]}})


def _form(given: Any) -> dict[str, Any] | None:  # noqa: ANN401 -- it is what a client wrote
    """Translate the response format into its own; None if any will do."""
    kind = given.get("type") if isinstance(given, dict) else None
    match kind:
        case "text":
            return None
        case "json_object":
            schema = given.get("schema")
        case "json_schema":
            inner = given.get("json_schema")
            schema = inner.get("schema") if isinstance(inner, dict) else None
            if not isinstance(schema, dict):
                raise UnfitRequestError(
                    "response_format.json_schema must be an object with its schema.", "response_format"
                )
        case _:
            raise UnfitRequestError(f"{FORMATS}.", "response_format")
    return {"type": "json_object"} | ({"schema": _unwrapped(schema)} if isinstance(schema, dict) else {})


def _unwrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """Replace a schema that is only a reference, as pydantic writes recursive ones: it would fail at that."""
    reference, definitions = schema.get("$ref"), schema.get("$defs")
    if not isinstance(reference, str) or not isinstance(definitions, dict):
        return schema
    named = definitions.get(reference.removeprefix("#/$defs/"))
    return {**named, "$defs": definitions} if isinstance(named, dict) else schema
