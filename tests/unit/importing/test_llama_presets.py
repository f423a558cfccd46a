"""Presets of llama.cpp's server: where requests went, and with which flags."""

from pathlib import Path

import pytest

from router.config import foreign
from router.core.errors import ModelNotFoundError
from router.importing import llama_presets, recognising
from tests.unit.importing.routed import Made, Routed, made_of

FILE = Path(__file__).parent / "imports" / "llama-presets" / "models.ini"


@pytest.fixture(scope="module")
def made() -> Made:
    return made_of(FILE.read_bytes(), FILE.name)


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ("qwen", "qwen:qwen"),
        ("gpt-4o", "qwen:qwen"),
        ("qwen3", "qwen:qwen"),
        ("someone/Small-GGUF:Q8_0", "someone-Small-GGUF-Q8_0:someone/Small-GGUF:Q8_0"),
        ("hub", "hub:hub"),
        ("local", "local:local"),
    ],
)
def test_a_request_goes_where_it_went(made, model, where):
    """To the section of that name."""
    assert Routed(made[2]).where(model) == where


@pytest.mark.parametrize("model", ["*", "default", "nothing"])
def test_what_is_no_model_is_none(made, model):
    with pytest.raises(ModelNotFoundError):
        Routed(made[2]).where(model)


def test_flags(made):
    """By their long names; a model's own win over those of all; the router's are left out."""
    launches = {each.name: each.launch for each in made[2].backends}
    qwen, small = launches["qwen"], launches["someone-Small-GGUF-Q8_0"]
    assert dict(qwen.args) == {
        "ctx-size": 32768, "n-gpu-layers": 99, "jinja": True, "kv-unified": True, "temp": 0.7, "flash-attn": "on",
        "no-mmap": True, "chat-template-kwargs": '{"enable_thinking": false}',
    }  # fmt: skip
    assert (small.args["parallel"], small.args["ubatch-size"], small.args["ctx-size"]) == (2, 256, 8192)
    assert (launches["local"].args["warmup"], launches["local"].args["flash-attn"]) == (False, "auto")
    assert [each.load for each in launches.values()] == ["startup", *["on_demand"] * 3]
    assert small.unload_after == 900


def test_models(made):
    """Files, hubs, and sections that are called like a hub's."""
    assert [each.launch.model for each in made[2].backends] == [
        "models/qwen.gguf", "someone/Small-GGUF:Q8_0", "someone/Large-GGUF:Q4_K_M", "models/local.gguf",
    ]  # fmt: skip


def test_no_secret_is_carried(made):
    assert "hf_ofnobody" not in made[1]
    assert "sk-inner-one" not in made[1]
    assert made[0].variables.keys() == {"HF_TOKEN"}


@pytest.mark.parametrize(("what", "line"), [("[qwen] --api-key", 20), ("[nothing]", 32), ("a line", 38)])
def test_what_is_left_out_is_told_with_its_line(made, what, line):
    assert [each.line for each in made[0].left_out if each.what == what] == [line]


def test_what_stands_before_all_sections_is_a_model_if_it_names_one():
    found = llama_presets.imported("model = a.gguf\n[b]\nmodel = b.gguf\n", "f")
    assert [each.name for each in found.entries] == ["default", "b"]


def test_a_byte_order_mark_is_no_part_of_them():
    """Some editors write it."""
    found = recognising.imported(b"\xef\xbb\xbf[a]\nmodel = a.gguf\n", "f")
    assert found is not None
    assert [each.name for each in found.entries] == ["a"]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("[a]\nmodel = x\n", True),
        ("; first\n\nversion = 1\n[*]\nc = 1\n", True),
        ("[a]\nname = x\n", False),
        ("model = x\n", False),
        ("[tool.x]\nselect = 1\n", False),
        ("backends:\n  - a\n[x]\nmodel = 1\n", False),
    ],
)
def test_they_are_recognised(text, is_one):
    """By a section, and a flag that presets have."""
    assert (foreign.of_text(text) == foreign.LLAMA_PRESETS) is is_one
