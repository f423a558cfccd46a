import io
import json
import random
import tracemalloc

import pytest

from launchers.footprints import safetensors
from launchers.footprints.errors import HeaderError
from launchers.footprints.model import Layer, from_config
from launchers.footprints.safetensors import read_header

ENTRY = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}
TENSORS = {
    "__metadata__": {"format": "pt"},
    "model.embed_tokens.weight": ENTRY,
    "model.layers.0.mlp.up_proj.weight": ENTRY | {"data_offsets": [12, 24]},
    "model.layers.1.mlp.up_proj.weight": {"dtype": "F32", "shape": [6], "data_offsets": [24, 48]},
    "model.norm.weight": ENTRY | {"data_offsets": [48, 60]},
}
CONFIG = {
    "model_type": "qwen2", "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 8192, "vocab_size": 742,
    "torch_dtype": "bfloat16",
}  # fmt: skip


def written(said) -> bytes:
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return len(data).to_bytes(8, "little") + data


def read(data, size=None):
    return read_header(io.BytesIO(data), size)


def test_a_header_says_what_each_tensor_weighs():
    found = from_config(CONFIG, read(written(TENSORS), len(written(TENSORS)) + 60))
    weights = found.weights
    assert (weights.layers, weights.embedding, weights.output, weights.rest) == ((12, 24), 12, 0, 12)
    assert weights.output_tied
    assert dict(weights.kinds) == {"bf16": 36, "f32": 24}
    assert found.layers == (Layer(32, 32), Layer(32, 32))
    assert found.number_size == 2


@pytest.mark.parametrize(
    ("more", "layers"),
    [
        ({"head_dim": 8}, (Layer(16, 16), Layer(16, 16))),
        ({"sliding_window": 512}, (Layer(32, 32, 512), Layer(32, 32, 512))),
        ({"sliding_window": 512, "use_sliding_window": False}, (Layer(32, 32), Layer(32, 32))),
        (
            {"sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"]},
            (Layer(32, 32, 512), Layer(32, 32)),
        ),
        ({"kv_lora_rank": 16, "qk_rope_head_dim": 8}, (Layer(24, 0), Layer(24, 0))),
        ({"text_config": {"num_key_value_heads": 4}}, (Layer(64, 64), Layer(64, 64))),
    ],
)
def test_the_config_says_what_a_layer_keeps(more, layers):
    assert from_config(CONFIG | more, ()).layers == layers


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cut off"),
        (b"GGUF" + bytes(20), "no safetensors"),
        ((1 << 40).to_bytes(8, "little"), "no safetensors"),
        (written(TENSORS)[:-1], "cut off"),
        (written(b"[" * 100_000), "no object"),
        (written([1]), "no object"),
        (written({"a": 1}), "no object"),
        (written({"a": ENTRY | {"shape": [-1]}}), "no object"),
        (written({"a": ENTRY | {"data_offsets": [0]}}), "no object"),
        (written({"a": ENTRY | {"data_offsets": [12, 0]}}), "before it begins"),
        (written({"a" * 300: ENTRY}), "too long a name"),
        (written(b'{"a": "\xff"}'), "no object"),
    ],
)
def test_what_is_damaged_is_an_error_that_says_so(data, says):
    with pytest.raises(HeaderError, match=says):
        read(data)


def test_a_file_that_lacks_some_of_its_data_is_cut_off():
    head = written(TENSORS)
    with pytest.raises(HeaderError, match=r"model.norm.weight ends 1 bytes after it"):
        read(head, len(head) + 59)


def test_without_layers_there_is_no_model():
    with pytest.raises(HeaderError, match="num_hidden_layers"):
        from_config({"num_hidden_layers": "many"}, ())


@pytest.mark.parametrize("number", [10**400, 2**63, -1, 1.5, float("inf"), None, "5", [5]])
def test_a_number_that_is_no_measure(number):
    """It counts as not said: what is computed of it must be a number that a device can have."""
    found = from_config({**CONFIG, "hidden_size": number, "vocab_size": number}, ())
    assert (found.hidden, found.vocabulary) == (0, 0)
    assert found.gaps


def test_mutants_of_a_header_are_read_or_refused_within_little_memory():
    whole = written(TENSORS)
    draw = random.Random(7)  # noqa: S311 -- seeded, so that a failure comes again
    refused = 0
    tracemalloc.start()
    try:
        for _ in range(2000):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 4)):
                at = draw.randrange(len(data))
                if draw.random() < 0.5:
                    data[at] = draw.randrange(256)
                else:
                    data[at : at + draw.randint(0, 8)] = draw.randbytes(draw.randint(0, 8))
            try:
                from_config(CONFIG, read(bytes(data), draw.choice([None, len(data) + 60])))
            except HeaderError:
                refused += 1
        assert tracemalloc.get_traced_memory()[1] < 2 * safetensors.MOST_BYTES
    finally:
        tracemalloc.stop()
    assert 500 < refused < 2000
