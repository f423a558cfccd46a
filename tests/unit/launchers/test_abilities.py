"""What a model can do as its engine serves it; tests/engines compares it with what real engines say."""

from dataclasses import replace

import pytest

from launchers.abilities import UNKNOWN, Abilities, common, not_enabled, served
from launchers.described import NOT_DESCRIBED, Described
from launchers.spec import LaunchSpec

MODEL = Described(32768, tools=True, reasoning=True, generates=True, architecture="qwen3", parameters="8B", size=5)
HF = replace(MODEL, vision=False)


def able(engine, args=None, described=MODEL, env=None, *, on_cpu=True) -> Abilities:
    return served(LaunchSpec("m", engine, "m.gguf", "m", args or {}, env or {}, 60.0), described, on_cpu=on_cpu)


def test_what_files_say_is_passed_on():
    found = able("llama_server", described=replace(MODEL, quantization="Q4_K_M"))
    assert (found.architecture, found.parameters, found.quantization, found.size) == ("qwen3", "8B", "Q4_K_M", 5)


def test_of_an_engine_that_is_not_known_nothing_is():
    assert able("tiny") is UNKNOWN


@pytest.mark.parametrize(
    ("engine", "args", "context"),
    [
        ("llama_cpp", {}, 2048),
        ("llama_cpp", {"n_ctx": 8192}, 8192),
        ("llama_cpp", {"n-ctx": "8192"}, 8192),
        ("llama_cpp", {"n_ctx": 0}, 32768),
        ("llama_cpp", {"n_ctx": "many"}, None),
        ("llama_server", {}, 32768),
        ("llama_server", {"ctx-size": 0}, 32768),
        ("llama_server", {"ctx-size": 8192, "parallel": 2}, 8192),
        ("llama_server", {"ctx_size": 8192, "parallel": 2, "kv_unified": False}, 4096),
        ("llama_server", {"ctx-size": 8192, "kv-unified": False}, 2048),
        ("llama_server", {"ctx-size": 1 << 20}, 32768),
        ("llama_server", {"ctx-size": "x"}, None),
        ("llama_server", {"override-kv": "qwen3.context_length=int:5"}, None),
        ("mlx", {}, 32768),
        ("vllm", {}, 32768),
        ("vllm", {"max-model-len": 4096}, 4096),
        ("vllm", {"max_model_len": "4k"}, 4000),
        ("vllm", {"max_model_len": "4K"}, 4096),
        ("vllm", {"max-model-len": "auto"}, None),
        ("vllm", {"max-model-len": -1}, None),
        ("vllm", {"hf-overrides": {"max_position_embeddings": 5}}, None),
    ],
)
def test_the_context_that_counts_is_the_engines(engine, args, context):
    assert able(engine, args).context == context


def test_the_context_where_the_model_does_not_say_it():
    assert able("llama_server", described=NOT_DESCRIBED).context is None
    assert able("llama_server", {"ctx-size": 4096}, NOT_DESCRIBED).context == 4096
    assert able("llama_server", env={"LLAMA_ARG_CTX_SIZE": "5"}).context is None
    assert able("llama_cpp", {"n_ctx": 0}, NOT_DESCRIBED).context is None
    assert able("vllm", {"max-model-len": 4096}, NOT_DESCRIBED).context == 4096


def test_a_context_that_a_gpu_may_have_no_room_for_is_not_promised():
    """Nobody has asked for so much; what was asked for is there, or the engine doesn't start."""
    assert able("llama_server", on_cpu=False).context is None
    assert able("llama_server", {"fit": False}, on_cpu=False).context == 32768
    assert able("llama_server", {"ctx-size": 4096}, on_cpu=False).context == 4096


@pytest.mark.parametrize(
    ("engine", "args", "tools"),
    [
        # A call stays text with most of its formats.
        ("llama_cpp", {}, False),
        ("llama_cpp", {"chat_format": "chatml-function-calling"}, True),
        ("llama_server", {}, True),
        ("llama_server", {"jinja": False}, False),
        ("llama_server", {"chat-template": "chatml"}, None),
        ("mlx", {}, True),
        ("mlx", {"chat-template": "x"}, None),
        ("vllm", {}, False),
        ("vllm", {"enable-auto-tool-choice": True, "tool-call-parser": "hermes"}, True),
        ("vllm", {"tool-call-parser": "hermes"}, False),
    ],
)
def test_tools_are_those_that_come_as_calls(engine, args, tools):
    assert able(engine, args, HF).tools is tools
    assert not able(engine, args, replace(HF, tools=False)).tools or engine in {"vllm", "llama_cpp"}


@pytest.mark.parametrize(
    ("engine", "args", "described", "vision"),
    [
        ("llama_cpp", {}, MODEL, False),
        ("llama_cpp", {"clip_model_path": "c", "chat_format": "mtmd"}, replace(MODEL, vision=True), True),
        ("llama_server", {}, MODEL, False),
        ("llama_server", {"mmproj": "p.gguf"}, replace(MODEL, vision=True), True),
        ("llama_server", {"mmproj": "p.gguf"}, replace(MODEL, vision=False), False),
        ("llama_server", {"mmproj-url": "https://x"}, MODEL, None),
        # A hub's model may come with a projector.
        ("llama_server", {}, NOT_DESCRIBED, None),
        ("mlx", {}, HF, False),
        ("mlx", {}, replace(HF, vision=True), None),
        ("vllm", {}, HF, False),
        ("vllm", {}, replace(HF, vision=True), True),
        ("vllm", {"limit-mm-per-prompt": {"image": 0}}, replace(HF, vision=True), None),
        ("vllm", {"language-model-only": True}, replace(HF, vision=True), None),
    ],
)
def test_vision(engine, args, described, vision):
    assert able(engine, args, described).vision is vision


@pytest.mark.parametrize(
    ("engine", "args", "embeddings", "completion"),
    [
        ("llama_cpp", {}, False, True),
        ("llama_cpp", {"embedding": True}, True, True),
        ("llama_cpp", {"embedding": "false"}, False, True),
        ("llama_server", {}, False, True),
        ("llama_server", {"embeddings": True}, True, True),
        ("llama_server", {"reranking": True}, True, True),
        ("mlx", {}, False, True),
        ("vllm", {}, False, True),
        ("vllm", {"runner": "pooling", "convert": "embed"}, True, False),
        ("vllm", {"runner": "pooling", "convert": "classify"}, False, False),
        ("vllm", {"task": "embed"}, True, False),
    ],
)
def test_embeddings(engine, args, embeddings, completion):
    found = able(engine, args, HF)
    assert (found.embeddings, found.completion) == (embeddings, completion)


def test_an_encoder_completes_nothing():
    encoder = replace(HF, generates=False)
    assert able("llama_server", {"embeddings": True}, encoder).completion is False
    assert able("vllm", {}, encoder).embeddings is None


@pytest.mark.parametrize(
    ("engine", "args", "reasoning"),
    [
        ("llama_cpp", {}, True),
        ("llama_cpp", {"chat_format": "chatml"}, None),
        ("llama_server", {}, True),
        ("llama_server", {"chat-template-file": "x"}, None),
        ("mlx", {}, True),
        ("vllm", {}, True),
        ("vllm", {"chat-template": "x"}, None),
        ("vllm", {"chat-template": "x", "reasoning-parser": "qwen3"}, True),
    ],
)
def test_reasoning_is_the_templates(engine, args, reasoning):
    assert able(engine, args, HF).reasoning is reasoning


@pytest.mark.parametrize("engine", ["llama_cpp", "llama_server", "mlx", "vllm"])
@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, "", "x", -1, 1.5, True, None])
def test_no_argument_is_an_error(engine, value):
    """The engine itself refuses it."""
    names = ["n_ctx", "chat_format", "ctx-size", "parallel", "max-model-len", "runner", "task", "convert", "mmproj"]
    able(engine, {**dict.fromkeys(names, value), "kv-unified": False})


def test_of_several_what_all_can_do():
    one = Abilities(8192, True, True, True, False, None, "qwen3", "8B", "Q4_K_M", 5)
    two = Abilities(4096, True, False, None, False, True, "qwen3", "8B", "Q8_0", 9)
    assert common([one, two]) == Abilities(4096, True, False, None, False, None, "qwen3", "8B")
    assert common([one, one]) == common([one]) == one
    assert common([one, UNKNOWN]).context is None
    assert common([one, UNKNOWN]).completion is None
    assert common([]) is UNKNOWN


@pytest.mark.parametrize(
    ("engine", "args", "path", "needs"),
    [
        ("llama_server", {}, "/v1/rerank", "reranking: true"),
        ("llama_server", {"reranking": True}, "/v1/rerank", None),
        ("llama_server", {}, "/v1/audio/transcriptions", "mmproj: FILE of a model that hears"),
        ("llama_cpp", {}, "/v1/embeddings", "embedding: true"),
        ("llama_cpp", {"embedding": True}, "/v1/embeddings", None),
        ("vllm", {}, "/v1/embeddings", None),
    ],
)
def test_what_a_launch_does_not_enable(engine, args, path, needs):
    """Is told with the argument that would."""
    assert not_enabled(LaunchSpec("m", engine, "m.gguf", "m", args, {}, 60.0)).get(path) == needs
