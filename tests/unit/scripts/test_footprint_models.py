from pathlib import Path

import pytest

from launchers.footprints.files import read_model
from scripts import footprint_models
from scripts.footprint_models import PER_BLOCK, SHAPES, VOCABULARY, Shape, shaped, write_folder, write_gguf

TINY = Shape(hidden=64, feed_forward=128, layers=3)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that is written in no time."""
    monkeypatch.setattr(footprint_models, "SHAPES", {**SHAPES, "tiny": TINY})


@pytest.mark.parametrize("kind", PER_BLOCK)
@pytest.mark.parametrize("size", SHAPES)
def test_a_model_is_as_large_as_was_asked_for(size, kind):
    _, weights, length = PER_BLOCK[kind]
    assert shaped(size, kind).parameters() * length / weights == pytest.approx(float(size) * 1e9, rel=0.05)


@pytest.mark.parametrize("kind", PER_BLOCK)
def test_what_is_written_for_llama_cpp_is_whole(kind, tmp_path: Path):
    path = tmp_path / "model.gguf"
    write_gguf(path, "tiny", kind)
    found = read_model(str(path), {})
    assert found is not None
    assert len(found.layers) == shaped("tiny", kind).layers
    assert found.vocabulary == VOCABULARY
    _, weights, length = PER_BLOCK[kind]
    assert found.weights.embedding == VOCABULARY * TINY.hidden * length // weights
    assert path.stat().st_size < found.weights.total + (2 << 20)


def test_what_is_written_for_the_others_is_whole(tmp_path: Path):
    write_folder(tmp_path, "tiny")
    found = read_model(str(tmp_path), {})
    assert found is not None
    assert found.weights.total == 2 * TINY.parameters()
    assert (len(found.layers), found.vocabulary) == (3, VOCABULARY)
