import json
import os
from pathlib import Path

import pytest

from launchers.scan.reading import GGUF, INDEX, MLX, PLAIN, VLLM, Read, read
from launchers.scan.walk import Walk
from scripts import make_demo_model
from tests.unit.launchers.footprints.test_gguf import DATA, LLAMA, TENSORS, header

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 4096}


@pytest.fixture(scope="module")
def demo():
    """Give the demo model's files."""
    return make_demo_model.build_files()


def llama(**keys):
    return header({**LLAMA, **{name.replace("__", "."): value for name, value in keys.items()}}, TENSORS) + bytes(DATA)


def only(folder: Path) -> Read:
    """Read the one model of a folder."""
    (each,) = Walk(lambda: True).candidates([folder])
    return read(each)


def test_the_demo_model_in_both_forms(tmp_path, demo):
    make_demo_model.write_files(tmp_path, demo)
    gguf, folder = map(read, Walk(lambda: True).candidates([tmp_path]))
    assert (gguf.engines, gguf.described.quantization, gguf.described.context) == (GGUF, "F32", 8192)
    assert (folder.engines, folder.described.quantization, folder.described.context) == (PLAIN, "BF16", 8192)
    assert gguf.described.size == len(demo["demo.gguf"])
    assert folder.described.size == len(demo["model.safetensors"])


def test_a_projector(tmp_path):
    """It is a model's eyes, or its ears; a damaged one isn't used."""
    (tmp_path / "m.gguf").write_bytes(llama())
    eyes = {"general.architecture": "clip", "clip.has_vision_encoder": True}
    (tmp_path / "mmproj.gguf").write_bytes(header(eyes))
    assert only(tmp_path).described.vision is True
    (tmp_path / "mmproj.gguf").write_bytes(header({**eyes, "clip.has_vision_encoder": False}))
    assert only(tmp_path).described.vision is False
    (tmp_path / "mmproj.gguf").write_bytes(b"GGUF")
    each = only(tmp_path)
    assert (each.described.vision, each.candidate.projector, each.engines) == (False, None, GGUF)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the header is cut off"),
        (b"<html>not found", "this is no GGUF file"),
        (llama()[:-500], "the file is cut off"),
        (header(LLAMA), "it has a vocabulary alone"),
        (llama(general__architecture="clip"), "what a model reads images with"),
        (llama(general__type="adapter"), "an adapter"),
        (llama(general__type="imatrix"), "measures"),
        (llama(general__architecture="flux"), "flux.block_count is 0"),
        (b"GGUF" + b"\x03\0\0\0" + b"\xff" * 16, "more than"),
    ],
)
def test_gguf_files_that_are_no_models(tmp_path, content, reason):
    """The reason is a sentence about the file, without its path."""
    (tmp_path / "m.gguf").write_bytes(content)
    each = only(tmp_path)
    assert each.reason.startswith(reason) or reason in each.reason
    assert not each.engines
    assert str(tmp_path) not in each.reason


@pytest.mark.parametrize(
    ("config", "engines"),
    [
        ({}, PLAIN),
        ({"quantization": {"bits": 4, "group_size": 64}, "quantization_config": {"bits": 4}}, MLX),
        ({"quantization_config": {"quant_method": "awq"}}, VLLM),
        ({"architectures": ["BertModel"], "model_type": "bert"}, VLLM),
        ({"vision_config": {}}, PLAIN),
    ],
)
def test_which_engines_read_a_folder(tmp_path, demo, config, engines):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (tmp_path / "model.safetensors").write_bytes(demo["model.safetensors"])
    each = only(tmp_path)
    assert (each.engines, each.reason, each.described.context) == (engines, "", 4096)
    assert each.described.vision is ("vision_config" in config)


def test_weights_of_torch(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "pytorch_model.bin").write_bytes(b"12345")
    each = only(tmp_path)
    assert (each.engines, each.described.context, each.described.size) == (VLLM, 4096, 5)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"config.json": b"{}"}, "its config.json names no architecture"),
        ({"config.json": b"{"}, "Expecting property name"),
        ({"config.json": b"[" * 200_000}, "config.json"),
        ({"model.safetensors": b"x"}, "the header is cut off"),
        ({"model.safetensors": b"\xff" * 100}, "this is no safetensors file"),
        ({INDEX: b'{"weight_map": {"a": "model.safetensors", "b": "gone"}}'}, "1 of its 2 files"),
        ({INDEX: b'{"weight_map": {"a": "../../etc/passwd"}}'}, "0 of its 1 files"),
    ],
)  # fmt: skip
def test_folders_that_can_not_be_used(tmp_path, demo, names, reason):
    usual = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": demo["model.safetensors"]}
    for name, content in {**usual, **names}.items():
        (tmp_path / name).write_bytes(content)
    each = only(tmp_path)
    assert reason in each.reason
    assert not each.engines
    assert str(tmp_path) not in each.reason


@pytest.mark.parametrize("index", [b"", b"5", b"{}", b'{"weight_map": 5}', b'{"weight_map": {}}', b"\xff"])
def test_an_index_that_says_nothing(tmp_path, demo, index):
    """The weights count that are there."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(demo["model.safetensors"])
    (tmp_path / INDEX).write_bytes(index)
    assert only(tmp_path).engines == PLAIN


def test_what_is_no_file(tmp_path):
    """A FIFO isn't waited for, and a link to nothing is told."""
    os.mkfifo(tmp_path / "a.gguf")
    (tmp_path / "b.gguf").symlink_to("gone")
    pipe, link = map(read, Walk(lambda: True).candidates([tmp_path]))
    assert pipe.reason.startswith("can't be read: ")
    assert link.reason == "can't be read: No such file or directory"
