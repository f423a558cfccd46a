import os
from pathlib import Path

import pytest

from launchers.files import NoFileError
from launchers.footprints.errors import HeaderError
from launchers.footprints.files import cut_off, read_model
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


@pytest.mark.parametrize(
    ("name", "keeps", "says"),
    [
        ("demo.gguf", -5000, "the file is cut off: "),
        ("demo.gguf", 3000, "the header is cut off after 3000 bytes; fetch it again"),
        ("demo.gguf", 0, "the header is cut off after 0 bytes"),
        ("demo.gguf", None, ""),
        ("model.safetensors", -100, "the file is cut off: "),
        ("model.safetensors", None, ""),
    ],
)
def test_a_download_that_goes_on(demo: Path, tmp_path: Path, name: str, keeps: int | None, says: str):
    path = tmp_path / name
    path.write_bytes((demo / name).read_bytes()[:keeps])
    assert says in cut_off([path])
    assert bool(cut_off([path])) is bool(says)


def test_what_only_we_can_t_read_an_engine_may(demo: Path, tmp_path: Path):
    """A later version, a file that may not be read, weights in another form; and a model that isn't here."""
    later = bytearray((demo / "demo.gguf").read_bytes())
    later[4] = 9
    (tmp_path / "later.gguf").write_bytes(later)
    assert cut_off([tmp_path / "later.gguf"]) == ""
    assert cut_off([tmp_path / "gone.gguf"]) == ""
    assert cut_off([tmp_path / "a.bin"]) == ""
    assert cut_off([]) == ""


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
