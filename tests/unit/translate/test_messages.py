"""Anthropic's Messages API on chat completions: requests, answers, and errors."""

import json
from typing import Any

import pytest

from router.core.errors import BadGatewayError, BadRequestError, EngineError
from router.translate.messages import count_tokens, mender, messages
from router.translate.speech import Context, Translation

CONTEXT = Context("req-1", "demo", "/v1/messages", 0.0, 0.0)
HELLO = {"role": "user", "content": "Hello"}
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def translated(**fields: Any) -> Translation:
    return messages(json.dumps({"model": "m", "messages": [HELLO], "max_tokens": 9, **fields}).encode(), CONTEXT)


def chat(**fields: Any) -> dict[str, Any]:
    """Give the chat, without the limit that each request has to have."""
    found: dict[str, Any] = json.loads(translated(**fields).body)
    del found["max_tokens"]
    return found


def turns(*said: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chat(messages=list(said), **fields)["messages"]
    return found


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said, "cache_control": {"type": "ephemeral"}}


def refused(**fields: Any) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        translated(**fields)
    return caught.value


class TestRequests:
    def test_a_small_request_is_a_chat(self):
        """A request with the least is a chat with the same."""
        found = translated(max_tokens=9)
        assert found.path == "/v1/chat/completions"
        assert json.loads(found.body) == {"model": "m", "messages": [HELLO], "max_tokens": 9}

    @pytest.mark.parametrize("fields", [{"max_tokens": None}, {"max_tokens": None, "max_completion_tokens": None}])
    def test_a_limit_is_wanted(self, fields):
        """As in Anthropic's API."""
        assert refused(**fields).param == "max_tokens"

    def test_the_limit(self):
        """That of a route has another name; 0 asks that the prompt be cached, for which engines make one token."""
        route = json.loads(translated(max_tokens=None, max_completion_tokens=5).body)
        assert (route["max_completion_tokens"], "max_tokens" in route) == (5, False)
        assert json.loads(translated(max_tokens=0).body)["max_tokens"] == 1

    def test_a_stream_asks_for_usage(self):
        """A stream is one, and its usage is asked for."""
        found = chat(stream=True)
        assert found["stream"] is True
        assert found["stream_options"] == {"include_usage": True}

    def test_what_has_no_meaning_here_is_left_out(self):
        """Unknown fields, betas, metadata and what only Anthropic's servers do are ignored."""
        found = chat(
            metadata={"user_id": "u"}, context_management={"edits": []}, betas=["x"], service_tier="auto",
            thinking={"type": "adaptive"}, output_config={"effort": "high"}, mcp_servers=[], container=None,
        )  # fmt: skip
        assert found == {"model": "m", "messages": [HELLO]}

    def test_fields_of_chats_are_passed_on(self):
        """What stands at the top level in the form of chats, which a route may have set, goes into the chat."""
        given = {"temperature": 0.5, "top_k": 3, "min_p": 0.1, "seed": 1, "repeat_penalty": 1.1, "logit_bias": {"1": 2}}
        assert chat(**given) == {"model": "m", "messages": [HELLO], **given}

    def test_fields_of_chats_come_first(self):
        """Where a field of chats and one of this API say the same thing, the former counts."""
        found = chat(
            stop=["a"], stop_sequences=["b"], reasoning_effort="low", output_config={"effort": "max"},
            thinking={"type": "disabled"}, chat_template_kwargs={"enable_thinking": True},
        )  # fmt: skip
        assert found["stop"] == ["a"]
        assert found["reasoning_effort"] == "low"
        assert found["chat_template_kwargs"] == {"enable_thinking": True}

    def test_stop_sequences(self):
        """Stop sequences are stop texts, but empty ones would end the answer at once."""
        assert chat(stop_sequences=["a", ""])["stop"] == ["a"]
        assert "stop" not in chat(stop_sequences=[])

    @pytest.mark.parametrize(
        ("thinking", "kwargs"),
        [
            ({"type": "disabled"}, {"enable_thinking": False}),
            ({"type": "enabled", "budget_tokens": 2000}, {"enable_thinking": True}),
            ({"type": "adaptive"}, None),
        ],
    )
    def test_thinking(self, thinking, kwargs):
        """Thinking is switched in the template; its budget is left out."""
        assert chat(thinking=thinking).get("chat_template_kwargs") == kwargs

    @pytest.mark.parametrize(("effort", "said"), [("low", "low"), ("high", None), ("xhigh", "high"), ("max", "high")])
    def test_effort(self, effort, said):
        """High is what Anthropic's API does unasked, so the model's own default applies."""
        assert chat(output_config={"effort": effort}).get("reasoning_effort") == said

    @pytest.mark.parametrize("field", ["output_format", "output_config"])
    def test_a_schema_of_the_answer(self, field):
        """A schema, in either place, is the response format."""
        form = {"type": "json_schema", "schema": {"type": "object", "x": 1}}
        found = chat(**{field: form if field == "output_format" else {"format": form}})
        assert found["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": form["schema"], "strict": True},
        }

    def test_bad_json_is_refused(self):
        """What is no JSON object is a clear 400."""
        for body in (b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000):
            with pytest.raises(BadRequestError):
                messages(body, CONTEXT)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"messages": []}, "messages"),
            ({"messages": None}, "messages"),
            ({"messages": [{"role": 1}]}, "messages"),
            ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
            ({"system": 1}, "system"),
            ({"tools": [{"name": "x", "input_schema": []}]}, "tools"),
            ({"tools": [{"input_schema": {}}]}, "tools"),
            ({"tool_choice": {"type": "any"}}, "tool_choice"),
            ({"stream": 1}, "stream"),
            ({"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]}, "messages"),
            ({"messages": [user({"type": "image", "source": "x"})]}, "messages"),
            ({"messages": [user({"type": "document", "source": {"type": "base64", "data": "x"}})]}, "messages"),
            ({"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]}, "messages"),
        ],
    )
    def test_an_error_names_its_field(self, fields, param):
        """What can't be said in a chat is a 400 that names the field."""
        assert refused(**fields).param == param

    def test_an_error_names_the_message(self):
        """An error in a message says in which."""
        document = {"type": "document", "source": {"type": "url", "url": "x"}}
        assert refused(messages=[HELLO, user(document)]).message.startswith("messages[1]: ")


class TestMessages:
    def test_system(self):
        """The system prompt is the first message: a text, or the texts of its blocks."""
        assert turns(HELLO, system="Be kind.")[0] == {"role": "system", "content": "Be kind."}
        assert turns(HELLO, system=[text("a"), text("b")])[0] == {"role": "system", "content": "a\nb"}
        assert turns(HELLO, system=[]) == [HELLO]

    def test_a_system_message_before_the_first_turn(self):
        """It belongs to the system prompt."""
        assert turns({"role": "system", "content": "b"}, HELLO, system="a")[0]["content"] == "a\nb"

    def test_a_system_message_later(self):
        """It becomes a reminder in the user's turn: templates refuse it there, and moved it would defeat caches."""
        reminder = {"role": "system", "content": [text("b")]}
        found = turns(user(text("a")), reminder, {"role": "assistant", "content": "c"})
        assert found == [
            {"role": "user", "content": "a\n<system-reminder>\nb\n</system-reminder>"},
            {"role": "assistant", "content": "c"},
        ]

    def test_turns_alternate(self):
        """Messages of one role that follow each other are one turn."""
        assert turns(HELLO, user(text("a"), text("b"))) == [{"role": "user", "content": "Hello\na\nb"}]

    def test_images(self):
        """Images are parts: as data, or at their URL."""
        far = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
        (found,) = turns(user(text("a"), PIXEL, far, text("b")))
        assert found["content"] == [
            {"type": "text", "text": "a"},
            SHOWN,
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            {"type": "text", "text": "b"},
        ]

    def test_documents(self):
        """Documents that are text become text, with their title."""
        plain = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}
        blocks = {"type": "document", "source": {"type": "content", "content": [text("e")]}}
        found = {"type": "search_result", "source": "https://x", "title": "S", "content": [text("f")]}
        assert turns(user(plain, blocks, found)) == [{"role": "user", "content": "T\nd\ne\nS\nf"}]

    def test_a_tool_loop(self):
        """Calls and results keep their ids; results come before what else the user says in that turn."""
        call = {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": [1, "ü"]}}
        result = {"type": "tool_result", "tool_use_id": "t1", "content": [text("x"), text("y")]}
        found = turns(HELLO, {"role": "assistant", "content": [text("I"), call]}, user(text("go on"), result))
        assert found[1:] == [
            {
                "role": "assistant",
                "content": "I",
                "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"a": [1, "\\u00fc"]}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "x\ny"},
            {"role": "user", "content": "go on"},
        ]

    def test_images_of_results_follow_them(self):
        """Images of a result stand in the user's turn after all results."""
        results = [
            {"type": "tool_result", "tool_use_id": "t1", "content": [PIXEL]},
            {"type": "tool_result", "tool_use_id": "t2", "content": "y"},
        ]
        assert turns(user(*results)) == [
            {"role": "tool", "tool_call_id": "t1", "content": "The image follows."},
            {"role": "tool", "tool_call_id": "t2", "content": "y"},
            {"role": "user", "content": [SHOWN]},
        ]

    @pytest.mark.parametrize(
        ("said", "told"),
        [("no file", "Error: no file"), ("Error: no file", "Error: no file"), (None, "Error: ")],
    )
    def test_an_error_of_a_tool_says_so(self, said, told):
        """Chats have no mark for a tool's error, so the text says it."""
        (found,) = turns(user({"type": "tool_result", "tool_use_id": "t", "content": said, "is_error": True}))
        assert found["content"] == told

    def test_reasoning_goes_back(self):
        """Earlier reasoning is the message's reasoning content; what is encrypted is left out."""
        thought = {"type": "thinking", "thinking": "hm", "signature": ""}
        found = turns(HELLO, {"role": "assistant", "content": [thought, {"type": "redacted_thinking", "data": "x"}]})
        assert found[1] == {"role": "assistant", "content": "", "reasoning_content": "hm"}

    def test_blocks_of_servers_are_left_out(self):
        """Blocks of tools that a server ran, or that nobody knows, are ignored."""
        blocks = [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": {"type": "error", "error_code": "x"}},
            {"type": "new", "content": "x", "source": None},
            text("so"),
        ]
        assert turns(HELLO, {"role": "assistant", "content": blocks})[1] == {"role": "assistant", "content": "so"}


class TestTools:
    def test_tools_are_functions(self):
        """The client's tools are functions, with their schema as it is; those of servers are left out."""
        assert chat(tools=[TOOL, SEARCH])["tools"] == [
            {
                "type": "function",
                "function": {"name": "look", "description": "Looks.", "parameters": TOOL["input_schema"]},
            }
        ]
        assert "tools" not in chat(tools=[SEARCH], tool_choice={"type": "auto"})

    def test_a_tool_without_a_schema_takes_anything(self):
        """Engines want a schema."""
        (tool,) = chat(tools=[{"name": "x", "type": "custom", "strict": True}])["tools"]
        assert tool["function"] == {"name": "x", "parameters": {"type": "object", "properties": {}}, "strict": True}

    @pytest.mark.parametrize(
        ("choice", "said"),
        [
            ({"type": "auto"}, "auto"),
            ({"type": "any"}, "required"),
            ({"type": "none"}, "none"),
            ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
        ],
    )
    def test_tool_choice(self, choice, said):
        """Each choice has its equivalent."""
        found = chat(tools=[TOOL], tool_choice={**choice, "disable_parallel_tool_use": True})
        assert found["tool_choice"] == said
        assert found["parallel_tool_calls"] is False

    def test_a_choice_of_a_tool_that_was_left_out_is_refused(self):
        """The model would answer without the tool that the client counts on."""
        error = refused(tools=[TOOL, SEARCH], tool_choice={"type": "tool", "name": "web_search"})
        assert error.param == "tool_choice"
        assert "web_search" in error.message


class TestCounts:
    def test_a_count_goes_to_the_counter(self):
        """A count is asked of the engine's counter, with the chat."""
        found = count_tokens(json.dumps({"model": "m", "messages": [HELLO], "system": "Be kind."}).encode(), CONTEXT)
        assert found.path == "/v1/router/count_tokens"
        assert json.loads(found.body)["messages"] == [{"role": "system", "content": "Be kind."}, HELLO]

    def test_its_answer_is_passed_on(self):
        """The count is the answer's; other fields aren't."""
        answer = count_tokens(json.dumps({"messages": [HELLO]}).encode(), CONTEXT).answer
        assert answer.whole(b'{"input_tokens": 7, "x": 1}', 0.0) == b'{"input_tokens":7}'
        assert answer.done

    def test_an_error_has_anthropics_form(self):
        """An engine's error is passed on in Anthropic's form."""
        answer = count_tokens(json.dumps({"messages": [HELLO]}).encode(), CONTEXT).answer
        assert json.loads(answer.error(400, b'{"error": {"message": "too long"}}')) == {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "too long"},
        }

    @pytest.mark.parametrize("said", [b"", b"{}", b'{"input_tokens": "x"}', b"[1]"])
    def test_an_answer_that_is_no_count(self, said):
        """It is the engine's fault."""
        answer = count_tokens(json.dumps({"messages": [HELLO]}).encode(), CONTEXT).answer
        with pytest.raises(BadGatewayError):
            answer.whole(said, 0.0)

    def test_an_error_that_says_200(self):
        """It is the engine's own, in its words."""
        answer = count_tokens(json.dumps({"messages": [HELLO]}).encode(), CONTEXT).answer
        with pytest.raises(EngineError, match=r"^no tokenizer$"):
            answer.whole(b'{"error": {"message": "no tokenizer"}}', 0.0)

    def test_a_stream_is_no_count(self):
        """It is the engine's fault."""
        answer = count_tokens(json.dumps({"messages": [HELLO]}).encode(), CONTEXT).answer
        with pytest.raises(BadGatewayError):
            answer.feed(b"data: {}\n\n", 0.0)
        with pytest.raises(BadGatewayError):
            answer.ended(0.0)


@pytest.mark.parametrize(
    ("more", "asks"),
    [
        ({}, False),
        ({"output_config": {"effort": "high"}}, False),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, True),
        ({"output_format": {"type": "json_schema", "schema": {}}}, True),
        ({"output_config": 5}, False),
    ],
)
def test_a_format_that_is_asked_for(more, asks):
    """Is seen before anything is translated: some engines ignore it."""
    body = json.dumps({"model": "m", "messages": [], **more}).encode()
    assert (mender(body, CONTEXT) is None) is asks
