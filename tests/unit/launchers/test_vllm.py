import json
from dataclasses import replace

import pytest

from launchers.engines import ENGINES
from launchers.errors import ArgumentError, UnfitRequestError
from launchers.spec import LaunchSpec

ENGINE = ENGINES["vllm"]


def spec(model="/models/demo", args=None, env=None):
    return LaunchSpec("demo-1", "vllm", model, "demo", args or {}, env or {}, start_timeout=60)


def words(**args):
    return " ".join(ENGINE.command(spec(args=args), 1234, "/usr/bin/python3").argv)


SERVE = "/usr/bin/python3 -m vllm.entrypoints.cli.main serve /models/demo --allowed-origins []"
PLACE = "--host 127.0.0.1 --port 1234 --served-model-name demo"


PROBES = "--disable-access-log-for-endpoints /health,/metrics"


@pytest.mark.parametrize(
    ("args", "written"),
    [
        ({}, "--max-num-seqs 256 --shutdown-timeout 8"),
        ({"max_model_len": 1024}, "--max-num-seqs 256 --shutdown-timeout 8 --max-model-len 1024"),
        ({"enforce-eager": True}, "--max-num-seqs 256 --shutdown-timeout 8 --enforce-eager"),
        ({"enable_prefix_caching": False}, "--max-num-seqs 256 --shutdown-timeout 8 --no-enable-prefix-caching"),
        ({"lora-modules": ["a=/a", "b=/b"]}, "--max-num-seqs 256 --shutdown-timeout 8 --lora-modules a=/a b=/b"),
        ({"speculative_config": {"a": 1}}, '--max-num-seqs 256 --shutdown-timeout 8 --speculative-config {"a": 1}'),
        ({"shutdown_timeout": 20}, "--max-num-seqs 256 --shutdown-timeout 20"),
        ({"shutdown_timeout": None}, "--max-num-seqs 256"),
        ({"max_num_seqs": 1024}, "--max-num-seqs 1024 --shutdown-timeout 8"),
        ({"max-num-batched-tokens": 128}, "--max-num-seqs 128 --shutdown-timeout 8 --max-num-batched-tokens 128"),
    ],
)
def test_the_command_line(args, written):
    said = words(**args)
    assert said.replace(f" {PROBES}", "", 1) == " ".join(filter(None, (SERVE, written, PLACE)))
    assert PROBES in said


@pytest.mark.parametrize(
    ("args", "number"),
    [
        ({}, 256),
        ({"max_num_seqs": 1024}, 1024),
        ({"max-num-seqs": "8"}, 8),
        ({"max-num-batched-tokens": 128}, 128),
        ({"max-num-batched-tokens": 8192}, 256),
        ({"max-num-seqs": 8, "data_parallel_size": 2}, 16),
        ({"max-num-seqs": None}, 256),
    ],
)
def test_it_works_on_as_many_requests_as_its_arguments_say(args, number):
    """The router sends it as many, and it is told the same number."""
    assert ENGINE.works_on(args) == number


def test_the_command_of_another_environment():
    assert ENGINE.command(spec(), 1234, "/opt/vllm/bin/vllm").argv[:3] == (
        "/opt/vllm/bin/vllm",
        "serve",
        "/models/demo",
    )


def test_it_is_to_have_drained_before_it_is_killed():
    argv = ENGINE.command(replace(spec(), stop_timeout=1.5), 1, "python").argv
    assert argv[argv.index("--shutdown-timeout") + 1] == "0"


@pytest.mark.parametrize(
    ("model", "more"), [("/models/demo", {"HF_HUB_OFFLINE": "1"}), ("Qwen/Qwen2.5-7B-Instruct", {})]
)
def test_its_environment(model, more):
    shell = {"PATH": "/bin", "VLLM_PORT": "tcp://10.0.0.1:80", "VLLM_API_KEY": "x", "VLLM_SERVER_DEV_MODE": "1"}
    environment = ENGINE.command(spec(model), 1, "python").environment({**shell, "VLLM_TARGET_DEVICE": "cpu"})
    assert environment == {
        "PATH": "/bin", "VLLM_TARGET_DEVICE": "cpu", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1",
        "VLLM_NO_USAGE_STATS": "1", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "75", **more,
    }  # fmt: skip


def test_router_yaml_may_set_what_a_shell_may_not():
    assert ENGINE.command(spec(env={"VLLM_SERVER_DEV_MODE": "1"}), 1, "python").env["VLLM_SERVER_DEV_MODE"] == "1"


@pytest.mark.parametrize("name", ["host", "port", "model", "served_model_name", "api-key", "ssl-keyfile", "config"])
def test_what_is_the_routers_can_not_be_set(name):
    with pytest.raises(ArgumentError, match=rf"launch\.args: {name} can't be set for vllm: \w+"):
        words(**{name: "x"})


@pytest.mark.parametrize("name", ["VLLM_PORT", "VLLM_HOST_IP", "VLLM_API_KEY"])
def test_nor_by_a_variable(name):
    with pytest.raises(ArgumentError, match=rf"launch\.env: {name} can't be set for vllm: \w+"):
        ENGINE.command(spec(env={name: "1"}), 1, "python")


HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"priority": 1}}}


def right(body, path="/v1/chat/completions", spec=None):
    return json.loads(ENGINE.put_right(path, json.dumps(body).encode(), spec))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "demo", **HELLO, "temperature": 0.5, "stream": True}),
        ("/v1/chat/completions", {**HELLO, "tools": [TOOL], "unknown": {"null": 1}}),
        ("/v1/completions", {"prompt": ["a", "b"], "n": 2, "logprobs": 1}),
        ("/v1/embeddings", {"input": [[1, 2]], "encoding_format": "base64"}),
    ],
)
def test_requests_are_passed_on_as_they_are(path, body):
    body = json.dumps(body).encode()
    assert ENGINE.put_right(path, body) is body
    assert ENGINE.put_right("/v1/score", body) is body


@pytest.mark.parametrize("share", [45, "45%", 0, -0.3, 1.01, True, [0.4], float("nan"), "0.45x"])
def test_a_share_that_is_none_is_refused_before_anything_starts(share):
    with pytest.raises(ArgumentError, match="no share of a GPU's memory; write a number above 0 and up to 1"):
        ENGINE.command(spec(args={"gpu_memory_utilization": share}), 1, "python")


@pytest.mark.parametrize("share", [0.45, "0.45", 1, None])
def test_a_share_is_a_number_or_left_to_vllm(share):
    ENGINE.command(spec(args={"gpu-memory-utilization": share}), 1, "python")


def test_it_gets_no_priority():
    body = b'{"model":"demo","messages":[{"role":"user","content":"a"}],"priority":7,"temperature":0.50}'
    sent = b'{"model":"demo","messages":[{"role":"user","content":"a"}],"temperature":0.50}'
    assert ENGINE.put_right("/v1/chat/completions", body) == sent
    assert ENGINE.put_right("/v1/completions", b'{"prompt":"a","priority":7}') == b'{"prompt":"a"}'


@pytest.mark.parametrize(
    ("args", "without"),
    [
        ({}, True),
        ({"scheduling_policy": "fcfs"}, True),
        ({"scheduling_policy": "priority"}, False),
        ({"scheduling-policy": "priority"}, False),
    ],
)
def test_unless_it_goes_by_it(args, without):
    assert ("priority" not in right({**HELLO, "priority": 7}, spec=spec(args=args))) is without


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tool_choice": "none"},
        {"stream_options": {"include_usage": True}},
        {"stop": ""},
        {"temperature": None},
    ],
)
def test_what_says_nothing_is_left_out(more):
    assert right({**HELLO, **more}) == HELLO


def test_an_empty_suffix_is_none():
    assert right({"prompt": "a", "suffix": ""}, "/v1/completions") == {"prompt": "a"}


def test_stream_options_of_a_stream_stay():
    body = json.dumps({"model": "m", **HELLO, "stream": True, "stream_options": {"include_usage": True}}).encode()
    assert ENGINE.put_right("/v1/chat/completions", body) is body


def test_tools_need_a_parser_and_it_is_said_where_to_name_it():
    body = {"model": "m", **HELLO, "tools": [TOOL]}
    with pytest.raises(UnfitRequestError, match=r"tool-call-parser in launch\.args") as caught:
        right(body, spec=spec())
    assert caught.value.param == "tools"
    with_parser = spec(args={"enable-auto-tool-choice": True, "tool_call_parser": "hermes"})
    assert right(body, spec=with_parser) == body
    assert right({**body, "tool_choice": "none"}, spec=spec())["tools"] == [TOOL]


def test_a_completions_limit_has_one_name():
    """It leaves out the newer one."""
    assert right({"prompt": "a", "max_completion_tokens": 2}, "/v1/completions") == {"prompt": "a", "max_tokens": 2}


def test_the_best_of_more_is_refused():
    assert right({"prompt": "a", "best_of": 2, "n": 2}, "/v1/completions") == {"prompt": "a", "best_of": 2, "n": 2}
    with pytest.raises(UnfitRequestError, match="best_of is not for vllm"):
        right({"prompt": "a", "best_of": 2}, "/v1/completions")


def test_functions_are_refused():
    with pytest.raises(UnfitRequestError, match="functions is not for vllm"):
        right({**HELLO, "functions": []})
