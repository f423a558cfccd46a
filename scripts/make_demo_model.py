"""Write the demo model: a tiny Qwen2 chat model with random weights, for every engine at once.

    python scripts/make_demo_model.py models/demo

The folder then holds one model in two forms: demo.gguf (llama.cpp), and beside it the Hugging Face layout
(vLLM, mlx_lm). Both have the same tokenizer and the same numbers, so that the engines can be compared. It
needs nothing but the standard library, and writes the same bytes on every machine.

What the model says is noise, but printable noise. Three rules make it so:

1. The tokenizer is a byte-level BPE whose merges build a list of common words letter by letter, each with
   the space before it. Any text can be read; what is spoken is these words and four punctuation marks.
2. Dimension 0 of the hidden state is a constant: each embedding sets it, and no layer adds to it, because
   row 0 of every matrix that writes to the hidden state is zero.
3. The output head reads that constant as a bias of each token, and shuts out all that rule 1 doesn't allow.
   The end token is among these: an answer always runs to its max_tokens, with finish_reason "length".
"""

from __future__ import annotations

import argparse
import json
import math
import random
import struct
import tempfile
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# --------------------------------------------------------------------------- the model's measures

SEED: Final = 9  # of the first ten, the one that repeats itself least
CONTEXT: Final = 8192
LAYERS: Final = 2
HEADS: Final = 2
KV_HEADS: Final = 1
HEAD_SIZE: Final = 32  # the least that vLLM's CPU attention takes
HIDDEN: Final = HEADS * HEAD_SIZE
KV_SIZE: Final = KV_HEADS * HEAD_SIZE
FEED_FORWARD: Final = 2 * HIDDEN
NORM_EPSILON: Final = 1e-6
ROPE_BASE: Final = 10_000.0

CONSTANT: Final = 4.0  # rule 2: what dimension 0 of the hidden state is
SHUT_OUT: Final = -64.0  # rule 3: the bias of a token that is never spoken
EMBEDDING_SPREAD: Final = 1.5
HEAD_SPREAD: Final = 0.3  # more makes the likeliest words likelier, as a lower temperature would

WORDS: Final = """
the of and to in is it you that he was for on are with as his they be at one have this from or had by but
some what there we can out other were all your when up use word how said an each she which do their time if
will way about many then them would write like so these her long make thing see him two has look more day
could go come did my sound no most number who over know water than call first people may down side been now
find any new work part take get place made live where after back little only round man year came show every
good me give our under name very through just form much great think say help low line before turn same mean
move right old too does tell set three want air well also play small end put home read hand large add even
land here must big high such follow ask change light kind off need house try us again animal point world
near build earth stone river cloud wind rain snow tree bird fish cat dog sun moon star sea red blue green
hello question answer story letter
""".split()  # noqa: SIM905 - quotes and commas would hide the words
MARKS: Final = [".", ",", "!", "?"]
END_OF_TEXT, TURN_START, TURN_END = SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

# ChatML. A message's content is a string, or a list of parts, of which the text is read.
CHAT_TEMPLATE: Final = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}{{- message['content'] -}}
{%- elif message['content'] -%}
{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] -}}{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

# --------------------------------------------------------------------------- tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer, in the terms that both forms share."""

    tokens: list[str]  # by id: 256 bytes, then what the merges build, then SPECIALS
    merges: list[str]  # "left right", the strongest first
    spoken: frozenset[str]  # the tokens that may be generated

    def id(self, token: str) -> int:
        """Where a token stands."""
        return self.tokens.index(token)


def byte_alphabet() -> list[str]:
    """GPT-2's stand-in for each byte: itself where it prints, else a character from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_in = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(stand_in)) for byte in range(256)]


def build_vocabulary() -> Vocabulary:
    """Rule 1. A word's merges go through all its beginnings: " c", " ca", " cat"."""
    alphabet = byte_alphabet()
    space = alphabet[ord(" ")]
    merges: dict[str, str] = {}  # the token that a merge builds → the merge
    for word in WORDS:
        beginnings = list(accumulate(word, initial=space))
        for left, letter, built in zip(beginnings, word, beginnings[1:], strict=False):
            merges.setdefault(built, f"{left} {letter}")
    return Vocabulary(
        tokens=[*alphabet, *merges, *SPECIALS],
        merges=list(merges.values()),
        spoken=frozenset([*MARKS, *(space + word for word in WORDS)]),
    )


# --------------------------------------------------------------------------- weights


@dataclass(frozen=True)
class Tensor:
    """A named array of weights. Its numbers are bfloat16, which float32 holds exactly."""

    gguf_name: str
    hf_name: str
    shape: tuple[int, ...]  # rows first
    bf16: bytes

    @property
    def f32(self) -> bytes:
        """The same numbers as float32: a bfloat16 is a float32's upper half."""
        wide = bytearray(2 * len(self.bf16))
        wide[2::4], wide[3::4] = self.bf16[0::2], self.bf16[1::2]
        return bytes(wide)


def bf16(values: Sequence[float]) -> bytes:
    """Cut numbers to bfloat16, little-endian."""
    return memoryview(struct.pack(f"<{len(values)}f", *values)).cast("H")[1::2].tobytes()


# GGUF's name, Hugging Face's name, shape: the tensors of one layer.
LAYER_TENSORS: Final[list[tuple[str, str, tuple[int, ...]]]] = [
    ("attn_norm.weight", "input_layernorm.weight", (HIDDEN,)),
    ("attn_q.weight", "self_attn.q_proj.weight", (HIDDEN, HIDDEN)),
    ("attn_q.bias", "self_attn.q_proj.bias", (HIDDEN,)),
    ("attn_k.weight", "self_attn.k_proj.weight", (KV_SIZE, HIDDEN)),
    ("attn_k.bias", "self_attn.k_proj.bias", (KV_SIZE,)),
    ("attn_v.weight", "self_attn.v_proj.weight", (KV_SIZE, HIDDEN)),
    ("attn_v.bias", "self_attn.v_proj.bias", (KV_SIZE,)),
    ("attn_output.weight", "self_attn.o_proj.weight", (HIDDEN, HIDDEN)),
    ("ffn_norm.weight", "post_attention_layernorm.weight", (HIDDEN,)),
    ("ffn_gate.weight", "mlp.gate_proj.weight", (FEED_FORWARD, HIDDEN)),
    ("ffn_up.weight", "mlp.up_proj.weight", (FEED_FORWARD, HIDDEN)),
    ("ffn_down.weight", "mlp.down_proj.weight", (HIDDEN, FEED_FORWARD)),
]
WRITE_TO_HIDDEN: Final = ("attn_output.weight", "ffn_down.weight")


def build_tensors(vocabulary: Vocabulary) -> list[Tensor]:
    """Draw the weights. Of `random`, only random() promises the same numbers from every Python."""
    draw = random.Random(SEED).random  # noqa: S311 - noise, not secrets

    def noise(count: int, spread: float) -> list[float]:
        return [spread * (2 * draw() - 1) for _ in range(count)]

    def layer_values(name: str, shape: tuple[int, ...]) -> list[float]:
        if name.endswith("norm.weight"):
            return [1.0] * HIDDEN
        values = noise(math.prod(shape), math.sqrt(3 / shape[-1]))  # keeps the size of what passes through
        if name in WRITE_TO_HIDDEN:
            values[: shape[-1]] = [0.0] * shape[-1]  # rule 2
        return values

    def table(first_column: Iterable[float], spread: float) -> list[float]:
        return [value for first in first_column for value in (first, *noise(HIDDEN - 1, spread))]

    size = len(vocabulary.tokens)
    biases = [0.0 if token in vocabulary.spoken else SHUT_OUT for token in vocabulary.tokens]  # rule 3
    embedding = bf16(table([CONSTANT] * size, EMBEDDING_SPREAD))
    head = bf16(table(biases, HEAD_SPREAD))
    return [
        Tensor("token_embd.weight", "model.embed_tokens.weight", (size, HIDDEN), embedding),
        *(
            Tensor(f"blk.{layer}.{name}", f"model.layers.{layer}.{hf}", shape, bf16(layer_values(name, shape)))
            for layer in range(LAYERS)
            for name, hf, shape in LAYER_TENSORS
        ),
        Tensor("output_norm.weight", "model.norm.weight", (HIDDEN,), bf16([1.0] * HIDDEN)),
        Tensor("output.weight", "lm_head.weight", (size, HIDDEN), head),
    ]


# --------------------------------------------------------------------------- GGUF
# Version 3 of the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

GgufValue: TypeAlias = "bool | int | float | str | list[str] | list[int]"

GGUF_ALIGNMENT: Final = 32
GGUF_F32: Final = 0
GGUF_UINT32, GGUF_INT32, GGUF_FLOAT32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY = 4, 5, 6, 7, 8, 9
GGUF_NORMAL_TOKEN, GGUF_CONTROL_TOKEN = 1, 3
GGUF_POOLING_MEAN: Final = 1


def gguf_string(text: str) -> bytes:
    """Encode a string: its length in bytes, its bytes."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value: GgufValue) -> bytes:
    """Encode a value after its type: a list is an array of strings, or of signed numbers."""
    match value:
        case bool():
            return struct.pack("<I?", GGUF_BOOL, value)
        case int():
            return struct.pack("<II", GGUF_UINT32, value)
        case float():
            return struct.pack("<If", GGUF_FLOAT32, value)
        case str():
            return struct.pack("<I", GGUF_STRING) + gguf_string(value)
        case list():
            kind = GGUF_STRING if isinstance(value[0], str) else GGUF_INT32
            items = (gguf_string(item) if isinstance(item, str) else struct.pack("<i", item) for item in value)
            return struct.pack("<IIQ", GGUF_ARRAY, kind, len(value)) + b"".join(items)


def gguf_aligned(data: bytes) -> bytes:
    """Fill up with zeros to the next boundary."""
    return data + bytes(-len(data) % GGUF_ALIGNMENT)


def gguf_container(metadata: Mapping[str, GgufValue], tensors: Sequence[Tensor]) -> bytes:
    """Build a GGUF file: counts, metadata, what is known of the tensors, and their aligned data."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    head += [gguf_string(key) + gguf_value(value) for key, value in metadata.items()]
    data = b""
    for tensor in tensors:
        shape = tensor.shape[::-1]  # GGUF names the fastest dimension first
        place = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, GGUF_F32, len(data))
        head.append(gguf_string(tensor.gguf_name) + place)
        data += gguf_aligned(tensor.f32)
    return gguf_aligned(b"".join(head)) + data


def gguf_metadata(vocabulary: Vocabulary) -> dict[str, GgufValue]:
    """Say what llama.cpp must know of the model."""
    normal = len(vocabulary.tokens) - len(SPECIALS)
    return {
        "general.architecture": "qwen2",
        "general.name": "demo",
        "general.file_type": 0,  # all float32
        "qwen2.context_length": CONTEXT,
        "qwen2.embedding_length": HIDDEN,
        "qwen2.block_count": LAYERS,
        "qwen2.feed_forward_length": FEED_FORWARD,
        "qwen2.attention.head_count": HEADS,
        "qwen2.attention.head_count_kv": KV_HEADS,
        "qwen2.attention.layer_norm_rms_epsilon": NORM_EPSILON,
        "qwen2.rope.freq_base": ROPE_BASE,
        "qwen2.pooling_type": GGUF_POOLING_MEAN,  # /v1/embeddings gives one vector a text, not one a token
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": vocabulary.tokens,
        "tokenizer.ggml.token_type": [GGUF_NORMAL_TOKEN] * normal + [GGUF_CONTROL_TOKEN] * len(SPECIALS),
        "tokenizer.ggml.merges": vocabulary.merges,
        "tokenizer.ggml.bos_token_id": vocabulary.id(END_OF_TEXT),
        "tokenizer.ggml.eos_token_id": vocabulary.id(TURN_END),
        "tokenizer.ggml.padding_token_id": vocabulary.id(END_OF_TEXT),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


# --------------------------------------------------------------------------- Hugging Face


def safetensors_container(tensors: Sequence[Tensor]) -> bytes:
    """Build a safetensors file (https://huggingface.co/docs/safetensors): a JSON header, then the data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for tensor in tensors:
        span = [len(data), len(data) + len(tensor.bf16)]
        header[tensor.hf_name] = {"dtype": "BF16", "shape": tensor.shape, "data_offsets": span}
        data += tensor.bf16
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def hf_config(vocabulary: Vocabulary) -> dict[str, object]:
    """config.json: the architecture, as transformers names it."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": len(vocabulary.tokens),
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROPE_BASE,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": vocabulary.id(END_OF_TEXT),
        "eos_token_id": vocabulary.id(TURN_END),
        "pad_token_id": vocabulary.id(END_OF_TEXT),
    }


def hf_tokenizer(vocabulary: Vocabulary) -> dict[str, object]:
    """tokenizer.json, in the format of the tokenizers library."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    learned = vocabulary.tokens[: -len(SPECIALS)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": vocabulary.id(token), "content": token, **flags} for token in SPECIALS],
        "normalizer": None,
        "pre_tokenizer": bytewise,
        "post_processor": None,
        "decoder": bytewise,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: number for number, token in enumerate(learned)},
            "merges": vocabulary.merges,
        },
    }


def hf_files(vocabulary: Vocabulary, tensors: Sequence[Tensor]) -> dict[str, bytes]:
    """Every file of the Hugging Face layout, by name; config.json is last."""
    roles = {"bos_token": END_OF_TEXT, "eos_token": TURN_END, "pad_token": END_OF_TEXT}
    documents: dict[str, dict[str, object]] = {
        "tokenizer.json": hf_tokenizer(vocabulary),
        "special_tokens_map.json": {**roles},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": CONTEXT,
            "clean_up_tokenization_spaces": False,
            **roles,
        },
        "generation_config.json": {
            "bos_token_id": vocabulary.id(END_OF_TEXT),
            "eos_token_id": [vocabulary.id(TURN_END), vocabulary.id(END_OF_TEXT)],
            "pad_token_id": vocabulary.id(END_OF_TEXT),
        },
        "config.json": hf_config(vocabulary),
    }
    return {
        "model.safetensors": safetensors_container(tensors),
        "chat_template.jinja": CHAT_TEMPLATE.encode(),
        **{name: json.dumps(document, indent=1).encode() + b"\n" for name, document in documents.items()},
    }


# --------------------------------------------------------------------------- the command


def build_files() -> dict[str, bytes]:
    """The whole model, by file name. The two that engines look for first are last."""
    vocabulary = build_vocabulary()
    tensors = build_tensors(vocabulary)
    gguf = gguf_container(gguf_metadata(vocabulary), tensors)
    files = hf_files(vocabulary, tensors)
    return {**files, "demo.gguf": gguf, "config.json": files.pop("config.json")}


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write every file under another name first, so that no half of one is ever taken for the whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as workplace:
        for name, data in files.items():
            (Path(workplace) / name).write_bytes(data)
        for name in files:
            (Path(workplace) / name).replace(folder / name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(
        prog="make_demo_model",
        description="Write a tiny chat model with random weights, the same bytes every time: demo.gguf for "
        "llama.cpp, and beside it the Hugging Face files for vLLM and mlx_lm. It answers with common words "
        "in no order, always as many as max_tokens allows.",
    )
    parser.add_argument("folder", type=Path, help="where to write it, such as models/demo; made if missing")
    folder: Path = parser.parse_args(arguments).folder
    files = build_files()
    try:
        write_files(folder, files)
    except OSError as error:
        parser.exit(2, f"{parser.prog}: cannot write into {folder}: {error.strerror}\n")
    print(f"{folder}: {len(files)} files, {sum(map(len, files.values())):,} bytes")


if __name__ == "__main__":
    main()
