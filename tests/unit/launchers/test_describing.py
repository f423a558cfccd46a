"""A model's files are read once, and never fail a start."""

import json
import os
from dataclasses import replace

import pytest

from launchers import describing
from launchers.described import NOT_DESCRIBED
from launchers.footprints import files
from launchers.spec import LaunchSpec
from scripts import make_demo_model
from tests.unit.launchers.footprints.test_gguf import header

SPEC = LaunchSpec("demo", "llama_server", "", "demo", {}, {}, 60.0)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Make the demo model, in both of its forms."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo_model.write_files(folder, make_demo_model.build_files())
    return folder


def test_the_demo_model_in_both_forms(demo):
    gguf, folder = describing.describe(str(demo / "demo.gguf"), {}), describing.describe(str(demo), {})
    assert (gguf.context, gguf.tools, gguf.reasoning, gguf.generates) == (8192, False, False, True)
    assert (gguf.architecture, gguf.quantization) == ("qwen2", "F32")
    assert (folder.context, folder.tools, folder.reasoning, folder.generates) == (8192, False, False, True)
    assert (folder.architecture, folder.quantization, folder.vision) == ("qwen2", "BF16", False)
    assert gguf.parameters == folder.parameters == "169K"
    assert gguf.size == (demo / "demo.gguf").stat().st_size


def test_a_gguf_file_without_an_ending(demo, tmp_path):
    """As Ollama's have none: its first bytes tell, and its memory is estimated, too."""
    blob = tmp_path / "sha256-0123"
    blob.write_bytes((demo / "demo.gguf").read_bytes())
    assert describing.describe(str(blob), {}).context == 8192
    model = files.read_model(str(blob), {})
    assert model is not None
    assert model.context == 8192
    (tmp_path / "other").write_bytes(b"GGU")
    assert files.read_model(str(tmp_path / "other"), {}) is None


@pytest.mark.parametrize(
    ("name", "content", "tools"),
    [
        ("chat_template.jinja", "{{ tools }}", True),
        ("chat_template.json", json.dumps({"chat_template": "{{ tools }}"}), True),
        ("tokenizer_config.json", json.dumps({"chat_template": "{{ messages }}"}), False),
        (
            "tokenizer_config.json",
            json.dumps({"chat_template": [{"name": "default", "template": ""}, {"template": "{{ tools }}"}, 5]}),
            True,
        ),
        ("tokenizer_config.json", "{", None),
        ("tokenizer_config.json", "[]", None),
        ("tokenizer_config.json", '{"chat_template": 5}', None),
    ],
)
def test_where_a_template_may_be(demo, tmp_path, name, content, tools):
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((demo / file).read_bytes())
    (tmp_path / name).write_text(content)
    assert describing.describe(str(tmp_path), {}).tools is tools


def test_packed_weights_are_not_counted(demo, tmp_path):
    config = json.loads((demo / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((demo / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization": {"bits": 4}}))
    found = describing.describe(str(tmp_path), {})
    assert (found.parameters, found.quantization) == ("", "4-bit")


def test_files_are_read_again_only_if_they_have_changed(demo, tmp_path, monkeypatch):
    file = tmp_path / "m.gguf"
    file.write_bytes((demo / "demo.gguf").read_bytes())
    first = describing.describe(str(file), {})
    monkeypatch.setattr(files, "gguf_header", lambda _: pytest.fail("it was read again"))
    assert describing.describe(str(file), {}) is first
    monkeypatch.undo()
    file.write_bytes(b"GGUF")
    os.utime(file, (1, 1))
    assert describing.describe(str(file), {}) is NOT_DESCRIBED


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + bytes(1000), b"\xff" * 100_000])
@pytest.mark.parametrize("name", ["m.gguf", "m.safetensors", "m.bin"])
def test_a_broken_file_is_not_described(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "config.json").write_bytes(b"[" * 100_000)
    assert describing.describe(str(tmp_path / name), {}) is NOT_DESCRIBED


@pytest.mark.parametrize("name", ["absent.gguf", "org/name", "", "a\0b"])
def test_a_file_that_is_not_there_is_not_described(name, tmp_path):
    assert describing.describe(name, {"HF_HOME": str(tmp_path)}) is NOT_DESCRIBED


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.gguf")
    assert describing.describe(str(tmp_path / "m.gguf"), {}) is NOT_DESCRIBED


@pytest.mark.parametrize(
    ("keys", "sees"),
    [({"clip.has_vision_encoder": True}, True), ({"clip.has_vision_encoder": False}, False), ({}, None)],
)
def test_a_projector_says_whether_it_is_for_images(tmp_path, demo, keys, sees):
    (tmp_path / "mmproj.gguf").write_bytes(header({"general.architecture": "clip", **keys}))
    spec = replace(SPEC, model=str(demo / "demo.gguf"), args={"mmproj": str(tmp_path / "mmproj.gguf")})
    assert describing.describe_launch(spec, {}).vision is sees
    assert describing.describe_launch(replace(spec, args={"mmproj": str(tmp_path / "absent")}), {}).vision is None
    assert describing.describe_launch(replace(spec, args={}), {}).vision is None
