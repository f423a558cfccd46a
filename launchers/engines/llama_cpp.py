"""llama_cpp: the server that comes with llama-cpp-python, `python -m llama_cpp.server`. GGUF models, any machine.

What running it taught (0.3.36):

1. It works on one request at a time. By default the next one, even a GET of /v1/models, cuts off the stream
   that is running, which then looks complete: hence `--interrupt_requests false`, always.
2. Its port opens when the model has loaded. /openapi.json takes no lock, so it also answers while it generates;
   /v1/models waits for the running answer to end.
3. Its settings are pydantic-settings: each is also read from an environment variable of its name, in any case,
   where the command line doesn't set it. `MODEL`, `SEED` or `CACHE` of somebody's shell must not get in.
   HOST, PORT and CONFIG_FILE win even over the command line; WEB_CONCURRENCY makes uvicorn refuse to start.
4. Repeating a flag keeps the last alone: a list is one flag with several values.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from launchers.errors import ArgumentError, ModelNotFoundError
from launchers.spec import ArgValue, Command, LaunchSpec, Scalar

if TYPE_CHECKING:
    from launchers.engines import Files

NOT_TO_SET: Mapping[str, str] = MappingProxyType({
    "host": "launched engines listen on 127.0.0.1 alone",
    "port": "the router gives each start a free port",
    "model": "say it in launch.model",
    "hf_model_repo_id": "say it in launch.model, as org/name:*Q4_K_M.gguf",
    "model_alias": "it is the name that clients ask for",
    "interrupt_requests": "true would let any request cut off the stream of another",
    "config_file": "it would replace the whole command line",
    "api_key": "the router's own auth guards launched engines, which only this machine reaches",
    "ssl_keyfile": "the router speaks plain HTTP to the engines of its own machine",
    "ssl_certfile": "the router speaks plain HTTP to the engines of its own machine",
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

HUB_FILE = re.compile(r"(?P<repo>\w[\w.-]*/[\w.-]+):(?P<file>.+)")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
NOT_A_MODEL = re.compile(r"mmproj|-(?!00001-of)\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
"""Files beside a model that belong to it: a vision projector, and the parts of a split file after the first."""


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """See launchers.engines.Engine for what each of these means."""

    name: str = "llama_cpp"
    module: str = "llama_cpp"
    install: str = "pip install 'llama-cpp-python[server]'"
    ready_path: str = "/openapi.json"
    uuid_request_ids: bool = True
    parallel: int = 1

    def find_model(self, model: str, files: "Files") -> str:
        """A *.gguf file, a folder that holds one, or `org/name:pattern` of a hub."""
        path = files.home + model[1:] if model.startswith("~/") else model
        # 1. A path that exists wins over what it might mean on a hub.
        if files.is_file(path):
            return f"./{path}" if HUB_FILE.fullmatch(path) else path
        if files.is_dir(path):
            return _only_gguf(path, files)
        # 2. A hub's repository, with the file to take from it.
        if HUB_FILE.fullmatch(model):
            return model
        # 3. Neither: say what would be.
        hint = f"a hub's model needs the file named too, as {model}:*Q4_K_M.gguf"
        raise ModelNotFoundError(
            f"{path}: there is no such file or folder"
            + (f" (and {hint})" if HUB_ID.fullmatch(model) else "")
            + "; llama_cpp needs a *.gguf file, a folder that holds one, or org/name:*Q4_K_M.gguf"
        )

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """`python -m llama_cpp.server` with the user's arguments over ours."""
        _check_ownership(spec)
        hub = HUB_FILE.fullmatch(spec.model)
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
            argv=(python, "-m", "llama_cpp.server", *_flags(args)),
            # Last words must not stay in a buffer; a folder here named like a module must not be imported.
            env={"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", **spec.env},
            unset=(*SETTINGS, "config_file", "web_concurrency"),
        )


def _only_gguf(folder: str, files: "Files") -> str:
    """The one model in a folder."""
    found = [name for name in files.list(folder) if name.lower().endswith(".gguf") and not NOT_A_MODEL.search(name)]
    if not found:
        raise ModelNotFoundError(f"{folder}: the folder holds no *.gguf file; put one there, or name another place")
    if len(found) > 1:
        raise ModelNotFoundError(f"{folder}: the folder holds several models; name one of them: {', '.join(found)}")
    return f"{folder.rstrip('/')}/{found[0]}"


def _check_ownership(spec: LaunchSpec) -> None:
    """Refuse what is the router's to decide, as an argument and as a variable."""
    for kind, names in (("args", spec.args), ("env", spec.env)):
        for name in names:
            reason = NOT_TO_SET.get(name.lower().replace("-", "_"))
            if reason:
                raise ArgumentError(f"launch.{kind}: {name} can't be set for llama_cpp: {reason}")


def _flags(args: Mapping[str, ArgValue]) -> Iterator[str]:
    """`{n_ctx: 4096, embedding: true}` → `--n_ctx 4096 --embedding true`."""
    for name, value in args.items():
        if value is None:
            continue
        yield f"--{name}"
        if isinstance(value, Mapping):
            yield json.dumps(value)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from map(_text, value)
        else:
            yield _text(value)


def _text(value: Scalar) -> str:
    """A value as its command line has it: booleans in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)
