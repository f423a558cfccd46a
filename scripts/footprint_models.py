"""Write models of a chosen size with random weights, to measure what engines take of memory for them.

A model is a Qwen2 with the demo model's tokenizer, filled up with unused tokens to a usual vocabulary. Its weights are
one block of noise, repeated: what an engine takes depends on their number and type, not on their values.
"""

from __future__ import annotations

import json
import random
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Final

from scripts.make_demo_model import (
    CHAT_TEMPLATE,
    GGUF_ALIGNMENT,
    bf16,
    build_vocabulary,
    gguf_metadata,
    gguf_string,
    gguf_value,
    hf_config,
    hf_tokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

HEAD_SIZE: Final = 64
KV_HEADS: Final = 4
VOCABULARY: Final = 32_000
CONTEXT: Final = 8192
SPREAD: Final = 0.02
CHUNK: Final = 4 << 20
"""Bytes written at once, about."""

WIDE: Final = 4096
"""The hidden size of a wide model; half of it, where the model is smaller than `WIDE_FROM` bytes."""
WIDE_FROM: Final = 900_000_000
WIDE_LAYERS: Final = 4


@dataclass(frozen=True)
class Shape:
    """The measures of a model; every other size follows from them."""

    hidden: int
    feed_forward: int
    layers: int
    vocabulary: int = VOCABULARY

    def tensors(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """Give each tensor's name in GGUF, its name in Hugging Face's layout, and its shape, rows first."""
        hidden, kv, wide = self.hidden, KV_HEADS * HEAD_SIZE, self.feed_forward
        yield "token_embd.weight", "model.embed_tokens.weight", (self.vocabulary, hidden)
        for layer in range(self.layers):
            for ours, theirs, shape in (
                ("attn_norm.weight", "input_layernorm.weight", (hidden,)),
                ("attn_q.weight", "self_attn.q_proj.weight", (hidden, hidden)),
                ("attn_q.bias", "self_attn.q_proj.bias", (hidden,)),
                ("attn_k.weight", "self_attn.k_proj.weight", (kv, hidden)),
                ("attn_k.bias", "self_attn.k_proj.bias", (kv,)),
                ("attn_v.weight", "self_attn.v_proj.weight", (kv, hidden)),
                ("attn_v.bias", "self_attn.v_proj.bias", (kv,)),
                ("attn_output.weight", "self_attn.o_proj.weight", (hidden, hidden)),
                ("ffn_norm.weight", "post_attention_layernorm.weight", (hidden,)),
                ("ffn_gate.weight", "mlp.gate_proj.weight", (wide, hidden)),
                ("ffn_up.weight", "mlp.up_proj.weight", (wide, hidden)),
                ("ffn_down.weight", "mlp.down_proj.weight", (hidden, wide)),
            ):
                yield f"blk.{layer}.{ours}", f"model.layers.{layer}.{theirs}", shape
        yield "output_norm.weight", "model.norm.weight", (hidden,)
        yield "output.weight", "lm_head.weight", (self.vocabulary, hidden)

    def parameters(self) -> int:
        """Count the weights."""
        return sum(_count(shape) for _, _, shape in self.tensors())


SHAPES: Final[Mapping[str, Shape]] = {
    "0.3": Shape(hidden=768, feed_forward=2304, layers=14),
    "1": Shape(hidden=1280, feed_forward=3456, layers=24),
    "2": Shape(hidden=1792, feed_forward=4864, layers=26),
}
"""Decimal gigabytes of weights → the shape that has as many at 2 bytes a weight."""

PER_BLOCK: Final[Mapping[str, tuple[int, int, int]]] = {
    "f16": (1, 1, 2),
    "q8_0": (8, 32, 34),
    "q4_0": (2, 32, 18),
}
"""A type of GGUF's → its number in the format, weights in a block, bytes of a block."""
F32: Final = 0


def shaped(size: str, kind: str) -> Shape:
    """Give the shape of so many gigabytes in this type: what is smaller a weight gets more layers."""
    shape = SHAPES[size]
    _, weights, length = PER_BLOCK.get(kind, PER_BLOCK["f16"])
    alone = replace(shape, layers=0).parameters()
    layer = (shape.parameters() - alone) / shape.layers
    return replace(shape, layers=round((shape.parameters() * 2 * weights / length - alone) / layer))


def wide(size: int) -> Shape:
    """Give a shape of about `size` bytes in f16 that answers soon: few layers, and the smallest vocabulary.

    Its wide layers keep all cores busy at once, and next to nothing of a step is for logits.
    """
    hidden = WIDE if size >= WIDE_FROM else WIDE // 2
    vocabulary = len(build_vocabulary().tokens)
    shape = Shape(hidden, 0, WIDE_LAYERS, vocabulary)
    feed_forward = (size // 2 - shape.parameters()) / (3 * hidden * WIDE_LAYERS)
    return replace(shape, feed_forward=max(round(feed_forward / HEAD_SIZE), 1) * HEAD_SIZE)


def write_gguf(path: Path, size: str, kind: str) -> None:
    """Write a model of `size` gigabytes with weights of type `kind` (f16, q8_0, q4_0)."""
    write_shape(path, shaped(size, kind), kind, f"footprint-{size}-{kind}")


def write_shape(path: Path, shape: Shape, kind: str, name: str) -> None:
    """Write a model of this shape and this `name` with weights of type `kind`.

    Rows of the noise repeat, so tokens far apart have equal logits, and greedy sampling takes the first of these. The
    tokens that end an answer are the last ones: an answer always has its `max_tokens`.
    """
    number, weights, length = PER_BLOCK[kind]
    vocabulary = build_vocabulary()
    metadata = gguf_metadata(vocabulary)
    unused = shape.vocabulary - len(vocabulary.tokens)
    metadata |= {
        "general.name": name,
        "general.file_type": number,
        "qwen2.context_length": CONTEXT,
        "qwen2.embedding_length": shape.hidden,
        "qwen2.block_count": shape.layers,
        "qwen2.feed_forward_length": shape.feed_forward,
        "qwen2.attention.head_count": shape.hidden // HEAD_SIZE,
        "qwen2.attention.head_count_kv": KV_HEADS,
        "tokenizer.ggml.tokens": [*vocabulary.tokens, *(f"<|unused_{i}|>" for i in range(unused))],
        "tokenizer.ggml.token_type": [*_list(metadata["tokenizer.ggml.token_type"]), *[5] * unused],
    }
    tensors = [(tensor, dims) for tensor, _, dims in shape.tensors()]
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    head += [gguf_string(key) + gguf_value(value) for key, value in metadata.items()]
    sizes, place = [], 0
    for tensor, dims in tensors:
        flat = len(dims) == 1
        head.append(gguf_string(tensor) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims[::-1]))
        head.append(struct.pack("<IQ", F32 if flat else number, place))
        sizes.append(4 * dims[0] if flat else _count(dims) // weights * length)
        place += sizes[-1] + -sizes[-1] % GGUF_ALIGNMENT
    ones = struct.pack("<f", 1.0)
    noise = _quantised(kind)
    with path.open("wb") as file:
        start = b"".join(head)
        file.write(start + bytes(-len(start) % GGUF_ALIGNMENT))
        for (_, dims), length in zip(tensors, sizes, strict=True):
            _repeat(file, ones if len(dims) == 1 else noise, length)
            file.write(bytes(-length % GGUF_ALIGNMENT))


def write_folder(folder: Path, size: str) -> None:
    """Write the model of `size` gigabytes in Hugging Face's layout, its weights as bfloat16."""
    shape = SHAPES[size]
    vocabulary = build_vocabulary()
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    spans = []
    for _, name, dims in shape.tensors():
        length = 2 * _count(dims)
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [place, place + length]}
        spans.append((dims, length))
        place += length
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    ones, noise = bf16([1.0]), bf16(_noise())
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for dims, length in spans:
            _repeat(file, ones if len(dims) == 1 else noise, length)
    documents = {
        "tokenizer.json": hf_tokenizer(vocabulary),
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"},
        "config.json": {
            **hf_config(vocabulary),
            "vocab_size": VOCABULARY,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.feed_forward,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.hidden // HEAD_SIZE,
            "num_key_value_heads": KV_HEADS,
            "max_position_embeddings": CONTEXT,
        },
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for each in shape:
        count *= each
    return count


def _list(value: object) -> list[int]:
    if not isinstance(value, list):
        raise TypeError("the demo model's token types are a list")
    return value


def _noise(count: int = 1 << 16) -> list[float]:
    draw = random.Random(1).random  # noqa: S311 - noise, not secrets
    return [SPREAD * (2 * draw() - 1) for _ in range(count)]


def _quantised(kind: str) -> bytes:
    """Some blocks of noise: a half float each, or a half float as their scale and the numbers."""
    if kind == "f16":
        noise = _noise()
        return struct.pack(f"<{len(noise)}e", *noise)
    length = PER_BLOCK[kind][2]
    draw = random.Random(1).randbytes  # noqa: S311 - as above
    return b"".join(struct.pack("<e", SPREAD / 128) + draw(length - 2) for _ in range(1 << 12))


def _repeat(file: BinaryIO, block: bytes, length: int) -> None:
    """Write a block again and again, until there are `length` bytes; the last one may be cut."""
    chunk = block * max(CHUNK // len(block), 1)
    whole, rest = divmod(length, len(chunk))
    file.writelines(chunk for _ in range(whole))
    file.write(chunk[:rest])
