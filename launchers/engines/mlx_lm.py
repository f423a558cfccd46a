"""mlx: the server that comes with mlx-lm. Models in Hugging Face's layout, on a Mac's GPU; on Linux for tests.

What running it taught (mlx-lm 0.32.2):

1. /health says 200 while the model still loads. Only a completion, of one token, shows that it serves. A request that
   comes before waits in its queue.
2. A model that can't be loaded, or a request that it doesn't expect, ends the thread that generates; the process and
   its port stay. wrappers/mlx_lm_server.py ends the process then, which the supervisor sees.
3. It takes a request's `model` for a path or a hub's name, and loads that instead; wrappers/mlx_lm_server.py prevents
   it. `adapters` and `draft_model` make it load, too.
4. What kills the thread, or the process: an empty prompt, or a list of them; stop words that are no text; a `top_k`
   above the vocabulary; a `logit_bias` of a token that isn't; an `xtc_threshold` above a half; a number of more than
   64 bits, as a temperature or a penalty, too. A `stream_options` without `include_usage` breaks the stream's end, a
   negative seed the connection. A null is refused where there is a default.
5. MLX_RANK, MLX_HOSTFILE and similar variables make it join a group of machines.
6. It silently ignores what it doesn't know: `response_format`, `n`, `suffix`, `echo`, `functions`, and `tool_choice`.
   Most templates don't know the role `developer`. The wrapper adds more of OpenAI's API.
7. It notices that a client has left only when it writes to a stream; wrappers/mlx_lm_server.py always does.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import msgspec

from launchers.engines import bodies, chats, common, private, tools, usual
from launchers.engines.base import Options
from launchers.engines.bodies import CHAT, COMPLETIONS, Fields, Rule, Text
from launchers.errors import UnfitRequestError
from launchers.spec import ArgValue, Command, LaunchSpec

if TYPE_CHECKING:
    from launchers.engines.base import Files

SCRIPT = common.wrapper("mlx_lm_server.py")
MOST_TOP_K = 500
"""Less than the smallest vocabulary, and more than anybody samples from."""
MOST_OF_A_PROMPT = 512
"""Tokens of a completion without a limit: mlx's own default. A chat ends by itself, a plain prompt doesn't."""
MOST = 1_000_000
"""A number of tokens above any context."""

TopK = Annotated[int, msgspec.Meta(ge=-1, le=MOST_TOP_K)]
Size = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Length = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Penalty = Annotated[float, msgspec.Meta(ge=-100, le=100)]
Degree = Annotated[float, msgspec.Meta(ge=0, le=100)]
Threshold = Annotated[float, msgspec.Meta(ge=0, le=0.5)]

NOT_TO_SET: Mapping[str, str] = MappingProxyType({
    "host": common.LISTENS,
    "port": common.PORT,
    "model": common.MODEL,
    "pipeline": "a launched engine runs on this machine alone",
})  # fmt: skip
"""Arguments that the user can't set, each with the reason that the error gives."""

GROUP = (
    "mlx_rank",
    "mlx_world_size",
    "mlx_hostfile",
    "mlx_ibv_devices",
    "mlx_ibv_coordinator",
    "mlx_jaccl_coordinator",
)
VARIABLES: Mapping[str, str] = MappingProxyType(dict.fromkeys(GROUP, NOT_TO_SET["pipeline"]))

STYLE = common.Style(dashes=True, booleans="switches", lists="commas")
OPTIONS = Options(re.compile(r'"--([a-z][\w-]*)"'), files=("server.py",), abbreviates=True)

PRIVATE = frozenset({"adapters", "chat_template", "draft_model", "num_draft_tokens", "role_mapping"})
"""Fields of requests that clients may not send: files that it would load, and templates."""

OneText = Annotated[list[Text], msgspec.Meta(min_length=1, max_length=1)]


class AnyForm(TypedDict):
    """A response format that asks for nothing."""

    type: Literal["text"]


ONE = Rule(bodies.One, "must be 1: mlx gives one answer a request")
RULES: Mapping[str, Mapping[str, Rule]] = MappingProxyType({
    CHAT: {
        **bodies.CHAT_TYPES,
        "response_format": Rule(AnyForm, "is not for mlx: it can't hold an answer to a form, so ask for it in words"),
    },
    COMPLETIONS: {
        "prompt": Rule(Text | OneText, "must be one text, and not an empty one", required=True),
        "suffix": Rule(Literal[""], "is not for mlx: it can't fill in what stands before it"),
        "echo": Rule(Literal[False], "is not for mlx: it gives the answer alone"),
        "logprobs": Rule(Literal[False], "is not for mlx, but in chats"),
        "top_logprobs": Rule(Literal[0], "is not for mlx, but in chats"),
        "best_of": ONE,
    },
})  # fmt: skip
PENALTY, DEGREE = Rule(Penalty, "must be a number from -100 to 100"), Rule(Degree, "must be a number from 0 to 100")
LENGTH = Rule(Length, f"must be a whole number from 1 to {MOST:,}")
SIZE = Rule(Size, f"must be a whole number from 0 to {MOST:,}")
ALWAYS: Mapping[str, Rule] = MappingProxyType({
    **bodies.TYPES,
    "temperature": DEGREE,
    "repetition_penalty": DEGREE,
    "presence_penalty": PENALTY,
    "frequency_penalty": PENALTY,
    "n": ONE,
    "max_tokens": LENGTH,
    "max_completion_tokens": LENGTH,
    "repetition_context_size": SIZE,
    "presence_context_size": SIZE,
    "frequency_context_size": SIZE,
    "seed": Rule(Seed, "must be a whole number of 64 bits"),
    "stop": Rule(str | list[str], "must be a text or a list of texts"),
    "top_k": Rule(TopK, f"must be a whole number up to {MOST_TOP_K}: mlx ends when it is above the vocabulary"),
    "xtc_threshold": Rule(Threshold, "must be a number from 0 to 0.5"),
})  # fmt: skip
SAY_NOTHING: Mapping[str, Callable[[Any], bool]] = MappingProxyType({
    "logit_bias": lambda bias: not bias,
    "seed": lambda seed: float(seed) < 0,  # to many clients, any seed
    "stream_options": lambda options: "include_usage" not in options,
})  # fmt: skip
"""Fields that it fails at although their values ask for nothing."""


@dataclass(frozen=True, slots=True)
class Mlx:
    """See launchers.engines.Engine for the meaning of each member. `linux`: no GPU, so no compiling for one."""

    name: str = "mlx"
    module: str = "mlx_lm"
    program: str | None = None
    suits: str = "Hugging Face models on Apple silicon, many requests at once"
    install: str = "pip install mlx-lm" + (" 'mlx[cpu]'" if sys.platform == "linux" else "")
    options: Options | None = OPTIONS
    ready_path: str = "/health"
    ready_request: tuple[str, bytes] | None = (COMPLETIONS, b'{"prompt": "a", "max_tokens": 1}')
    key_variable: str = "ENGINE_API_KEY"
    uuid_request_ids: bool = False
    parallel: int = 32
    accepts_slowly: bool = False
    opaque: bool = False
    apis: frozenset[str] = frozenset({CHAT, COMPLETIONS})
    counter: str = bodies.COUNTER
    mends: frozenset[str] = frozenset()
    usage_in_streams: str = "always"
    publishes: bool = False
    works_on_cpu: bool = True
    linux: bool = sys.platform == "linux"

    @property
    def private(self) -> frozenset[str]:
        """What would make it load other files, or take another template."""
        return PRIVATE

    def works_on(self, args: Mapping[str, ArgValue]) -> int:
        """The value of --decode-concurrency."""
        return common.number(args, "decode-concurrency") or self.parallel

    def find_model(self, model: str, files: "Files") -> str:
        """Find a folder in Hugging Face's layout, or `org/name` of a hub."""
        return common.find_folder(model, files, self.name)

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """Run `mlx_lm.server` in our wrapper, with the user's arguments."""
        common.check_ownership(spec, NOT_TO_SET, VARIABLES)
        args = common.over({}, spec.args, STYLE)
        args |= {"model": spec.model, "host": "127.0.0.1", "port": port}
        env = dict(common.PYTHON_ENV)
        if common.is_path(spec.model):
            # Without it, it asks the hub about a folder, and waits if there is no network.
            env["HF_HUB_OFFLINE"] = "1"
        if self.linux:
            # Its first answers would wait for a C++ compiler.
            env["MLX_DISABLE_COMPILE"] = "1"
        return Command((python, "-P", SCRIPT, *common.flags(args, STYLE)), {**env, **spec.env}, GROUP)

    def put_right(self, path: str, body: bytes, spec: LaunchSpec | None = None) -> bytes:
        """Use the forms that it knows; refuse what it would ignore, and what would end it."""
        counts, path = path == self.counter, CHAT if path == self.counter else path
        if path == CHAT and usual.usual(body, native=False):
            return body
        bodies.check_path(path, self.apis, self.name, spec.allow if spec else ())
        found, nulls = bodies.fields(body)
        look = private.refuse(found, PRIVATE, self.name, spec, but="messages" if path == CHAT else "")
        was = dict(found)
        bodies.drop_no_limits(found)
        bodies.check(found, {**RULES.get(path, {}), **ALWAYS})
        if path == CHAT:
            _put_chat_right(found, None if counts else spec, look)
        elif path == COMPLETIONS:
            prompt = bodies.value(found["prompt"])
            if isinstance(prompt, list):
                found["prompt"] = bodies.raw(prompt[0])
            if not found.keys() & {"max_tokens", "max_completion_tokens"}:
                args = common.over({}, spec.args if spec else {}, STYLE)
                found["max_tokens"] = bodies.raw(args.get("max-tokens") or MOST_OF_A_PROMPT)
        chats.put_stop_right(found)
        for name, says_nothing in SAY_NOTHING.items():
            if name in found and says_nothing(bodies.value(found[name])):
                del found[name]
        if "logit_bias" in found:
            raise UnfitRequestError(
                "logit_bias is not for mlx: a token that it doesn't know would end it.", "logit_bias"
            )
        return bodies.written(found) if nulls or found != was else body


def _put_chat_right(found: Fields, spec: LaunchSpec | None, look: private.Look) -> None:
    """Rewrite fields of a chat. It shows tools to the model, but has no choice among them.

    Where a call is wanted, models nearly always make it, as clients that want one say so: a 400 would help nobody. But
    a model whose template shows no tools can't.
    """
    bodies.check_log_probabilities(found)
    chats.put_messages_right(found, chats.Takes("mlx", reads_arguments=True, look=look))
    tools.put_tools_right(found, "mlx")
    tools.refuse_functions(found, "mlx")
    if spec is not None and spec.calls is False:
        tools.refuse_wanted_call(found, tools.NO_CALLS)
    choice = tools.chosen(found)
    if isinstance(choice, dict):
        tools.only(found, {choice["function"]["name"]})
    elif choice == "none":
        found.pop("tools", None)
    if found.get("logprobs") == bodies.TRUE and found.get("top_logprobs", bodies.ZERO) == bodies.ZERO:
        # Without it, it gives token ids without their texts.
        found["top_logprobs"] = bodies.raw(1)
