"""Routers as people start them, whose models are fakes that are loaded on demand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.residency_load.fleet import RouterProcess, Settings
from scripts.residency_load.models import ModelFile
from tests.fakes.vllm import MIB, FakeVllm

TOLD = 80 * MIB
"""What each model is said to take of RAM, unless a test says otherwise."""

StartRouter = Callable[..., RouterProcess]


@pytest.fixture
def fakes(tmp_path: Path) -> FakeVllm:
    """Give the program `vllm`."""
    return FakeVllm(tmp_path / "fakes")


@pytest.fixture
def router(tmp_path: Path, fakes: FakeVllm) -> StartRouter:
    """Give a function that makes a router: of so many models, of which so many fit. It runs while it is entered."""

    def make(
        count: int, fit: int = 3, *, hold: int = 0, max_wait: float = 120.0, within: tuple[str, ...] = (),
        **launch: object,
    ) -> RouterProcess:  # fmt: skip
        names = [f"m{index}" for index in range(count)]
        models = [
            ModelFile(name, place, 0)
            for name in names
            for place in [fakes.folder / "models" / name]
            if place.exists() or fakes.model(name, hold)
        ]
        settings = Settings("vllm", models, fit * TOLD, max_wait, {"memory": TOLD, **launch})
        return RouterProcess(tmp_path / "router", settings, env=fakes.env, within=within)

    return make
