"""What a model is, as far as its memory depends on it: made of a GGUF file's header, or of config.json and safetensors.

What a header doesn't say is 0, and what is derived from it then is too small, not wrong: `Model.gaps` says so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from launchers.footprints.errors import HeaderError
from launchers.footprints.gguf import Header, Tensor

MOST_LAYERS: Final = 1024
MOST_NUMBER: Final = 1 << 40
"""Of any measure; one above it counts as not said, as sums with it would end in numbers that no device has."""

WINDOW_PERIODS: Final[Mapping[str, int]] = MappingProxyType({
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "llama4": 4, "gpt-oss": 2, "exaone4": 4, "olmo2": 4,
    "plamo3": 8, "smallthinker": 4,
})  # fmt: skip
"""llama.cpp's architectures whose windows it knows itself: of so many layers the last sees all (llama.cpp's
set_swa_pattern in src/models). Others say it in attention.sliding_window_pattern, or slide nowhere."""

HF_KINDS: Final[Mapping[str, int]] = MappingProxyType({"bfloat16": 2, "float16": 2, "float32": 4})
"""config.json's dtype → its bytes; keys and values have the same."""

_LAYER = re.compile(r"(?:^|\.)(?:blk|layers|h|blocks)\.(\d+)\.")
_EMBEDDING = ("token_embd", "embed_tokens", "wte", "word_embeddings")
_OUTPUT = ("output.weight", "lm_head")


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of a model's tensors: of each layer, of the table of tokens, of the output, and of the rest."""

    layers: tuple[int, ...]
    embedding: int = 0
    output: int = 0
    rest: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    """The same bytes by type of number: q4_k, bf16, …"""
    embedding_kind: str = ""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.layers) + self.embedding + self.output + self.rest

    @property
    def output_tied(self) -> bool:
        """Whether the table of tokens is used for the output, too."""
        return not self.output and self.embedding > 0


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer keeps for each token, in numbers, and for each request, in bytes.

    `keys` and `values` are 0 where it has no attention. `window` is how many tokens it looks back at, 0 for all.
    `state` is that of a recurrent layer.
    """

    keys: int
    values: int
    window: int = 0
    state: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """A model's measures. `gaps` are sentences about what is not known of it."""

    architecture: str
    layers: tuple[Layer, ...]
    heads: int
    hidden: int
    feed_forward: int
    """Of the widest layer; of a mixture of experts, of all that work on one token."""
    vocabulary: int
    context: int
    weights: Weights
    number_size: int = 2
    """Bytes of a number that is worked with, in engines that work in the model's own type."""
    gaps: tuple[str, ...] = ()

    def cache_per_token(self, key_size: float, value_size: float) -> int:
        """Bytes of keys and values for one token in every layer, where a number has so many bytes."""
        return round(sum(layer.keys * key_size + layer.values * value_size for layer in self.layers))


def from_gguf(headers: Sequence[Header]) -> Model:
    """Make a model of its file's header, or of those of the parts that it was split into, in their order.

    Raises HeaderError where a part is missing or what everything depends on is not there.
    """
    first = headers[0]
    parts = first.number("split.count") or 1
    if len(headers) != parts:
        raise HeaderError(f"the model is split into {parts} files, of which {len(headers)} are here")
    kind = first.values.get("general.architecture")
    if not isinstance(kind, str) or not kind:
        raise HeaderError("general.architecture is missing")
    reader = _Keys(first, kind)
    blocks = reader.number("block_count")
    if not 0 < blocks <= MOST_LAYERS:
        raise HeaderError(f"{kind}.block_count is {blocks}; 1 to {MOST_LAYERS} are believed")
    hidden = reader.number("embedding_length")
    heads = reader.each("attention.head_count", blocks)
    vocabulary = first.counts.get("tokenizer.ggml.tokens") or reader.number("vocab_size")
    gaps = [f"{name} is not said" for name, value in (("embedding_length", hidden), ("heads", max(heads))) if not value]
    return Model(
        kind,
        tuple(_gguf_layers(reader, blocks, hidden, heads)),
        max(heads),
        hidden,
        max(
            *reader.each("feed_forward_length", blocks),
            reader.number("expert_used_count") * reader.number("expert_feed_forward_length"),
        ),
        vocabulary,
        reader.number("context_length"),
        add_up((tensor for header in headers for tensor in header.tensors), blocks),
        gaps=tuple(gaps),
    )


class _Keys:
    """The keys of one architecture."""

    def __init__(self, header: Header, architecture: str) -> None:
        self._header = header
        self._architecture = architecture

    @property
    def architecture(self) -> str:
        return self._architecture

    def number(self, name: str) -> int:
        """A number above 0; 0 where there is none."""
        return _measure(self._header.values.get(f"{self._architecture}.{name}", 0))

    def each(self, name: str, layers: int) -> list[int]:
        """A number for each layer: a list may say them, repeated where it is shorter, or one number all."""
        value = self._header.values.get(f"{self._architecture}.{name}", 0)
        said = value if isinstance(value, tuple) and value else (self.number(name),)
        return [_measure(said[layer % len(said)]) for layer in range(layers)]


def _gguf_layers(keys: _Keys, blocks: int, hidden: int, heads: Sequence[int]) -> Iterable[Layer]:
    """Tell what each layer keeps, as llama.cpp's llama-hparams.cpp and llama-kv-cache.cpp do."""
    kv_heads = keys.each("attention.head_count_kv", blocks)
    if not any(kv_heads):
        kv_heads = list(heads)
    most = max(heads) or 1
    key = keys.number("attention.key_length") or hidden // most
    value = keys.number("attention.value_length") or hidden // most
    key_sliding = keys.number("attention.key_length_swa") or key
    value_sliding = keys.number("attention.value_length_swa") or value
    # Multi-head latent attention keeps one compressed vector for all heads, and no values (deepseek2.cpp).
    latent = keys.number("attention.kv_lora_rank")
    if latent and keys.number("attention.key_length_mla"):
        kv_heads, value = [1] * blocks, 0
        key = key or latent + keys.number("rope.dimension_count")
    window = keys.number("attention.sliding_window")
    slides = _slides(keys, blocks) if window else [False] * blocks
    state = _state(keys)
    recurrent = _recurrent(keys, kv_heads) if state else [False] * blocks
    for at in range(blocks):
        here = state if recurrent[at] else 0
        if here and (not kv_heads[at] or keys.number("full_attention_interval")):
            yield Layer(0, 0, state=here)
        elif slides[at]:
            yield Layer(key_sliding * kv_heads[at], value_sliding * kv_heads[at], window, here)
        else:
            yield Layer(key * kv_heads[at], value * kv_heads[at], state=here)


def _recurrent(keys: _Keys, kv_heads: Sequence[int]) -> list[bool]:
    """Whether each layer has a recurrent state, in a model where some have.

    1. Every so many layers one attends alone (qwen3next). 2. Those without heads of keys are recurrent (jamba,
    granite hybrid). 3. All layers do both (falcon-h1).
    """
    if period := keys.number("full_attention_interval"):
        return [(layer + 1) % period != 0 for layer in range(len(kv_heads))]
    return [not each for each in kv_heads] if not all(kv_heads) else [True] * len(kv_heads)


def _slides(keys: _Keys, blocks: int) -> list[bool]:
    """Whether each layer looks back through a window."""
    said = keys.each("attention.sliding_window_pattern", blocks)
    period = WINDOW_PERIODS.get(keys.architecture, 0)
    if max(said) > 1:
        period = said[0]
    elif any(said):
        return [each == 1 for each in said]
    if not period:
        # llama.cpp reads the window of such a model, but doesn't use it.
        return [False] * blocks
    return [layer % period < period - 1 for layer in range(blocks)]


def _state(keys: _Keys) -> int:
    """Bytes of a recurrent layer for each request, in float32: its convolution's last inputs, and its state.

    llama-hparams.cpp: n_embd_r = (d_conv - 1) * (d_inner + 2 * n_group * d_state), n_embd_s = d_state * d_inner.
    """
    state, inner = keys.number("ssm.state_size"), keys.number("ssm.inner_size")
    if not state or not inner:
        return 0
    convolution = max(keys.number("ssm.conv_kernel") - 1, 0) * (inner + 2 * keys.number("ssm.group_count") * state)
    return 4 * (convolution + state * inner)


def from_config(config: Mapping[str, object], tensors: Iterable[Tensor]) -> Model:
    """Make a model of config.json and the tensors of its files. Raises HeaderError where its layers are not said."""
    inner = config.get("text_config")
    said = {**config, **inner} if isinstance(inner, dict) else dict(config)
    blocks = _whole(said, "num_hidden_layers")
    if not 0 < blocks <= MOST_LAYERS:
        raise HeaderError(f"num_hidden_layers is {blocks}; 1 to {MOST_LAYERS} are believed")
    heads, hidden = _whole(said, "num_attention_heads"), _whole(said, "hidden_size")
    head = _whole(said, "head_dim") or (hidden // heads if heads else 0)
    keys = values = (_whole(said, "num_key_value_heads") or heads) * head
    if latent := _whole(said, "kv_lora_rank"):
        keys, values = latent + _whole(said, "qk_rope_head_dim"), 0
    kind = said.get("torch_dtype", said.get("dtype"))
    slides = _slides_by_config(said, blocks)
    window = _whole(said, "sliding_window")
    return Model(
        str(said.get("model_type", "")),
        tuple(Layer(keys, values, window if slides[at] else 0) for at in range(blocks)),
        heads,
        hidden,
        max(
            _whole(said, "intermediate_size"),
            _whole(said, "num_experts_per_tok") * _whole(said, "moe_intermediate_size"),
        ),
        _whole(said, "vocab_size"),
        _whole(said, "max_position_embeddings"),
        add_up(tensors, blocks),
        HF_KINDS.get(kind, 4) if isinstance(kind, str) else 4,
        () if hidden and heads else ("hidden_size or num_attention_heads is not said",),
    )


def _slides_by_config(said: Mapping[str, object], blocks: int) -> list[bool]:
    kinds = said.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == blocks:
        return [each == "sliding_attention" for each in kinds]
    return [bool(said.get("sliding_window")) and said.get("use_sliding_window", True) is True] * blocks


def _whole(said: Mapping[str, object], key: str) -> int:
    return _measure(said.get(key))


def _measure(value: object) -> int:
    """Give a number that can be a measure of a model; 0 for any other."""
    return int(value) if isinstance(value, int) and 0 < value <= MOST_NUMBER else 0


def add_up(tensors: Iterable[Tensor], blocks: int) -> Weights:
    """Add up the bytes of tensors by where they belong, as their names tell."""
    layers = [0] * blocks
    embedding = output = rest = 0
    embedding_kind = ""
    kinds: dict[str, int] = {}
    for tensor in tensors:
        kinds[tensor.kind] = kinds.get(tensor.kind, 0) + tensor.size
        layer = _LAYER.search(tensor.name)
        if layer is not None and int(layer[1]) < blocks:
            layers[int(layer[1])] += tensor.size
        elif any(word in tensor.name for word in _EMBEDDING):
            embedding += tensor.size
            embedding_kind = tensor.kind
        elif any(word in tensor.name for word in _OUTPUT):
            output += tensor.size
        else:
            rest += tensor.size
    return Weights(tuple(layers), embedding, output, rest, MappingProxyType(kinds), embedding_kind)
