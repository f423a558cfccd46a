"""Ollama's store: a model of it is an entry, its parameters are defaults and arguments."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from router.cli.main import main
from router.config import load
from router.importing import ollama, stores
from router.importing.accepting import accepted, stand_ins
from router.importing.imported import Imported
from router.importing.ollama import Stored
from tests.models import write_gguf
from tests.unit.importing.routed import Routed

KIND = "application/vnd.ollama.image"


def launch(found: Imported) -> Any:
    return found.entries[0].keys["launch"]


def store(home: Path, **models: dict[str, object]) -> Path:
    """Write a store of models, each with its parameters, and what else its manifest names."""
    folder = home / ".ollama" / "models"
    blobs = folder / "blobs"
    blobs.mkdir(parents=True)

    def blob(raw: bytes) -> str:
        digest = sha256(raw).hexdigest()
        (blobs / f"sha256-{digest}").write_bytes(raw)
        return f"sha256:{digest}"

    write_gguf(home / "a.gguf", layers=1, layer=1 << 16)
    for name, parts in models.items():
        layers = [{"mediaType": f"{KIND}.model", "digest": blob((home / "a.gguf").read_bytes())}]
        layers += [
            {
                "mediaType": f"{KIND}.{kind}",
                "digest": blob(said.encode() if isinstance(said, str) else json.dumps(said).encode()),
            }
            for kind, said in parts.items()
        ]
        manifest = folder / "manifests" / "registry.ollama.ai" / "library" / name / "latest"
        manifest.parent.mkdir(parents=True)
        manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return folder


def test_models_of_a_store(tmp_path):
    """Each by its name, with what it takes of parameters. Those of one file that are launched alike are one backend."""
    store(
        tmp_path,
        plain={},
        mario={"params": {"temperature": 0.7, "num_ctx": 4096, "num_predict": -1, "odd": 1}, "system": "Be Mario."},
        luigi={"params": {"temperature": 0.9, "num_ctx": 4096}},
        ends={"params": {"stop": ["<|im_end|>", "[/INST]"], "num_gpu": 10}, "adapter": "lora"},
    )
    found = stores.of_ollama(tmp_path, {"HOME": str(tmp_path), "OLLAMA_HOST": "x"}, tmp_path)
    config = load(Path("router.yaml"), {}, accepted(found).encode()).config
    routed = Routed(config)
    assert {name: routed.where(name) for name in ("plain", "mario:latest", "ends", "luigi")} == {
        "plain": "plain:plain", "mario:latest": "luigi:luigi-as-is", "ends": "ends:ends",
        "luigi": "luigi:luigi-as-is",
    }  # fmt: skip
    assert routed.sent("mario", top_k=3) == {"top_k": 3, "temperature": 0.7}
    assert routed.sent("mario", temperature=0) == {"temperature": 0}
    launches: dict[str, Any] = {each.name: each.launch for each in config.backends}
    assert launches["luigi"].args["ctx-size"] == 4096
    assert launches["ends"].args["n-gpu-layers"] == 10
    assert Path(launches["ends"].args["lora"]).read_bytes() == b"lora"
    assert {each.unload_after for each in launches.values()} == {300}
    assert {each.what: each.is_lost for each in found.left_out} == {
        "mario: odd": True, "mario: SYSTEM": True, "ends: stop": False, "OLLAMA_HOST": True,
    }  # fmt: skip


def test_what_can_not_be_read_is_told(tmp_path):
    """A manifest that is cut off, and parameters that are no numbers: what is written can be used."""
    params = {"num_ctx": "many", "temperature": "x", "top_p": "0.5", "top_k": 40, "stop": "a"}
    folder = store(tmp_path, odd={"params": params})
    manifest = folder / "manifests" / "registry.ollama.ai" / "library" / "cut" / "7b"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"layers": [')
    found = stores.of_ollama(tmp_path, {"HOME": str(tmp_path)}, tmp_path)
    routed = Routed(load(Path("router.yaml"), {}, accepted(found).encode()).config)
    assert routed.sent("odd") == {"top_p": 0.5, "top_k": 40, "stop": "a"}
    assert {each.what: each.why for each in found.left_out} == {
        "odd: num_ctx": "it is no number", "odd: temperature": "it is no number",
        "cut:7b": "this is no manifest of Ollama's",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "after"),
    [("24h", "24h"), ("90", "90s"), ("-1", None), ("-1m", None), ("0", "1s"), ("", "5m"), ("x", "5m")],
)
def test_how_long_models_stay(said, after):
    """As OLLAMA_KEEP_ALIVE says; less than nothing is for ever."""
    stored = Stored("a", {"model": "a.gguf"})
    found = ollama.imported([stored], "store", {"OLLAMA_KEEP_ALIVE": said} if said else {})
    assert launch(found).get("unload_after") == after


def test_what_the_service_was_told():
    """Its context and how many at once are arguments of each engine."""
    stored = [Stored("a", {"model": "a.gguf"}), Stored("b", {}, reason="broken")]
    found = ollama.imported(stored, "store", {"OLLAMA_CONTEXT_LENGTH": "16384", "OLLAMA_NUM_PARALLEL": "2"})
    assert launch(found)["args"] == {"ctx-size": 16384, "llama_server": {"parallel": 2}}
    assert stand_ins(found.variables) == {}
    assert "# - name: b\n" in accepted(found)


def test_no_store(tmp_path, monkeypatch, capsys):
    """It says where it looked."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "none"))
    assert main(["import", "--ollama"]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
    (tmp_path / "none" / "manifests").mkdir(parents=True)
    (tmp_path / "none" / "blobs").mkdir()
    assert main(["import", "--ollama"]) == 2
    assert "has no models" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a.yaml", "--ollama"], ["--ollama", "--lmstudio"]])
def test_one_thing_is_read(arguments, capsys):
    assert main(["import", *arguments]) == 2
    assert "name one" in capsys.readouterr().err
