"""llama_server: llama.cpp's C++ server. GGUF models, any machine; several requests at once, and the newer APIs.

It comes in two forms with one command line: the program `llama-server` (of Homebrew, of a package, of one's own
build), or the package xllamacpp, which has the same server as a library (see wrappers/xllamacpp_server.py).

What running it taught (xllamacpp 2026.10):

1. /health tells the truth: nobody listens, then 503 while it loads, then 200, busy or not.
2. Each flag is also read from a variable, LLAMA_ARG_ and its name, where the command line doesn't set it. Some would
   have it serve something else, or ask for a key; LLAMA_SERVER_ROUTER_PORT makes it the child of another server.
3. Left alone it takes four requests at once, which share one context: said here, so that `parallel` is true.
4. It looks once a second whether a client has left, of a stream or not, and stops its work then. A SIGTERM that the
   program gets at work waits for the work to end; the package has no handler, and ends.
5. Most forms of OpenAI's API it takes. But a null of a tool or of `encoding_format` is an error, a `tool_choice` that
   is no word is left out, silently, as are `functions` and `suffix`, and an empty stop word ends the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from launchers.engines import bodies, chats, common
from launchers.engines.bodies import CHAT, COMPLETIONS, EMBEDDINGS, Fields, Rule
from launchers.errors import UnfitRequestError
from launchers.spec import ArgValue, Command, LaunchSpec

if TYPE_CHECKING:
    from launchers.engines import Files

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
"""Arguments that are the router's, each with the reason that a user is told."""

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
"""Variables after LLAMA_ARG_ that would change what is served; those of speed alone may come from the shell."""

SWITCHES = frozenset({
    "check-tensors", "cpu-moe", "embedding", "embeddings", "metrics", "mlock", "offline", "props", "rerank",
    "reranking", "special", "swa-full", "verbose",
})  # fmt: skip
"""Of these there is no --no-…: false leaves them out."""

ON_OFF = frozenset({"flash-attn", "fit", "log-colors"})  # these want a word
STYLE = common.Style(dashes=True, booleans="pairs", lists="commas", switches=SWITCHES)

APIS = frozenset({
    CHAT, COMPLETIONS, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", EMBEDDINGS, "/v1/rerank",
    "/v1/audio/transcriptions",
})  # fmt: skip


TYPES: Mapping[str, Rule] = {
    **bodies.TYPES,
    "logit_bias": Rule(dict[str, object] | list[object], "must be an object of numbers"),  # or llama.cpp's own form
}
RULES: Mapping[str, Mapping[str, Rule]] = MappingProxyType({
    CHAT: TYPES,
    COMPLETIONS: {
        **TYPES,
        "prompt": Rule(
            str | list[object] | dict[str, object], "must be a text, or a list of texts or of tokens", required=True
        ),
        "suffix": Rule(Literal[""], "is not for llama_server here; /infill fills in what stands before it"),
    },
    EMBEDDINGS: {},
})  # fmt: skip


RERANKS = frozenset({"rerank", "reranking"})
NEEDS: Mapping[str, tuple[frozenset[str], str]] = MappingProxyType({
    EMBEDDINGS: (RERANKS | {"embedding", "embeddings"}, "embeddings: true"),
    "/v1/rerank": (RERANKS | {"pooling"}, "reranking: true"),
})  # fmt: skip
"""An API → the options of which one has it served, and the one to name."""

IMAGE = b"image_url"
TEXT_ALONE = chats.Takes("llama_server without launch.args.mmproj", parts=frozenset())


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """See launchers.engines.Engine for what each of these means."""

    name: str = "llama_server"
    module: str = "xllamacpp"
    program: str | None = "llama-server"
    suits: str = "GGUF models, several requests at once, more APIs (/v1/responses, /v1/messages, rerank); no compiler"
    install: str = "pip install xllamacpp"
    ready_path: str = "/health"
    ready_request: tuple[str, bytes] | None = None
    key_variable: str = "LLAMA_API_KEY"
    uuid_request_ids: bool = False
    parallel: int = 4
    accepts_slowly: bool = False
    apis: frozenset[str] = APIS
    usage_in_streams: bool = True
    publishes: bool = True
    works_on_cpu: bool = True

    def works_on(self, args: Mapping[str, ArgValue]) -> int:
        """As many as --parallel says."""
        return common.number(args, "parallel") or self.parallel

    def find_model(self, model: str, files: "Files") -> str:
        """A *.gguf file, a folder that holds one, or `org/name:Q4_K_M` (or `:file.gguf`) of a hub."""
        return common.find_gguf(model, files, self.name, "Q4_K_M")

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """`llama-server`, or a Python with xllamacpp on our script: both read the same flags."""
        common.check_ownership(spec, NOT_TO_SET, VARIABLES)
        args = common.over({"parallel": 4, "kv-unified": True, "jinja": True, "metrics": True}, spec.args, STYLE)
        for name in ON_OFF & args.keys():
            if isinstance(args[name], bool):
                args[name] = "on" if args[name] else "off"
        args |= _place(spec.model)
        args |= {"host": "127.0.0.1", "port": port, "alias": spec.served_name}
        is_program = python.rpartition("/")[2].startswith("llama-server")
        return Command(
            argv=(python, *(() if is_program else ("-P", SCRIPT)), *common.flags(args, STYLE)),
            env={**common.PYTHON_ENV, **spec.env},
            unset=(*VARIABLES, *(f"llama_arg_{name}" for name in SETTINGS)),
        )

    def put_right(self, path: str, body: bytes, spec: LaunchSpec | None = None) -> bytes:
        """Say in other words what it would leave out or fail at."""
        bodies.check_path(path, self.apis, self.name)
        if spec is not None and path in NEEDS:
            _check_options(spec, path)
        rules = RULES.get(path)
        if rules is None:
            return body
        reads_media = spec is None or _reads_media(spec)
        if path == CHAT and chats.usual(body, native=True) and (reads_media or IMAGE not in body):
            return body
        found, nulls = bodies.fields(body)
        was = dict(found)
        bodies.check(found, rules)
        if path == CHAT:
            chats.put_messages_right(found, chats.Takes(self.name) if reads_media else TEXT_ALONE)
            chats.put_tools_right(found, self.name)
            _force(found)
            chats.refuse_functions(found, self.name)
        if path != EMBEDDINGS:
            chats.put_stop_right(found)
        return bodies.written(found) if nulls or found != was else body


def _check_options(spec: LaunchSpec, path: str) -> None:
    """It answers 501 where it wasn't told to serve an API, which clients try again."""
    options, example = NEEDS[path]
    given = {name.replace("_", "-") for name, value in spec.args.items() if value is not False}
    given |= {name.lower().removeprefix("llama_arg_") for name in spec.env}
    if not given & options:
        raise UnfitRequestError(f"This model is launched without {path}: it needs {example} in its launch.args.")


def _reads_media(spec: LaunchSpec) -> bool:
    """Whether it may: a hub's model may bring its projector."""
    named = {name.replace("_", "-") for name in spec.args}
    return bool(named & {"mmproj", "mmproj-url"}) or common.HUB_FILE.fullmatch(spec.model) is not None


def _force(found: Fields) -> None:
    """It knows words alone: a call of one tool is required where there is no other."""
    choice = chats.chosen(found)
    if isinstance(choice, dict):
        chats.only(found, {choice["function"]["name"]})
        found["tool_choice"] = bodies.raw("required")


def _place(model: str) -> dict[str, ArgValue]:
    """The flags that say where the model is."""
    hub = common.HUB_FILE.fullmatch(model)
    if hub is None:
        return {"model": model}
    if hub["file"].lower().endswith(".gguf"):
        return {"hf-repo": hub["repo"], "hf-file": hub["file"]}
    return {"hf-repo": model}
