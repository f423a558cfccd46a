"""What no client may send to an engine: its private fields, and media that it would fetch."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.engines import ENGINES, bodies, private
from launchers.engines.command import AnyCommand
from launchers.errors import UnfitRequestError
from launchers.spec import LaunchSpec

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
HELLO = [{"role": "user", "content": "Hello"}]
PNG = "data:image/png;base64,iVBORw0KGgo="

FIELDS = [(engine.name, name) for engine in ENGINES.values() for name in sorted(engine.private)]
"""Each engine with each of its private fields."""

FROM_ELSEWHERE = {
    "an object with its url": {"type": "image_url", "image_url": {"url": "http://10.0.0.1/a.png"}},
    "a url alone": {"type": "image_url", "image_url": "https://example.org/a.png"},
    "a file": {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
    "a path": {"type": "image_url", "image_url": {"url": "/etc/passwd"}},
    "upper case": {"type": "image_url", "image_url": {"url": "HTTP://10.0.0.1/a.png"}},
    "another scheme": {"type": "image_url", "image_url": {"url": "ftp://10.0.0.1/a.png"}},
    "no type": {"image_url": "http://10.0.0.1/a.png"},
    "a video": {"type": "video_url", "video_url": {"url": "http://10.0.0.1/a.mp4"}},
    "a sound": {"type": "audio_url", "audio_url": {"url": "http://10.0.0.1/a.wav"}},
    "a sound's data": {"type": "input_audio", "input_audio": {"data": "http://10.0.0.1/a.wav", "format": "wav"}},
    "a sound's url": {"type": "input_audio", "input_audio": {"url": "http://10.0.0.1/a.wav", "format": "wav"}},
    "an image as mlx has it": {"type": "image", "image": "http://10.0.0.1/a.png"},
    "a space before it": {"type": "image_url", "image_url": {"url": " data:image/png;base64,aaaa"}},
    "a file's url": {"type": "input_file", "file_url": "http://10.0.0.1/a.pdf"},
    "a file as chats have it": {"type": "file", "file": {"file_data": "http://10.0.0.1/a.pdf"}},
    "Anthropic's": {"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/a.png"}},
    "a tool's result": {
        "type": "tool_result",
        "content": [{"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/a.png"}}],
    },
}  # fmt: skip
"""Parts of messages that have an engine fetch something."""


def spec(name="vllm", *, allow=(), hosts=(), args=None):
    """Give a launch that allows this."""
    return LaunchSpec(
        "demo-1", name, "/models/demo", "demo", args or {}, {}, 60, allow=frozenset(allow), media_hosts=tuple(hosts)
    )


def chat(**fields):
    """Give a chat as it comes."""
    return json.dumps({"model": "demo", "messages": HELLO, **fields}).encode()


def look(body, *, allow=(), hosts=()):
    """Look at a body as if for vllm; raise what it is refused with."""
    private.refuse(bodies.fields(body)[0], ENGINES["vllm"].private, "vllm", spec(allow=allow, hosts=hosts))


def refused(engine, path, body, **options):
    """Give the error of a request that an engine must not get."""
    with pytest.raises(UnfitRequestError) as caught:
        ENGINES[engine].put_right(path, body, spec(engine, **options))
    return caught.value


@pytest.mark.parametrize(("engine", "name"), FIELDS)
def test_a_private_field_is_refused(engine, name):
    """With the field's name, and what would let it pass."""
    error = refused(engine, CHAT, chat(**{name: 1}))
    assert error.param == name
    assert f"{name} is private to {engine}" in error.message
    assert "launch.allow" in error.message


@pytest.mark.parametrize(("engine", "name"), FIELDS)
def test_launch_allow_lets_one_pass(engine, name):
    """That one alone."""
    right = json.loads(ENGINES[engine].put_right(CHAT, chat(**{name: 1}), spec(engine, allow=[name])))
    assert right[name] == 1


@pytest.mark.parametrize("path", ["/completion", "/infill", "/v1/completions", RESPONSES, MESSAGES, "/tokenize"])
def test_each_path_of_an_engine_is_looked_at(path):
    """Not only those whose bodies are put right."""
    body = chat(n_discard=-1, prompt="a", input="a", max_tokens=1)
    assert refused("llama_server", path, body).param == "n_discard"


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES, "/v1/completions", "/pooling", "/tokenize", "/v1/embeddings"])
def test_each_path_of_vllm_is_looked_at(path):
    body = chat(chat_template="{{ 1 }}", prompt="a", input="a", max_tokens=1)
    assert refused("vllm", path, body).param == "chat_template"


@pytest.mark.parametrize(
    "body",
    [
        rb'{"messages": [], "n\u005fdiscard": 1}',
        rb'{"\u006e_discard": 1, "messages": []}',
        b'{"n_discard": null, "n_discard": 1, "messages": []}',
        b'{"messages": [], "messages": [], "n_discard" \n\t : -5}',
    ],
)
def test_names_count_as_a_parser_reads_them(body):
    """An escape in a name hides nothing, and neither does a second field of the same name."""
    assert refused("llama_server", CHAT, body).param == "n_discard"


@pytest.mark.parametrize("path", [CHAT, "/completion"])
def test_of_two_the_last_one_counts(path):
    """As it does for engines; where that one is null, what goes on has none."""
    body = b'{"n_discard": 1, "n_discard": null, "messages": [{"role": "user", "content": "Hello"}]}'
    assert b"n_discard" not in ENGINES["llama_server"].put_right(path, body, spec("llama_server"))


def test_a_null_is_no_field():
    right = ENGINES["llama_server"].put_right(CHAT, chat(n_discard=None), spec("llama_server"))
    assert json.loads(right) == json.loads(chat())


@pytest.mark.parametrize("engine", ENGINES)
def test_fields_of_templates_pass_but_no_template(engine):
    """`enable_thinking` is in daily use."""
    said = chat(chat_template_kwargs={"enable_thinking": False})
    assert ENGINES[engine].put_right(CHAT, said, spec(engine)) == said
    for name in ("chat_template", "tokenize"):
        error = refused(engine, CHAT, chat(chat_template_kwargs={name: "x"}))
        assert error.param == f"chat_template_kwargs.{name}"


def test_fields_of_an_extra_body_are_looked_at():
    assert refused("vllm", CHAT, chat(extra_body={"vllm_xargs": {}})).param == "extra_body.vllm_xargs"


@pytest.mark.parametrize("engine", ENGINES)
def test_ordinary_options_pass(engine):
    """What only says how tokens are chosen is nobody's private affair."""
    said = chat(
        temperature=0.5, top_k=20, min_p=0.1, seed=1, logit_bias={}, user="me", repetition_penalty=1.1, stop="a"
    )
    assert "repetition_penalty" in json.loads(ENGINES[engine].put_right(CHAT, said, spec(engine)))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_path_that_an_engine_keeps_for_itself_is_refused(engine):
    """Nothing but what it serves to clients is asked of it; `launch.allow` may name a path, too."""
    path = "/v1/load_lora_adapter"
    assert f"no {path}" in refused(engine, path, b"{}").message
    allowed = ENGINES[engine].put_right(path, b'{"model": "demo"}', spec(engine, allow=[path]))
    assert allowed == b'{"model": "demo"}'


@pytest.mark.parametrize("part", FROM_ELSEWHERE.values(), ids=list(FROM_ELSEWHERE))
@pytest.mark.parametrize("place", ["messages", "input"])
def test_media_elsewhere_are_refused(part, place):
    """Wherever they stand, in whatever form; the error names the place, and what would let them pass."""
    with pytest.raises(UnfitRequestError) as caught:
        look(json.dumps({place: [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]}).encode())
    assert caught.value.param == place
    assert caught.value.message.startswith(f"{place}[0].content[1]")
    assert "launch.media_hosts" in caught.value.message


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_looks_for_media(engine, path):
    """In each API that it speaks, also in a tool's result and beside a field that makes a chat unusual."""
    if path not in ENGINES[engine].apis:
        return
    source = {"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/a.png"}}
    parts = {
        CHAT: ("messages", {"type": "image_url", "image_url": {"url": "http://10.0.0.1/a.png"}}),
        RESPONSES: ("input", {"type": "input_image", "image_url": "http://10.0.0.1/a.png"}),
        MESSAGES: ("messages", source),
    }
    name, part = parts[path]
    for more in ({}, {"top_k": 3}):
        body = json.dumps({"model": "demo", "max_tokens": 5, name: [{"role": "user", "content": [part]}], **more})
        error = refused(engine, path, body.encode(), args={"mmproj": "a.gguf"})
        assert "media_hosts" in error.message


@pytest.mark.parametrize("part", FROM_ELSEWHERE.values(), ids=list(FROM_ELSEWHERE))
def test_escaped_names_hide_no_media(part):
    """Each letter of each name may be written as an escape."""
    said = json.dumps([{"content": [part]}])
    for name in (
        "image_url",
        "video_url",
        "audio_url",
        "input_audio",
        "file_url",
        '"image"',
        '"source"',
        '"file"',
        "url",
    ):
        said = said.replace(name, "".join(c if c == '"' else f"\\u{ord(c):04x}" for c in name))
    with pytest.raises(UnfitRequestError):
        look(b'{"messages": %s}' % said.encode())


@pytest.mark.parametrize(
    "body",
    [
        {"images": ["http://10.0.0.1/a.png"]},
        {"data_1": {"content": [{"image_url": {"url": "http://10.0.0.1/a.png"}}]}},
        {"query": {"content": [{"image_url": {"url": "http://10.0.0.1/a.png"}}]}},
        {"documents": [{"content": [{"image_url": {"url": "http://10.0.0.1/a.png"}}]}]},
        {"inputs": [{"content": [{"image_url": {"url": "http://10.0.0.1/a.png"}}]}]},
        {"input": [{"type": "computer_call_output", "output": {"image_url": "http://10.0.0.1/a.png"}}]},
        {"input": [{"type": "function_call_output", "output": [{"image_url": "http://10.0.0.1/a.png"}]}]},
        {"system": [{"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/a.png"}}]},
        {"messages": [{"content": {"image_url": "http://10.0.0.1/a.png"}}]},
        {"messages": [[{"content": [[{"image_url": "http://10.0.0.1/a.png"}]]}]]},
        {"messages": [{"content": [{"image_url": {"url": {"url": "http://10.0.0.1/a.png"}}}]}]},
        {"image_url": "http://10.0.0.1/a.png"},
    ],
)  # fmt: skip
def test_media_are_found_in_every_api(body):
    """Those of Cohere's, of scores, of answers of tools, and where nobody would put them."""
    with pytest.raises(UnfitRequestError):
        look(json.dumps(body).encode())


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": PNG},
        {"type": "image_url", "image_url": None},
        {"type": "input_audio", "input_audio": {"data": "//uQx+/=", "format": "mp3"}},
        {"type": "input_audio", "input_audio": {"data": "data:audio/wav;base64,aaaa", "format": "wav"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}},
        {"type": "document", "source": {"type": "text", "data": "See http://example.org: it says more."}},
        {"type": "search_result", "source": "https://example.org", "content": [{"type": "text", "text": "a"}]},
        {"type": "text", "text": "a", "file": "notes.txt"},
        {"type": "text", "text": "a", "image": "cat.png"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aaaa", "filename": "a.pdf"}},
        {"type": "text", "text": '{"image_url": "http://10.0.0.1/a.png"}'},
    ],
)  # fmt: skip
def test_what_is_in_the_request_passes(part):
    """And so does what no engine would fetch."""
    look(json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode())


def test_tools_may_have_fields_of_these_names():
    """They are those of a schema."""
    schema = {"type": "object", "properties": {"image_url": {"type": "string", "default": "http://a"}}}
    look(chat(tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}]))


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("https://images.example.org/a.png", True),
        ("http://IMAGES.example.org:8080/a?b=c", True),
        ("https://images.example.org", True),
        ("https://a.cdn.example.net/x", True),
        ("https://a.b.cdn.example.net/x", True),
        ("https://cdn.example.net/x", False),
        ("https://example.org/a.png", False),
        ("https://images.example.org.evil.net/a.png", False),
        ("https://evilimages.example.org/a.png", False),
        ("https://images.example.org@10.0.0.1/a.png", False),
        ("https://10.0.0.1/@images.example.org/", False),
        ("https://images.example.org/@10.0.0.1/a.png", False),
        ("https://images.example.org\\@10.0.0.1/", False),
        ("https://images.example.org\\.10.0.0.1/", False),
        ("https://images.example.org#@10.0.0.1/", False),
        ("https://images.example.org?@10.0.0.1/", False),
        ("https://images.example.org /a", False),
        ("https://images.example.org\n/a", False),
        ("https:images.example.org/a", False),
        ("https:///images.example.org/a", False),
        ("file://images.example.org/a", False),
        ("//images.example.org/a", False),
    ],
)  # fmt: skip
def test_a_named_host_may_be_asked(url, passes):
    """Where every parser finds that host in the URL, and no other."""
    body = json.dumps({"messages": [{"content": [{"image_url": {"url": url}}]}]}).encode()
    hosts = ["images.example.org", "*.cdn.example.net"]
    if passes:
        look(body, hosts=hosts)
    else:
        with pytest.raises(UnfitRequestError):
            look(body, hosts=hosts)


@pytest.mark.parametrize("engine", ["llama_server", "vllm"])
def test_a_named_host_passes_through_a_whole_engine(engine):
    """Also where the chat would be recognised as usual with a `data:` URL."""
    part = {"type": "image_url", "image_url": {"url": "https://images.example.org/a.png"}}
    body = chat(messages=[{"role": "user", "content": [part]}])
    args = {"mmproj": "a.gguf"}
    assert "fetch" in refused(engine, CHAT, body, args=args).message
    right = ENGINES[engine].put_right(CHAT, body, spec(engine, hosts=["images.example.org"], args=args))
    assert json.loads(right) == json.loads(body)


def test_tensors_in_messages_are_private():
    """They are read by code that can be made to run other code."""
    body = json.dumps({"messages": [{"content": [{"type": "image_embeds", "image_embeds": "aaaa"}]}]}).encode()
    with pytest.raises(UnfitRequestError) as caught:
        look(body)
    assert caught.value.param == "messages[0].content[0].image_embeds"
    look(body, allow=["image_embeds"])


def test_what_is_nested_too_deeply_is_refused():
    """Not looked into."""
    inner: list[dict[str, object]] = [{"image_url": "http://10.0.0.1/a.png"}]
    for _ in range(30):
        inner = [{"content": inner}]
    with pytest.raises(UnfitRequestError, match="too deeply"):
        look(json.dumps({"messages": inner}).encode())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["content", "image_url", "url", "a"]), inner),
    )
)
def test_any_json_is_refused_or_passes(value):
    """Nothing else comes of it."""
    with suppress(UnfitRequestError):
        look(json.dumps({"messages": value}).encode())


def test_a_command_has_no_list_unless_it_says_which_engine_it_is():
    """Then it gets what that engine gets; its bodies stay as they are."""
    body = chat(chat_template="x")
    assert AnyCommand().put_right(CHAT, body) is body
    known = AnyCommand(private=ENGINES["vllm"].private)
    with pytest.raises(UnfitRequestError, match="chat_template is private to the engine of this model"):
        known.put_right(CHAT, body)
    plain = chat(priority=3)
    assert known.put_right(CHAT, plain) is plain


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/files", "/lora-adapters"])
def test_a_command_that_says_which_engine_it_is_gets_no_paths_of_its_own_affairs(path):
    """As the engine itself; all APIs reach it, as its answers show which it has, and so do paths that are said."""
    body = chat()
    assert AnyCommand().put_right(path, body) is body
    known = AnyCommand(apis=frozenset({"/inference"}), private=ENGINES["vllm"].private)
    with pytest.raises(UnfitRequestError, match=f"which has no {path}; it has"):
        known.put_right(path, body)
    assert known.put_right(path, body, spec(allow=[path])) is body
    for api in ("/inference", *bodies.APIS):
        assert known.put_right(api, body) is body


@pytest.mark.parametrize("name", ENGINES)
def test_no_engine_has_a_path_that_is_no_api(name):
    """What is its own affair is in no engine's list."""
    assert ENGINES[name].apis <= bodies.APIS
