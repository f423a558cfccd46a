"""What is true of every engine, and what several share."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.engines import ENGINES, Engine, bodies, llama_cpp
from launchers.errors import ArgumentError, ModelNotFoundError, UnfitRequestError
from launchers.spec import LaunchSpec
from router.core.apis import OLLAMA, PARTIAL, TRANSLATABLE
from router.translate import MENDERS

PAGE = Path(__file__).parents[3] / "docs" / "adding-an-engine.md"
CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


@dataclass(frozen=True)
class Folders:
    """A disk that is a table: folder → names."""

    folders: dict[str, list[str]]
    home: str = "/home/me"

    def is_dir(self, path):
        """See launchers.engines.Files."""
        return path.rstrip("/").removeprefix("./") in self.folders

    def is_file(self, path):
        """See launchers.engines.Files."""
        folder, _, name = path.removeprefix("./").rpartition("/")
        return name in self.folders.get(folder, [])

    def list(self, folder):
        """See launchers.engines.Files."""
        return sorted(self.folders[folder.rstrip("/").removeprefix("./")])


DISK = Folders({
    "models": [],
    "models/demo": ["config.json", "demo.gguf", "model.safetensors"],
    "models/gguf": ["demo.gguf"],
    "/models/demo": ["config.json"],
    "/home/me/demo": ["config.json"],
})  # fmt: skip


def test_the_engines_and_their_order():
    assert list(ENGINES) == ["llama_cpp", "llama_server", "mlx", "vllm"]


@pytest.fixture(params=ENGINES.values(), ids=list(ENGINES))
def engine(request):
    return request.param


def test_what_every_engine_says_of_itself(engine):
    assert ENGINES[engine.name] is engine
    assert engine.install.startswith("pip install ")
    assert engine.suits
    assert engine.ready_path.startswith("/")
    assert engine.parallel >= 1
    assert {CHAT, COMPLETIONS} <= engine.apis
    assert engine.apis <= bodies.APIS
    assert engine.mends <= engine.apis & MENDERS.keys()
    assert engine.counter == "" or engine.counter.startswith("/v1/")


def test_the_router_knows_what_engines_may_lack():
    """Each path is had by all engines, translated, or an error that names the models that have it."""
    assert {CHAT, COMPLETIONS} | (TRANSLATABLE - OLLAMA) | PARTIAL == bodies.APIS


def test_an_engine_counts_prompts_in_one_way_at_most(engine):
    """By Anthropic's API, or by a path of our wrapper; clients of an engine without either get an estimate."""
    assert not ("/v1/messages/count_tokens" in engine.apis and engine.counter)


@pytest.mark.parametrize("name", ["llama_cpp", "llama_server", "mlx", "vllm"])
def test_prompts_are_counted_exactly(name):
    """By each of these."""
    assert "/v1/messages/count_tokens" in ENGINES[name].apis or ENGINES[name].counter


def test_a_body_to_count_is_put_right_as_a_chat(engine):
    """The count is of what the chat would be."""
    chat = json.dumps({"messages": [{"role": "developer", "content": None}], "tools": [], "top_k": "4"}).encode()
    if engine.counter:
        assert engine.put_right(engine.counter, chat) == engine.put_right(CHAT, chat) != chat
        with pytest.raises(UnfitRequestError, match="messages"):
            engine.put_right(engine.counter, b"{}")


def test_every_engine_is_found_and_commanded(engine):
    """A model that is found is found again by its own answer; the command names place and model."""
    found = engine.find_model("models/demo", DISK)
    assert engine.find_model(found, DISK) == found
    command = engine.command(LaunchSpec("demo-1", engine.name, found, "demo", {}, {}, 60), 1234, "/python")
    assert command.argv[0] == "/python"
    assert found in command.argv
    assert command.argv[command.argv.index("--port") + 1] == "1234"
    assert command.argv[command.argv.index("--host") + 1] == "127.0.0.1"
    assert command.env["PYTHONUNBUFFERED"] == "1"


@pytest.mark.parametrize("name", ["host", "port", "model", "HOST", "Port"])
def test_no_engine_lets_the_router_s_be_set(engine, name):
    spec = LaunchSpec("demo-1", engine.name, "m", "demo", {name: "x"}, {}, 60)
    with pytest.raises(ArgumentError, match=f"{name} can't be set for {engine.name}: "):
        engine.command(spec, 1, "python")


ROUTERS_ARGUMENTS = {
    "llama_cpp": [
        *["hf_model_repo_id", "model_alias", "interrupt_requests", "config_file", "api_key"],
        *["ssl_keyfile", "ssl_certfile"],
    ],
    "llama_server": [
        *["reuse-port", "model-url", "docker-repo", "hf-repo", "hf-file", "models-dir", "models-preset", "alias"],
        *["api-key", "api-key-file", "api-prefix", "ssl-key-file", "ssl-cert-file"],
    ],
    "mlx": ["pipeline"],
    "vllm": [
        *["uds", "model-tag", "served-model-name", "api-key", "root-path", "config", "headless", "grpc", "omni"],
        *["ssl-keyfile", "ssl-certfile", "ssl-ca-certs"],
    ],
}
ROUTERS_VARIABLES = {
    "llama_cpp": ["HOST", "MODEL_ALIAS", "INTERRUPT_REQUESTS", "CONFIG_FILE", "API_KEY"],
    "llama_server": [
        *["LLAMA_API_KEY", "LLAMA_SERVER_ROUTER_PORT", "LLAMA_SERVER_CHILD_MODE", "LLAMA_ARG_HOST", "LLAMA_ARG_MODEL"],
        "LLAMA_ARG_API_PREFIX",
    ],
    "mlx": [
        *["MLX_RANK", "MLX_WORLD_SIZE", "MLX_HOSTFILE", "MLX_IBV_DEVICES", "MLX_IBV_COORDINATOR"],
        "MLX_JACCL_COORDINATOR",
    ],
    "vllm": ["VLLM_API_KEY", "VLLM_HOST_IP", "VLLM_PORT", "VLLM_MODEL_REDIRECT_PATH"],
}
SHELLS_VARIABLES = {
    "llama_cpp": ["WEB_CONCURRENCY", "SEED", "CACHE"],
    "llama_server": [
        f"LLAMA_ARG_{name}"
        for name in (
            *("AGENT", "EMBEDDINGS", "POOLING", "RERANKING", "N_PREDICT", "CTX_SIZE", "N_PARALLEL", "KV_UNIFIED"),
            *("MMPROJ", "MMPROJ_URL", "RPC", "TOOLS", "MCP_SERVERS_CONFIG", "MCP_SERVERS_JSON", "LOG_FILE", "OFFLINE"),
        )
    ],
    "mlx": [],
    "vllm": [
        *["VLLM_SERVER_DEV_MODE", "VLLM_LOGGING_CONFIG_PATH", "VLLM_LOOPBACK_IP", "VLLM_RPC_BASE_PATH"],
        *["VLLM_DP_RANK", "VLLM_DP_RANK_LOCAL", "VLLM_DP_SIZE", "VLLM_DP_MASTER_IP", "VLLM_DP_MASTER_PORT"],
    ],
}


def pairs(table):
    return [(engine, name) for engine, names in table.items() for name in names]


@pytest.mark.parametrize(("engine", "name"), pairs(ROUTERS_ARGUMENTS))
def test_an_argument_of_the_routers_is_refused(engine, name):
    """Each would have the engine listen elsewhere, serve something else or ask for another key."""
    spec = LaunchSpec("demo-1", engine, "m", "demo", {name: "x"}, {}, 60)
    with pytest.raises(ArgumentError, match=rf"launch\.args: {name} can't be set for {engine}: \w+"):
        ENGINES[engine].command(spec, 1, "python")


@pytest.mark.parametrize(("engine", "name"), pairs(ROUTERS_VARIABLES))
def test_a_variable_of_the_routers_is_refused_and_not_inherited(engine, name):
    """In launch.env it is a mistake; in somebody's shell it is left behind."""
    spec = LaunchSpec("demo-1", engine, "m", "demo", {}, {name: "x"}, 60)
    with pytest.raises(ArgumentError, match=rf"launch\.env: {name} can't be set for {engine}: \w+"):
        ENGINES[engine].command(spec, 1, "python")
    command = ENGINES[engine].command(replace(spec, env={}), 1, "python")
    assert name not in command.environment({name: "x"})


@pytest.mark.parametrize(("engine", "name"), pairs(SHELLS_VARIABLES))
def test_a_variable_of_a_shell_does_not_change_what_is_served(engine, name):
    """But launch.env may set it."""
    spec = LaunchSpec("demo-1", engine, "m", "demo", {}, {}, 60)
    assert name not in ENGINES[engine].command(spec, 1, "python").environment({name: "x"})


def test_a_good_request_goes_through_every_engine(engine):
    body = json.dumps({"model": "demo", **HELLO, "max_tokens": 5, "temperature": 0.5, "stream": True}).encode()
    sent = engine.put_right(CHAT, body)
    assert json.loads(sent)["messages"] == HELLO["messages"]
    assert sent is body


def test_what_shows_that_it_is_ready_is_a_request_that_it_may_get(engine):
    if engine.ready_request is not None:
        path, body = engine.ready_request
        assert path in engine.apis
        assert engine.put_right(path, body)


FIELDS = [
    *["prompt", "input", "tool_choice", "functions", "function_call", "response_format", "stop", "stream", "n"],
    *["stream_options", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs", "logit_bias", "suffix"],
    *["echo", "best_of", "seed", "temperature", "priority", "encoding_format", "dimensions", "top_k", "adapters"],
]
INNER = [
    *["role", "content", "tool_calls", "type", "text", "refusal", "function", "name", "arguments", "parameters"],
    *["allowed_tools", "mode", "tools", "schema", "json_schema", "include_usage", "image_url", "id"],
]
WORDS = ["f", "", "user", "tool", "function", "text", "image_url", "auto", "none", "required", "5", "5.0", "1e2"]
SCALARS = st.none() | st.booleans() | st.integers(-1, 9) | st.sampled_from(WORDS) | st.floats(0, 2)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
    max_leaves=8,
)
FUNCTIONS = st.fixed_dictionaries(
    {}, optional={"name": st.just("f") | SCALARS, "arguments": SCALARS, "parameters": ANYTHING}
)
CALLS = st.fixed_dictionaries(
    {}, optional={"id": SCALARS, "type": st.just("function") | SCALARS, "function": FUNCTIONS | ANYTHING}
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "refusal", "image_url", "thinking", 5])}, optional={"text": SCALARS}
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "wizard", None])},
    optional={
        "content": st.none() | st.text(max_size=3) | st.lists(PARTS | ANYTHING, max_size=3) | ANYTHING,
        "tool_calls": st.lists(CALLS, max_size=2) | ANYTHING,
        "refusal": st.none(),
    },
)
CHOICES = st.fixed_dictionaries(
    {"type": st.sampled_from(["function", "allowed_tools", None])},
    optional={"function": FUNCTIONS, "name": SCALARS, "allowed_tools": ANYTHING, "tools": ANYTHING, "mode": ANYTHING},
)
BODIES = st.tuples(
    st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            "messages": st.lists(MESSAGES | ANYTHING, max_size=3) | ANYTHING,
            "tools": st.lists(CALLS, max_size=2) | ANYTHING,
            "tool_choice": CHOICES | ANYTHING,
        },
    ),
).map(lambda parts: parts[0] | parts[1])


@settings(deadline=None, max_examples=200)
@given(BODIES)
def test_whatever_a_client_sends_is_sent_on_or_refused(body):
    """Nothing else can be raised, and what is sent on is JSON; put right once more, it stays as it is."""
    for engine in ENGINES.values():
        spec = LaunchSpec("demo-1", engine.name, "demo", "demo", {"tool-call-parser": "x"}, {}, 60)
        for path in (CHAT, COMPLETIONS, EMBEDDINGS):
            try:
                sent = engine.put_right(path, json.dumps(body).encode(), spec)
            except UnfitRequestError:
                continue
            assert isinstance(json.loads(sent), dict)
            assert json.loads(engine.put_right(path, sent, spec)) == json.loads(sent)


# Folders in Hugging Face's layout


@pytest.fixture(params=["mlx", "vllm"])
def hf(request):
    return ENGINES[request.param]


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("models/demo", "./models/demo"),
        ("./models/demo", "./models/demo"),
        ("/models/demo", "/models/demo"),
        ("~/demo", "/home/me/demo"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
    ],
)
def test_a_model_is_a_folder_or_of_a_hub(hf, model, found):
    assert hf.find_model(model, DISK) == found


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("models/gone", "models/gone: there is no such folder"),
        ("/gone", "/gone: there is no such folder"),
        ("models/gguf", r"models/gguf: the folder holds no config\.json"),
        ("models/demo/demo.gguf", "this is a file"),
        ("gone", "there is no such folder"),
        ("", "there is no such folder"),
    ],
)
def test_a_model_that_is_not_there_says_what_is_needed(hf, model, message):
    with pytest.raises(ModelNotFoundError, match=f"{message}; {hf.name} needs a folder in Hugging Face's layout"):
        hf.find_model(model, DISK)


# Requests for llama_cpp


def test_llama_cpp_gets_a_good_request_as_it_is():
    body = json.dumps({**HELLO, "max_tokens": -1, "temperature": 1, "other": {"a": None}}).encode()
    assert ENGINES["llama_cpp"].put_right(CHAT, body) is body
    body = json.dumps({"model": "m", **HELLO, "max_tokens": 20, "temperature": 1, "stream": True}).encode()
    assert ENGINES["llama_cpp"].put_right(CHAT, body) is body
    body = b'{"prompt": ["one"], "max_tokens": 20}'
    assert ENGINES["llama_cpp"].put_right(COMPLETIONS, body) is body
    body = b'{"input": ["one", "two"]}'
    assert ENGINES["llama_cpp"].put_right(EMBEDDINGS, body) is body


@pytest.mark.parametrize("name", ["llama_cpp", "mlx"])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/rerank"])
def test_an_api_that_an_engine_lacks_is_said_to_be_lacking(name, path):
    with pytest.raises(UnfitRequestError, match=f"runs on {name}, which has no {path}; it has /v1/chat/completions, "):
        ENGINES[name].put_right(path, b"{}")


@pytest.mark.parametrize("name", ["llama_server", "vllm"])
def test_nor_do_the_others_have_all(name):
    with pytest.raises(UnfitRequestError, match=f"runs on {name}, which has no /v1/audio/speech"):
        ENGINES[name].put_right("/v1/audio/speech", b"{}")
    assert ENGINES[name].put_right("/v1/responses", b"{}") == b"{}"


def chat_for_llama_cpp(**more):
    return json.loads(ENGINES["llama_cpp"].put_right(CHAT, json.dumps({**HELLO, **more}).encode()))


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({"max_completion_tokens": 5}, 5),
        ({"max_completion_tokens": 5, "max_tokens": 7}, 5),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 5),
        ({"max_completion_tokens": 7, "max_tokens": -1}, 7),
        ({"max_completion_tokens": -1, "max_tokens": 7}, 7),
        ({"max_completion_tokens": -1}, -1),
        ({"max_completion_tokens": "7", "max_tokens": 9}, 7),
        ({"max_completion_tokens": None, "max_tokens": 9}, 9),
    ],
)
def test_llama_cpp_knows_the_limit_by_one_name_and_gets_the_smaller(limits, limit):
    assert chat_for_llama_cpp(**limits) == {**HELLO, "max_tokens": limit}


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        ({"type": "json_object", "schema": None}, {"type": "json_object"}),
        ({"type": "json_object", "schema": SCHEMA}, {"type": "json_object", "schema": SCHEMA}),
        (
            {"type": "json_schema", "json_schema": {"name": "A", "strict": True, "schema": SCHEMA}},
            {"type": "json_object", "schema": SCHEMA},
        ),
    ],
)
def test_llama_cpp_gets_a_schema_as_it_knows_it(given, sent):
    assert chat_for_llama_cpp(response_format=given).get("response_format") == sent


def test_llama_cpp_is_asked_for_the_logprobs_that_it_would_not_give():
    assert chat_for_llama_cpp(logprobs=True)["top_logprobs"] == 0
    assert chat_for_llama_cpp(logprobs=True, top_logprobs=3)["top_logprobs"] == 3
    assert "top_logprobs" not in chat_for_llama_cpp(logprobs=False)


def test_a_schema_that_contains_itself_begins_with_itself_for_llama_cpp():
    """As pydantic writes it, it fails."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    schema = {"$ref": "#/$defs/Node", "$defs": {"Node": node}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    sent = chat_for_llama_cpp(response_format=form)["response_format"]["schema"]
    assert sent == {**node, "$defs": {"Node": node}}
    for other in ({"$ref": "#/$defs/No", "$defs": {"Node": node}}, {"$ref": "#/$defs/No"}, {"$defs": {"Node": node}}):
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": other}}
        assert chat_for_llama_cpp(response_format=form)["response_format"]["schema"] == other


def test_llama_cpp_calls_the_only_tool_where_a_call_is_required():
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in "fg"]
    named = {"type": "function", "function": {"name": "f"}}
    assert chat_for_llama_cpp(tools=tools[:1], tool_choice="required")["tool_choice"] == named
    assert chat_for_llama_cpp(tools=tools, tool_choice="required")["tool_choice"] == "required"


def test_llama_cpp_knows_the_limit_of_a_prompt_by_the_same_name():
    sent = ENGINES["llama_cpp"].put_right(COMPLETIONS, b'{"prompt":"a","max_completion_tokens":5}')
    assert sent == b'{"prompt":"a","max_tokens":5}'


def test_llama_cpp_gets_no_empty_suffix():
    """It would put the tokens of another model in the prompt for it."""
    sent = ENGINES["llama_cpp"].put_right(COMPLETIONS, b'{"prompt":"a","suffix":""}')
    assert sent == b'{"prompt":"a"}'


def test_llama_cpp_gets_functions_with_their_parameters():
    sent = chat_for_llama_cpp(functions=[{"name": "f", "description": None}])
    assert sent["functions"] == [{"name": "f", "parameters": {"type": "object", "properties": {}}}]


def test_llama_cpp_gets_no_nulls():
    body = json.dumps({**HELLO, "temperature": None, "stream": None}).encode()
    assert json.loads(ENGINES["llama_cpp"].put_right(CHAT, body)) == HELLO


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {}, "messages"),
        (CHAT, {"messages": None}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": [{"content": "no role"}]}, "messages"),
        (CHAT, {**HELLO, "max_tokens": "many"}, "max_tokens"),
        (CHAT, {**HELLO, "temperature": {}}, "temperature"),
        (CHAT, {**HELLO, "stream": "perhaps"}, "stream"),
        (CHAT, {**HELLO, "max_tokens": 0}, "max_tokens"),
        (CHAT, {**HELLO, "max_completion_tokens": 0}, "max_completion_tokens"),
        (CHAT, {**HELLO, "n": 2}, "n"),
        (CHAT, {**HELLO, "logit_bias": [1]}, "logit_bias"),
        (CHAT, {**HELLO, "stream_options": 1}, "stream_options"),
        (CHAT, {**HELLO, "functions": {}}, "functions"),
        (CHAT, {**HELLO, "response_format": {"type": "grammar"}}, "response_format"),
        (CHAT, {**HELLO, "response_format": "json"}, "response_format"),
        (CHAT, {**HELLO, "response_format": {"type": "json_schema"}}, "response_format"),
        (CHAT, {"messages": [{"role": "wizard", "content": "a"}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages"),
        (COMPLETIONS, {"prompt": "one", "n": 2}, "n"),
        (COMPLETIONS, {"prompt": "one", "best_of": 2}, "best_of"),
        (COMPLETIONS, {"prompt": "one", "suffix": "two"}, "suffix"),
        (EMBEDDINGS, {"input": ""}, "input"),
        (EMBEDDINGS, {"input": []}, "input"),
        (EMBEDDINGS, {"input": ["a", ""]}, "input"),
        (EMBEDDINGS, {"input": [[1, 2]]}, "input"),
        (EMBEDDINGS, {"input": "a", "encoding_format": "int8"}, "encoding_format"),
        (EMBEDDINGS, {"input": "a", "dimensions": "few"}, "dimensions"),
        (COMPLETIONS, {}, "prompt"),
        (COMPLETIONS, {"prompt": ["one", "two"]}, "prompt"),
        (COMPLETIONS, {"prompt": 1}, "prompt"),
        (COMPLETIONS, {"prompt": ""}, "prompt"),
        (COMPLETIONS, {"prompt": "one", "grammar": "x"}, "grammar"),
        (EMBEDDINGS, {"input": [1, 2]}, "input"),
        (COMPLETIONS, {"prompt": "one", "max_tokens": 0}, "max_tokens"),
    ],
)
def test_llama_cpp_is_spared_what_it_would_answer_badly(path, body, param):
    with pytest.raises(UnfitRequestError) as caught:
        ENGINES["llama_cpp"].put_right(path, json.dumps(body).encode())
    assert caught.value.param == param
    assert caught.value.message.endswith(".")


def test_llama_cpp_looks_at_no_more_than_it_names():
    assert set(llama_cpp.RULES) <= ENGINES["llama_cpp"].apis


# The page that shows how to add one


@pytest.fixture
def example() -> Engine:
    """Give the engine of the page's example, made of the page's own words."""
    (source,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    module = ModuleType("launchers.engines.tiny")
    exec(compile(source, str(PAGE), "exec"), module.__dict__)  # noqa: S102 -- it is our own page
    made: Engine = module.Tiny()
    return made


def test_the_pages_example_is_a_whole_engine(example):
    """It has all that an engine has, finds a model, builds a command, and refuses what isn't the user's."""
    assert {name for name in vars(Engine) if not name.startswith("_")} <= set(dir(example))
    found = example.find_model("models/demo", DISK)
    spec = LaunchSpec("demo-1", "tiny", found, "demo", {"max_batch": 8}, {}, 60)
    assert " ".join(example.command(spec, 1234, "python").argv) == (
        "python -m tiny_server --max-batch 8 --model ./models/demo --host 127.0.0.1 --port 1234 --name demo"
    )
    with pytest.raises(ArgumentError, match="name can't be set for tiny: it is the name that clients ask for"):
        example.command(LaunchSpec("demo-1", "tiny", found, "demo", {"name": "x"}, {}, 60), 1, "python")
    with pytest.raises(UnfitRequestError, match="no messages"):
        example.put_right(CHAT, b"{}")
