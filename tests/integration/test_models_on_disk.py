"""`models --scan` and `init` on folders as programs leave them; what they write is checked, and started."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from launchers.scan.ollama import MODEL, PROJECTOR
from router.cli.main import main
from router.config import load
from router.scan import servers
from scripts import make_demo_model
from tests.fakes.engine import FakeEngine
from tests.models import GIB, write_gguf, write_hf
from tests.running import RunningRouter, dead_port
from tests.unit.launchers.footprints.test_gguf import LLAMA, TENSORS, header

EYES = header({"general.architecture": "clip", "clip.has_vision_encoder": True}, TENSORS[:1]) + bytes(384)
CONFIG = {
    "model_type": "llama", "num_hidden_layers": 1, "num_attention_heads": 16, "hidden_size": 1024,
    "max_position_embeddings": 4096,
}  # fmt: skip
MIB = 1 << 20


@pytest.fixture(scope="session")
def demo():
    """Give the demo model's files."""
    return make_demo_model.build_files()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Give a folder to work in, of a user who has nothing yet; no server runs on this machine."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS", "LLAMA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    monkeypatch.setattr(servers, "USUAL", ((dead_port(), "Ollama", "ollama"),))
    return work


@pytest.fixture
def command(capsys):
    """Give a function that runs a command: its exit code, and what it says."""

    def run(*words: str):
        code = main(words)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def gguf(path: Path, layer: int = MIB) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gguf(path, layers=1, layer=layer)


def ollama(store: Path, name: str, *, projector: bool = False) -> Path:
    """Put a model into Ollama's store; give its blob."""
    blobs, number = store / "blobs", len(list(store.glob("blobs/*")))
    model, eyes = f"{number:064d}", f"{number + 1:064d}"
    gguf(blobs / f"sha256-{model}")
    layers = [{"mediaType": MODEL, "digest": f"sha256:{model}"}]
    if projector:
        put(blobs / f"sha256-{eyes}", EYES)
        layers += [{"mediaType": PROJECTOR, "digest": f"sha256:{eyes}"}]
    place = store / "manifests/registry.ollama.ai/library" / name.replace(":", "/")
    put(place, json.dumps({"layers": layers}).encode())
    return blobs / f"sha256-{model}"


def every_store(home: Path, work: Path) -> None:
    """Put a model into each place where programs keep theirs."""
    gguf(work / "models" / "mine-Q4_K_M.gguf")
    put(work / "models" / "broken.gguf", b"GGUF\x03")
    # LM Studio
    gguf(home / ".lmstudio/models/org/gemma-3-GGUF/gemma-3-4b-it-Q4_K_M.gguf")
    put(home / ".lmstudio/models/org/gemma-3-GGUF/mmproj-model-f16.gguf", EYES)
    # the hub's cache
    snapshot = home / ".cache/huggingface/hub/models--org--Llama-1B/snapshots/abc"
    snapshot.parent.mkdir(parents=True)
    write_hf(snapshot, CONFIG, MIB)
    # llama.cpp's cache, with an encoder
    bert = {**{key.replace("llama.", "bert."): value for key, value in LLAMA.items()}, "general.architecture": "bert"}
    put(home / ".cache/llama.cpp/org_embed_embed-f16.gguf", header(bert, TENSORS) + bytes(8192))
    # Ollama
    ollama(home / ".ollama/models", "llama3.2:latest")
    ollama(home / ".ollama/models", "llava:7b", projector=True)


def test_every_store(folder, command):
    """What each model is, and the entry that it would have; the broken file is a line."""
    home = folder.parent / "home"
    every_store(home, folder)
    code, out, err = command("models", "--scan", "--json")
    assert (code, err) == (0, "")
    found = {each["name"]: each for each in json.loads(out)["models"]}
    entries = {name: each["entry"]["launch"] for name, each in found.items() if each["entry"]}
    assert found["broken"]["note"] == "the header is cut off after 5 bytes"
    assert found["mine"]["fits"] is True
    assert entries["mine"] == {"model": "models/mine-Q4_K_M.gguf", "load": "on_demand"}
    gemma = home / ".lmstudio/models/org/gemma-3-GGUF"
    assert found["gemma-3-4b-it"]["modality"] == "text and images"
    assert entries["gemma-3-4b-it"]["args"] == {"llama_server": {"mmproj": str(gemma / "mmproj-model-f16.gguf")}}
    assert (found["llama-1b"]["hub"], found["llama-1b"]["context"]) == ("org/Llama-1B", 4096)
    assert entries["llama-1b"]["model"] == "org/Llama-1B"
    assert entries["llama-1b"]["engine"] in {"mlx", "vllm"}
    assert found["org_embed_embed"]["modality"] == "embeddings"
    assert entries["org_embed_embed"]["args"]["llama_cpp"] == {"embedding": True}
    blob = entries["llama3.2"]["model"]
    assert blob.startswith(f"{home}/.ollama/models/blobs/sha256-")
    assert (found["llama3.2"]["context"], found["llama3.2"]["fits"]) == (32768, True)
    assert found["llava-7b"]["entry"]["models"] == ["llava:7b"]
    assert found["llava-7b"]["modality"] == "text and images"
    code, _, err = command("models", "--scan", "models/broken.gguf")
    assert (code, err) == (2, "models/broken.gguf: this is a file; name the folder that it is in\n")
    code, out, _ = command("models", "--scan")
    assert code == 0
    assert out.splitlines()[0].split() == [
        "MODEL", "SIZE", "QUANTISATION", "CONTEXT", "FOR", "ENGINE", "FITS", "ROUTER.YAML", "PLACE",
    ]  # fmt: skip
    assert f"{folder}/models/broken.gguf: the header is cut off after 5 bytes\n" in out
    assert '\n  - name: llava-7b\n    models:\n      - "llava:7b"\n    launch:\n' in out


OWN = """\
# mine
backends:
    -   name: mine          # a name
        launch:
            model: ./models/one-Q4_0.gguf
            # replicas: 2

    # another one
server: {port: 0}
"""


def test_models_that_are_added(folder, command):
    """Comments and indentation stay, what it has already isn't added again, and all of it can be used."""
    gguf(folder / "models" / "one-Q4_0.gguf")
    gguf(folder / "models" / "two-Q4_0.gguf")
    file = folder / "router.yaml"
    file.write_text(OWN)
    code, out, err = command("models", "--scan", "--write")
    assert (code, err) == (0, "")
    assert out.endswith("\nrouter.yaml has them now: two. What it was is in router.yaml.bak.\n")
    added = (
        "\n    # llama 524K, 1 MiB, context 32768, text\n    -   name: two\n        launch:\n"
        "            model: models/two-Q4_0.gguf\n            load: on_demand\n"
    )
    before, comment, after = OWN.partition("            # replicas: 2\n")
    assert file.read_text() == before + comment + added + after
    assert (folder / "router.yaml.bak").read_text() == OWN
    assert command("check")[0] == 0
    was = file.read_text()
    code, out, _ = command("models", "--scan", "models", "--write")
    assert (code, file.read_text()) == (0, was)
    assert out.endswith("\nNothing here is new for router.yaml.\n")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("backends: [{url: 'http://a'}]\n", "`backends` is no list of lines that begin with `- `"),
        ("backends:\n  - url: http://a\n    wieght: 1\n", "did you mean 'weight'?"),
    ],
)
def test_files_that_nothing_is_added_to(folder, command, config, said):
    """The message says what to do, and the file is as it was."""
    gguf(folder / "models" / "m.gguf")
    (folder / "router.yaml").write_text(config)
    code, _, err = command("models", "--scan", "--write")
    assert code == 2
    assert said in err
    assert (folder / "router.yaml").read_text() == config
    assert sorted(each.name for each in folder.iterdir()) == ["models", "router.yaml"]
    assert command("models", "--scan")[0] == 0


def test_backends_that_are_in_other_files(folder, command):
    """The first file gets a list of its own; what others have isn't new."""
    gguf(folder / "models" / "one.gguf")
    gguf(folder / "models" / "two.gguf")
    (folder / "more.yaml").write_text("backends: [{name: one, launch: {model: models/one.gguf}}]\n")
    (folder / "router.yaml").write_text("include: '*.yaml'\n")
    code, out, _ = command("models", "--scan", "--write")
    assert (code, "router.yaml has them now: two." in out) == (0, True)
    said = (folder / "router.yaml").read_text()
    assert said.startswith("include: '*.yaml'\n\nbackends:\n")
    assert "one" not in said
    assert command("check")[0] == 0


@pytest.mark.parametrize("words", [["init"], ["init", "--force"]])
def test_a_place_where_no_file_can_be(folder, command, words):
    (folder / "router.yaml").mkdir()
    gguf(folder.parent / "home/.lmstudio/models/m.gguf")
    assert command(*words) == (2, "", "router.yaml can't be written: Is a directory\n")
    code, _, err = command("init", "--config", "gone/router.yaml")
    assert (code, err) == (2, "gone/router.yaml can't be written: No such file or directory\n")


def test_no_file_to_write_to(folder, command):
    gguf(folder / "models" / "m.gguf")
    code, _, err = command("models", "--scan", "--write")
    assert code == 2
    assert "have one written by the command init" in err


def test_a_model_that_fits_nowhere(folder, command):
    """It is told, and isn't added."""
    gguf(folder / "models" / "huge.gguf", 4096 * GIB)
    (folder / "router.yaml").write_text("backends:\n  - url: http://a\n")
    code, out, _ = command("models", "--scan", "--write")
    assert code == 0
    assert "\nhuge: it takes " in out
    assert (folder / "router.yaml").read_text() == "backends:\n  - url: http://a\n"


def test_words_that_are_wrong(folder, command):
    assert command("models", "--write") == (2, "", "a FOLDER and --write are for --scan: say that, too\n")
    assert command("models", "--scan", "gone")[0] == 2
    code, out, _ = command("models", "--scan")
    assert (code, out) == (0, "No models were found. Name their folders: `models --scan FOLDER`.\n")
    (folder / "router.yaml").write_text("profile: tpu\nbackends: [{url: 'http://a'}]\n")
    code, _, err = command("models", "--scan")
    assert (code, err.startswith("profile: there is no profile tpu")) == (2, True)


def test_names_that_no_yaml_can_have(folder, command):
    """What can't be written is told, and the rest is added."""
    gguf(folder / "models" / "a\nb.gguf")
    gguf(folder / "models" / "a ${x}: #b.gguf")
    gguf(folder / "models" / "\udcff.gguf")
    (folder / "router.yaml").write_text("backends:\n  - url: http://a\n")
    code, out, _ = command("models", "--scan", "--write")
    assert code == 0
    assert out.count("its path has letters that router.yaml can't have: rename it") == 2
    assert '      model: "models/a $${x}: #b.gguf"\n' in (folder / "router.yaml").read_text()
    assert command("check")[0] == 0


def test_first_file(folder, command):
    """What fits, what can't be used as a comment; it isn't written twice without --force."""
    every_store(folder.parent / "home", folder)
    gguf(folder / "models" / "huge.gguf", 4096 * GIB)
    code, out, err = command("init")
    assert (code, err) == (0, "")
    file = folder / "router.yaml"
    said = file.read_text()
    assert "  # - name: huge\n" in said
    assert "\n  - name: llava-7b\n" in said
    assert "router.yaml is written. Backends: " in out
    assert command("check")[0] == 0
    code, _, err = command("init")
    assert (code, err) == (
        2,
        "router.yaml is there already: `models --scan --write` adds models to it, --force replaces it\n",
    )
    file.write_text("# mine\n")
    assert command("init", "--force")[0] == 0
    assert (file.read_text(), (folder / "router.yaml.bak").read_text()) == (said, "# mine\n")


def test_a_files_name_adds_no_keys(folder, command):
    """Whatever it is: it stands in a comment, with the reason."""
    gguf(folder / "models" / "m.gguf")
    gguf(folder / "models" / '\n  - name: evil\n    launch: {cmd: [rm, "{port}"]}\n.gguf')
    assert command("init")[0] == 0
    said = (folder / "router.yaml").read_text()
    assert [each.name for each in load(folder / "router.yaml", {}).config.backends] == ["m"]
    assert "rename it" in said


def test_nothing_to_write_of(folder, command):
    put(folder / "models" / "broken.gguf", b"GGUF")
    code, out, err = command("init")
    assert (code, out) == (2, "")
    assert err.startswith("No model was found on this disk, and no server that has some: nothing is written.\n")
    assert "Fetch a model: `python -m router pull Qwen/Qwen3-4B-GGUF` does, and offers its entry" in err
    assert "broken.gguf: the header is cut off" in err
    assert [each.name for each in folder.iterdir()] == ["models"]


async def test_a_server_that_runs_here(folder, monkeypatch):
    """It is in the file with its models; of Ollama's, those on the disk aren't launched beside it."""
    ollama(folder.parent / "home/.ollama/models", "llama3.2:latest")
    gguf(folder / "models" / "mine.gguf")
    async with FakeEngine(models=["llama3.2:latest", "mine"]) as fake:
        monkeypatch.setattr(servers, "USUAL", ((int(fake.url.rpartition(":")[2]), "Ollama", "ollama"),))
        assert await asyncio.to_thread(main, ["init"]) == 0
        said = (folder / "router.yaml").read_text()
        assert f"  - name: ollama\n    url: {fake.url}\n    models:\n" in said
        assert said.count("- name: ") == 2
        # A name of its own: the server has that model, too.
        assert "  - name: mine-2\n" in said


async def test_what_is_written_starts(folder, demo):
    """A real router on it, with a real engine."""
    make_demo_model.write_files(folder / "models" / "demo", demo)
    assert await asyncio.to_thread(main, ["init"]) == 0
    text = (folder / "router.yaml").read_text().replace("port: 8001", "port: 0")
    async with RunningRouter(folder, text) as router, aiohttp.ClientSession() as session:
        await router.ready()
        ask = {"model": "demo", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
        async with session.post(router.url + "/v1/chat/completions", json=ask) as answer:
            assert answer.status == 200, await answer.text()
