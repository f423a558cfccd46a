from pathlib import Path
from typing import Any

import pytest

from launchers import devices
from launchers.devices import DeviceFigures
from profiles import Facts
from profiles.parsers import Gpu
from router.config import Config
from router.scan.models import Machine, Model, about_of, scan
from scripts import make_demo_model
from tests.models import GIB, write_gguf, write_hf
from tests.unit.launchers.footprints.test_gguf import TENSORS, header

CONFIG = {
    "model_type": "llama", "num_hidden_layers": 1, "num_attention_heads": 16, "hidden_size": 1024,
    "max_position_embeddings": 4096, "architectures": ["LlamaForCausalLM"],
}  # fmt: skip
H100 = Gpu("NVIDIA", "NVIDIA H100 80GB HBM3", 80 * GIB, "580.159.04", "9.0")
EYES = header({"general.architecture": "clip", "clip.has_vision_encoder": True}, TENSORS[:1]) + bytes(384)
ALL = {"llama_cpp": "0.3.36", "llama_server": "2026.10", "vllm": "0.32.0", "mlx": "0.32.2"}


def facts(*gpus: Gpu, engines: dict[str, str] = ALL) -> Facts:
    return Facts("Linux", "x86_64", "3.11.7", 4, 16 * GIB, engines, gpus=gpus, machine_cpus=4)


def found(folder: Path, *gpus: Gpu, engines: dict[str, str] = ALL, **keys: object) -> dict[str, Model]:
    """Search a folder; give its models by name."""
    config = Config.model_validate(keys) if keys else None
    machine = Machine(folder, config, {"HOME": str(folder)}, facts=facts(*gpus, engines=engines))
    return {each.name: each for each in scan([folder], machine, lambda: 0.0).models}


def launch(model: Model) -> Any:
    assert model.entry is not None
    return model.entry.keys["launch"]


def test_the_engine_that_reads_it(tmp_path):
    """It is written where `auto` would take another, which would fail at this form."""
    write_gguf(tmp_path / "a.gguf", layers=1, layer=1 << 20)
    write_hf(tmp_path / "b", CONFIG, 1 << 20)
    on_gpu, on_cpu = found(tmp_path, H100), found(tmp_path, engines={"llama_cpp": "0.3.36"})
    assert launch(on_gpu["a"]) == {"model": "./a.gguf", "engine": "llama_server", "load": "on_demand"}
    assert launch(on_gpu["b"]) == {"model": "./b", "load": "on_demand"}
    assert launch(on_cpu["a"]) == {"model": "./a.gguf", "load": "on_demand"}
    assert (on_cpu["b"].fits, on_cpu["b"].is_new) == (None, False)
    assert on_cpu["b"].note.startswith("mlx is not installed: ")
    assert on_cpu["b"].entry is not None
    assert on_cpu["b"].entry.reason == on_cpu["b"].note


def test_a_model_that_reads_images(tmp_path):
    """llama_server is taken, where it is installed; without it, the model reads text."""
    write_gguf(tmp_path / "a.gguf", layers=1, layer=1 << 20)
    (tmp_path / "mmproj.gguf").write_bytes(EYES)
    sees, reads = found(tmp_path)["a"], found(tmp_path, engines={"llama_cpp": "0.3.36"})["a"]
    args = {"llama_server": {"mmproj": f"{tmp_path}/mmproj.gguf"}}
    assert launch(sees) == {"model": "./a.gguf", "engine": "llama_server", "load": "on_demand", "args": args}
    assert launch(reads) == {"model": "./a.gguf", "load": "on_demand", "args": args}
    assert reads.entry is not None
    assert reads.entry.about.endswith("text and images, these with llama_server alone")


def test_what_does_not_fit(tmp_path):
    """By router.yaml's own limit; with less context where that is enough."""
    write_gguf(tmp_path / "a.gguf", layers=4, layer=50 << 20, kv_heads=16)
    backends = [{"url": "http://a"}]
    whole, limited, refused = (
        found(tmp_path, memory={"limit": {"ram": limit}}, backends=backends)["a"]
        for limit in ("1500MiB", "500MiB", "300MiB")
    )
    assert (whole.fits, whole.note, whole.is_new) == (True, "", True)
    assert (limited.fits, limited.is_new) == (True, True)
    assert "a context of" in limited.note
    assert limited.entry is not None
    assert ". With a context of" in limited.entry.about
    assert (refused.fits, refused.is_new) == (False, False)
    assert refused.note.endswith("of ram, of which models may have 300 MiB")


def test_a_model_larger_than_the_gpu(tmp_path, monkeypatch):
    """It fits with fewer layers there, and the note says what that costs; one that fits needs no note."""
    gpu = DeviceFigures(H100.id, 80 * GIB, 80 * GIB)
    monkeypatch.setattr(devices, "look", lambda: (DeviceFigures("ram", 256 * GIB, 256 * GIB), gpu))
    write_gguf(tmp_path / "large.gguf", layers=100, layer=GIB)
    write_gguf(tmp_path / "small.gguf", layers=20, layer=GIB)
    write_gguf(tmp_path / "huge.gguf", layers=500, layer=GIB)
    models = found(tmp_path, H100)
    assert (models["small"].fits, models["small"].note) == (True, "")
    assert models["large"].fits is True
    assert " of 101 layers on the GPU, as no more fit" in models["large"].note
    assert models["huge"].fits is False
    assert launch(models["large"])["engine"] == "llama_server"


def test_a_model_in_two_forms(tmp_path):
    """One entry, for the form whose engine comes first here."""
    make_demo_model.write_files(tmp_path / "demo", make_demo_model.build_files())
    machine = Machine(tmp_path, None, {}, facts=facts(engines={"llama_cpp": "0.3.36", "mlx": "0.32"}))
    gguf, folder = scan([tmp_path], machine, lambda: 0.0).models
    assert (gguf.name, gguf.is_new) == ("demo", True)
    assert (folder.name, folder.is_new, folder.entry) == ("demo", False, None)
    assert folder.note == "it is there in another form, too, and that is taken"


@pytest.mark.parametrize("named", ["models/a.gguf", "./models", "models/link.gguf", "{folder}/models/a.gguf"])
def test_what_router_yaml_has(tmp_path, named):
    """By whatever path it names the file; a link to it is the same model."""
    (tmp_path / "models").mkdir()
    write_gguf(tmp_path / "models" / "a.gguf", layers=1, layer=1 << 20)
    (tmp_path / "models" / "link.gguf").symlink_to("a.gguf")
    models = found(tmp_path, backends=[{"name": "mine", "launch": {"model": named.format(folder=tmp_path)}}])
    assert [(name, each.is_there, each.is_new) for name, each in models.items()] == [("mine", True, False)]


def test_names_that_are_taken(tmp_path):
    """Those of models, routes and replicas, too: two backends of one name would share its requests."""
    for name in ("a", "b", "c", "d-2"):
        write_gguf(tmp_path / f"{name}.gguf", layers=1, layer=1 << 20)
    elsewhere = {"url": "http://x", "name": "B", "models": ["a"]}
    replicas = {"name": "d", "launch": {"model": "x", "replicas": 2}}
    models = found(tmp_path, backends=[elsewhere, replicas], routes={"c": "a"})
    assert sorted(models) == ["a-2", "b-2", "c-2", "d-2-2"]


def test_a_repository_of_the_hub(tmp_path):
    """Its name, if engines look in that cache; else its folder."""
    for cache in ("home/hub", "elsewhere"):
        place = tmp_path / cache / "models--org--name" / "snapshots"
        place.mkdir(parents=True)
        write_hf(place / "1", CONFIG, 1 << 20)
    machine = Machine(tmp_path, None, {"HF_HOME": str(tmp_path / "home")}, facts=facts())
    models = scan([tmp_path / "home", tmp_path / "elsewhere"], machine, lambda: 0.0).models
    assert [launch(each)["model"] for each in models] == ["org/name", "elsewhere/models--org--name/snapshots/1"]


def test_no_time_left(tmp_path):
    """What was found is told, and that there may be more."""
    for name in "abc":
        write_gguf(tmp_path / f"{name}.gguf", layers=1, layer=1 << 20)
    moments = iter([0.0, 0.0, *[100.0] * 50])
    told = scan([tmp_path], Machine(tmp_path, facts=facts()), lambda: next(moments), within=10)
    assert told.cut == "it took too long"
    assert 1 <= len(told.models) < 3
    assert told.models[0].note == "no time was left to find out whether it fits"


def test_the_same_file_in_two_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_gguf(tmp_path / "a" / "m.gguf", layers=1, layer=1 << 20)
    (tmp_path / "b" / "n.gguf").symlink_to(tmp_path / "a" / "m.gguf")
    assert [*found(tmp_path)] == ["m"]


def test_what_a_model_is(tmp_path):
    write_gguf(tmp_path / "a.gguf", layers=1, layer=1 << 20)
    assert about_of(found(tmp_path)["a"].read.described) == "llama 524K, 1 MiB, context 32768, text"
