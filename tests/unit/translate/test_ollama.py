"""Ollama's requests as engines get them, and engines' answers as Ollama's clients get them."""

import base64
import json

import ollama as sdk
import pytest
from ollama import _types as sdk_types

from router.core.errors import BadGatewayError, BadRequestError, EngineError
from router.translate import ollama
from router.translate.speech import CHAT, COMPLETIONS, EMBEDDINGS, JSON, NDJSON, Context, Translation

UNIX = 1_764_449_400.25
CONTEXT = Context("req-1", "demo:latest", "/api/chat", UNIX, 10.0)
HI = [{"role": "user", "content": "hi"}]
SAID = {"content": "Hello", "role": "assistant"}
DONE = b"data: [DONE]\n\n"
CHAT_BODY = {"model": "demo", "messages": HI}


def encode(body: object) -> bytes:
    return json.dumps(body).encode()


def chat(**more) -> Translation:
    return ollama.chat(encode({**CHAT_BODY, **more}), CONTEXT)


def generate(**more) -> Translation:
    return ollama.generate(encode({"model": "demo", "prompt": "hi", **more}), CONTEXT)


def embed(**more) -> Translation:
    return ollama.embed(encode({"model": "demo", "input": ["a", "b"], **more}), CONTEXT)


def sent(translation):
    return json.loads(translation.body)


def event(delta, finish=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + encode({"id": "x", "choices": [choice], **more}) + b"\n\n"


def called(index, name, arguments, **more):
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "function": function, **more}]}


USED = b"data: " + encode({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}) + b"\n\n"


def stream(translation, *events, begins=11.0, ends=14.0):
    answer = translation.answer
    told = b"".join(answer.feed(each, begins) for each in events) + answer.feed(DONE, ends) + answer.ended(ends)
    assert told.endswith(b"\n")
    assert answer.done
    return [json.loads(line) for line in told.splitlines()]


def whole(translation, message, finish="stop", **more):
    told = translation.answer.whole(encode({"choices": [{"message": message, "finish_reason": finish}], **more}), 12.0)
    assert translation.answer.done
    return json.loads(told)


# Requests


def test_a_chat_is_a_stream_unless_it_says_no():
    """Ollama's clients that say nothing about a stream get one, with its usage."""
    for more in ({}, {"stream": True}, {"stream": None}):
        translation = chat(**more)
        assert translation.path == CHAT
        assert translation.answer.content_type == NDJSON
        assert sent(translation) == {
            "model": "demo",
            "messages": HI,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    translation = chat(stream=False)
    assert translation.answer.content_type == JSON
    assert sent(translation) == {"model": "demo", "messages": HI}


def test_options_have_the_names_of_chat_completions():
    """Options that engines have in common are passed on; those about loading, and keep_alive, are not."""
    options = {
        "num_predict": 12,
        "temperature": 0.5,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.1,
        "seed": 1,
        "stop": ["a"],
        "repeat_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "num_ctx": 8192,
        "num_gpu": 1,
        "mirostat": 1,
        "later": {},
    }
    told = sent(chat(options=options, stream=False, keep_alive="5m", later=[1]))
    del told["model"], told["messages"]
    assert told == {
        "max_tokens": 12,
        "temperature": 0.5,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.1,
        "seed": 1,
        "stop": ["a"],
        "repeat_penalty": 1.1,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
    }


@pytest.mark.parametrize(("given", "most"), [(-1, -1), (-2, -1), (0, -1), (None, None), (12.0, 12), (1e300, -1)])
def test_num_predict_below_one_is_no_limit(given, most):
    """-1 and -2 mean that the answer ends by itself; a route's rules are to see that this was said."""
    assert sent(chat(options={"num_predict": given})).get("max_tokens") == most


def test_options_win_over_a_routes_defaults():
    """Fields that a route has added are passed on, unless the client says otherwise in Ollama's words."""
    defaults = {
        "temperature": 0,
        "max_completion_tokens": 5,
        "repetition_penalty": 1,
        "response_format": {"type": "text"},
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False, "more": 1},
        "seed": None,
        "top_p": 0.5,
    }
    told = sent(chat(**defaults, stream=False))
    assert told == {**CHAT_BODY, **{name: value for name, value in defaults.items() if value is not None}}
    options = {"temperature": 0.5, "num_predict": 10, "repeat_penalty": 2, "top_p": None}
    told = sent(chat(options=options, **defaults, format="json", think="high"))
    assert (told["temperature"], told["top_p"], told["max_tokens"]) == (0.5, 0.5, 10)
    assert (told["repeat_penalty"], told["repetition_penalty"]) == (2, 2)
    assert told["response_format"] == {"type": "json_object"}
    assert told["reasoning_effort"] == "high"
    assert told["chat_template_kwargs"] == {
        "enable_thinking": True,
        "thinking": True,
        "reasoning_effort": "high",
        "more": 1,
    }
    assert not {"max_completion_tokens", "seed"} & told.keys()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("json", {"type": "json_object"}),
        (
            {"type": "object"},
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
        ),
        ("", None),
        (None, None),
    ],
)
def test_format_is_a_response_format(given, told):
    """`json` asks for any JSON, a schema for JSON of that form."""
    assert sent(chat(format=given)).get("response_format") == told


@pytest.mark.parametrize(
    ("think", "effort", "thinks"),
    [(False, None, False), (True, None, True), ("high", "high", True), ("low", "low", True)],
)
def test_think_is_told_to_the_chat_template(think, effort, thinks):
    """Engines' templates know thinking by several names."""
    told = sent(chat(think=think))
    kwargs = told["chat_template_kwargs"]
    assert (kwargs["enable_thinking"], kwargs["thinking"]) == (thinks, thinks)
    assert (told.get("reasoning_effort"), kwargs.get("reasoning_effort")) == (effort, effort)


def test_without_think_the_engine_decides():
    """A client that says nothing of thinking changes nothing."""
    for think in (None, ""):
        assert not {"chat_template_kwargs", "reasoning_effort"} & sent(chat(think=think)).keys()


def test_images_are_data_urls_of_their_type():
    """The type is read from the first bytes; a content of text alone stays a text."""
    files = [b"\x89PNG\r\n\x1a\n...", b"\xff\xd8\xff\xe0...", b"GIF89a...", b"RIFF....WEBP", b"BM....", b"?????"]
    images = [base64.b64encode(each).decode() for each in files]
    message = {"role": "user", "content": "look", "images": [*images, "data:image/png;base64,AAAA"]}
    told = sent(chat(messages=[message]))["messages"][0]["content"]
    assert told[0] == {"type": "text", "text": "look"}
    assert all(each["type"] == "image_url" for each in told[1:])
    urls = [each["image_url"]["url"] for each in told[1:]]
    types = ["png", "jpeg", "gif", "webp", "bmp", "jpeg"]
    assert urls[:-1] == [f"data:image/{kind};base64,{image}" for kind, image in zip(types, images, strict=True)]
    assert urls[-1] == "data:image/png;base64,AAAA"
    assert sent(chat(messages=[{"role": "user", "content": "hi", "images": []}]))["messages"] == HI


def test_an_image_may_be_in_lines_and_without_a_text():
    """Some programs write base64 in lines."""
    told = sent(chat(messages=[{"role": "user", "images": ["iVBOR\nw0KGgo=\n"]}]))["messages"][0]["content"]
    assert told == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]


def test_calls_get_ids_and_results_find_them():
    """Results name the tool, or the id if the client keeps it, or come in order."""
    calls: list[object] = [{"function": {"name": name, "arguments": {"of": name}}} for name in ("a", "b", "c")]
    calls.append({"id": "mine", "function": {"name": "d", "arguments": None}})
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "thinking": "Hm.", "tool_calls": calls},
        {"role": "tool", "tool_name": "c", "content": "C"},
        {"role": "tool", "tool_call_id": "mine", "content": "D"},
        {"role": "tool", "content": "A"},
        {"role": "tool", "tool_name": "b", "content": "B"},
        {"role": "tool", "content": "nobody's"},
        {"role": "tool", "tool_call_id": "other", "content": "another's"},
    ]
    _, said, *results = sent(chat(messages=messages))["messages"]
    assert said["content"] == ""
    assert said["reasoning_content"] == "Hm."
    ids = {call["function"]["name"]: call["id"] for call in said["tool_calls"]}
    assert ids == {"a": "call00001", "b": "call00002", "c": "call00003", "d": "mine"}
    assert [call["function"]["arguments"] for call in said["tool_calls"]] == [
        '{"of": "a"}',
        '{"of": "b"}',
        '{"of": "c"}',
        "{}",
    ]
    found = {each["content"]: each["tool_call_id"] for each in results}
    assert {name.lower(): found[name] for name in "ABCD"} == ids
    assert found["another's"] == "other"
    assert found["nobody's"] not in ids.values()


def test_arguments_that_are_a_text_already_stay_it():
    """Some clients send back OpenAI's form."""
    call = {"function": {"name": "a", "arguments": '{"x": 1}'}}
    told = sent(chat(messages=[{"role": "assistant", "content": "", "tool_calls": [call]}]))
    assert told["messages"][0]["tool_calls"][0]["function"]["arguments"] == '{"x": 1}'


def test_tools_are_functions_with_parameters():
    """Tools of unknown types are left out, and parameters added where engines want some."""
    schema = {"type": "object", "properties": {"x": {"type": ["string", "null"]}}}
    tools: list[dict[str, object]] = [
        {"type": "function", "function": {"name": "a", "description": "A.", "parameters": schema}},
        {"function": {"name": "b"}},
        {"type": "browser", "function": {"name": "c"}},
        {"type": "function"},
    ]
    nothing: dict[str, object] = {"type": "object", "properties": {}}
    assert sent(chat(tools=tools))["tools"] == [
        {"type": "function", "function": {"name": "a", "description": "A.", "parameters": schema}},
        {"type": "function", "function": {"name": "b", "parameters": nothing}},
    ]
    assert "tools" not in sent(chat(tools=[]))
    assert "tools" not in sent(chat(tools=tools[2:]))


def test_content_in_parts_passes():
    """A client that knows OpenAI's parts is understood."""
    parts = [{"type": "text", "text": "hi"}]
    assert sent(chat(messages=[{"role": "user", "content": parts}]))["messages"][0]["content"] == parts


def test_a_prompt_is_a_chat_with_its_system_prompt_and_images():
    """/api/generate uses the model's chat template."""
    translation = generate(system="Be kind.", images=["/9j/"], context=[1, 2], template="", suffix="")
    assert translation.path == CHAT
    assert sent(translation)["messages"] == [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/"}},
            ],
        },
    ]
    assert sent(generate(think=False))["chat_template_kwargs"]["enable_thinking"] is False
    alone = sent(generate(prompt="", images=["/9j/"]))["messages"]
    assert [part["type"] for part in alone[0]["content"]] == ["image_url"]


def test_a_raw_prompt_is_a_completion():
    """`raw: true` takes the prompt as it is; editors complete code this way."""
    translation = generate(raw=True, prompt="<fim>", options={"num_predict": 3}, stream=False)
    assert translation.path == COMPLETIONS
    assert sent(translation) == {"model": "demo", "prompt": "<fim>", "max_tokens": 3}
    answer = {"choices": [{"index": 0, "text": "<think>x", "finish_reason": "length"}]}
    told = json.loads(translation.answer.whole(encode(answer), 12.0))
    assert (told["response"], told["done_reason"]) == ("<think>x", "length")
    assert sent(generate(raw=True, format="json"))["json_schema"] == {"type": "object"}
    assert sent(generate(raw=True, format={"type": "array"}))["json_schema"] == {"type": "array"}


def empty(**more) -> list[Translation]:
    """Give requests without a message or a prompt."""
    return [chat(messages=[], **more), generate(prompt="", **more)]


@pytest.mark.parametrize("keep_alive", ["5m", -1, None])
@pytest.mark.parametrize("streams", [False, True])
def test_a_request_without_a_message_loads(keep_alive, streams):
    """The engine is sent one word, and the client gets no text."""
    for translation in empty(keep_alive=keep_alive, stream=streams):
        told = sent(translation)
        assert told["max_tokens"] == 1
        assert "stream" not in told
        got = whole(translation, SAID, "length")
        assert (got["done"], got["done_reason"], got["model"]) == (True, "load", "demo:latest")
        assert got["message"]["content"] == "" if "message" in got else got["response"] == ""


@pytest.mark.parametrize("keep_alive", [0, "0s"])
@pytest.mark.parametrize(("streams", "kind"), [(False, JSON), (True, NDJSON)])
def test_a_request_without_a_message_unloads(keep_alive, streams, kind):
    """No engine is sent anything: the translation is the answer."""
    for translation in empty(keep_alive=keep_alive, stream=streams):
        assert (translation.path, translation.answer.content_type) == ("", kind)
        got = sent(translation)
        assert (got["done"], got["done_reason"], got["model"]) == (True, "unload", "demo:latest")
        assert got["message"]["content"] == "" if "message" in got else got["response"] == ""


def test_a_loading_answer_that_streams_says_nothing_either():
    """Also an engine that streams unasked loads the model."""
    translation = generate(prompt=None)
    lines = stream(translation, event({"reasoning_content": "a"}), event({"content": "b"}), event(called(0, "f", "{}")))
    assert lines == [{**lines[0], "response": "", "done": True, "done_reason": "load"}]
    assert chat(messages=None).path == CHAT


def test_embeddings_are_asked_for_as_floats():
    """Texts and truncation have OpenAI's and vllm's names."""
    translation = embed(dimensions=4, truncate=True, keep_alive=3, options={"num_ctx": 1})
    assert translation.path == EMBEDDINGS
    assert sent(translation) == {
        "model": "demo",
        "input": ["a", "b"],
        "encoding_format": "float",
    }
    assert sent(embed(input="a", truncate=False)) == {"model": "demo", "input": "a", "encoding_format": "float"}
    old = ollama.embeddings(encode({"model": "demo", "prompt": "a"}), CONTEXT)
    assert sent(old) == {"model": "demo", "input": "a", "encoding_format": "float"}


@pytest.mark.parametrize(
    ("ask", "more", "param"),
    [
        (chat, {"messages": "hi"}, "messages"),
        (chat, {"messages": [{"content": "hi"}]}, "messages"),
        (chat, {"messages": [{"role": "user", "content": 1}]}, "messages"),
        (chat, {"messages": [{"role": "user", "content": [], "images": ["/9j/"]}]}, "messages"),
        (chat, {"messages": [{"role": "user", "images": ["https://x.example/a.png"]}]}, "images"),
        (chat, {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "messages"),
        (chat, {"tools": {}}, "tools"),
        (chat, {"stream": "yes"}, "stream"),
        (chat, {"options": []}, "options"),
        (chat, {"options": {"num_predict": "many"}}, "num_predict"),
        (chat, {"format": "yaml"}, "format"),
        (chat, {"think": "hard"}, "think"),
        (chat, {"think": 1}, "think"),
        (chat, {"think": True, "chat_template_kwargs": 1}, "chat_template_kwargs"),
        (chat, {"messages": [], "keep_alive": "soon"}, "keep_alive"),
        (generate, {"prompt": 1}, "prompt"),
        (generate, {"suffix": "end"}, "suffix"),
        (generate, {"template": "{{ .Prompt }}"}, "template"),
        (generate, {"raw": True, "system": "a"}, "system"),
        (generate, {"raw": True, "images": ["/9j/"]}, "images"),
        (generate, {"raw": 1}, "raw"),
        (embed, {"input": [1]}, "input"),
        (embed, {"dimensions": "all"}, "dimensions"),
    ],
)
def test_what_cant_be_said_is_refused(ask, more, param):
    """The error is a sentence, and names the field."""
    with pytest.raises(BadRequestError) as refused:
        ask(**more)
    assert refused.value.param == param
    assert refused.value.message.endswith(".")


def test_a_field_that_is_given_twice_is_refused_if_one_is_wrong():
    """Whichever would count."""
    with pytest.raises(BadRequestError, match="not as expected"):
        ollama.chat(b'{"model":"m","messages":5,"messages":[]}', CONTEXT)


def test_arguments_that_are_no_text_are_refused():
    """Bytes that aren't UTF-8 never become part of a text."""
    call = b'{"function":{"name":"a","arguments":{"x":"\xff"}}}'
    body = b'{"model":"m","messages":[{"role":"assistant","tool_calls":[%s]}]}' % call
    with pytest.raises(BadRequestError):
        ollama.chat(body, CONTEXT)


# Answers


def test_a_stream_is_lines_with_counts_in_the_last():
    """Each piece is a line; the last line has done_reason, tokens and nanoseconds."""
    translation = chat()
    lines = stream(translation, b": ping\n\n", event(SAID), event({"content": " you"}), event({}, "stop"), USED)
    first = {"model": "demo:latest", "created_at": "2025-11-29T20:50:01.250000Z", "done": False}
    assert lines == [
        {**first, "message": {"role": "assistant", "content": "Hello"}},
        {**first, "message": {"role": "assistant", "content": " you"}},
        {
            "model": "demo:latest",
            "created_at": "2025-11-29T20:50:04.250000Z",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 7,
            "eval_count": 2,
            "total_duration": 4_000_000_000,
            "load_duration": 0,
            "prompt_eval_duration": 1_000_000_000,
            "eval_duration": 3_000_000_000,
        },
    ]


def test_the_engines_own_times_count():
    """llama.cpp tells how long the prompt and the answer took."""
    timings = {"prompt_ms": 2.5, "predicted_ms": 10}
    got = whole(generate(stream=False), SAID, usage={"prompt_tokens": 1, "completion_tokens": 2}, timings=timings)
    assert (got["prompt_eval_duration"], got["eval_duration"]) == (2_500_000, 10_000_000)


def test_what_a_request_has_waited_is_in_its_durations():
    """As in Ollama's: for room, and until its model was loaded."""
    late = CONTEXT._replace(waited=7.5)
    (last,) = stream(ollama.chat(encode(CHAT_BODY), late), event({}, "stop"))
    assert (last["load_duration"], last["total_duration"]) == (7_500_000_000, 11_500_000_000)
    answer = ollama.embed(encode({"model": "demo", "input": "a"}), late).answer
    told = json.loads(answer.whole(encode({"data": [{"embedding": [1.0]}]}), 12.0))
    assert (told["load_duration"], told["total_duration"]) == (7_500_000_000, 9_500_000_000)


def test_an_engine_that_tells_no_tokens_leaves_no_counts():
    """An unknown count is left out, as in Ollama; it isn't 0."""
    got = whole(chat(stream=False), SAID)
    assert not {"prompt_eval_count", "eval_count"} & got.keys()


def test_thinking_is_told_apart():
    """Reasoning has its own field, also where the engine leaves it in the text."""
    for delta in ({"reasoning_content": "Hm."}, {"content": "<think>Hm.</think>"}):
        lines = stream(chat(), event(delta), event(SAID), event({}, "stop"))
        assert [line["message"].get("thinking") for line in lines] == ["Hm.", None, None]
        assert [line["message"]["content"] for line in lines] == ["", "Hello", ""]
    lines = stream(generate(), event({"reasoning": "Hm."}), event(SAID), event({}, "length"))
    assert [line.get("thinking") for line in lines] == ["Hm.", None, None]
    assert [line["response"] for line in lines] == ["", "Hello", ""]
    assert lines[-1]["done_reason"] == "length"
    got = whole(chat(stream=False), {**SAID, "reasoning_content": "Hm."})
    assert got["message"] == {"role": "assistant", "content": "Hello", "thinking": "Hm."}
    assert whole(generate(stream=False), {**SAID, "reasoning_content": "Hm."})["thinking"] == "Hm."


def test_calls_are_whole_lines_with_objects():
    """Arguments come in pieces, and are told as one object."""
    lines = stream(
        chat(),
        event(called(0, "a", '{\n "x"', id="one")),
        event(called(0, None, ": 1}")),
        event(called(1, "b", "", id="two")),
        event({"content": "after"}),
        event({}, "tool_calls"),
    )
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert calls == [
        {"id": "one", "function": {"index": 0, "name": "a", "arguments": {"x": 1}}},
        {"id": "two", "function": {"index": 1, "name": "b", "arguments": {}}},
    ]
    assert "".join(line["message"]["content"] for line in lines) == "after"
    assert lines[-1]["done_reason"] == "stop"


def test_a_whole_answer_has_its_calls():
    """In one piece, too."""
    made = [{"id": "one", "function": {"name": "a", "arguments": '{"x": 1}'}}]
    got = whole(chat(stream=False), {"content": None, "tool_calls": made}, "tool_calls")
    call = {"id": "one", "function": {"index": 0, "name": "a", "arguments": {"x": 1}}}
    assert got["message"] == {"role": "assistant", "content": "", "tool_calls": [call]}


def test_thinking_after_a_call_comes_after_it():
    """The order of an answer's pieces stays."""
    lines = stream(chat(), event(called(0, "a", "{}")), event({"reasoning_content": "Hm."}), event({}, "tool_calls"))
    kinds = [[key for key in ("tool_calls", "thinking") if key in line["message"]] for line in lines]
    assert kinds == [["tool_calls"], ["thinking"], []]


@pytest.mark.parametrize("arguments", ['{"x": 1', "[1]", '{"x": "\\ud800"}', "[" * 5000])
def test_arguments_that_are_no_object_are_told_as_text(arguments):
    """A call that can't be read is text, as Ollama tells it, and never a call without arguments."""
    lines = stream(chat(), event(called(0, "a", arguments)), event({}, "length"))
    assert not any("tool_calls" in line["message"] for line in lines)
    assert arguments in lines[0]["message"]["content"]
    made = [{"id": "one", "function": {"name": "a", "arguments": arguments}}]
    message = whole(chat(stream=False), {"content": "", "tool_calls": made})["message"]
    assert "tool_calls" not in message
    assert arguments in message["content"]


def test_generate_tells_calls_as_text():
    """/api/generate has no calls; nothing that an engine says is lost."""
    lines = stream(generate(), event(called(0, "a", '{"x":1}')), event({}, "tool_calls"))
    assert '"a"' in lines[0]["response"]
    made = [{"id": "one", "function": {"name": "a", "arguments": '{"x": 1}'}}]
    assert '"a"' in whole(generate(stream=False), {"content": "", "tool_calls": made})["response"]


def test_log_probabilities_have_the_same_form():
    """They are asked for as in chat completions, and come with the line of their text; nonsense is left out."""
    translation = chat(logprobs=True, top_logprobs=2)
    assert (sent(translation)["logprobs"], sent(translation)["top_logprobs"]) == (True, 2)
    odds = {"token": "Hello", "logprob": -0.5, "bytes": [72], "top_logprobs": [{"token": "Hi", "logprob": -1.5}]}

    def said(delta, told):
        return b"data: " + encode({"choices": [{"index": 0, "delta": delta, "logprobs": told}]}) + b"\n\n"

    events = [
        said({"reasoning_content": "Hm"}, {"content": [odds]}),
        said({"content": "<th"}, {"content": [odds]}),
        said({"content": " you"}, None),
        said({"content": "!"}, "none"),
        said({}, {"content": [odds, odds]}),
    ]
    lines = stream(translation, *events)
    assert [len(line.get("logprobs", ())) for line in lines] == [1, 1, 0, 0, 2]
    assert lines[0]["logprobs"] == [odds]
    assert sdk.ChatResponse(**lines[0]).logprobs
    choice = {"message": SAID, "logprobs": {"content": [odds]}}
    assert json.loads(chat(stream=False).answer.whole(encode({"choices": [choice]}), 12.0))["logprobs"] == [odds]
    lines = stream(generate(logprobs=True), *events)
    assert [len(line.get("logprobs", ())) for line in lines] == [1, 1, 0, 0, 2]
    assert "logprobs" not in sent(generate(raw=True, logprobs=True, top_logprobs=1))


def test_an_answer_in_one_piece_becomes_a_stream_for_who_asked_for_one():
    """An engine may ignore `stream`."""
    translation = chat()
    told = translation.answer.whole(encode({"choices": [{"message": SAID, "finish_reason": "stop"}]}), 12.0)
    lines = [json.loads(line) for line in told.splitlines()]
    assert [line["done"] for line in lines] == [False, True]
    assert lines[0]["message"]["content"] == "Hello"


def test_errors_are_texts():
    """An object would be shown as [object Object]."""
    said = encode({"error": {"message": "Too long.", "type": "x"}})
    for translation in (chat(), generate(), embed()):
        assert json.loads(translation.answer.error(400, said)) == {"error": "Too long."}
    got = stream(chat(), event(SAID), b"data: " + said + b"\n\n")
    assert got[-1] == {"error": "Too long."}
    with pytest.raises(EngineError, match=r"^Too long\.$"):
        embed().answer.whole(said, 11.0)


def test_embeddings_come_in_order():
    """By their index, as they were given, with the tokens of the prompt."""
    data = [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1.25, 0]}]
    answer = encode({"data": data, "usage": {"prompt_tokens": 4}})
    got = json.loads(embed().answer.whole(answer, 12.0))
    assert got == {
        "model": "demo:latest",
        "embeddings": [[1, 0], [0.6, 0.8]],  # of length 1, whatever the engine gives
        "total_duration": 2_000_000_000,
        "load_duration": 0,
        "prompt_eval_count": 4,
    }
    old = ollama.embeddings(encode({"model": "demo", "prompt": "a"}), CONTEXT)
    assert json.loads(old.answer.whole(answer, 12.0)) == {"embedding": [1.25, 0]}
    assert old.answer.content_type == JSON
    assert old.answer.done


def test_an_empty_text_loads_the_model_and_has_no_embedding():
    """As with Ollama."""
    answer = encode({"data": [{"index": 0, "embedding": [1.0]}]})
    empty: tuple[object, ...] = ("", [])
    for given in empty:
        translation = embed(input=given)
        assert sent(translation)["input"]
        assert json.loads(translation.answer.whole(answer, 12.0))["embeddings"] == []
    old = ollama.embeddings(encode({"model": "demo", "prompt": ""}), CONTEXT)
    assert json.loads(old.answer.whole(answer, 12.0)) == {"embedding": []}


def test_dimensions_are_cut_here():
    """The first ones count, and the length is 1 again; most engines refuse to do it."""
    answer = encode({"data": [{"index": 0, "embedding": [3, 4, 12]}, {"index": 1, "embedding": [0, 0, 1]}]})
    assert json.loads(embed(dimensions=2).answer.whole(answer, 12.0))["embeddings"] == [[0.6, 0.8], [0, 0]]
    assert json.loads(embed(dimensions=3).answer.whole(answer, 12.0))["embeddings"][0] == [3 / 13, 4 / 13, 12 / 13]


@pytest.mark.parametrize(
    "answer", [b"no", b"{}", b'{"data":[{"embedding":"AAAA"}]}', b'{"data":[{"embedding":["a","b","c"]}]}']
)
def test_what_is_no_embedding_is_the_engines_error(answer):
    """An engine's nonsense never gets to the client as an answer."""
    translation = embed(dimensions=1)
    with pytest.raises(BadGatewayError):
        translation.answer.whole(answer, 12.0)
    with pytest.raises(BadGatewayError):
        embed().answer.feed(b"data: {}\n\n", 12.0)
    with pytest.raises(BadGatewayError):
        embed().answer.ended(12.0)


def test_the_sdks_types_read_every_answer():
    """The official SDK takes them apart without complaint."""
    sdk.ChatResponse(**whole(chat(stream=False), SAID, usage={"prompt_tokens": 1, "completion_tokens": 2}))
    sdk.GenerateResponse(**whole(generate(stream=False), SAID))
    for line in stream(chat(), event(SAID), event(called(0, "a", "{}")), event({}, "stop"), USED):
        sdk.ChatResponse(**line)
    answer = encode({"data": [{"index": 0, "embedding": [1.0]}]})
    sdk_types.EmbedResponse(**json.loads(embed().answer.whole(answer, 12.0)))


def test_the_sdks_requests_are_understood():
    """What the official SDK builds of tools, images and formats is translated."""

    def add(a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a: The first.
            b: The second.
        """
        return a + b

    tool = sdk._utils.convert_function_to_tool(add)
    request = sdk_types.ChatRequest(
        model="demo",
        messages=[sdk.Message(role="user", content="hi", images=[sdk.Image(value=b"iVBORw0KGgoA")])],
        tools=[tool],
        options=sdk.Options(temperature=0, num_ctx=5),
        format={"type": "object"},
        think="low",
        keep_alive="5m",
    ).model_dump(exclude_none=True)
    told = sent(ollama.chat(encode(request), CONTEXT))
    assert told["tools"][0]["function"]["parameters"]["required"] == ["a", "b"]
    assert told["temperature"] == 0
    assert told["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/")
