"""What servers elsewhere tell of their models, each in its own way."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.abilities import UNKNOWN, Abilities
from router.proxy.watching.listed import listed, listed_in_part

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
LLAMA_CPP = {
    "owned_by": "llamacpp",
    "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    "meta": {"n_ctx": 4096, "n_ctx_train": 8192, "n_params": 169280, "size": 677120, "ftype": "all F32"},
}


def told(**model) -> Abilities:
    page = json.dumps({"object": "list", "data": [{"id": "m", **model}]}).encode()
    return listed(page).models["m"]


@pytest.mark.parametrize(
    ("model", "abilities"),
    [
        pytest.param({"owned_by": "vllm", "max_model_len": 4096}, Abilities(4096), id="vllm"),
        pytest.param(LLAMA_CPP, Abilities(4096, vision=False, quantization="F32", size=677120), id="llama.cpp"),
        pytest.param(
            {"context_length": 8192, "max_model_len": 8192, "capabilities": ["completion", "tools"]},
            Abilities(8192, completion=True, tools=True),
            id="this router",
        ),
        pytest.param(
            {
                "context_length": 1000,
                "architecture": {"input_modalities": ["text", "image"]},
                "supported_parameters": ["tools", "reasoning", "top_p"],
            },
            Abilities(1000, tools=True, vision=True, reasoning=True),
            id="OpenRouter",
        ),
        pytest.param(
            {"type": "embeddings", "max_context_length": 2048},
            Abilities(2048, completion=False, embeddings=True),
            id="LM Studio's embedder",
        ),
        pytest.param(
            {"type": "vlm", "max_context_length": 9, "loaded_context_length": 5, "capabilities": ["tool_use"]},
            Abilities(5, tools=True, vision=True),
            id="LM Studio",
        ),
        pytest.param(
            {
                "max_context_length": 32768,
                "capabilities": {"completion_chat": True, "function_calling": True, "vision": False},
            },
            Abilities(32768, completion=True, tools=True, vision=False),
            id="Mistral",
        ),
        pytest.param({"context_window": 131072}, Abilities(131072), id="Groq"),
        pytest.param({"owned_by": "library", "object": "model"}, UNKNOWN, id="Ollama"),
        pytest.param({"meta": {"n_ctx_train": 8192}}, UNKNOWN, id="an older llama.cpp"),
        pytest.param({"max_model_len": 1 << 40}, UNKNOWN, id="too much"),
        pytest.param({"max_model_len": True, "meta": {"n_ctx": "4"}, "context_length": -1}, UNKNOWN, id="no numbers"),
    ],
)
def test_what_a_server_tells(model, abilities):
    assert told(**model) == abilities


def test_llama_cpps_own_answers_lack_fields():
    page = json.dumps({"data": [{"id": "m", **LLAMA_CPP}]}).encode()
    assert listed(page).mends == {"/v1/messages", "/v1/responses"}
    assert listed(b'{"data": [{"id": "m"}]}').mends == frozenset()


def test_a_model_without_a_name_is_none():
    assert listed(b'{"data": [{"id": ""}]}').models == {}


@given(
    st.dictionaries(
        st.sampled_from(["max_model_len", "meta", "architecture", "capabilities", "type", "supported_parameters"]), JSON
    )
)
def test_no_field_keeps_a_model_from_being_found(fields):
    """Whatever stands in it."""
    told(**fields)


@pytest.mark.parametrize(
    "page",
    [
        b'[{"id": "a", "type": "chat"}, {"id": "b"}]',
        b'["a", "b"]',
        b'{"data": [{"id": "a"}, {"name": "x"}, {"id": null}, {"id": 7}, 5, {"id": "b"}]}',
        b'{"data": [{"id": "a"}, {"id": "line\\n"}, {"id": "b"}]}',
        b'{"models": [{"name": "a", "model": "a"}, {"name": "b", "model": "b"}]}',
        b'{"data": null, "models": [{"id": "a"}, {"id": "b"}]}',
    ],
)
def test_a_list_is_used_as_far_as_it_goes(page):
    """Bare, Ollama's, or with entries that are none."""
    assert list(listed(page).models) == ["a", "b"]


@pytest.mark.parametrize("page", [b"7", b"{}", b'{"data": null}', b'{"data": [{"name": "x"}]}', b'{"data": "a"}'])
def test_what_is_no_list(page):
    with pytest.raises(ValueError, match="no "):
        listed(page)


@pytest.mark.parametrize("begin", [b"[", b'{"object": "list", "data": [', b'\n{"models":['])
def test_the_beginning_of_a_list(begin):
    """Up to the first entry that isn't whole."""
    page = begin + b'{"id": "a"}, {"id": "b", "max_model_len": 7},\n{"id": "c", "x": [1, '
    found = listed_in_part(page).models
    assert (list(found), found["b"].context) == (["a", "b"], 7)


@pytest.mark.parametrize("page", [b"<html>", b'{"error": "no"}', b"[5, 6, "])
def test_the_beginning_of_what_is_no_list(page):
    with pytest.raises(ValueError, match="no "):
        listed_in_part(page)
