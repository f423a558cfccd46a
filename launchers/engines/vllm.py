"""vllm: `vllm serve`. Models in Hugging Face's layout, on GPUs; on CPUs for tests.

What running it taught (0.32.0):

1. It is a family of processes: EngineCore and its workers are children, which must end with it. When one of them
   dies, the parent exits with 0 some seconds later.
2. VLLM_PORT and VLLM_HOST_IP are for the talk among these, and no place to listen at; a service called "vllm" in
   Kubernetes sets VLLM_PORT to a URL, which breaks the start. VLLM_API_KEY would lock the router out.
3. On SIGTERM it cuts its streams, which then end with an error and a [DONE], unless --shutdown-timeout (from 0.18 on)
   gives them time. That is kept below the time that the supervisor gives it. None leaves it out, for an older one.
4. It closes idle connections after 5 s; the router would keep them longer.
5. `python -m vllm.entrypoints.cli.main` is what the command `vllm` runs. It pins much of what it stands on, so that
   many have it in an environment of its own: the command on PATH will do.
6. A `priority` other than 0 is answered with 400, unless it runs with --scheduling-policy priority.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from launchers.engines import bodies, common
from launchers.engines.bodies import CHAT, COMPLETIONS, EMBEDDINGS
from launchers.spec import ArgValue, Command, LaunchSpec

if TYPE_CHECKING:
    from launchers.engines import Files

KEEP_ALIVE = 75  # seconds that an idle connection stays open
TO_END = 2  # seconds that are left between its own end of draining and the supervisor's SIGKILL

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
"""Arguments that are the router's, each with the reason that a user is told."""

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
"""What of somebody's shell would change whom it serves, or make it a part of a group. launch.env may set the latter."""

STYLE = common.Style(dashes=True, booleans="pairs", lists="words")

APIS = frozenset({
    CHAT, COMPLETIONS, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", EMBEDDINGS, "/v1/rerank",
    "/v1/score", "/v1/audio/transcriptions", "/v1/audio/translations",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vllm:
    """See launchers.engines.Engine for what each of these means."""

    name: str = "vllm"
    module: str = "vllm"
    program: str | None = "vllm"
    install: str = "pip install vllm"
    ready_path: str = "/health"
    ready_request: tuple[str, bytes] | None = None
    uuid_request_ids: bool = False
    parallel: int = 256  # its own default is 1024 on large GPUs: no more is asked of one than others can be
    apis: frozenset[str] = APIS
    usage_in_streams: bool = True
    publishes: bool = True

    def works_on(self, args: Mapping[str, ArgValue]) -> int:
        """As many as --max-num-seqs says, for each of its --data-parallel-size."""
        each = common.number(args, "max-num-seqs") or self._batch(args)
        return each * (common.number(args, "data-parallel-size") or 1)

    def _batch(self, args: Mapping[str, ArgValue]) -> int:
        """It refuses to start where a step has fewer tokens than it is to work on requests."""
        return min(self.parallel, common.number(args, "max-num-batched-tokens") or self.parallel)

    def find_model(self, model: str, files: "Files") -> str:
        """A folder in Hugging Face's layout, or `org/name` of a hub."""
        return common.find_folder(model, files, self.name)

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """`vllm serve MODEL` with the user's arguments over ours."""
        common.check_ownership(spec, NOT_TO_SET, VARIABLES)
        ours = {
            "max-num-seqs": self._batch(spec.args),  # always said: the router counts on it
            "shutdown-timeout": max(0, int(spec.stop_timeout) - TO_END),
        }
        args = common.over(ours, spec.args, STYLE)
        args |= {"host": "127.0.0.1", "port": port, "served-model-name": spec.served_name}
        env = {**common.PYTHON_ENV, "VLLM_NO_USAGE_STATS": "1", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE)}
        if common.is_path(spec.model):
            env["HF_HUB_OFFLINE"] = "1"  # else it asks the hub about a folder, and waits where there is no network
        is_program = python.rpartition("/")[2] == self.program
        run = (python,) if is_program else (python, "-m", "vllm.entrypoints.cli.main")
        return Command((*run, "serve", spec.model, *common.flags(args, STYLE)), {**env, **spec.env}, UNSET)

    def puts_right(self, args: Mapping[str, ArgValue]) -> bool:
        """Unless it orders requests by their priority itself."""
        return common.over({}, args, STYLE).get("scheduling-policy") != "priority"

    def put_right(self, path: str, body: bytes) -> bytes:  # noqa: ARG002 -- it is the same for all
        """Take out the priority: the router's queue has heeded it. All other mistakes it answers by itself."""
        if b'"priority"' not in body:
            return body
        found, _ = bodies.fields(body)
        return body if found.pop("priority", None) is None else bodies.written(found)
