import os
from pathlib import Path

import pytest

from launchers.files import NoFileError
from launchers.footprints.errors import HeaderError
from launchers.footprints.files import read_model
from scripts.make_demo_model import build_files, write_files


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model, in both of its forms."""
    folder = tmp_path_factory.mktemp("demo")
    write_files(folder, build_files())
    return folder


def test_both_forms_of_a_model_are_the_same_model(demo: Path):
    gguf = read_model(str(demo / "demo.gguf"), {})
    folder = read_model(str(demo), {})
    assert gguf is not None
    assert folder is not None
    assert gguf.layers == folder.layers
    assert (gguf.hidden, gguf.heads, gguf.vocabulary) == (folder.hidden, folder.heads, folder.vocabulary)
    assert gguf.weights.total == 2 * folder.weights.total  # float32, bfloat16
    assert gguf.weights.total <= (demo / "demo.gguf").stat().st_size


def test_a_model_that_is_not_here_is_none(tmp_path: Path):
    assert read_model("some/model", {"HF_HUB_CACHE": str(tmp_path)}) is None
    assert read_model(str(tmp_path), {}) is None


def test_an_error_names_the_file(demo: Path, tmp_path: Path):
    path = tmp_path / "cut.gguf"
    path.write_bytes((demo / "demo.gguf").read_bytes()[:-5000])
    with pytest.raises(HeaderError, match=r"cut.gguf: the file is cut off"):
        read_model(str(path), {})


def test_the_parts_of_a_split_model_are_read_together(demo: Path, tmp_path: Path):
    (tmp_path / "m-00001-of-00002.gguf").write_bytes((demo / "demo.gguf").read_bytes())
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(b"GGUF")
    with pytest.raises(HeaderError, match=r"m-00002-of-00002.gguf"):
        read_model(str(tmp_path / "m-00001-of-00002.gguf"), {})


def test_a_pipe_in_a_file_s_place_is_not_waited_for(demo: Path, tmp_path: Path):
    (tmp_path / "config.json").write_bytes((demo / "config.json").read_bytes())
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(NoFileError):
        read_model(str(tmp_path), {})
