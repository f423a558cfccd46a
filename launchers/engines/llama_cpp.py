"""llama_cpp: the server that comes with llama-cpp-python, `llama_cpp.server`. GGUF models, any machine.

What running it taught (0.3.36):

1. It works on one request at a time. By default the next one, even a GET of /v1/models, cuts off the stream
   that is running, which then looks complete: hence `--interrupt_requests false`, always.
2. Its port opens when the model has loaded. /openapi.json takes no lock, so it also answers while it generates;
   /v1/models waits for the running answer to end.
3. Its settings are pydantic-settings: each is also read from an environment variable of its name, in any case,
   where the command line doesn't set it. `MODEL`, `SEED` or `CACHE` of somebody's shell must not get in.
   HOST, PORT and CONFIG_FILE win even over the command line; WEB_CONCURRENCY makes uvicorn refuse to start.
4. Repeating a flag keeps the last alone: a list is one flag with several values.
5. A chat without messages is answered with noise to the end of the context; a field of the wrong type, a null where
   there is a default, an empty prompt or a list of prompts is a 500, often one that names the server's files. A
   grammar that can't be read is a segmentation fault.
6. It looks for its client between the pieces of a stream alone: wrappers/llama_cpp_server.py looks always.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from launchers.engines import bodies, common
from launchers.engines.bodies import CHAT, COMPLETIONS, EMBEDDINGS, Rule, Text
from launchers.spec import ArgValue, Command, LaunchSpec

if TYPE_CHECKING:
    from launchers.engines import Files

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
"""Arguments that are the router's, each with the reason that a user is told."""

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

OneText = Annotated[list[Text], msgspec.Meta(min_length=1, max_length=1)]

STYLE = common.Style(dashes=False, booleans="words", lists="words")

_ALWAYS: Mapping[str, Rule] = MappingProxyType({
    "temperature": Rule(float, "must be a number"),
    "stream": Rule(bool, "must be true or false"),
    "grammar": Rule(Literal[""], "is not for llama_cpp: a mistake in it would end it; response_format takes a schema"),
})  # fmt: skip
RULES: Mapping[str, Mapping[str, Rule]] = MappingProxyType({
    CHAT: {"messages": bodies.MESSAGES, "max_tokens": Rule(int, "must be a whole number"), **_ALWAYS},
    COMPLETIONS: {
        "prompt": Rule(Text | OneText, "must be one text, and not an empty one", required=True),
        "max_tokens": Rule(bodies.Positive, "must be a whole number, 1 or more"),
        **_ALWAYS,
    },
    EMBEDDINGS: {"input": Rule(str | list[str], "must be a text or a list of texts", required=True)},
})  # fmt: skip
"""What is looked at before a request is sent; see 5 above."""


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """See launchers.engines.Engine for what each of these means."""

    name: str = "llama_cpp"
    module: str = "llama_cpp"
    program: str | None = None
    install: str = "pip install 'llama-cpp-python[server]'"
    ready_path: str = "/openapi.json"
    ready_request: tuple[str, bytes] | None = None
    uuid_request_ids: bool = True
    parallel: int = 1
    apis: frozenset[str] = frozenset({CHAT, COMPLETIONS, EMBEDDINGS})
    usage_in_streams: bool = False
    publishes: bool = False

    def works_on(self, args: Mapping[str, ArgValue]) -> int:  # noqa: ARG002
        """One."""
        return self.parallel

    def find_model(self, model: str, files: "Files") -> str:
        """A *.gguf file, a folder that holds one, or `org/name:pattern` of a hub."""
        return common.find_gguf(model, files, self.name, "*Q4_K_M.gguf")

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """`llama_cpp.server`, by our script, with the user's arguments over ours."""
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

    def puts_right(self, args: Mapping[str, ArgValue]) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def put_right(self, path: str, body: bytes) -> bytes:
        """Refuse what it would answer without end or with a 500, and leave out nulls, which are a 500 too."""
        rules = RULES.get(path)
        if rules is None:
            return body
        found, nulls = bodies.fields(body)
        bodies.check(found, rules)
        return bodies.written(found) if nulls else body
