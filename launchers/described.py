"""What a model's files say that it can do. Pure: `launchers.describing` reads the files.

What they don't say is None or empty. Nothing in them is believed: numbers have bounds, and texts are only looked at.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from launchers.footprints.gguf import Header

MOST_CONTEXT: Final = 1 << 30
"""Tokens; a context above it isn't believed."""

FILE_TYPES: Final[Mapping[int, str]] = MappingProxyType({
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4",
})  # fmt: skip
"""general.file_type → its name (llama.h's llama_ftype)."""

ENCODERS: Final = frozenset({
    "bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "modern-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
    "gemma-embedding", "llama-embed", "t5encoder",
})  # fmt: skip
"""llama.cpp's architectures that generate nothing (llama-arch.cpp)."""

GENERATES: Final = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")
"""How config.json's architectures end that generate."""

FORMATS: Final[Mapping[str, str]] = MappingProxyType({"bfloat16": "BF16", "float16": "F16", "float32": "F32"})
AS_IS: Final = frozenset({"default", "llama3", "longrope", "su", "mrope"})
"""Kinds of rope_scaling with which max_position_embeddings is the whole context already, as in vllm."""

THINKS: Final = ("<think>", "enable_thinking", "reasoning_effort", "reasoning_content", "[THINK]", "thinking_budget")
"""What templates of reasoning models have, any of them."""

_CODE = re.compile(r"\{[%{]")
_END = re.compile(r"[%}]\}")
_TOOLS = re.compile(r"(?<![\w.'\"])tools\b(?!['\"])")


@dataclass(frozen=True, slots=True)
class Described:
    """What a model's files say of it.

    `context` is in tokens, `size` the bytes of its weights. `tools`: its template shows them. `reasoning`: its template
    is that of a model that reasons before it answers. `vision`: it reads images, perhaps with another file.
    `generates`: it completes texts. `parameters` and `quantization` are words such as 7.6B and Q4_K_M.
    """

    context: int | None = None
    tools: bool | None = None
    reasoning: bool | None = None
    vision: bool | None = None
    generates: bool | None = None
    architecture: str = ""
    parameters: str = ""
    quantization: str = ""
    size: int = 0


NOT_DESCRIBED: Final = Described()
"""A model whose files aren't here, or can't be read."""


def reads_tools(template: str) -> bool:
    """Tell whether the code of a template, not its text, has the variable `tools`."""
    return any(_TOOLS.search(_END.split(piece, maxsplit=1)[0]) for piece in _CODE.split(template)[1:])


def reasons(template: str) -> bool:
    """Tell whether a template is that of a model that reasons before it answers."""
    return any(word in template for word in THINKS)


def from_gguf(headers: Sequence[Header], size: int) -> Described:
    """Describe a model by the headers of its file, or of the parts that it was split into."""
    first = headers[0]
    architecture = first.values.get("general.architecture")
    architecture = architecture if isinstance(architecture, str) else ""
    template = first.values.get("tokenizer.chat_template")
    for_tools = first.values.get("tokenizer.chat_template.tool_use")
    text = "\n".join(each for each in (template, for_tools) if isinstance(each, str))
    label = first.values.get("general.size_label")
    weights = sum(tensor.weights for header in headers for tensor in header.tensors)
    kind = first.values.get("general.file_type")
    return Described(
        _believed(first.values.get(f"{architecture}.context_length")),
        reads_tools(text) if text else None,
        reasons(text) if text else None,
        generates=architecture not in ENCODERS if architecture else None,
        architecture=architecture,
        parameters=counted(weights) or (label if isinstance(label, str) else ""),
        quantization=FILE_TYPES.get(kind, "") if isinstance(kind, int) else "",
        size=size,
    )


def from_config(config: Mapping[str, object], template: str | None, weights: int, size: int) -> Described:
    """Describe a model by its config.json, its template, its number of weights (0: not known) and its bytes."""
    inner = config.get("text_config")
    said = {**config, **inner} if isinstance(inner, dict) else dict(config)
    names = config.get("architectures")
    names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    kind = config.get("model_type")
    return Described(
        context_of(said),
        None if template is None else reads_tools(template),
        None if template is None else reasons(template),
        vision="vision_config" in config,
        generates=any(name.endswith(GENERATES) for name in names) if names else None,
        architecture=kind if isinstance(kind, str) else "",
        parameters=counted(weights),
        quantization=_quantization(config, said),
        size=size,
    )


def context_of(said: Mapping[str, object]) -> int | None:
    """Read the context of a model from config.json, as vllm derives it; None if it isn't there."""
    positions = _believed(said.get("max_position_embeddings"))
    scaling = said.get("rope_scaling") or said.get("rope_parameters")
    if positions is None or not isinstance(scaling, dict):
        return positions
    factor = scaling.get("factor")
    kind = scaling.get("rope_type", scaling.get("type"))
    if str(kind) in AS_IS or not isinstance(factor, int | float) or not 1 < factor < MOST_CONTEXT:
        return positions
    original = _believed(scaling.get("original_max_position_embeddings")) if kind == "yarn" else None
    return _believed(int((original or positions) * factor))


def counted(weights: int) -> str:
    """Write a number of weights as people do: 7.6B, 494M; empty for 0."""
    for least, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if weights >= least:
            share = weights / least
            return f"{share:.0f}{letter}" if share >= 100 or share == int(share) else f"{share:.1f}{letter}"
    return str(weights) if weights > 0 else ""


def _believed(number: object) -> int | None:
    return number if isinstance(number, int) and 0 < number <= MOST_CONTEXT else None


def _quantization(config: Mapping[str, object], said: Mapping[str, object]) -> str:
    """Tell how the weights are stored: mlx's `quantization`, a method of Hugging Face's, or the type of numbers."""
    of_mlx, method = config.get("quantization"), said.get("quantization_config")
    if isinstance(of_mlx, dict) and isinstance(of_mlx.get("bits"), int):
        return f"{of_mlx['bits']}-bit"
    if isinstance(method, dict) and isinstance(method.get("quant_method"), str):
        return str(method["quant_method"]).upper()[:32]
    kind = said.get("dtype", said.get("torch_dtype"))
    return FORMATS.get(kind, "") if isinstance(kind, str) else ""
