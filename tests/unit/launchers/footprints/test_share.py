import pytest

from launchers.footprints.share import ENGINE, LITTLE, ShareNeeds, share_needs

GIB = 1 << 30
TINY = {
    "model_type": "qwen2", "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 8192, "vocab_size": 742,
    "torch_dtype": "bfloat16",
}  # fmt: skip
TOKEN = 2 * 2 * 1 * 32 * 2  # bytes of keys and values in its two layers


def of(config=TINY, weights=1 << 20, args=None, seqs=256, gpus=1) -> ShareNeeds:
    return share_needs(config, weights, args or {}, seqs, gpus)


def test_a_small_model_s_cache_is_for_all_requests_at_once_each_as_long_as_it_reads():
    found = of()
    assert found.cache == TOKEN * 8192 * 257
    assert found.whole is not None
    assert found.cache + ENGINE < found.whole < found.cache + ENGINE + GIB
    assert found.least == (1 << 20) + LITTLE


@pytest.mark.parametrize(
    ("args", "seqs", "cache"),
    [
        ({"max-model-len": 1000}, 256, TOKEN * 1024 * 257),  # in whole blocks
        ({"max_model_len": "2048"}, 16, TOKEN * 2048 * 17),
        ({"enforce-eager": True}, 256, TOKEN * 8192 * 257),
    ],
)
def test_arguments_count(args, seqs, cache):
    assert of(args=args, seqs=seqs).cache == cache


@pytest.mark.parametrize(
    ("config", "cache"),
    [
        (TINY | {"torch_dtype": "float32"}, 2 * TOKEN * 8192 * 257),
        (TINY | {"head_dim": 64}, 2 * TOKEN * 8192 * 257),
        ({name: value for name, value in TINY.items() if name != "num_key_value_heads"}, 2 * TOKEN * 8192 * 257),
    ],
)
def test_the_model_counts(config, cache):
    assert of(config).cache == cache


@pytest.mark.parametrize(
    ("config", "args"),
    [
        (TINY | {"model_type": "jamba"}, {}),
        (TINY | {"rope_scaling": {"factor": 4}}, {}),
        (TINY | {"num_hidden_layers": "many"}, {}),
        ({}, {}),
        (TINY, {"speculative-config": "x"}),
        (TINY, {"enable_lora": True}),
        (TINY, {"max-model-len": "auto"}),
    ],
)
def test_of_whatever_is_not_known_it_gets_its_full_share(config, args):
    assert of(config, args=args) == ShareNeeds((1 << 20) + LITTLE)


def test_weights_are_spread_over_gpus_and_unknown_ones_are_not_nothing():
    assert of(weights=160 * GIB, gpus=8, config={}).least == 20 * GIB + LITTLE
    assert of(weights=0) == ShareNeeds(LITTLE)
