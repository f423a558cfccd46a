"""What a model's headers, configuration and template say of it."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.described import Described, context_of, counted, from_config, from_gguf, reads_tools, reasons
from launchers.footprints.gguf import MOST_LONG, read_header
from tests.unit.launchers.footprints.test_gguf import LLAMA, TENSORS, header

QWEN3 = "{%- if tools %}{{- '<tools>' }}{%- endif %}{%- if enable_thinking is defined %}{%- endif %}"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def described(keys, tensors=TENSORS):
    return from_gguf([read_header(io.BytesIO(header({**LLAMA, **keys}, tensors)))], 1000)


def test_a_gguf_file_says_what_its_model_is():
    found = described({"general.file_type": 15, "tokenizer.chat_template": QWEN3, "general.size_label": "8B"})
    assert found == Described(
        4096,
        tools=True,
        reasoning=True,
        generates=True,
        architecture="llama",
        parameters="8.6K",
        quantization="Q4_K_M",
        size=1000,
    )


def test_what_a_gguf_file_does_not_say_is_not_known():
    """A type of file that isn't known, a template that is too long, no tensors."""
    found = described({"general.file_type": 9999, "tokenizer.chat_template": " " * (MOST_LONG + 1)}, ())
    assert (found.tools, found.reasoning, found.quantization, found.parameters) == (None, None, "", "")
    assert described({"general.size_label": "8x7B"}, ()).parameters == "8x7B"
    assert described({"llama.context_length": 0}).context is None


def test_a_template_of_its_own_for_tools_shows_them():
    found = described({"tokenizer.chat_template": "{{ messages }}", "tokenizer.chat_template.tool_use": "{{ tools }}"})
    assert found.tools is True


def test_an_encoder_generates_nothing():
    assert described({"general.architecture": "bert"}).generates is False


@pytest.mark.parametrize(
    ("template", "reads"),
    [
        ("{% if tools %}", True),
        ("{%- for tool in tools -%}", True),
        ("{{ tools | tojson }}", True),
        ("{%- if not tools is defined %}{% endif %}", True),
        ("You have tools. {{ messages }}", False),
        ("{{ message.tools }} {{ 'tools' }} {{ my_tools }} {{ toolset }}", False),
        ("{{ tools", True),
        ("", False),
        ("{%" * 100_000, False),
    ],
)
def test_a_template_reads_tools_in_its_code_alone(template, reads):
    assert reads_tools(template) is reads


def test_a_template_that_thinks():
    assert reasons("{% if reasoning_effort %}")
    assert not reasons("{{ messages }}")


@pytest.mark.parametrize(
    ("weights", "words"),
    [(0, ""), (7, "7"), (494_032_768, "494M"), (7_615_616_512, "7.6B"), (8_000_000_000, "8B"), (10**13, "10T")],
)
def test_weights_are_counted_as_people_do(weights, words):
    assert counted(weights) == words


def test_a_configuration_says_what_its_model_is():
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "max_position_embeddings": 32768,
        "torch_dtype": "bfloat16",
    }
    assert from_config(config, QWEN3, 7_615_616_512, 5) == Described(
        32768,
        tools=True,
        reasoning=True,
        vision=False,
        generates=True,
        architecture="qwen2",
        parameters="7.6B",
        quantization="BF16",
        size=5,
    )


def test_a_model_with_vision_has_its_context_in_the_inner_configuration():
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "vision_config": {},
        "text_config": {"max_position_embeddings": 131072},
    }
    found = from_config(config, None, 0, 0)
    assert (found.vision, found.context, found.generates, found.tools) == (True, 131072, True, None)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quantization": {"bits": 4, "group_size": 64}}, "4-bit"),
        ({"quantization_config": {"quant_method": "awq"}}, "AWQ"),
        ({"text_config": {"dtype": "float16"}}, "F16"),
        ({"dtype": "int3"}, ""),
        ({"dtype": 5, "quantization": 5}, ""),
    ],
)
def test_how_weights_are_stored(config, words):
    assert from_config(config, None, 0, 0).quantization == words


@pytest.mark.parametrize("value", [0, -1, 1 << 40, "many", None, 1.5])
def test_a_context_that_can_not_be_is_not_believed(value):
    assert context_of({"max_position_embeddings": value}) is None


@given(st.dictionaries(st.sampled_from(["architectures", "model_type", "text_config", "rope_scaling", "dtype"]), JSON))
def test_no_configuration_is_an_error(config):
    """Whatever stands in it."""
    from_config({"max_position_embeddings": 8, **config}, None, 0, 0)


@given(JSON, JSON, JSON)
def test_no_scaling_is_an_error(factor, kind, original):
    scaling = {"factor": factor, "rope_type": kind, "original_max_position_embeddings": original}
    found = context_of({"max_position_embeddings": 8, "rope_scaling": scaling})
    assert found is None or found > 0
