"""Command lines, taken apart."""

import pytest

from router.importing.commands import Launched, launched, secrets, split, with_port, without_keys


def model(line: str) -> Launched:
    found = launched(split(line))
    assert isinstance(found, Launched), found
    return found


@pytest.mark.parametrize(
    ("line", "args"),
    [
        ("llama-server -m a.gguf -ngl 99 -c 4096", {"n-gpu-layers": 99, "ctx-size": 4096}),
        ("llama-server -m a.gguf --gpu-layers=20 --temp 0.70", {"n-gpu-layers": 20, "temp": "0.70"}),
        ("llama-server -m a.gguf -fa --no-mmap", {"flash-attn": True, "no-mmap": True}),
        ("llama-server -m a.gguf --seed -1 --host 0.0.0.0 --port 1 -a x", {"seed": -1}),
        ("llama-server -m a.gguf --lora a --lora b --lora c", {"lora": ["a", "b", "c"]}),
        (
            """llama-server -m 'a b.gguf' --chat-template-kwargs '{"enable_thinking": false}'""",
            {"chat-template-kwargs": '{"enable_thinking": false}'},
        ),
    ],
)
def test_arguments(line, args):
    assert model(line).args == args


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("llama-server -m a.gguf", "a.gguf"),
        ("llama-server -hf org/a-GGUF:Q8_0", "org/a-GGUF:Q8_0"),
        ("llama-server -hf org/a-GGUF", "org/a-GGUF:Q4_K_M"),
        ("llama-server --hf-repo org/a --hf-file a.gguf", "org/a:a.gguf"),
    ],
)
def test_models(line, said):
    assert model(line).model == said


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("llama-server --port 1", "names no model"),
        ("llama-server -mu http://a/b.gguf", "model-url"),
        ("llama-server -m a.gguf stray", "no flag"),
        ("llama-server --models-dir x", "models-dir"),
    ],
)
def test_what_is_no_model(line, why):
    assert why in str(launched(split(line)))


def test_what_the_router_says_itself_is_left():
    """With the reason; a token is a variable."""
    found = model("llama-server -m a.gguf --api-key x --ssl-key-file y -hft hf_x")
    assert found.left.keys() == {"--api-key", "--ssl-key-file"}
    assert found.env == {"HF_TOKEN": "hf_x"}
    assert found.args == {}


def test_variables_before_a_program():
    found = split("env A=1 B='x y' prog --flag")
    assert (found.words, found.env, found.program) == (("prog", "--flag"), {"A": "1", "B": "x y"}, "prog")


@pytest.mark.parametrize("line", ["", "# nothing", "env A=1", "a 'b"])
def test_what_is_no_command(line):
    with pytest.raises(ValueError, match=r"names no program|quotation"):
        split(line)


@pytest.mark.parametrize(
    ("line", "engine"),
    [
        ("vllm serve x", "vllm"),
        ("/opt/bin/vllm serve x", "vllm"),
        ("python -m vllm.entrypoints.openai.api_server --model x", "vllm"),
        ("mlx_lm.server --model x", "mlx"),
        ("python -m mlx_lm.server --model x", "mlx"),
        ("python3 -m llama_cpp.server --model x", "llama_cpp"),
        ("/opt/llama-server-b6000 -m x", "llama_server"),
        ("whisper-server -m vllm.bin", ""),
        ("docker run vllm/vllm-openai:v1 --model x", ""),
    ],
)
def test_engines(line, engine):
    assert split(line).engine == engine


@pytest.mark.parametrize(
    ("words", "port", "found"),
    [
        (["a", "--port", "{port}", "9000"], 9000, ["a", "--port", "{port}", "9000"]),
        (["a", "--port", "9000", "-p=19000", "x:9000/y"], 9000, ["a", "--port", "{port}", "-p=19000", "x:{port}/y"]),
        (["a", "--listen-port", "9999"], None, ["a", "--listen-port", "{port}"]),
        (["a", "--port"], None, ["a", "--port"]),
    ],
)
def test_a_fixed_port_becomes_the_routers(words, port, found):
    assert list(with_port(words, port)) == found


def test_keys_and_secrets():
    """A key that a program asks for is left out; other secrets are found, numbers and paths are none."""
    assert without_keys(["a", "--api-key", "x", "--api-key=y", "-b"]) == (("a", "-b"), True)
    assert without_keys(["a", "-b"]) == (("a", "-b"), False)
    line = (
        "a --hf-token t --max-tokens 5 -e X_API_KEY=k --secret=s --ssl-key-file f -e HF_TOKEN=${HF_TOKEN} --tokenizer z"
    )
    words = line.split()
    (shell,) = secrets(["sh", "-c", "A=1 exec x --api-key sk-1 --max-tokens 5 --token $T --password 'x'"])
    assert shell == (2, "api-key", "sk-1")
    assert [*secrets(words)] == [(2, "hf-token", "t"), (6, "X_API_KEY", "k"), (7, "secret", "s")]
