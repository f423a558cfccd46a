"""LM Studio's folder: a model of it is an entry, its settings are arguments and defaults."""

import json
from pathlib import Path
from typing import Any

import pytest

from router.cli.main import main
from router.config import load
from router.importing import lm_studio, stores
from router.importing.accepting import accepted
from router.importing.imported import Imported, mapping
from router.importing.lm_studio import Kept, fields_of
from tests.models import write_gguf
from tests.unit.importing.routed import Routed

SETTINGS = {
    "load": {"fields": [
        {"key": "llm.load.contextLength", "value": 16384},
        {"key": "llm.load.llama.acceleration.offloadRatio", "value": "max"},
        {"key": "llm.load.llama.flashAttention", "value": True},
        {"key": "llm.load.llama.kCacheQuantizationType", "value": {"checked": True, "value": "q8_0"}},
        {"key": "llm.load.llama.vCacheQuantizationType", "value": {"checked": False, "value": "q4_0"}},
        {"key": "llm.load.numParallelSessions", "value": 2},
        {"key": "llm.load.numExperts", "value": 4},
    ]},
    "operation": {"fields": [
        {"key": "llm.prediction.temperature", "value": 0.2},
        {"key": "llm.prediction.minPSampling", "value": {"checked": True, "value": 0.05}},
        {"key": "llm.prediction.stopStrings", "value": []},
        {"key": "llm.prediction.systemPrompt", "value": "Be brief."},
    ]},
}  # fmt: skip


def launch(found: Imported) -> Any:
    return found.entries[0].keys["launch"]


def test_models_of_a_folder(tmp_path):
    """Each by the name that LM Studio's clients use; with its settings, and those of the application."""
    base = tmp_path / ".lmstudio"
    for name in ("org/Qwen-7B-Instruct-GGUF/Qwen-7B-Instruct-Q4_K_M.gguf", "org/Plain-GGUF/Plain-Q8_0.gguf"):
        (base / "models" / name).parent.mkdir(parents=True)
        write_gguf(base / "models" / name, layers=1, layer=1 << 16)
    config = base / ".internal/user-concrete-model-default-config/org/Qwen-7B-Instruct-GGUF"
    config.mkdir(parents=True)
    (config / "Qwen-7B-Instruct-Q4_K_M.gguf.json").write_text(json.dumps(SETTINGS))
    (base / "settings.json").write_text(
        json.dumps({"developer": {"jitModelTTL": {"enabled": True, "ttlSeconds": 600}}})
    )
    server = {"port": 5000, "networkInterface": "0.0.0.0", "cors": True, "justInTimeModelLoading": False}
    (base / ".internal/http-server-config.json").write_text(json.dumps(server))
    found = stores.of_lm_studio(tmp_path, {"HOME": str(tmp_path)}, tmp_path)
    made = load(Path("router.yaml"), {}, accepted(found).encode()).config
    routed = Routed(made)
    assert routed.where("qwen-7b-instruct") == "qwen-7b-instruct:qwen-7b-instruct-as-is"
    assert routed.where("plain") == "plain:plain"
    assert routed.sent("qwen-7b-instruct", top_p=1) == {"top_p": 1, "temperature": 0.2, "min_p": 0.05}
    launches: dict[str, Any] = {each.name: each.launch for each in made.backends}
    args = launches["qwen-7b-instruct"].args
    assert {name: args[name] for name in args if name != "llama_server"} == {
        "ctx-size": 16384, "flash-attn": "on", "cache-type-k": "q8_0",
    }  # fmt: skip
    assert dict(args["llama_server"]) == {"parallel": 2}
    assert {each.unload_after for each in launches.values()} == {600}
    assert found.port == 5000
    assert {each.what for each in found.left_out} == {
        "qwen-7b-instruct: llm.load.numExperts", "qwen-7b-instruct: system prompt", "networkInterface", "cors",
        "justInTimeModelLoading",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "args", "is_left"),
    [(0, {"n-gpu-layers": 0}, False), ("off", {"n-gpu-layers": 0}, False), (0.5, {}, True)],
)
def test_how_much_of_a_model_is_on_a_gpu(value, args, is_left):
    """All of it is as the router does it; a part is measured."""
    load = {"llm.load.llama.acceleration.offloadRatio": value}
    found = lm_studio.imported([Kept("a", {"name": "a", "launch": {"model": "a"}}, load=load)], "f", {}, {})
    assert launch(found).get("args", {}) == args
    assert bool(found.left_out) is is_left


def test_settings_of_all_models():
    """A context for those that have none; a model that never unloads; none for those that aren't GGUF."""
    settings = {
        "defaultContextLength": {"type": "custom", "value": 8192},
        "developer": {"jitModelTTL": {"enabled": False}},
    }
    kept = [Kept(name, {"name": name, "launch": {"model": name}}, is_gguf=name == "a") for name in ("a", "b")]
    found = lm_studio.imported(kept, "f", settings, {})
    assert [mapping(each.keys["launch"]) for each in found.entries] == [
        {"model": "a", "args": {"ctx-size": 8192}}, {"model": "b"},
    ]  # fmt: skip


@pytest.mark.parametrize("said", [None, [], {"load": 5}, {"load": {"fields": 5}}, {"load": {"fields": [5]}}])
def test_files_that_are_odd(said):
    assert not {key for key in fields_of(said, "load") if key != "None"}


def test_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["import", "--lmstudio"]) == 2
    assert "LM Studio has no models here" in capsys.readouterr().err
