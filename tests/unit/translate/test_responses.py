import json

import pytest

from router.core.errors import BadRequestError
from router.translate.responses import responses
from tests.fakes.responses import CONTEXT, ask, chat

CODEX = {
    "model": "demo",
    "stream": True,
    "input": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "developer",
            "content": [{"type": "input_text", "text": "You are Codex"}],
        },
        {
            "type": "message",
            "id": "msg_2",
            "role": "developer",
            "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
        },
        {"type": "message", "id": "msg_3", "role": "user", "content": [{"type": "input_text", "text": "where"}]},
        {"type": "message", "id": "msg_4", "role": "user", "content": [{"type": "input_text", "text": "Say hello"}]},
    ],
    "tools": [
        {
            "type": "function",
            "name": "exec_command",
            "description": "Runs",
            "strict": False,
            "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]},
        },
        {
            "type": "namespace",
            "name": "agents",
            "description": "Others",
            "tools": [
                {
                    "type": "function",
                    "name": "wait",
                    "strict": False,
                    "parameters": {"type": "object", "properties": {}},
                }
            ],
        },
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0",
    "client_metadata": {"turn_id": "0"},
}
"""What Codex 0.171 sends, shortened."""

AGENTS = {
    "model": "demo",
    "stream": True,
    "include": [],
    "input": [{"content": "hi", "role": "user"}],
    "instructions": "be kind",
    "max_output_tokens": 12,
    "tools": [],
}
"""What openai-agents 0.24 sends."""


def test_what_codex_sends_becomes_a_chat_with_a_system_message_a_user_s_and_functions():
    """Its developer messages, namespaces and web_search become what every engine takes."""
    sent = json.loads(responses(json.dumps(CODEX).encode(), CONTEXT).body)
    assert sent.pop("messages") == [
        {"role": "system", "content": "You are Codex\n\na\nb"},
        {"role": "user", "content": "where\n\nSay hello"},
    ]
    assert [tool["function"]["name"] for tool in sent.pop("tools")] == ["exec_command", "agents__wait"]
    assert sent == {
        "model": "demo",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_what_openai_agents_sends_becomes_a_chat():
    """Instructions are the system message, and a list of no tools is left out."""
    assert json.loads(responses(json.dumps(AGENTS).encode(), CONTEXT).body) == {
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        "model": "demo",
        "max_tokens": 12,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_fields_of_chats_win_over_their_equivalents():
    """A route may have set max_tokens, reasoning_effort or response_format."""
    text = {"format": {"type": "json_object"}}
    sent = chat(
        max_output_tokens=9, max_tokens=5, reasoning={"effort": "high"}, reasoning_effort="low", text=text,
        response_format={"type": "text"},
    )  # fmt: skip
    assert (sent["max_tokens"], sent["reasoning_effort"], sent["response_format"]) == (5, "low", {"type": "text"})


def test_max_completion_tokens_wins_too():
    """Both limits would not be clear to an engine."""
    sent = chat(max_output_tokens=9, max_completion_tokens=5)
    assert sent["max_completion_tokens"] == 5
    assert "max_tokens" not in sent


def test_parameters_of_sampling_pass_and_the_rest_is_left_out():
    """Null, fields of the API without an equivalent and fields that aren't known don't reach the engine."""
    sent = chat(
        temperature=0.5, top_p=0.9, top_k=4, seed=1, stop=["x"], chat_template_kwargs={"a": 1}, top_logprobs=3,
        metadata={"a": "b"}, truncation="auto", include=["x"], safety_identifier="s", prompt_cache_key="k",
        service_tier="auto", new_field=1, presence_penalty=None, store=False, background=False,
    )  # fmt: skip
    assert sent == {
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "top_p": 0.9, "top_k": 4,
        "seed": 1, "stop": ["x"], "chat_template_kwargs": {"a": 1},
    }  # fmt: skip


def test_reasoning_effort_passes():
    """Under the chat's name."""
    assert chat(reasoning={"effort": "low", "summary": None})["reasoning_effort"] == "low"
    assert "reasoning_effort" not in chat(reasoning={"effort": None})
    assert "reasoning_effort" not in chat(reasoning=None)


def test_text_formats_become_response_formats():
    """A schema and what belongs to it stand in an object of their own."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "n", "schema": schema, "strict": True, "description": "d"}
    assert chat(text={"format": form})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": schema, "strict": True, "description": "d"},
    }
    assert chat(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    assert "response_format" not in chat(text={"format": {"type": "text"}, "verbosity": "low"})
    assert "response_format" not in chat(text=None)


@pytest.mark.parametrize("form", [{"type": "json_schema", "name": "n"}, {"type": "grammar"}])
def test_a_text_format_that_cannot_be_said_is_refused(form):
    """It would otherwise be ignored, and the answer's form be another."""
    with pytest.raises(BadRequestError, match=r"text\.format must be"):
        ask(text={"format": form})


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("previous_response_id", "resp_1", "send the whole conversation in input"),
        ("conversation", "conv_1", "send the whole conversation in input"),
        ("conversation", {"id": "conv_1"}, "send the whole conversation in input"),
        ("prompt", {"id": "p"}, "send the prompt itself"),
        ("store", True, "send store: false"),
        ("background", True, "leave background out"),
        ("input", None, "input must be a text"),
        ("input", [], "input must be a text"),
        ("input", 3, "Expected `str | array | null`, got `int`"),
        ("input", [{"role": "user", "content": 3}], "Expected `str | array | null`, got `int`"),
        ("stream", "yes", "Expected `bool | null`, got `str`"),
        ("tools", [{"type": "function"}], "a function without a name"),
    ],
)
def test_what_cannot_be_said_is_refused_with_the_field(field, value, words):
    """In one sentence that says what to do, and with the field's name for SDKs."""
    with pytest.raises(BadRequestError) as raised:
        ask(**{field: value})
    assert words in raised.value.message
    assert raised.value.param is not None
    assert raised.value.param.startswith(field)


def test_fields_that_would_name_what_is_stored_may_be_null():
    """SDKs send null for what isn't given."""
    chat(previous_response_id=None, conversation=None, prompt=None, store=None, background=None, instructions=None)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'{"input": "\xff"}', b'{"input": ' + b"[" * 5000])
def test_what_is_no_object_of_json_is_refused(body):
    """Whatever else it is."""
    with pytest.raises(BadRequestError):
        responses(body, CONTEXT)


def test_instructions_alone_are_a_chat():
    """An engine can answer a system message."""
    assert chat(input=None, instructions="x")["messages"] == [{"role": "system", "content": "x"}]
