import json
import os
from pathlib import Path

import pytest

from launchers.scan import walk as module
from launchers.scan.ollama import MODEL, PROJECTOR
from launchers.scan.walk import Walk

A, B = "a" * 64, "b" * 64


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(*roots: Path) -> list[tuple[str, str]]:
    walk = Walk(lambda: True)
    told = [(each.name, each.place) for each in walk.candidates(roots)]
    assert not walk.cut
    return told


def test_folders_in_folders(tmp_path):
    """As LM Studio has them; hidden folders, and the parts of a model, are left out."""
    files(
        tmp_path, "org/repo/a.gguf", "org/repo/.cache/x.gguf", ".hidden/y.gguf", "mlx/config.json",
        "mlx/model.safetensors", "mlx/1_Dense/config.json", "mlx/1_Dense/model.safetensors", "notes.txt",
    )  # fmt: skip
    assert found(tmp_path) == [("mlx", f"{tmp_path}/mlx"), ("a", f"{tmp_path}/org/repo/a.gguf")]


def test_a_model_beside_folders_of_others(tmp_path):
    """In the folder that is searched, they are no parts of it."""
    files(tmp_path, "config.json", "model.safetensors", "other/m.gguf")
    assert found(tmp_path) == [(tmp_path.name, str(tmp_path)), ("m", f"{tmp_path}/other/m.gguf")]


def test_links_that_lead_back(tmp_path):
    files(tmp_path, "a/m.gguf")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "b").symlink_to(tmp_path / "a")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "nowhere").symlink_to("gone")
    assert found(tmp_path) == [("m", f"{tmp_path}/a/m.gguf")]


def test_a_file_is_the_model_that_it_is_part_of(tmp_path):
    files(tmp_path, "m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "n.gguf")
    (each,) = Walk(lambda: True).candidates([tmp_path / "m-00002-of-00002.gguf"])
    assert (each.name, [path.name for path in each.files]) == ("m", ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"])
    assert not each.reason


def test_missing_parts_and_models_that_draw(tmp_path):
    files(tmp_path, "m-00002-of-00002.gguf", "draws/model_index.json", "draws/unet/config.json")
    reasons = {each.name: each.reason for each in Walk(lambda: True).candidates([tmp_path])}
    assert reasons["m"] == "1 of its 2 parts are here"
    assert reasons["draws"].startswith("a model that draws")


def test_the_hubs_cache(tmp_path):
    """The revision that `refs/main` names; GGUF files by their path, a folder by its repository, too."""
    repository = tmp_path / "models--Org--Name-7B"
    files(repository, "snapshots/old/config.json", "snapshots/old/model.safetensors")
    files(repository, "snapshots/new/config.json", "snapshots/new/model.safetensors", "snapshots/new/gguf/q.gguf")
    files(tmp_path, "models--org--gguf/snapshots/one/x.gguf", "models--empty--one/refs/main")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("new")
    each, gguf, other = Walk(lambda: True).candidates([tmp_path])
    assert (each.name, each.hub, each.place) == ("Name-7B", "Org/Name-7B", f"{repository}/snapshots/new")
    assert gguf.place == f"{repository}/snapshots/new/gguf/q.gguf"
    assert (other.place, other.hub) == (f"{tmp_path}/models--org--gguf/snapshots/one/x.gguf", "")
    # A name that leads elsewhere is none of its revisions.
    (repository / "refs" / "main").write_text("../../../..")
    assert len([*Walk(lambda: True).candidates([tmp_path])]) == 2


def test_ollamas_store(tmp_path):
    layers = [{"mediaType": MODEL, "digest": f"sha256:{A}"}, {"mediaType": PROJECTOR, "digest": f"sha256:{B}"}]
    files(tmp_path, f"blobs/sha256-{A}", "manifests/registry.ollama.ai/library/llava/latest", "manifests/x/broken")
    (tmp_path / "manifests/registry.ollama.ai/library/llava/latest").write_text(json.dumps({"layers": layers}))
    os.mkfifo(tmp_path / "manifests" / "x" / "pipe")
    broken, pipe, llava = Walk(lambda: True).candidates([tmp_path])
    assert (llava.name, llava.place) == ("llava", f"{tmp_path}/blobs/sha256-{A}")
    assert (llava.projector, llava.of_ollama, llava.reason) == (tmp_path / "blobs" / f"sha256-{B}", True, "")
    assert broken.reason == "this is no manifest of Ollama's"
    assert pipe.reason.startswith("its manifest can't be read")


@pytest.mark.parametrize(("bound", "most"), [("MOST_FOLDERS", 3), ("MOST_NAMES", 5), ("MOST_MODELS", 2)])
def test_bounds(tmp_path, monkeypatch, bound, most):
    """A search that reaches one ends, and says so."""
    files(tmp_path, *(f"{number}/m.gguf" for number in range(20)))
    monkeypatch.setattr(module, bound, most)
    walk = Walk(lambda: True)
    assert len([*walk.candidates([tmp_path])]) < 5
    assert walk.cut.startswith("more than")


def test_depth_and_time(tmp_path):
    files(tmp_path, "/".join("abcdefghijk") + "/m.gguf")
    assert found(tmp_path) == []
    files(tmp_path, "m.gguf", "a/n.gguf")
    walk = Walk(lambda: False)
    assert [each.name for each in walk.candidates([tmp_path])] == ["m"]
    assert walk.cut == "it took too long"


def test_what_can_not_be_read(tmp_path):
    """Nothing is in it."""
    assert found(tmp_path / "gone", Path("/proc/1/fd"), Path("/dev/null")) == []


def test_what_may_not_be_looked_at(tmp_path):
    """As another user's home: nothing is in it, either."""
    files(tmp_path, "a/m.gguf")
    (tmp_path / "a").chmod(0)
    was = os.geteuid()
    try:
        if not was:
            # Root may look at everything.
            os.seteuid(65534)
        assert found(tmp_path / "a", tmp_path / "a" / "b") == []
    finally:
        os.seteuid(was)
        (tmp_path / "a").chmod(0o700)
