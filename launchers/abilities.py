"""What a model can do as an engine serves it: by its files, the engine and the launch's arguments. Pure.

A model can do only what its engine lets it do: a context of 128k tokens is worth 2048 in a llama_cpp that isn't told
more. What isn't known stays unknown, and nothing is guessed: a client that believes in a context that isn't there fails
in the middle of its work.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from launchers.described import NOT_DESCRIBED, Described
from launchers.engines import llama_server
from launchers.engines.bodies import EMBEDDINGS
from launchers.spec import ArgValue, LaunchSpec

LLAMA_CPP_CONTEXT: Final = 2048
"""Tokens of llama_cpp.server's n_ctx where nothing is said (llama_cpp/server/settings.py)."""

TOOL_FORMATS: Final = frozenset({"functionary", "functionary-v1", "functionary-v2", "chatml-function-calling"})
"""llama_cpp's chat formats that find calls in what a model writes; with others a call stays text."""

EMBEDS: Final = ("embedding", "embeddings", "rerank", "reranking")
UNITS: Final[Mapping[str, int]] = MappingProxyType({
    "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30,
})  # fmt: skip
"""Units of numbers in vllm's arguments."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can do. None, an empty word and a size of 0 mean that it isn't known.

    `context` is the most tokens that a request and its answer may have together. `size` is in bytes. `tools`: calls
    come as calls, not as text. `reasoning`: the model reasons before it answers.
    """

    context: int | None = None
    completion: bool | None = None
    tools: bool | None = None
    vision: bool | None = None
    embeddings: bool | None = None
    reasoning: bool | None = None
    architecture: str = ""
    parameters: str = ""
    quantization: str = ""
    size: int = 0


UNKNOWN: Final = Abilities()
"""The abilities of a model of which nothing is known."""


def common(found: Iterable[Abilities]) -> Abilities:
    """Give what can be counted on whichever of several serves a request: the smallest context, what all can do."""
    every = list(found)
    if not every:
        return UNKNOWN
    contexts = [each.context for each in every]
    known = [context for context in contexts if context is not None]
    return Abilities(
        min(known) if len(known) == len(every) else None,
        _all(each.completion for each in every),
        _all(each.tools for each in every),
        _all(each.vision for each in every),
        _all(each.embeddings for each in every),
        _all(each.reasoning for each in every),
        _same(each.architecture for each in every),
        _same(each.parameters for each in every),
        _same(each.quantization for each in every),
        every[0].size if len({each.size for each in every}) == 1 else 0,
    )


def served(spec: LaunchSpec, described: Described = NOT_DESCRIBED, *, on_cpu: bool = False) -> Abilities:
    """Tell what a launch's model can do; the description is that of its files, with its projector's.

    `on_cpu`: it can only work on the CPU.
    """
    read = _ENGINES.get(spec.engine)
    if read is None:
        return UNKNOWN
    found = read(Arguments(spec, on_cpu=on_cpu), described)
    return Abilities(*found, described.architecture, described.parameters, described.quantization, described.size)


def not_enabled(spec: LaunchSpec) -> Mapping[str, str]:
    """Give the APIs that an engine has, but that this launch doesn't enable, each with the argument that would."""
    if spec.engine == "llama_server":
        return llama_server.not_enabled(spec)
    if spec.engine == "llama_cpp" and not Arguments(spec, on_cpu=False).is_on("embedding"):
        return {EMBEDDINGS: "embedding: true"}
    return {}


class Arguments:
    """The arguments of a launch, with dashes; what isn't among them may be in llama-server's variables."""

    def __init__(self, spec: LaunchSpec, *, on_cpu: bool) -> None:
        self.on_cpu = on_cpu
        self._args: dict[str, ArgValue] = {name.replace("_", "-"): value for name, value in spec.args.items()}
        self._env = spec.env

    def said(self, *names: str) -> ArgValue:
        """Give the first of these that is said; None if none is."""
        return next((self._args[name] for name in names if self._args.get(name) is not None), None)

    def variable(self, name: str) -> str | None:
        """Give llama-server's variable of an argument."""
        return self._env.get(f"LLAMA_ARG_{name}")

    def is_on(self, name: str, *, default: bool = False) -> bool:
        """Tell whether a switch is on."""
        said = self.said(name)
        return default if said is None else str(said).lower() not in {"false", "off", "0", "no"}

    def number(self, name: str) -> int | None:
        """Give a whole number; None if there is none, or none that can be read."""
        said = self.said(name)
        if isinstance(said, bool) or not isinstance(said, int | str):
            return None
        text = str(said).strip()
        unit = UNITS.get(text[-1:], 1)
        try:
            return int(float(text.rstrip("kmgKMG")) * unit)
        except (ValueError, OverflowError):
            return None


Found = tuple[int | None, bool | None, bool | None, bool | None, bool | None, bool | None]
"""The abilities that depend on the engine, in the order of `Abilities`."""


def _llama_cpp(given: Arguments, model: Described) -> Found:
    context: int | None = LLAMA_CPP_CONTEXT
    if given.said("n-ctx") is not None:
        # 0 is the model's own.
        context = given.number("n-ctx") or (model.context if given.number("n-ctx") == 0 else None)
    form = given.said("chat-format")
    other_template = form or given.said("hf-tokenizer-config-path", "hf-pretrained-model-name-or-path")
    reads_images = given.said("clip-model-path") is not None
    return (
        context,
        model.generates,
        str(form) in TOOL_FORMATS,
        model.vision if reads_images else False,
        given.is_on("embedding"),
        None if other_template else model.reasoning,
    )


def _llama_server(given: Arguments, model: Described) -> Found:
    other_template = given.said("chat-template", "chat-template-file")
    tools = None if other_template else model.tools
    projects = given.said("mmproj", "mmproj-url") or given.variable("MMPROJ") or given.variable("MMPROJ_URL")
    # A hub's model may come with a projector.
    vision = model.vision if projects or model.size == 0 else False
    embeds = any(given.is_on(name) for name in EMBEDS) or bool(
        given.variable("EMBEDDINGS") or given.variable("RERANKING")
    )
    return (
        _llama_servers_context(given, model.context),
        model.generates,
        tools if given.is_on("jinja", default=True) else False,
        vision,
        embeds,
        None if other_template else model.reasoning,
    )


def _llama_servers_context(given: Arguments, trained: int | None) -> int | None:
    """Give the context of a slot, which is never more than the model was trained with. Slots share one if unified."""
    if given.said("override-kv") is not None or given.variable("CTX_SIZE") is not None:
        return None
    asked = given.number("ctx-size") if given.said("ctx-size") is not None else 0
    # Where nothing is asked for, it takes less if a GPU has no room for all.
    fits = given.on_cpu or not given.is_on("fit", default=True)
    if asked is None or asked < 0 or not (asked or (trained and fits)):
        return None
    context = asked or trained or 0
    if not given.is_on("kv-unified", default=True):
        context //= given.number("parallel") or 4
    return min(context, trained) if trained else context


def _mlx(given: Arguments, model: Described) -> Found:
    other_template = given.said("chat-template", "adapter-path")
    return (
        model.context,
        model.generates,
        None if other_template else model.tools,
        # It reads the images of some models.
        False if model.vision is False else None,
        False,
        None if other_template else model.reasoning,
    )


def _vllm(given: Arguments, model: Described) -> Found:
    context = model.context
    if given.said("max-model-len") is not None:
        context = given.number("max-model-len")
    elif given.said("hf-overrides", "rope-scaling", "hf-config-path") is not None:
        context = None
    runner, convert, task = (str(given.said(name)) for name in ("runner", "convert", "task"))
    pools = runner == "pooling" or convert in {"embed", "classify", "reward"} or task in {"embed", "embedding"}
    embeds = pools and convert not in {"classify", "reward"}
    calls = given.is_on("enable-auto-tool-choice") and given.said("tool-call-parser") is not None
    reasons = None if given.said("chat-template") is not None else model.reasoning
    if given.said("reasoning-parser") is not None:
        reasons = True
    text_alone = given.is_on("language-model-only") or given.said("limit-mm-per-prompt") is not None
    return (
        # Below 1 it finds out how much fits.
        context if context is not None and context > 0 else None,
        False if pools else model.generates,
        calls and not pools,
        None if text_alone and model.vision else model.vision,
        embeds if pools else (False if model.generates else None),
        reasons,
    )


_ENGINES: Final[Mapping[str, Callable[[Arguments, Described], Found]]] = MappingProxyType({
    "llama_cpp": _llama_cpp, "llama_server": _llama_server, "mlx": _mlx, "vllm": _vllm,
})  # fmt: skip


def _all(found: Iterable[bool | None]) -> bool | None:
    """Give True if all are, False if one isn't, else None: it isn't known."""
    every = set(found)
    return False if False in every else None if None in every else True


def _same(found: Iterable[str]) -> str:
    """Give the word that all have; empty if they differ."""
    every = set(found)
    return every.pop() if len(every) == 1 else ""
