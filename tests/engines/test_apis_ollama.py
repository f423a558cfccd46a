"""Ollama's SDK on each engine: chats, completions, embeddings, and what its clients look up."""

import asyncio
import math

import pytest
from ollama import ResponseError

from launchers.engines import ENGINES
from tests.engines.fronts import HELLO, MODEL, MOST, TURNS, WORDS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

EMBED = {"llama_cpp", "llama_server"}


async def test_ollamas_chat(front):
    """Whole and streamed: the same words and counts."""
    ask = {"model": MODEL, "messages": TURNS, "options": {"num_predict": MOST, "temperature": 0}}
    async with front.ollama() as client:
        answer = await client.chat(**ask)
        parts = [part async for part in await client.chat(**ask, stream=True)]
    assert (answer.done, answer.done_reason) == (True, "length")
    assert answer.model == MODEL
    assert answer.message.role == "assistant"
    assert WORDS.fullmatch(answer.message.content)
    assert "".join(part.message.content for part in parts) == answer.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].done_reason == "length"
    assert parts[-1].total_duration > 0


async def test_what_ollamas_answers_count(front, name):
    """The tokens of the prompt and of the answer, where the engine tells them."""
    ask = {"model": MODEL, "messages": HELLO, "options": {"num_predict": MOST, "temperature": 0}}
    async with front.ollama() as client:
        whole = await client.chat(**ask)
        (last,) = [part async for part in await client.chat(**ask, stream=True) if part.done]
    assert whole.eval_count == MOST
    assert whole.prompt_eval_count > 3
    if ENGINES[name].usage_in_streams:
        assert (last.eval_count, last.prompt_eval_count) == (whole.eval_count, whole.prompt_eval_count)


async def test_ollamas_generate_in_a_thread(front):
    """Ollama's synchronous client; with a system prompt, and raw."""

    def ask() -> tuple[str, str, str]:
        options = {"num_predict": 5, "temperature": 0}
        with front.sync_ollama() as client:
            whole = client.generate(MODEL, "the cat", system="Be brief.", options=options)
            parts = client.generate(MODEL, "the cat", system="Be brief.", options=options, stream=True)
            raw = client.generate(MODEL, "the cat", raw=True, options=options)
            return whole.response, "".join(part.response for part in parts), raw.response

    whole, streamed, raw = await asyncio.to_thread(ask)
    assert WORDS.fullmatch(whole)
    assert streamed == whole
    assert WORDS.fullmatch(raw)


async def test_ollamas_model_is_loaded_and_not_asked(front):
    """A request without messages loads it."""
    async with front.ollama() as client:
        answer = await client.chat(MODEL, [])
        assert (answer.done, answer.done_reason, answer.message.content) == (True, "load", "")
        assert (await client.generate(MODEL)).done_reason == "load"


async def test_what_ollamas_clients_look_up(front, fronts):
    """The list of models, what one is like, what runs, and the version, which no engine is asked."""
    async with front.ollama() as client:
        listed = (await client.list()).models
        shown = await client.show(MODEL)
        running = (await client.ps()).models
    assert MODEL in {each.model.removesuffix(":latest") for each in listed}
    assert "completion" in shown.capabilities
    assert shown.details is not None
    assert shown.modelinfo
    assert bool(running) is (front is fronts.native)  # a server's models are not the router's to load


async def test_an_error_of_ollamas_api(front):
    """A model that isn't there, with words that are no object."""
    async with front.ollama() as client:
        with pytest.raises(ResponseError) as caught:
            await client.chat("nobody", HELLO)
    assert caught.value.status_code == 404
    assert "nobody" in caught.value.error


def unit(vector):
    """Bring a vector to a length of 1, as Ollama's newer API has them."""
    return [each / math.hypot(*vector) for each in vector]


async def test_embeddings(front, name):
    """OpenAI's and Ollama's are the same numbers; or a 400 says that this engine has none."""
    texts = ["the cat", "a dog"]
    async with front.ollama() as ollama, front.openai() as openai:
        if name not in EMBED:
            with pytest.raises(ResponseError) as caught:
                await ollama.embed(MODEL, texts)
            assert caught.value.status_code == 400
            return
        expected = [each.embedding for each in (await openai.embeddings.create(model=MODEL, input=texts)).data]
        given = (await ollama.embed(MODEL, texts)).embeddings
        (one,) = (await ollama.embed(MODEL, texts[1])).embeddings
        older = (await ollama.embeddings(MODEL, texts[1])).embedding
        cut = (await ollama.embed(MODEL, texts, dimensions=2)).embeddings
        long = (await ollama.embed(MODEL, [*texts, "the cat " * 4000])).embeddings
        with pytest.raises(ResponseError):
            await ollama.embed(MODEL, "the cat " * 4000, truncate=False)
    assert [*given[0], *given[1]] == pytest.approx([*unit(expected[0]), *unit(expected[1])], rel=1e-5, abs=1e-6)
    assert list(one) == pytest.approx(list(given[1]), rel=1e-5, abs=1e-6)
    assert list(older) == pytest.approx(expected[1], rel=1e-5, abs=1e-6)
    assert len(one) > 2
    assert [len(each) for each in long] == [len(one)] * 3
    assert [*long[0], *long[1]] == pytest.approx([*given[0], *given[1]], rel=1e-3, abs=1e-4)
    assert [math.isclose(math.hypot(*each), 1.0, rel_tol=1e-5) for each in cut] == [True, True]
