import ctypes
import importlib.util
import io
import random
import struct
import tracemalloc
from pathlib import Path

import pytest

from launchers.footprints import gguf
from launchers.footprints.errors import HeaderError
from launchers.footprints.gguf import Header, read_header
from launchers.footprints.model import Layer, Model, from_gguf

TEXT, ARRAY, U32, I32, F32, BOOL = 8, 9, 4, 5, 6, 7


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def valued(value):  # noqa: PLR0911 -- one a type
    match value:
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return struct.pack("<II", U32, value)
        case float():
            return struct.pack("<If", F32, value)
        case str():
            return struct.pack("<I", TEXT) + text(value)
        case [str(), *_]:
            return struct.pack("<IIQ", ARRAY, TEXT, len(value)) + b"".join(map(text, value))
        case [bool(), *_]:
            return struct.pack(f"<IIQ{len(value)}?", ARRAY, BOOL, len(value), *value)
        case list():
            return struct.pack(f"<IIQ{len(value)}i", ARRAY, I32, len(value), *value)
    raise TypeError(value)


def header(keys, tensors=(), version=3, endian="<"):
    """A GGUF header; tensors are (name, shape, type, offset)."""
    made = [b"GGUF", struct.pack(endian + "IQQ", version, len(tensors), len(keys))]
    made += [text(key) + valued(value) for key, value in keys.items()]
    for name, shape, kind, offset in tensors:
        made.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
    head = b"".join(made)
    return head + bytes(-len(head) % 32)


LLAMA = {
    "general.architecture": "llama", "llama.block_count": 2, "llama.embedding_length": 64,
    "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2, "llama.context_length": 4096,
    "llama.feed_forward_length": 128, "tokenizer.ggml.tokens": ["a", "b", "c"], "tokenizer.chat_template": "x" * 9000,
}  # fmt: skip
TENSORS = (
    ("token_embd.weight", (64, 3), 1, 0),
    ("blk.0.attn_q.weight", (64, 64), 8, 384),
    ("blk.1.attn_q.weight", (64, 64), 2, 384 + 4352),
    ("output_norm.weight", (64,), 0, 384 + 4352 + 2304),
    ("output.weight", (64, 3), 1, 384 + 4352 + 2304 + 256),
)
DATA = 384 + 4352 + 2304 + 256 + 384


def read(data, size=None):
    return read_header(io.BytesIO(data), size)


def model(keys, tensors=TENSORS) -> Model:
    return from_gguf([read(header(keys, tensors))])


def test_a_header_says_what_the_model_is_and_what_each_layer_weighs():
    head = header(LLAMA, TENSORS)
    found = from_gguf([read(head, len(head) + DATA)])
    assert (found.architecture, found.heads, found.hidden, found.feed_forward) == ("llama", 4, 64, 128)
    assert (found.vocabulary, found.context) == (3, 4096)
    assert found.layers == (Layer(32, 32), Layer(32, 32))
    weights = found.weights
    assert (weights.layers, weights.embedding, weights.output, weights.rest) == ((4352, 2304), 384, 384, 256)
    assert dict(weights.kinds) == {"f16": 768, "q8_0": 4352, "q4_0": 2304, "f32": 256}
    assert not weights.output_tied


@pytest.mark.parametrize("value", [(float("inf"),), (float("nan"), 1e300), (2**64 - 1,), 2**63, -1, 0.5, "4"])
def test_a_number_that_is_no_measure(value):
    """It counts as not said: what is computed of it must be a number that a device can have."""
    said = read(header(LLAMA, TENSORS))
    heads = {"llama.attention.head_count": value, "llama.embedding_length": 64}
    found = from_gguf([Header(said.version, {**said.values, **heads}, said.counts, said.tensors)])
    assert (found.heads, found.hidden) == (0, 64)
    assert found.gaps == ("heads is not said",)


def test_what_is_long_is_counted_and_not_kept():
    found = read(header(LLAMA | {"tokenizer.ggml.scores": [1] * 5000, "general.description": "x" * 9000}))
    assert found.counts == {"tokenizer.ggml.tokens": 3, "tokenizer.ggml.scores": 5000}
    assert not found.values.keys() & {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "general.description"}


def test_a_template_is_kept_up_to_a_bound():
    """It tells what the model can do."""
    assert read(header(LLAMA)).values["tokenizer.chat_template"] == "x" * 9000
    found = read(header(LLAMA | {"tokenizer.chat_template": "x" * (gguf.MOST_LONG + 1), "general.name": "after"}))
    assert "tokenizer.chat_template" not in found.values
    assert found.values["general.name"] == "after"


def test_heads_may_be_said_for_each_layer():
    found = model(LLAMA | {"llama.attention.head_count_kv": [2, 1], "llama.attention.key_length": 8})
    assert found.layers == (Layer(16, 32), Layer(8, 16))


@pytest.mark.parametrize(
    ("more", "windows"),
    [
        ({"llama.attention.sliding_window_pattern": [True, False]}, [512, 0]),
        ({"llama.attention.sliding_window_pattern": 2}, [512, 0]),
        ({}, [0, 0]),
    ],
)
def test_a_window_slides_in_the_layers_that_a_pattern_names(more, windows):
    found = model(LLAMA | {"llama.attention.sliding_window": 512} | more)
    assert [layer.window for layer in found.layers] == windows


def test_an_architecture_s_own_pattern_is_known():
    keys = {key.replace("llama", "gemma3"): value for key, value in LLAMA.items()}
    keys |= {"general.architecture": "gemma3", "gemma3.block_count": 7, "gemma3.attention.sliding_window": 512}
    assert [layer.window for layer in model(keys).layers] == [512] * 5 + [0, 512]


def test_latent_attention_keeps_one_vector_for_all_heads():
    more = {"llama.attention.kv_lora_rank": 16, "llama.attention.key_length_mla": 8, "llama.attention.key_length": 24}
    assert model(LLAMA | more).layers[0] == Layer(24, 0)


@pytest.mark.parametrize(
    ("more", "layers"),
    [
        ({"llama.attention.head_count_kv": [0, 2]}, (Layer(0, 0, state=2496), Layer(32, 32))),
        ({"llama.full_attention_interval": 2}, (Layer(0, 0, state=2496), Layer(32, 32))),
        ({}, (Layer(32, 32, state=2496), Layer(32, 32, state=2496))),
    ],
)
def test_a_recurrent_layer_has_a_state_for_each_request(more, layers):
    state = {"llama.ssm.state_size": 16, "llama.ssm.inner_size": 32, "llama.ssm.conv_kernel": 4}
    found = model(LLAMA | state | {"llama.ssm.group_count": 0} | more)
    state_bytes = 4 * (3 * 32 + 16 * 32)
    expected = tuple(Layer(each.keys, each.values, state=state_bytes if each.state else 0) for each in layers)
    assert found.layers == expected


def test_of_experts_those_count_that_work_on_a_token():
    more = {"llama.expert_used_count": 4, "llama.expert_feed_forward_length": 96, "llama.expert_count": 64}
    assert model(LLAMA | more).feed_forward == 384


def test_each_type_is_as_large_as_the_library_has_it():
    found = importlib.util.find_spec("llama_cpp")
    assert found is not None
    assert found.submodule_search_locations is not None
    (path,) = Path(found.submodule_search_locations[0], "lib").glob("*ggml-base.[sd]*[oyl]")
    library = ctypes.CDLL(str(path))
    library.ggml_type_size.restype = ctypes.c_size_t
    library.ggml_blck_size.restype = ctypes.c_int64
    for number, (name, block, size) in gguf.TYPES.items():
        if name not in {"q8_1", "q8_k"}:  # for sums alone, in no file
            assert (library.ggml_blck_size(number), library.ggml_type_size(number)) == (block, size), name


def test_the_parts_of_a_split_model_are_one():
    parts = [read(header(LLAMA | {"split.count": 2}, TENSORS[:2])), read(header({"split.no": 1}, TENSORS[2:]))]
    moved = from_gguf(parts)
    assert moved.weights == model(LLAMA).weights
    with pytest.raises(HeaderError, match="split into 2 files, of which 1"):
        from_gguf(parts[:1])


def test_a_type_that_is_not_known_ends_where_the_next_tensor_begins():
    tensors = [("blk.0.a", (64, 2), 99, 0), ("blk.1.a", (64, 2), 0, 96)]
    found = read(header(LLAMA, tensors))
    assert [tensor.size for tensor in found.tensors] == [96, 512]
    head = header(LLAMA, tensors[:1])
    assert read(head, len(head) + 64).tensors[0].size == 64
    with pytest.raises(HeaderError, match="type 99"):
        read(head)


HUGE = struct.pack("<Q", 1 << 60)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cut off"),
        (b"GGML" + bytes(100), "no GGUF"),
        (header(LLAMA, TENSORS, endian=">"), "big-endian"),
        (header(LLAMA, TENSORS, version=1), "version 1"),
        (b"GGUF" + struct.pack("<I", 3) + HUGE + bytes(8), "tensors"),
        (b"GGUF" + struct.pack("<IQ", 3, 0) + HUGE, "keys"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + HUGE, "bytes of a name"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", TEXT) + HUGE, "bytes of a"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<II", ARRAY, U32) + HUGE, "items of a"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1), "array of type 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 77), "type 77"),
        (header(LLAMA, [("a", (1 << 40, 1 << 40), 0, 0)]), "weights in a"),
        (header(LLAMA, [("a", (33,), 8, 0)]), "no multiple of 32"),
        (header(LLAMA | {"general.alignment": 3}), "general.alignment"),
    ],
)
def test_what_is_damaged_is_an_error_that_says_so(data, says):
    with pytest.raises(HeaderError, match=says):
        read(data)


def test_a_file_that_lacks_some_of_its_data_is_cut_off():
    head = header(LLAMA, TENSORS)
    read(head, len(head) + DATA)
    with pytest.raises(HeaderError, match=r"output.weight ends 1 bytes after it"):
        read(head, len(head) + DATA - 1)


@pytest.mark.parametrize("missing", ["general.architecture", "llama.block_count"])
def test_without_what_everything_depends_on_there_is_no_model(missing):
    with pytest.raises(HeaderError, match=missing.rpartition(".")[2]):
        model({key: value for key, value in LLAMA.items() if key != missing})


class Endless:
    """An array of texts that has no end."""

    def __init__(self) -> None:
        start = struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", ARRAY, TEXT, gguf.MOST_COUNTED)
        self.ready: bytes = b"GGUF" + start
        self.given = 0

    def read(self, size: int, /) -> bytes:
        """Give as many bytes as were asked for."""
        while len(self.ready) < size:
            self.ready += text("x" * (1 << 14)) * 16
        given, self.ready = self.ready[:size], self.ready[size:]
        self.given += size
        return given


def test_no_more_than_the_bound_is_read():
    endless = Endless()
    with pytest.raises(HeaderError, match=r"more than 64 MiB"):
        read_header(endless)
    assert endless.given <= gguf.MOST_BYTES + (1 << 20)


def test_what_is_kept_of_the_worst_header_is_little():
    """As many keys as are believed, each an array of as many different numbers as are kept."""
    numbers = struct.pack(f"<{gguf.MOST_ITEMS}d", *map(float, range(gguf.MOST_ITEMS)))
    start = struct.pack("<IIQ", ARRAY, 12, gguf.MOST_ITEMS)
    keys = b"".join(text(f"k{at}") + start + numbers for at in range(gguf.MOST_KEYS))
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, gguf.MOST_KEYS) + keys
    tracemalloc.start()
    try:
        assert len(read(data).values) == gguf.MOST_KEYS
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_mutants_of_a_header_are_read_or_refused_within_little_memory():
    """2,000 mutants: bytes changed, cut out, put in, numbers made huge."""
    whole = header(LLAMA | {"llama.attention.head_count_kv": [2, 1]}, TENSORS) + bytes(DATA)
    draw = random.Random(7)  # noqa: S311 -- seeded, so that a failure comes again
    refused = 0
    tracemalloc.start()
    try:
        for _ in range(2000):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 4)):
                at = draw.randrange(len(data) - DATA)
                match draw.randrange(4):
                    case 0:
                        data[at] = draw.randrange(256)
                    case 1:
                        del data[at : at + draw.randint(1, 40)]
                    case 2:
                        data[at:at] = draw.randbytes(draw.randint(1, 40))
                    case 3:
                        data[at : at + 8] = struct.pack("<Q", draw.choice([0, 1 << 20, 1 << 31, (1 << 64) - 1]))
            try:
                from_gguf([read(bytes(data), draw.choice([None, len(data)]))])
            except HeaderError:
                refused += 1
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert 500 < refused < 2000
