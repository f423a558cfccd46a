from pathlib import Path
from typing import Any

import pytest

from scripts.gpu_memory.__main__ import GpuSettings, options, work
from scripts.residency_load.models import ModelFile

MODELS = [ModelFile(name, Path(f"/m/{name}"), 0) for name in ("a", "b")]


def test_a_router_has_a_limit_of_the_gpu_alone():
    """And what one of them is told to take."""
    document: Any = GpuSettings("llama_server", MODELS, 1000, told={"b": 7}).document()
    assert document["memory"] == {"limit": {"gpu": 1000}, "max_wait": "120s"}
    first, second = document["backends"]
    assert first["launch"]["load"] == "on_demand"
    assert first["launch"]["args"]["n-gpu-layers"] == 999
    assert "memory" not in first["launch"]
    assert second["launch"]["memory"] == {"gpu": 7}


@pytest.mark.parametrize(
    ("words", "engine", "size"),
    [(["swap"], "vllm", "0.3"), (["short", "--engine", "llama_server"], "llama_server", "2")],
)
def test_each_engine_has_a_size_of_its_own(words, engine, size):
    asked = options(words)
    assert (asked.engine, asked.size, asked.told) == (engine, size, 3 << 29)


def test_the_models_are_removed_at_the_end():
    asked = options(["swap", "--engine", "llama_server", "--size", "0.3"])
    with work(asked) as (folder, models):
        assert [model.name for model in models] == ["a", "b"]
        assert all(model.path.stat().st_size > 100_000_000 for model in models)
    assert not folder.exists()
