import http.server
import json
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from urllib.error import URLError

import pytest

from launchers.described import from_config
from launchers.engines.bodies import COUNTER
from launchers.engines.mlx_lm import SCRIPT, Mlx
from launchers.errors import ArgumentError, UnfitRequestError
from launchers.spec import LaunchSpec
from launchers.wrappers import mlx_lm_server

ENGINE = Mlx(linux=False)
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def spec(model="/models/demo", args=None, env=None, calls=None):
    return LaunchSpec("demo-1", "mlx", model, "demo", args or {}, env or {}, start_timeout=60, calls=calls)


def right(body, path=CHAT, of=None):
    return json.loads(ENGINE.put_right(path, json.dumps(body).encode(), of))


def test_the_command_line():
    command = ENGINE.command(spec(args={"max_tokens": 100, "trust-remote-code": True}), 1234, "/usr/bin/python3")
    assert " ".join(command.argv) == (
        f"/usr/bin/python3 -P {SCRIPT} --max-tokens 100 --trust-remote-code"
        " --model /models/demo --host 127.0.0.1 --port 1234"
    )


def test_a_switch_that_is_off_is_left_out():
    assert "--trust-remote-code" not in ENGINE.command(spec(args={"trust_remote_code": False}), 1, "python").argv


@pytest.mark.parametrize(
    ("model", "linux", "more"),
    [
        ("/models/demo", False, {"HF_HUB_OFFLINE": "1"}),
        ("./models/demo", True, {"HF_HUB_OFFLINE": "1", "MLX_DISABLE_COMPILE": "1"}),
        ("mlx-community/Qwen2.5-7B-Instruct-4bit", False, {}),
    ],
)
def test_its_environment(model, linux, more):
    environment = Mlx(linux=linux).command(spec(model), 1, "python").environment({"PATH": "/bin", "MLX_RANK": "0"})
    assert environment == {"PATH": "/bin", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1", **more}


def test_the_users_variables_go_over_ours():
    assert ENGINE.command(spec(env={"HF_HUB_OFFLINE": "0"}), 1, "python").env["HF_HUB_OFFLINE"] == "0"


@pytest.mark.parametrize("name", ["host", "port", "model", "pipeline"])
def test_what_is_the_routers_can_not_be_set(name):
    with pytest.raises(ArgumentError, match=rf"launch\.args: {name} can't be set for mlx: \w+"):
        ENGINE.command(spec(args={name: "x"}), 1, "python")


def test_nor_by_a_variable():
    with pytest.raises(ArgumentError, match=r"launch\.env: MLX_RANK can't be set for mlx"):
        ENGINE.command(spec(env={"MLX_RANK": "1"}), 1, "python")


# Requests


def test_a_request_keeps_the_name_that_its_answer_is_to_have():
    assert right({**HELLO, "model": "demo", "adapters": None}) == {**HELLO, "model": "demo"}
    assert right(HELLO) == HELLO


@pytest.mark.parametrize("name", ["adapters", "draft_model"])
def test_what_would_load_another_model_is_refused(name):
    with pytest.raises(UnfitRequestError, match=f"{name} is private to mlx"):
        right({**HELLO, name: "/etc"})


def test_a_null_is_as_good_as_nothing():
    assert right({**HELLO, "temperature": None, "stop": None, "tools": None}) == HELLO


@pytest.mark.parametrize(
    "more",
    [
        {"stop": "a"},
        {"stop": ["a", "b"]},
        {"seed": 0},
        {"top_k": 40},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"temperature": 0.5, "max_tokens": 10, "anything": {"a": [1, None]}},
    ],
)
def test_what_it_understands_stays(more):
    assert right({**HELLO, **more}) == {**HELLO, **more}


@pytest.mark.parametrize(
    "more",
    [
        {"stream_options": {}},
        {"stream_options": {"other": True}},
        {"logit_bias": {}},
        {"seed": -1},
        {"seed": "-1.0"},
        {"stop": []},
        {"stop": ""},
    ],
)
def test_what_says_nothing_is_left_out(more):
    assert right({**HELLO, **more}) == HELLO


@pytest.mark.parametrize(
    ("path", "body", "param", "words"),
    [
        (CHAT, {**HELLO, "n": 2}, "n", "one answer a request"),
        (CHAT, {**HELLO, "functions": []}, "functions", "say it by tools"),
        (CHAT, {**HELLO, "response_format": {"type": "json_object"}}, "response_format", "ask for it in words"),
        (CHAT, {**HELLO, "response_format": {"type": "json_schema"}}, "response_format", "is not for mlx"),
        (COMPLETIONS, {"prompt": "a", "suffix": "b"}, "suffix", "is not for mlx"),
        (COMPLETIONS, {"prompt": "a", "echo": True}, "echo", "is not for mlx"),
        (COMPLETIONS, {"prompt": "a", "logprobs": 2}, "logprobs", "is not for mlx"),
        (COMPLETIONS, {"prompt": "a", "logprobs": 0}, "logprobs", "is not for mlx"),
        (COMPLETIONS, {"prompt": "a", "top_logprobs": True}, "top_logprobs", "is not for mlx"),
        (CHAT, {**HELLO, "top_logprobs": 2}, "top_logprobs", "needs logprobs: true"),
        (COMPLETIONS, {"prompt": "a", "best_of": 2}, "best_of", "must be 1"),
        (COMPLETIONS, {"prompt": ["a", "b"]}, "prompt", "prompt must be one text"),
        (COMPLETIONS, {}, "prompt", "The request has no prompt; prompt must be one text, and not an empty one."),
        (COMPLETIONS, {"prompt": ""}, "prompt", "prompt must be one text, and not an empty one."),
        (COMPLETIONS, {"prompt": [""]}, "prompt", "prompt must be one text"),
        (COMPLETIONS, {"prompt": None}, "prompt", "no prompt"),
        (CHAT, {}, "messages", "no messages"),
        (CHAT, {"messages": []}, "messages", "one message or more"),
        (CHAT, {"messages": "hello"}, "messages", "must be a list"),
        (CHAT, {"messages": ["hello"]}, "messages", "each an object with its role"),
        (CHAT, {**HELLO, "stop": [1]}, "stop", "must be a text or a list of texts"),
        (CHAT, {**HELLO, "stop": 1}, "stop", "must be a text"),
        (CHAT, {**HELLO, "top_k": 501}, "top_k", "up to 500"),
        (CHAT, {**HELLO, "top_k": -2}, "top_k", "up to 500"),
        (CHAT, {**HELLO, "top_k": "many"}, "top_k", "whole number"),
        (CHAT, {**HELLO, "logit_bias": {"999999": 5}}, "logit_bias", "not for mlx"),
        (CHAT, {**HELLO, "max_tokens": 10**9}, "max_tokens", "from 1 to 1,000,000"),
        (CHAT, {**HELLO, "max_completion_tokens": 0}, "max_completion_tokens", "from 1 to"),
        (CHAT, {**HELLO, "repetition_context_size": 10**30}, "repetition_context_size", "from 0 to"),
        (CHAT, {**HELLO, "xtc_threshold": 0.9}, "xtc_threshold", r"to 0\.5"),
        (CHAT, {**HELLO, "seed": 2**70}, "seed", "64 bits"),
        (CHAT, {"model": "m", **HELLO, "temperature": 10**20}, "temperature", "from 0 to 100"),
        (CHAT, {"model": "m", **HELLO, "presence_penalty": -(10**20)}, "presence_penalty", "from -100 to 100"),
        (COMPLETIONS, {"prompt": "a", "frequency_penalty": 10**20}, "frequency_penalty", "from -100 to 100"),
        (CHAT, {**HELLO, "repetition_penalty": 10**20}, "repetition_penalty", "from 0 to 100"),
        (CHAT, {**HELLO, "stream_options": True}, "stream_options", "must be an object"),
    ],
)
def test_what_would_end_it_is_refused(path, body, param, words):
    with pytest.raises(UnfitRequestError, match=words) as caught:
        right(body, path)
    assert caught.value.param == param
    assert caught.value.message == str(caught.value)


TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "fg"]


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ("none", None),
        ("auto", TOOLS),
    ],
)
def test_the_model_sees_the_tools_that_may_be_called(choice, left):
    assert right({**HELLO, "tools": TOOLS, "tool_choice": choice}).get("tools") == left


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "g"}}])
def test_a_call_that_is_wanted(choice):
    """The model decides, and sees the tools that it may call; one whose template shows none can't make a call."""
    body = {**HELLO, "tools": TOOLS, "tool_choice": choice}
    shown = TOOLS if choice == "required" else TOOLS[1:]
    for calls in (True, None):
        assert right(body, of=spec(calls=calls))["tools"] == shown
    with pytest.raises(UnfitRequestError, match="wants a call, but this model's chat template shows it no tools"):
        right(body, of=spec(calls=False))
    assert right(body, COUNTER, spec(calls=False))["tools"] == shown


def test_a_prompt_may_be_a_list_of_one():
    assert right({"prompt": ["a"], "suffix": "", "echo": False, "logprobs": None}, COMPLETIONS)["prompt"] == "a"


def test_a_prompt_that_nobody_bounds_is_bounded():
    assert right({"prompt": "a"}, COMPLETIONS)["max_tokens"] == 512
    assert "max_tokens" not in right({"prompt": "a", "max_completion_tokens": 5}, COMPLETIONS)
    assert "max_tokens" not in right(HELLO)
    sent = ENGINE.put_right(COMPLETIONS, b'{"prompt":"a"}', spec(args={"max_tokens": 9}))
    assert json.loads(sent)["max_tokens"] == 9


def test_a_form_of_no_kind_is_no_form():
    assert right({**HELLO, "response_format": {"type": "text"}})["messages"] == HELLO["messages"]


def test_logprobs_come_with_their_words():
    assert right({**HELLO, "logprobs": True})["top_logprobs"] == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"a": 1} x', b'{"messages": [{"role": "user"}], "stop": "\\ud800"}', b"\xff", b"[" * 100_000],
)
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(UnfitRequestError):
        ENGINE.put_right(CHAT, body)


# The program


class Health(http.server.BaseHTTPRequestHandler):
    """A server that isn't well."""

    def do_GET(self):
        """Say so."""
        self.send_response(503 if self.path == "/health" else 200)
        self.end_headers()

    def log_message(self, *_args):
        """Say nothing else."""


@dataclass
class Token:
    """As the server's own."""

    text: str
    finish_reason: str | None = None


def stopped(texts, words, end=None):
    """What is left of an answer's texts, why it ended, by which word, and how many tokens weren't looked at."""
    given = iter([*map(Token, texts[:-1]), Token(texts[-1], end)])
    left = []
    tokens = mlx_lm_server.before(given, words)
    while True:
        try:
            left.append(next(tokens))
        except StopIteration as done:
            return [each.text for each in left], [each.finish_reason for each in left][-1], done.value, len(list(given))


@pytest.mark.parametrize(
    ("texts", "words", "left", "word", "unread"),
    [
        ([" may", " near", " way"], ["near"], [" may", " "], "near", 1),
        ([" may", " near", " way"], ["ea"], [" may", " n"], "ea", 1),
        ([" may", " near", " way"], ["y n"], [" ma", ""], "y n", 1),
        ([" may", " near", " way"], ["y near w"], [" ma", "", ""], "y near w", 0),
        ([" may", " near", " way"], ["way", "ay"], [" m"], "ay", 2),
        (["a", "a", "b", "c"], ["ab"], ["a", "", ""], "ab", 1),
        (["x", "", "\n", "\n", "y"], ["\n\n"], ["x", "", "", ""], "\n\n", 1),
    ],
)
def test_a_stop_word_ends_an_answer_wherever_it_stands(texts, words, left, word, unread):
    """Each token counts that was made."""
    assert stopped(texts, words) == (left, "length", word, unread)


@pytest.mark.parametrize(
    ("texts", "words", "end"),
    [
        ([" may", " near", " wa"], ["way"], "length"),
        ([" may", " nea", "<end>"], ["near", "<end>"], "stop"),
        ([" may", " near"], ["far"], "length"),
    ],
)
def test_what_only_begins_like_a_stop_word_is_not_lost(texts, words, end):
    assert stopped(texts, words, end) == (texts, end, "", 0)


def test_the_stop_word_is_named():
    """If there was one."""
    assert mlx_lm_server.with_stop({"choices": [{}]}, "a") == {"choices": [{"stop_reason": "a"}]}
    assert mlx_lm_server.with_stop({"choices": [{}]}, "") == {"choices": [{}]}


def test_what_can_not_be_a_stop_word_is_not_held_back():
    tokens = mlx_lm_server.before(iter([Token("a"), Token("b"), Token("c")]), ["cd"])
    assert next(tokens).text == "a"


def test_a_token_is_its_text():
    """And not `Ġmay`, as the vocabulary writes it."""
    form = mlx_lm_server.worded(lambda *_: ({"id": 5, "token": "\u0120may", "logprob": -1.0},))
    tokenizer = SimpleNamespace(decode=lambda ids: f" may{ids[0]}")
    assert form(None, 1, tokenizer) == ({"id": 5, "token": " may5", "logprob": -1.0, "bytes": list(b" may5")},)


def test_an_image_that_is_not_there_is_said_to_be_so():
    def inline(_messages):
        raise URLError(ConnectionRefusedError(111, "Connection refused"))

    with pytest.raises(ValueError, match=r"An image of this request can't be fetched: .*Connection refused\."):
        mlx_lm_server.fetching(inline)([])


def test_it_asks_for_health():
    """Nobody there is no answer, which is no reason to end."""
    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.handle_request).start()
        port = server.server_address[1]
        assert mlx_lm_server.health(port) == 503
    assert mlx_lm_server.health(port) == 0


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"max_position_embeddings": 8192}, 8192),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "yarn", "factor": 4.0}}, 16384),
        ({"max_position_embeddings": 4096, "rope_scaling": {"factor": 0.5}}, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": None}, 4096),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
        ({"text_config": {"max_position_embeddings": 100}}, 100),
        ({}, None),
    ],
)
def test_a_models_context(config, context):
    """What the engine holds to is what is told of the model."""
    assert mlx_lm_server.context_of(config) == context
    assert from_config(config, None, 0, 0).context == context


def test_an_answer_ends_with_the_context():
    assert mlx_lm_server.room(prompt=10, context=100, wanted=50) == 50
    assert mlx_lm_server.room(prompt=10, context=100, wanted=1000) == 90
    assert mlx_lm_server.room(prompt=10, context=None, wanted=1000) == 1000
    with pytest.raises(ValueError, match="maximum context length is 100 tokens, but the prompt has 100"):
        mlx_lm_server.room(prompt=100, context=100, wanted=1)
    with pytest.raises(ValueError, match="The prompt is empty"):
        mlx_lm_server.room(prompt=0, context=None, wanted=1)


@pytest.mark.parametrize(
    ("error", "status", "given"),
    [
        (None, 404, 404),
        (None, 200, 200),
        (ValueError("no"), 404, 400),
        (KeyError("no"), 400, 400),
        (RuntimeError("no memory"), 404, 500),
        (RuntimeError("generation thread died"), 404, 503),
        (NotImplementedError("no images"), 400, 501),
    ],
)
def test_an_error_is_no_lack_of_a_model(error, status, given):
    assert mlx_lm_server.status_of(error, status) == given


def test_an_error_has_openais_form():
    told = json.loads(mlx_lm_server.in_openais_form(b'{"error": "top_p must be at most 1"}'))
    assert told == {
        "error": {"message": "top_p must be at most 1", "type": "invalid_request_error", "param": None, "code": None}
    }


@pytest.mark.parametrize(
    ("line", "code", "logged"),
    [
        ("GET /health HTTP/1.1", 200, []),
        ("GET /health HTTP/1.1", 503, [503]),
        ("POST /v1/chat/completions HTTP/1.1", 200, [200]),
        ("", "-", ["-"]),
    ],
)
def test_probes_are_left_out_of_its_log(line, code, logged):
    """But for those that fail."""
    said = []

    class Handler:
        requestline = line

        def log_request(self, code="-", _="-"):
            said.append(code)

    mlx_lm_server.leave_out_probes(Handler)
    Handler().log_request(code)
    assert said == logged
