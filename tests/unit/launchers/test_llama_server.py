import enum
import json
import os
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from launchers.engines import ENGINES
from launchers.engines.llama_server import SCRIPT
from launchers.errors import ArgumentError, UnfitRequestError
from launchers.spec import LaunchSpec
from launchers.wrappers import xllamacpp_server

ENGINE = ENGINES["llama_server"]


def spec(model="demo.gguf", args=None, env=None, calls=None):
    return LaunchSpec("demo-1", "llama_server", model, "demo", args or {}, env or {}, start_timeout=60, calls=calls)


def words(python="/usr/bin/llama-server", model="demo.gguf", **args):
    return " ".join(ENGINE.command(spec(model, args), 1234, python).argv)


OURS = "--parallel 4 --kv-unified --jinja --metrics"
PLACE = "--model demo.gguf --host 127.0.0.1 --port 1234 --alias demo"


def test_the_program_and_the_package_get_one_command_line():
    assert words() == f"/usr/bin/llama-server {OURS} {PLACE}"
    assert words("/usr/bin/python3") == f"/usr/bin/python3 -P {SCRIPT} {OURS} {PLACE}"
    assert SCRIPT.endswith("launchers/wrappers/xllamacpp_server.py")


@pytest.mark.parametrize(
    ("args", "written"),
    [
        ({"ctx_size": 4096}, "--ctx-size 4096"),
        ({"embeddings": True}, "--embeddings"),
        ({"embeddings": False}, ""),
        ({"warmup": False}, "--no-warmup"),
        ({"flash-attn": True}, "--flash-attn on"),
        ({"flash_attn": "auto"}, "--flash-attn auto"),
        ({"tensor-split": [3, 1]}, "--tensor-split 3,1"),
        ({"chat_template_kwargs": {"a": 1}}, '--chat-template-kwargs {"a": 1}'),
        ({"threads": None}, ""),
    ],
)
def test_an_argument_is_written_as_the_server_reads_it(args, written):
    assert words(**args) == " ".join(filter(None, ("/usr/bin/llama-server", OURS, written, PLACE)))


@pytest.mark.parametrize(
    "name",
    [
        *["check-tensors", "cpu-moe", "embedding", "embeddings", "mlock", "offline", "props", "rerank", "reranking"],
        *["special", "swa-full", "verbose"],
    ],
)
def test_a_switch_that_has_no_other_half_is_left_out_where_it_is_false(name):
    """The server would not start with `--no-` before it."""
    assert words(**{name: False}) == words()


@pytest.mark.parametrize("name", ["flash-attn", "fit", "log-colors"])
@pytest.mark.parametrize(("value", "word"), [(True, "on"), (False, "off")])
def test_a_switch_that_wants_a_word_gets_one(name, value, word):
    assert f" --{name} {word} " in words(**{name: value})


def test_the_users_arguments_go_over_ours():
    assert "--parallel 8 --no-kv-unified --no-jinja" in words(parallel=8, kv_unified=False, jinja=False)


@pytest.mark.parametrize(
    ("model", "written"),
    [
        ("org/name:Q4_K_M", "--hf-repo org/name:Q4_K_M"),
        ("org/name:a-Q4_K_M.gguf", "--hf-repo org/name --hf-file a-Q4_K_M.gguf"),
    ],
)
def test_a_hubs_model(model, written):
    assert f" {written} --host" in words(model=model)


@pytest.mark.parametrize("name", ["host", "port", "model", "hf-repo", "alias", "api-key", "ssl_key_file", "api_prefix"])
def test_what_is_the_routers_can_not_be_set(name):
    with pytest.raises(ArgumentError, match=rf"launch\.args: {name} can't be set for llama_server: \w+"):
        ENGINE.command(spec(args={name: "x"}), 1, "python")


@pytest.mark.parametrize("name", ["LLAMA_API_KEY", "LLAMA_ARG_HOST", "LLAMA_ARG_API_KEY"])
def test_nor_by_a_variable(name):
    with pytest.raises(ArgumentError, match=rf"launch\.env: {name} can't be set for llama_server: \w+"):
        ENGINE.command(spec(env={name: "x"}), 1, "python")


def test_a_shells_variables_change_nothing_that_is_served():
    shell = {"PATH": "/bin", "LLAMA_ARG_PORT": "1", "LLAMA_SERVER_ROUTER_PORT": "1", "LLAMA_ARG_EMBEDDINGS": "1"}
    environment = ENGINE.command(spec(env={"LLAMA_ARG_THREADS": "2"}), 1, "python").environment(shell)
    assert environment == {
        "PATH": "/bin", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1", "LLAMA_ARG_THREADS": "2",
    }  # fmt: skip


CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}}
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]


def right(body, path=CHAT, spec=None):
    return json.loads(ENGINE.put_right(path, json.dumps(body).encode(), spec))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"model": "m", **HELLO, "max_tokens": 5, "stream": True, "stream_options": {"include_usage": True}}),
        (CHAT, {**HELLO, "max_completion_tokens": 5, "n": 2, "tools": [TOOL], "tool_choice": "required"}),
        ("/v1/completions", {"prompt": ["a", "b"], "stop": ["x"]}),
        ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}),
        ("/v1/responses", {"input": "a"}),
        (CHAT, {**HELLO, "logit_bias": [[5, -1.0], ["cat", False]]}),
    ],
)
def test_most_requests_are_taken_as_they_are(path, body):
    body = json.dumps(body).encode()
    assert ENGINE.put_right(path, body) is body


def test_nulls_are_left_out():
    assert right({"input": "a", "encoding_format": None}, "/v1/embeddings") == {"input": "a"}
    null = {"type": "function", "function": {"name": "f", "description": None, "parameters": {"type": "object"}}}
    assert right({**HELLO, "tools": [null]})["tools"] == [TOOL]


def test_a_choice_of_one_tool_leaves_no_other():
    body = {**HELLO, "tools": [TOOL, OTHER], "tool_choice": {"type": "function", "function": {"name": "g"}}}
    assert right(body) == {**HELLO, "tools": [OTHER], "tool_choice": "required"}


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        (CHAT, {"functions": []}, "functions"),
        (CHAT, {"function_call": "auto"}, "function_call"),
        ("/v1/completions", {"prompt": "a", "suffix": "b"}, "suffix"),
        ("/v1/completions", {"prompt": "a", "echo": True}, "echo"),
        ("/v1/completions", {"prompt": "a", "logprobs": 0}, "logprobs"),
        ("/v1/completions", {"prompt": "a", "best_of": 3, "n": 2}, "best_of"),
        ("/v1/completions", {"prompt": ""}, "prompt"),
        ("/v1/completions", {"prompt": [[]]}, "prompt"),
        ("/v1/completions", {"prompt": ["a", ""]}, "prompt"),
        (CHAT, {"max_tokens": 0}, "max_tokens"),
        (CHAT, {"max_completion_tokens": 0}, "max_completion_tokens"),
        (CHAT, {"logit_bias": {"5": "x"}}, "logit_bias"),
        (CHAT, {"reasoning_format": "x"}, "reasoning_format"),
        (CHAT, {"modalities": ["text", "audio"]}, "modalities"),
        (CHAT, {"response_format": "json"}, "response_format"),
        (CHAT, {"response_format": {}}, "response_format"),
        (CHAT, {"response_format": {"type": "json_schema"}}, "response_format"),
        (CHAT, {"response_format": {"type": "json_schema", "schema": {}}}, "response_format"),
        ("/v1/embeddings", {"input": "a", "dimensions": 2}, "dimensions"),
        ("/v1/messages", {"messages": []}, "messages"),
        ("/v1/messages", {"messages": "a"}, "messages"),
        ("/v1/responses", {"input": []}, "input"),
        ("/v1/responses", {"input": "a", "text": {"format": {"type": "xml"}}}, "text"),
    ],
)
def test_what_it_would_leave_out_is_refused(path, more, param):
    with pytest.raises(UnfitRequestError) as caught:
        right({**HELLO, **more}, path)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("model", "args"),
    [("demo.gguf", {"mmproj": "p.gguf"}), ("demo.gguf", {"mmproj_url": "x"}), ("org/name:Q4_K_M", {})],
)
def test_images_go_to_a_model_that_may_read_them(model, args):
    assert right({"messages": IMAGE}, spec=spec(model, args)) == {"messages": IMAGE}


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize("content", ["", None, []])
def test_an_answer_that_is_empty_is_not_one_to_go_on_with(content):
    """It would cut off the end of the prompt."""
    assert right({"messages": [*HELLO["messages"], {"role": "assistant", "content": content}]}) == HELLO
    calls = [*HELLO["messages"], {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    assert right({"messages": calls})["messages"] == calls


def test_nor_is_one_of_the_other_apis():
    for path, name in (("/v1/messages", "messages"), ("/v1/messages/count_tokens", "messages"), (RESPONSES, "input")):
        kind = {"type": "message"} if name == "input" else {}
        user = {**kind, "role": "user", "content": "a"}
        empty = {**kind, "role": "assistant", "content": [{"type": "text", "text": ""}]}
        limit = {"max_tokens": 5}
        assert right({name: [user, empty], **limit}, path) == {name: [user], **limit}
        assert right({name: [user, empty, empty], **limit}, path) == {name: [user], **limit}
        calls = {**kind, "role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]}
        assert right({name: [user, calls], **limit}, path) == {name: [user, calls], **limit}


def test_log_probabilities_of_the_tokens_alone():
    """It would give none."""
    assert right({**HELLO, "logprobs": True, "top_logprobs": 0})["top_logprobs"] == 1


def test_arguments_that_are_no_json_are_refused():
    call = {**CALL, "function": {"name": "f", "arguments": "{bad"}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}, *HELLO["messages"]]
    with pytest.raises(UnfitRequestError, match="arguments must be a JSON object"):
        right({"messages": messages})


RESPONSES = "/v1/responses"
SCHEMA = {"type": "json_schema", "name": "x", "schema": {"type": "object"}}


def test_a_responses_form_is_said_as_chats_say_it():
    form = {"type": "json_schema", "json_schema": SCHEMA}
    assert right({"input": "a", "text": {"format": SCHEMA}}, RESPONSES)["response_format"] == form
    assert right({"input": "a", "text": {"format": {"type": "json_object"}}}, RESPONSES)["response_format"] == {
        "type": "json_object"
    }
    assert "response_format" not in right({"input": "a", "text": {"format": {"type": "text"}}}, RESPONSES)


def test_a_thought_of_which_nothing_is_told_is_left_out():
    told = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "a"}]}
    untold: dict[str, object] = {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "x"}
    user = {"type": "message", "role": "user", "content": "a"}
    assert right({"input": [untold, told, user]}, RESPONSES)["input"] == [told, user]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            RESPONSES,
            {
                "input": [
                    {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}
                ]
            },
        ),
        (RESPONSES, {"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]}),
        ("/v1/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "image"}]}]}),
        (
            "/v1/messages/count_tokens",
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image"}]}]}]},
        ),
    ],
)
def test_images_of_the_other_apis_too(path, body):
    """They are a 500 without a projector."""
    with pytest.raises(UnfitRequestError, match=r"is of type (input_)?image; llama_server without"):
        right(body, path, spec())
    assert right(body, path, spec(args={"mmproj": "p.gguf"})) == body


NAMED = {"type": "tool", "name": "g", "disable_parallel_tool_use": True}
MINE, ITS = {"name": "f", "input_schema": {}}, {"name": "g", "input_schema": {}}


@pytest.mark.parametrize("calls", [True, None])
def test_a_named_tool_of_messages_is_the_only_one(calls):
    """It would let the model call any."""
    body = {**HELLO, "max_tokens": 5, "tools": [MINE, ITS], "tool_choice": NAMED}
    assert right(body, "/v1/messages", spec(calls=calls)) == {**body, "tools": [ITS]}
    body = {**body, "tools": [ITS]}
    assert right(body, "/v1/messages", spec(calls=calls)) == body
    for tools in ([MINE], [], 5):
        with pytest.raises(UnfitRequestError, match="tool_choice names g, which is none of the tools"):
            right({**body, "tools": tools}, "/v1/messages")


@pytest.mark.parametrize(
    ("path", "choice", "tool"),
    [
        (CHAT, "required", TOOL),
        (CHAT, {"type": "function", "function": {"name": "f"}}, TOOL),
        ("/v1/messages", {"type": "any"}, ITS),
        ("/v1/messages", NAMED, ITS),
    ],
)
def test_a_call_that_is_wanted_of_a_model_that_sees_no_tools(path, choice, tool):
    """It would answer in words. Whoever doesn't want one may send tools, and a count asks for nothing."""
    body = {**HELLO, "max_tokens": 5, "tools": [tool], "tool_choice": choice}
    with pytest.raises(UnfitRequestError, match="wants a call, but this model's chat template shows it no tools"):
        right(body, path, spec(calls=False))
    free = "auto" if path == CHAT else {"type": "auto"}
    assert right({**body, "tool_choice": free}, path, spec(calls=False)) == {**body, "tool_choice": free}
    if path != CHAT:
        assert right(body, "/v1/messages/count_tokens", spec(calls=False)) == body


def test_images_are_refused_where_it_would_fail_at_them():
    with pytest.raises(UnfitRequestError, match=r"of type image_url; llama_server without launch\.args\.mmproj"):
        right({"messages": IMAGE}, spec=spec())


# The program for the package


class Kind(enum.IntEnum):
    """As the package names its choices."""

    FLASH_ATTN_TYPE_AUTO = -1
    FLASH_ATTN_TYPE_DISABLED = 0
    FLASH_ATTN_TYPE_ENABLED = 1


@dataclass
class Parameters:
    """A few of the package's, each with a default of its type."""

    n_ctx: int = 0
    cache_ram_mib: int = 8192
    warmup: bool = True
    embedding: bool = False
    flash_attn_type: Kind = Kind.FLASH_ATTN_TYPE_AUTO
    hostnames: list[str] = field(default_factory=lambda: ["0.0.0.0"])
    tensor_split: list[float] = field(default_factory=lambda: [0.0] * 4)
    model_alias: set[str] = field(default_factory=set)
    chat_template: str = ""
    default_template_kwargs: dict[str, str] = field(default_factory=dict)
    model: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(path=""))
    sampling: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(temp=0.8))


def test_flags_are_read():
    line = ["--ctx-size", "-1", "--embeddings", "--no-warmup", "--host", "127.0.0.1"]
    assert list(xllamacpp_server.read(line)) == [
        ("ctx-size", "-1"), ("embeddings", "true"), ("warmup", "false"), ("host", "127.0.0.1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "value", "attribute", "expected"),
    [
        ("ctx-size", "4096", "n_ctx", 4096),
        ("cache-ram", "0", "cache_ram_mib", 0),
        ("warmup", "false", "warmup", False),
        ("embeddings", "true", "embedding", True),
        ("flash-attn", "on", "flash_attn_type", Kind.FLASH_ATTN_TYPE_ENABLED),
        ("flash-attn", "auto", "flash_attn_type", Kind.FLASH_ATTN_TYPE_AUTO),
        ("host", "127.0.0.1", "hostnames", ["127.0.0.1"]),
        ("tensor-split", "3,1", "tensor_split", [3.0, 1.0]),
        ("alias", "demo", "model_alias", {"demo"}),
        ("chat-template", "chatml", "chat_template", "chatml"),
    ],
)
def test_a_flag_sets_its_parameter_in_the_parameters_type(flag, value, attribute, expected):
    parameters = Parameters()
    xllamacpp_server.put(parameters, flag, value)
    assert getattr(parameters, attribute) == expected


def test_a_flag_may_set_a_parameter_of_a_part():
    parameters = Parameters()
    xllamacpp_server.put(parameters, "model", "a.gguf")
    xllamacpp_server.put(parameters, "temp", "0.1")
    assert (parameters.model.path, parameters.sampling.temp) == ("a.gguf", 0.1)


@pytest.mark.parametrize(
    ("flag", "value", "error"),
    [
        ("nonsense", "1", AttributeError),
        ("ctx-size", "many", ValueError),
        ("flash-attn", "perhaps", ValueError),
        ("warmup", "perhaps", ValueError),
        ("default-template-kwargs", "{}", ValueError),
    ],
)
def test_a_flag_that_can_not_be_set_is_an_error(flag, value, error):
    with pytest.raises(error):
        xllamacpp_server.put(Parameters(), flag, value)


@pytest.mark.parametrize(
    ("path", "args", "env", "serves"),
    [
        ("/v1/embeddings", {}, {}, False),
        ("/v1/embeddings", {"embeddings": False}, {}, False),
        ("/v1/embeddings", {"embeddings": True}, {}, True),
        ("/v1/embeddings", {"embedding": True}, {}, True),
        ("/v1/embeddings", {"reranking": True}, {}, True),
        ("/v1/embeddings", {}, {"LLAMA_ARG_EMBEDDINGS": "1"}, True),
        ("/v1/rerank", {"embeddings": True}, {}, False),
        ("/v1/rerank", {"reranking": True}, {}, True),
        ("/v1/rerank", {"embedding": True, "pooling": "rank"}, {}, True),
    ],
)
def test_what_it_is_not_launched_for_is_said_to_be_so(path, args, env, serves):
    """It would say 501, which clients try again."""
    body = b'{"input":"a"}'
    if serves:
        assert ENGINE.put_right(path, body, spec(args=args, env=env)) == body
        return
    with pytest.raises(UnfitRequestError, match=rf"launched without {path}: it needs \w+: true in its launch\.args"):
        ENGINE.put_right(path, body, spec(args=args, env=env))


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """A system without OpenMP's library, where packages lie in a folder; what the program begins anew with."""
    found: list[list[str]] = []
    monkeypatch.setattr(xllamacpp_server, "OPENMP", "libnowhere.so.1")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "other"), str(tmp_path)])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-P", "it.py", "--port", "1"])
    monkeypatch.setattr(os, "execv", lambda _, words: found.append(words))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    return found


def test_openmp_of_a_package_is_found_by_beginning_anew(begun, tmp_path):
    """The dynamic linker looks there only if it is told before the program begins; what it was told before stays."""
    folder = tmp_path / "cmeel.prefix/lib"
    folder.mkdir(parents=True)
    (folder / xllamacpp_server.OPENMP).touch()
    xllamacpp_server.find_openmp()
    assert begun == [[sys.executable, "-P", "it.py", "--port", "1"]]
    assert os.environ["LD_LIBRARY_PATH"] == f"/mine:{folder}"
    # Where it can't be loaded even so, it isn't tried for ever.
    with pytest.raises(SystemExit, match=r"needs libnowhere\.so\.1, which is missing"):
        xllamacpp_server.find_openmp()


def test_without_openmp_it_is_said_what_brings_it(begun):
    """Instead of the error of an import."""
    with pytest.raises(SystemExit, match="apt install libgomp1, or pip install cmeel-libomp"):
        xllamacpp_server.find_openmp()
    assert begun == []


def test_openmp_of_the_system_is_taken_as_it_is(begun, monkeypatch):
    """Nothing begins anew."""
    monkeypatch.setattr(xllamacpp_server, "OPENMP", None)  # the program itself, which is always there
    xllamacpp_server.find_openmp()
    assert begun == []
