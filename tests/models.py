"""Models with real headers whose tensors are holes in their files: large, and written in a moment."""

import json
import struct
from pathlib import Path

GIB = 1 << 30

INSTALLED = {"llama_cpp": "0.3.36", "llama_server": "2026.10", "vllm": "0.32.0", "mlx": "0.32.2"}
"""Engines and their versions."""

QWEN = {
    "model_type": "qwen2", "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "hidden_size": 3584, "intermediate_size": 18944, "max_position_embeddings": 32768, "vocab_size": 152064,
    "torch_dtype": "bfloat16",
}  # fmt: skip
"""The config.json of a Qwen2.5 7B."""


def write_gguf(place: Path, *, layers: int, layer: int, context: int = 32768, kv_heads: int = 4) -> None:
    """Write a llama whose layers have so many bytes each."""
    keys = {"block_count": layers, "embedding_length": 1024, "feed_forward_length": 4096, "context_length": context}
    keys |= {"attention.head_count": 16, "attention.head_count_kv": kv_heads, "vocab_size": 32_000}
    head = b"GGUF" + struct.pack("<IQQ", 3, layers, 1 + len(keys))
    head += _text("general.architecture") + struct.pack("<I", 8) + _text("llama")
    head += b"".join(_text(f"llama.{key}") + struct.pack("<II", 4, value) for key, value in keys.items())
    for at in range(layers):
        # One dimension of 16-bit numbers.
        head += _text(f"blk.{at}.attn_q.weight") + struct.pack("<IQIQ", 1, layer // 2, 1, at * layer)
    with place.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + layers * layer + 4096)


def _text(said: str) -> bytes:
    return struct.pack("<Q", len(said)) + said.encode()


def write_hf(place: Path, config: object, size: int) -> None:
    """Write a model in Hugging Face's layout, whose weights have so many bytes."""
    place.mkdir()
    (place / "config.json").write_text(json.dumps(config))
    head = json.dumps({"model.layers.0.mlp": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}})
    with (place / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head.encode())
        file.truncate(8 + len(head) + size)
