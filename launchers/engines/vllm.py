"""vllm: `vllm serve`. Models in Hugging Face's layout, on GPUs; on CPUs for tests.

What running it taught (0.32.0):

1. It is a family of processes: EngineCore and its workers are children, which must end with it. When one of them
   dies, the parent exits with 0 some seconds later.
2. VLLM_PORT and VLLM_HOST_IP are for messages among these, not addresses to listen at; a service called "vllm" in
   Kubernetes sets VLLM_PORT to a URL, which breaks the start. The router sets VLLM_API_KEY, to the same value at each
   start: vllm keeps compiled code under a digest of all its variables.
3. On SIGTERM it cuts its streams, which then end with an error and a [DONE], unless --shutdown-timeout (from 0.18 on)
   gives them time. That must be less than the supervisor's. None leaves it out, for an older version.
4. It closes idle connections after 5 s; the router would keep them longer.
5. The command `vllm` runs `python -m vllm.entrypoints.cli.main`. It pins many of its dependencies, so many people have
   it in an environment of its own: the command on PATH will do.
6. A `priority` other than 0 is answered with 400, unless it runs with --scheduling-policy priority.
7. It accepts most forms of OpenAI's API, and answers 400 to mistakes. In completions it ignores `best_of` and
   `max_completion_tokens`. But it refuses values that ask for nothing: no tools, a choice of none, an empty suffix or
   stop word, stream options without a stream, a null in place of a message's text.
8. A process that waits for a worker keeps a CPU busy, even if the worker is stuck: CPU time shows nothing. Its counters
   do.
9. A stream of /v1/responses that was cut at its limit ends as one that is completed.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from launchers.engines import bodies, chats, common, messages, private, tools, usual
from launchers.engines.base import Options
from launchers.engines.bodies import CHAT, COMPLETIONS, EMBEDDINGS, Fields, Rule
from launchers.errors import ArgumentError, UnfitRequestError
from launchers.spec import ArgValue, Command, LaunchSpec

if TYPE_CHECKING:
    from launchers.engines.base import Files

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open."""

TO_END = 2
"""Seconds between the end of its draining and the supervisor's SIGKILL."""

NOT_TO_SET: Mapping[str, str] = MappingProxyType({
    "host": common.LISTENS,
    "uds": common.LISTENS,
    "port": common.PORT,
    "model": common.MODEL,
    "model_tag": common.MODEL,
    "served_model_name": common.NAME,
    "api_key": common.KEY,
    "root_path": common.PATHS,
    "config": common.HIDDEN,
    "headless": "the router needs its HTTP server",
    "grpc": "the router needs its HTTP server",
    "omni": "it would start another program",
    "ssl_keyfile": common.PLAIN,
    "ssl_certfile": common.PLAIN,
    "ssl_ca_certs": common.PLAIN,
})  # fmt: skip
"""Arguments that the user can't set, each with the reason that the error gives."""

VARIABLES: Mapping[str, str] = MappingProxyType({
    "vllm_api_key": common.KEY,
    "vllm_host_ip": "it is for engines that span several machines",
    "vllm_port": "it is for the talk among its own processes, which find ports by themselves",
    "vllm_model_redirect_path": common.MODEL,
})  # fmt: skip

UNSET = (
    *VARIABLES, "vllm_server_dev_mode", "vllm_logging_config_path", "vllm_loopback_ip", "vllm_rpc_base_path",
    "vllm_dp_rank", "vllm_dp_rank_local", "vllm_dp_size", "vllm_dp_master_ip", "vllm_dp_master_port",
)  # fmt: skip
"""Variables that would change whom it serves, or make it part of a group. launch.env may set the latter."""

STYLE = common.Style(dashes=True, booleans="pairs", lists="words")
# Fields of its classes, which are flags with dashes, and flags that are written out.
OPTIONS = Options(
    re.compile(r'(?:^    (?=\w+: )|"--(?=[a-z]))([\w-]+)', re.MULTILINE),
    # The last two are one file, which has moved.
    files=("engine/arg_utils.py", "entrypoints/launchers/cli_args.py", "entrypoints/openai/cli_args.py"),
    abbreviates=True,
)

APIS = frozenset({
    CHAT, COMPLETIONS, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", EMBEDDINGS, "/v1/rerank",
    "/v1/score", "/v1/audio/transcriptions", "/v1/audio/translations", "/classify", "/detokenize", "/pooling",
    "/rerank", "/score", "/tokenize", "/v2/embed", "/v2/rerank",
})  # fmt: skip

PRIVATE = frozenset({
    # Templates of the client's own, which are programs; and code that is chosen by name.
    "chat_template", "guided_decoding_backend", "logits_processors", "vllm_xargs",
    # What loaders of media, processors and plug-ins are told.
    "media_io_kwargs", "mm_processor_kwargs", "data", "image_embeds", "audio_embeds", "prompt_embeds",
    # Memory of other requests and machines.
    "kv_transfer_params", "ec_transfer_params", "request_id",
})  # fmt: skip
"""Fields of requests that clients may not send. Tensors are read by code that can be made to run another."""


class Named(bodies.Schema):
    """A schema with a name."""

    name: str


class BySchema(msgspec.Struct, tag_field="type", tag="json_schema"):
    """A response format of JSON by a schema."""

    json_schema: Named


class ByTag(msgspec.Struct, tag_field="type", tag="structural_tag"):
    """A response format of its own, beside OpenAI's."""


Token = Annotated[int, msgspec.Meta(ge=0)]
FORM = Rule(
    bodies.AnyForm | bodies.AnyJson | BySchema | ByTag,
    "must be an object whose type is text, json_object or json_schema, the last with a name and a schema",
)
MORE: Mapping[str, Rule] = {
    "response_format": FORM,
    "seed": Rule(Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)], "must be a whole number of 64 bits"),
}
RULES: Mapping[str, Mapping[str, Rule]] = MappingProxyType({
    CHAT: {**bodies.CHAT_TYPES, **MORE},
    COMPLETIONS: {
        **bodies.TYPES,
        **MORE,
        "best_of": bodies.WHOLE,
        "prompt": Rule(
            str | list[str | Token | list[Token]], "must be a text, or a list of texts or of tokens, none below 0"
        ),
    },
    EMBEDDINGS: {
        "input": Rule(str | list[object], "must be a text, or a list of texts or of tokens"),
        "encoding_format": Rule(Literal["float", "base64", "bytes", "bytes_only"], "must be float or base64"),
        "dimensions": bodies.WHOLE,
    },
    **messages.RULES,
})  # fmt: skip
"""Rules for fields whose errors would otherwise name its own classes."""


@dataclass(frozen=True, slots=True)
class Vllm:
    """See launchers.engines.Engine for the meaning of each member."""

    name: str = "vllm"
    module: str = "vllm"
    program: str | None = "vllm"
    suits: str = "Hugging Face models on NVIDIA and AMD GPUs, very many requests at once; some GB"
    install: str = "pip install vllm"
    options: Options | None = OPTIONS
    ready_path: str = "/health"
    ready_request: tuple[str, bytes] | None = None
    key_variable: str = "VLLM_API_KEY"
    uuid_request_ids: bool = False
    # Its own default is 1024 on large GPUs; here a large one gets no more than the others.
    parallel: int = 256
    # It accepts one connection a turn of its loop, and a busy turn takes 20 ms.
    accepts_slowly: bool = True
    opaque: bool = False
    apis: frozenset[str] = APIS
    private: frozenset[str] = PRIVATE
    counter: str = ""
    mends: frozenset[str] = frozenset({"/v1/responses"})
    usage_in_streams: str = "asked"
    publishes: bool = True
    works_on_cpu: bool = False

    def works_on(self, args: Mapping[str, ArgValue]) -> int:
        """The value of --max-num-seqs, times --data-parallel-size."""
        each = common.number(args, "max-num-seqs") or self._batch(args)
        return each * (common.number(args, "data-parallel-size") or 1)

    def _batch(self, args: Mapping[str, ArgValue]) -> int:
        """Bound --max-num-seqs by the tokens of a step: with fewer tokens than requests it refuses to start."""
        return min(self.parallel, common.number(args, "max-num-batched-tokens") or self.parallel)

    def find_model(self, model: str, files: "Files") -> str:
        """Find a folder in Hugging Face's layout, or `org/name` of a hub."""
        return common.find_folder(model, files, self.name)

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """Run `vllm serve MODEL` with the user's arguments over ours."""
        common.check_ownership(spec, NOT_TO_SET, VARIABLES)
        _check_share(spec.args)
        ours: dict[str, ArgValue] = {
            # Older versions let every page read their answers.
            "allowed-origins": "[]",
            # Always said, because the router counts on it.
            "max-num-seqs": self._batch(spec.args),
            # What the router asks for each second.
            "disable-access-log-for-endpoints": "/health,/metrics",
            "shutdown-timeout": max(0, int(spec.stop_timeout) - TO_END),
        }
        args = common.over(ours, spec.args, STYLE)
        args |= {"host": "127.0.0.1", "port": port, "served-model-name": spec.served_name}
        env = {**common.PYTHON_ENV, "VLLM_NO_USAGE_STATS": "1", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE)}
        if common.is_path(spec.model):
            # Without it, it asks the hub about a folder, and waits if there is no network.
            env["HF_HUB_OFFLINE"] = "1"
        is_program = python.rpartition("/")[2] == self.program
        run = (python,) if is_program else (python, "-m", "vllm.entrypoints.cli.main")
        return Command((*run, "serve", spec.model, *common.flags(args, STYLE)), {**env, **spec.env}, UNSET)

    def put_right(self, path: str, body: bytes, spec: LaunchSpec | None = None) -> bytes:
        """Leave out values that ask for nothing, and the priority, which the router's queue has applied."""
        bodies.check_path(path, self.apis, self.name, spec.allow if spec else ())
        rules = RULES.get(path)
        if rules is None:
            private.refuse(bodies.fields(body)[0], PRIVATE, self.name, spec)
            return body
        args = common.over({}, spec.args if spec else {}, STYLE)
        if path == CHAT:
            chat = usual.usual(body, native=True)
            if chat is not None and (chat.tools is None or args.get("tool-call-parser")):
                return body
        found, nulls = bodies.fields(body)
        look = private.refuse(found, PRIVATE, self.name, spec, but="messages" if path == CHAT else "")
        was = dict(found)
        bodies.drop_no_limits(found)
        bodies.check(found, rules)
        if args.get("scheduling-policy") != "priority":
            found.pop("priority", None)
        if path == CHAT:
            chats.put_messages_right(found, chats.Takes(self.name, reads_arguments=True, look=look))
            tools.put_tools_right(found, self.name)
            tools.refuse_functions(found, self.name)
            if spec is not None:
                _check_tools(found, args)
        if path == COMPLETIONS:
            bodies.check_best_of(found, self.name)
            bodies.put_limit_right(found)
        if path in messages.RULES:
            messages.put_messages_right(found)
        elif path != EMBEDDINGS:
            chats.put_stop_right(found)
            _drop_what_says_nothing(found)
        return bodies.written(found) if nulls or found != was else body


def _check_share(args: Mapping[str, ArgValue]) -> None:
    """Check the share: with a wrong one it would fail at its start, or wait for memory that there isn't."""
    said = next((value for name, value in args.items() if name.replace("_", "-") == "gpu-memory-utilization"), None)
    if said is None:
        return
    share = 0.0
    with suppress(ValueError):
        share = float(said) if isinstance(said, int | float | str) and not isinstance(said, bool) else 0.0
    if not 0 < share <= 1:
        raise ArgumentError(
            f"launch.args: gpu-memory-utilization: {said} is no share of a GPU's memory; write a number above 0 and up"
            " to 1, such as 0.45"
        )


def _check_tools(found: Fields, args: Mapping[str, ArgValue]) -> None:
    """Refuse tools that aren't enabled, in the words of launch.args; its own error names its flags."""
    if "tools" in found and tools.chosen(found) != "none" and not args.get("tool-call-parser"):
        raise UnfitRequestError(
            "This model takes no tools as it is launched: for them, vllm needs enable-auto-tool-choice: true and the"
            " model's tool-call-parser in launch.args.",
            "tools",
        )


def _drop_what_says_nothing(found: Fields) -> None:
    """Drop stream options of no stream, a suffix of no words, and a choice of no tools."""
    if found.get("stream") != bodies.TRUE:
        found.pop("stream_options", None)
    if found.get("suffix") == bodies.NO_TEXT:
        del found["suffix"]
    if "tools" not in found:
        found.pop("tool_choice", None)
