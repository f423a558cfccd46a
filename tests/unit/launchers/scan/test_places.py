from pathlib import Path

import pytest

from launchers.scan.places import known

HOME = Path("/home/me")
USUAL = [
    "/work/models",
    "/home/me/.cache/huggingface/hub",
    "/home/me/.lmstudio/models",
    "/home/me/.cache/lm-studio/models",
    "/home/me/.ollama/models",
    "/usr/share/ollama/.ollama/models",
    "/home/me/.cache/llama.cpp",
]


def test_where_programs_keep_models():
    assert [str(each) for each in known(Path("/work"), {}, HOME)] == USUAL


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"HF_HUB_CACHE": "/hub"}, "/hub"),
        ({"HF_HOME": "/hf"}, "/hf/hub"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/llama.cpp"),
        ({"OLLAMA_MODELS": "/ollama"}, "/ollama"),
        ({"LLAMA_CACHE": "/llama"}, "/llama"),
    ],
)
def test_variables_that_say_otherwise(environ, place):
    found = [str(each) for each in known(Path("/work"), environ, HOME)]
    assert place in found
    assert ("/usr/share/ollama/.ollama/models" in found) == ("OLLAMA_MODELS" not in environ)


def test_a_mac():
    assert Path("/home/me/Library/Caches/llama.cpp") in known(Path("/work"), {}, HOME, is_mac=True)


def test_a_place_counts_once():
    assert [*known(Path("/work"), {"OLLAMA_MODELS": "/work/models"}, HOME)].count(Path("/work/models")) == 1
