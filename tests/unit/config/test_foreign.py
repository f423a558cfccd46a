"""Configuration files of other programs are recognised, and what to write instead is right."""

import re

import pytest

from router.config import Config, ConfigError, foreign, load
from router.config.reading import places

LLAMA_SWAP = "healthCheckTimeout: 60\nmodels:\n  qwen:\n    cmd: llama-server --port ${PORT} -m q.gguf\n    ttl: 60\n"
LITELLM = "model_list:\n  - model_name: gpt\n    litellm_params: {model: openai/x, api_key: os.environ/KEY}\n"
MODELFILE = "# mine\nFROM llama3.2\nPARAMETER temperature 1\nSYSTEM You are Mario: a plumber.\n"
PRESETS = "; mine\nversion = 1\n\n[qwen]\nmodel = qwen.gguf\n"
VARIABLES = "OLLAMA_HOST=0.0.0.0:11434\nOLLAMA_KEEP_ALIVE=24h\n"


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        (LLAMA_SWAP, foreign.LLAMA_SWAP, "2:1 models"),
        ("models:\n  a: {cmd: x}\n", foreign.LLAMA_SWAP, "1:1 models"),
        (LITELLM, foreign.LITELLM, "1:1 model_list"),
        ("general_settings: {master_key: sk-1234}\n", foreign.LITELLM, "1:1 general_settings"),
        (MODELFILE, foreign.OLLAMA, "1:1"),
        (VARIABLES, foreign.OLLAMA, "1:1"),
        (PRESETS, foreign.LLAMA_PRESETS, "1:1"),
    ],
)
def test_a_file_of_another_program_is_one_problem(tmp_path, text, said, place):
    """Not one for each of its keys."""
    (tmp_path / "router.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "router.yaml", {})
    assert str(caught.value) == f"{tmp_path}/router.yaml:{place}: {said}"


@pytest.mark.parametrize(
    "text", ["models: [a]", "models: {a: b}", "from: x", "FROM_HERE: 1", "backends: []\nmodels: {a: {cmd: x}}"]
)
def test_our_own_with_a_mistake_is_ours(text):
    """A key too many makes it nobody else's."""
    assert foreign.of_data(places.parse(text.encode(), "f").data) == ("", "")


def test_many_empty_lines_are_read_at_once(tmp_path):
    """A pattern over all of them would take for ever."""
    (tmp_path / "router.yaml").write_text("\n" * 1000 + "# ours\n" + "\n" * 1000 + "backends: [{url: 'http://a'}]\n")
    assert load(tmp_path / "router.yaml", {}).config.backends


@pytest.mark.parametrize("said", [foreign.LLAMA_SWAP, foreign.LITELLM, foreign.LLAMA_PRESETS, foreign.OLLAMA])
def test_what_to_write_instead_can_be_used(said):
    """Each example in a message is a configuration, or an entry of `backends`."""
    for example in re.findall(r"`(backends: .*?|- .*?)`", said):
        text = example if example.startswith("backends") else f"backends:\n  {example}"
        Config.model_validate(places.parse(text.encode(), "f").data)
