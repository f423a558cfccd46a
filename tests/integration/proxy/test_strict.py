"""Servers that refuse fields which they don't know: translated requests are answered by them all the same."""

from typing import Any

import pytest

from router.core.apis import MESSAGES, RESPONSES
from tests.fakes.strict import FORMS, MISTRALS, OPENAIS, Strict

CHAT = "/v1/chat/completions"
ASK = [{"role": "user", "content": "Hello"}]
ANSWERED = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": ""},
                                             {"type": "text", "text": "Hello"}]}  # fmt: skip
REASONED = [
    {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
]
OPTIONS = {"repeat_penalty": 1.1, "top_k": 20, "min_p": 0.1, "temperature": 0.5, "num_predict": 9}

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "thinking on": (MESSAGES, {"messages": ASK, "max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": 8}}),
    "thinking off": (MESSAGES, {"messages": ASK, "max_tokens": 9, "thinking": {"type": "disabled"}, "top_k": 5}),
    "a second turn of Claude Code": (MESSAGES, {"messages": [*ASK, ANSWERED, *ASK], "max_tokens": 9}),
    "a turn of thoughts alone": (
        MESSAGES,
        {"messages": [*ASK, {**ANSWERED, "content": ANSWERED["content"][:1]}, *ASK], "max_tokens": 9},
    ),
    "a second turn of Codex": (
        RESPONSES,
        {"input": [*ASK, *REASONED, *ASK], "store": False, "parallel_tool_calls": True, "reasoning": {"effort": "low"}},
    ),
    "think: false": ("/api/chat", {"messages": ASK, "think": False}),
    "think: high": ("/api/chat", {"messages": ASK, "think": "high"}),
    "a second turn of Ollama's": (
        "/api/chat",
        {"messages": [*ASK, {"role": "assistant", "content": "Hello", "thinking": "Hm."}, *ASK]},
    ),
    "options": ("/api/chat", {"messages": ASK, "options": OPTIONS, "think": True}),
    "generate": ("/api/generate", {"prompt": "Hello", "options": OPTIONS, "think": False}),
}  # fmt: skip


async def ask(session, router, path, body):
    async with session.post(router.url + path, json=body) as answer:
        return answer.status, await answer.text()


def backend(strict, **keys):
    return {"url": strict.url, "name": "far", "models": ["demo"], **keys}


@pytest.mark.parametrize("form", FORMS)
async def test_a_strict_server_answers(start_router, session, form):
    """The first request, and the following ones without another try, streamed or not."""
    async with Strict(form=form) as strict:
        router = await start_router([{"url": strict.url, "models": list(REQUESTS)}])
        for model, (path, body) in REQUESTS.items():
            status, said = await ask(session, router, path, {**body, "model": model, "stream": False})
            assert (status, "Hello" in said) == (200, True), said
            refusals = strict.refusals
            for stream in (False, True):
                status, said = await ask(session, router, path, {**body, "model": model, "stream": stream})
                assert (status, "Hel" in said) == (200, True), said
            assert strict.refusals == refusals


async def test_one_that_knows_less(start_router, session):
    """Mistral's server refused `stream_options`, too; it names all that it refuses at once."""
    async with Strict(form="mistral", knows=MISTRALS) as strict:
        router = await start_router([{"url": strict.url, "models": list(REQUESTS)}])
        for number, (model, (path, body)) in enumerate(REQUESTS.items(), 1):
            for _ in range(2):
                status, said = await ask(session, router, path, {**body, "model": model, "stream": True})
                assert status == 200, said
            assert strict.refusals == number


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", ["openai", "groq"])
async def test_a_field_that_is_refused_with_the_status_200(start_router, session, form, stream):
    """In the place of an answer, or as a stream's first event: nothing has reached the client yet."""
    async with Strict(form=form, late=True) as strict:
        router = await start_router([{"url": strict.url, "models": list(REQUESTS)}])
        for model, (path, body) in REQUESTS.items():
            status, said = await ask(session, router, path, {**body, "model": model, "stream": stream})
            assert (status, "Hel" in said) == (200, True), said
        assert strict.refusals >= len(REQUESTS)


async def test_another_error_as_a_first_event(start_router, session):
    """Is the client's, as the event that it is."""
    async with Strict(late=True) as strict:
        strict.knows = strict.knows - {"stop"}
        router = await start_router([backend(strict)])
        asked = {"model": "demo", "messages": ASK, "max_tokens": 9, "stop_sequences": ["x"], "stream": True}
        status, said = await ask(session, router, MESSAGES, asked)
        assert (status, strict.refusals) == (200, 1)
        assert "event: error" in said
        assert "Unknown parameter: 'stop'" in said


async def test_a_limit_gets_the_name_that_the_model_knows(start_router, session):
    """It isn't left out: OpenAI's reasoning models take `max_completion_tokens` alone."""
    async with Strict() as strict:
        strict.knows = strict.knows - {"max_tokens"}
        router = await start_router([backend(strict)])
        for _ in range(2):
            status, said = await ask(session, router, MESSAGES, {"model": "demo", "messages": ASK, "max_tokens": 7})
            assert status == 200, said
        assert strict.refusals == 1
        assert [(each["max_completion_tokens"], "max_tokens" in each) for each in strict.asked] == [(7, False)] * 2


async def test_a_limit_of_a_server_that_was_changed(start_router, session):
    """Gets the name that it takes now; one that takes neither name gives its error."""
    asked = {"model": "demo", "messages": ASK, "max_tokens": 7}
    async with Strict() as strict:
        router = await start_router([backend(strict)])
        for unknown in ("max_tokens", "max_completion_tokens", "max_tokens"):
            strict.knows = OPENAIS - {unknown}
            for _ in range(2):
                status, said = await ask(session, router, MESSAGES, asked)
                assert status == 200, said
        assert strict.refusals == 3
        strict.knows = OPENAIS - {"max_tokens", "max_completion_tokens"}
        status, said = await ask(session, router, MESSAGES, asked)
        assert (status, strict.refusals) == (400, 5), said


async def test_what_a_server_knows_is_not_left_out(start_router, session):
    """Nor is what no answer was told of: another field, another model, another backend."""
    async with Strict() as strict, Strict(knows=OPENAIS | {"chat_template_kwargs", "top_k"}) as lenient:
        router = await start_router([
            backend(strict), {"url": lenient.url, "name": "near", "models": ["other"]},
        ])  # fmt: skip
        path, body = REQUESTS["thinking off"]
        for model in ("demo", "other"):
            status, said = await ask(session, router, path, {"model": model, **body})
            assert status == 200, said
        assert lenient.refusals == 0
        assert lenient.asked[-1]["top_k"] == 5
        assert "chat_template_kwargs" in lenient.asked[-1]


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        # In OpenAI's own form.
        (CHAT, "top_k", 5),
        (CHAT, "chat_template_kwargs", {"enable_thinking": False}),
        (CHAT, "max_tokens", 5),
        # An answer without it would be another one.
        (MESSAGES, "stop_sequences", ["x"]),
        (RESPONSES, "temperature", 0.5),
    ],
)
async def test_other_fields_are_the_clients_error(start_router, session, path, field, value):
    """Nothing that the client meant is left out behind its back."""
    async with Strict() as strict:
        strict.knows = strict.knows - {field, "stop"}
        router = await start_router([backend(strict)])
        asked = {"input": "Hello", "store": False} if path == RESPONSES else {"messages": ASK, "max_tokens": 9}
        status, said = await ask(session, router, path, {"model": "demo", **asked, field: value})
        assert status == 400
        assert "Unknown parameter" in said
        assert strict.asked == []


async def test_it_is_said_once(start_router, session, capsys):
    """In the log, with the backend and the fields."""
    async with Strict() as strict:
        router = await start_router([backend(strict)])
        path, body = REQUESTS["think: false"]
        for _ in range(2):
            assert (await ask(session, router, path, {"model": "demo", **body}))[0] == 200
    said = capsys.readouterr()
    assert (said.out + said.err).count("gets requests without them") == 1
