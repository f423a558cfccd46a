import json
import random
from collections import Counter
from pathlib import Path

import pytest

from router.config import Config
from scripts.footprint_models import wide
from scripts.instruments.answers import TimedAnswer
from scripts.residency_load.__main__ import options, settings_of
from scripts.residency_load.asking import Outcomes
from scripts.residency_load.fleet import ARGS, Settings
from scripts.residency_load.loads import Result, popularity
from scripts.residency_load.models import ModelFile, copy_demo, sizes
from scripts.residency_load.watching import Leavings

MODELS = [ModelFile("m0", Path("/models/a.gguf"), 300_000_000), ModelFile("m1", Path("/models/b.gguf"), 2_000_000_000)]


SMALL = ModelFile("m0", Path("/models/a.gguf"), 400_000_000)
BOTH = {"zipf": MODELS[1], "agents": SMALL, "burst": SMALL, "crowd": SMALL, "churn": SMALL}


def test_sizes_rise_by_the_same_factor():
    assert sizes(1, 0.3, 2) == [300_000_000]
    assert sizes(3, 0.5, 2) == [500_000_000, 1_000_000_000, 2_000_000_000]


@pytest.mark.parametrize("size", [300_000_000, 900_000_000, 2_000_000_000])
def test_a_wide_model_is_as_large_as_was_asked_for(size):
    assert wide(size).parameters() * 2 == pytest.approx(size, rel=0.02)


def test_popularity_follows_zipfs_law():
    drawn = Counter(popularity([f"m{index}" for index in range(10)], 20_000, random.Random(1)))
    counts = [count for _, count in drawn.most_common()]
    assert len(counts) == 10
    for rank, count in enumerate(counts, 1):
        assert count == pytest.approx(counts[0] / rank, rel=0.2)


def test_the_same_seed_draws_the_same_models():
    assert popularity(["a", "b", "c"], 9, random.Random(3)) == popularity(["a", "b", "c"], 9, random.Random(3))


@pytest.mark.parametrize("engine", ARGS)
def test_what_router_yaml_says_is_taken(engine):
    config = Config.model_validate(json.loads(json.dumps(Settings(engine, MODELS, 3 << 30).document())))
    assert [backend.launch.load for backend in config.backends if backend.launch] == ["on_demand"] * 2
    assert config.memory.limit.ram == 3 << 30


@pytest.mark.parametrize("load", ["zipf", "agents", "burst", "crowd", "churn"])
def test_the_largest_model_fits_below_the_limit_of_each_load(load):
    asked = options([load])
    settings = settings_of(asked, [BOTH[load], BOTH[load]])
    needed = settings.launch.get("memory") or max(model.size for model in settings.models)
    assert isinstance(needed, int)
    assert settings.limit >= needed
    if load == "agents":
        assert settings.limit < 2 * needed


def test_copies_of_the_demo_model_are_files_of_their_own(tmp_path):
    made = copy_demo(tmp_path, 3)
    assert len({model.path.stat().st_ino for model in made}) == 3


def test_only_a_whole_stream_is_an_answer():
    outcomes = Outcomes()
    for failure, tokens in (("", 2), ("cut off", 1), ("", 0)):
        answer = TimedAnswer(0.0)
        answer.failure, answer.tokens, answer.first = failure, tokens, 1.5
        outcomes.note("m0", answer)
    assert (outcomes.answered, outcomes.waits, len(outcomes.failures)) == (2, [1.5], 1)


def test_what_is_left_over_is_named():
    before = Leavings(2, 1, 20, frozenset({"old"}), 5, 10 << 20)
    assert before.beyond(before, 0) == []
    after = Leavings(3, 2, 21, frozenset({"new"}), 6, 12 << 20)
    assert after.beyond(before, 1 << 20) == [
        "processes: 3 instead of 2",
        "ports: 2 instead of 1",
        "descriptors: 21 instead of 20",
        "files: 6 instead of 5",
        "shared memory: new",
        "the router's memory: 12288 KiB instead of 10240 KiB",
    ]


def test_each_failure_is_a_problem():
    result = Result()
    result.take(Outcomes(answered=1, waits=[0.1], failures=["m0: cut off: gone"] * 2, took=2.0))
    assert result.problems == ["2 times: m0: cut off: gone"]
    assert result.figures["throughput"].startswith("0.50 requests/s")
