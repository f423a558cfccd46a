"""The official SDKs of OpenAI, Anthropic and Ollama on each engine, in an API that it speaks or one that is translated.

Each test asks the same of every API as the SDK's user would, and looks at what the SDK makes of the answer. Ollama's
own are in test_apis_ollama, calls of tools in test_apis_calls.
"""

import asyncio

import pytest
from anthropic import BadRequestError

from tests.engines.fronts import HELLO, MODEL, MOST, TURNS, WORDS, inside

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


# Anthropic's SDK


async def test_messages(front):
    """Whole and streamed: the same words, the same usage, and the reason of the end."""
    async with front.anthropic() as client:
        ask = {"model": MODEL, "max_tokens": MOST, "messages": HELLO, "temperature": 0, "system": "Be brief."}
        answer = await client.messages.create(**ask)
        assert answer.type == "message"
        assert answer.role == "assistant"
        assert answer.stop_reason == "max_tokens"
        assert answer.usage.output_tokens == MOST
        assert answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0) > 5
        (block,) = answer.content
        assert WORDS.fullmatch(block.text)
        async with client.messages.stream(**ask) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        assert text == block.text == final.content[0].text
        assert final.stop_reason == "max_tokens"
        assert final.usage.output_tokens == MOST


async def test_messages_in_a_thread(front):
    """Anthropic's synchronous client, with events as they come."""

    def ask() -> list[str]:
        with front.sync_anthropic() as client:
            client.messages.create(model=MODEL, max_tokens=3, messages=HELLO)
            with client.messages.stream(model=MODEL, max_tokens=3, messages=TURNS) as stream:
                return [event.type for event in stream if event.type not in {"text", "content_block_delta"}]

    assert await asyncio.to_thread(ask) == [
        "message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


async def test_tokens_are_counted(front, fronts, name):
    """As many as the usage says of the same messages; an estimate, of a server that can't count, says so."""
    async with front.anthropic() as client:
        counted = await client.messages.with_raw_response.count_tokens(model=MODEL, messages=TURNS, system="Be brief.")
        answer = await client.messages.create(model=MODEL, max_tokens=1, messages=TURNS, system="Be brief.")
    prompt = answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)
    assert prompt > 10
    if front is fronts.translated:
        assert counted.headers["x-router-estimate"] == "1"
        assert counted.parse().input_tokens > 5
    else:
        assert "x-router-estimate" not in counted.headers
        assert counted.parse().input_tokens == prompt, name


async def test_an_error_of_the_messages_api(front):
    """Is the one that the SDK has for it, with one sentence."""
    async with front.anthropic() as client:
        with pytest.raises(BadRequestError) as caught:
            await client.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "user", "content": 5}])
    assert caught.value.type == "invalid_request_error"
    assert "message" in str(caught.value.body)


# OpenAI's SDK


async def test_responses(front):
    """Whole and streamed: the same words, the same usage, and why it isn't complete."""
    async with front.openai() as client:
        ask = {
            "model": MODEL,
            "max_output_tokens": MOST,
            "input": "Hello",
            "temperature": 0,
            "instructions": "Be brief.",
        }
        answer = await client.responses.create(**ask, store=False)
        assert answer.object == "response"
        assert answer.status == "incomplete"
        assert answer.incomplete_details.reason == "max_output_tokens"
        assert answer.usage.output_tokens == MOST
        assert answer.usage.input_tokens > 5
        assert answer.usage.total_tokens == answer.usage.input_tokens + MOST
        assert WORDS.fullmatch(answer.output_text)
        async with client.responses.stream(**ask) as stream:
            events = [event async for event in stream]
        assert "".join(each.delta for each in events if each.type == "response.output_text.delta") == answer.output_text
        assert [each.sequence_number for each in events] == list(range(len(events)))
        assert events[0].type == "response.created"
        final = events[-1]
        assert final.type == "response.incomplete"
        assert final.response.output_text == answer.output_text
        assert final.response.usage.output_tokens == MOST


async def test_responses_of_a_conversation_in_a_thread(front):
    """OpenAI's synchronous client; items in the input."""

    def ask() -> str:
        with front.sync_openai() as client:
            answer = client.responses.create(model=MODEL, max_output_tokens=3, input=TURNS, store=False)
            return str(answer.output_text)

    assert WORDS.fullmatch(await asyncio.to_thread(ask))


async def test_chats(front):
    """As they pass, by the streaming helper."""
    async with front.openai() as client:
        ask = {"model": MODEL, "max_tokens": MOST, "messages": TURNS, "temperature": 0}
        answer = await client.chat.completions.create(**ask)
        stop = inside(answer.choices[0].message.content)
        # The helper takes an answer that reached its limit for a failure.
        async with client.chat.completions.stream(**ask, stop=[stop]) as stream:
            final = await stream.get_final_completion()
    assert final.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content.startswith(final.choices[0].message.content)


# All of them


async def test_all_apis_say_the_same(front):
    """The same words in each, and in chat completions, where nothing is left to chance."""
    async with front.openai() as openai, front.anthropic() as anthropic, front.ollama() as ollama:
        chat = await openai.chat.completions.create(model=MODEL, max_tokens=MOST, messages=TURNS, temperature=0)
        message = await anthropic.messages.create(model=MODEL, max_tokens=MOST, messages=TURNS, temperature=0)
        response = await openai.responses.create(model=MODEL, max_output_tokens=MOST, input=TURNS, temperature=0)
        line = await ollama.chat(MODEL, TURNS, options={"num_predict": MOST, "temperature": 0})
    text = chat.choices[0].message.content
    assert [message.content[0].text, response.output_text, line.message.content] == [text] * 3


async def test_a_stop_text(front, fronts, name):
    """Ends an answer in each API, and isn't in it. Anthropic's names it, where the engine does."""
    async with front.openai() as openai, front.anthropic() as anthropic, front.ollama() as ollama:
        chat = await openai.chat.completions.create(model=MODEL, max_tokens=60, messages=TURNS, temperature=0)
        text = chat.choices[0].message.content
        stop = inside(text)
        before = text[: text.index(stop)]
        ask = {"model": MODEL, "max_tokens": 60, "messages": TURNS, "temperature": 0, "stop_sequences": [stop]}
        message = await anthropic.messages.create(**ask)
        async with anthropic.messages.stream(**ask) as stream:
            streamed = await stream.get_final_message()
        options = {"num_predict": 60, "temperature": 0, "stop": [stop]}
        line = await ollama.chat(MODEL, TURNS, options=options)
    assert message.content[0].text.strip() == streamed.content[0].text.strip() == before.strip()
    told = name in {"mlx", "vllm"} or (name == "llama_server" and front is fronts.native)
    expected = ("stop_sequence", stop) if told else ("end_turn", None)
    assert [(each.stop_reason, each.stop_sequence) for each in (message, streamed)] == [expected] * 2
    assert (line.message.content.strip(), line.done_reason) == (before.strip(), "stop")


async def test_many_at_once(front):
    """Clients of all APIs together, streamed: each has its own answer."""

    async def of_anthropic(number: int) -> int:
        async with (
            front.anthropic() as client,
            client.messages.stream(model=MODEL, max_tokens=5 + number, messages=HELLO) as stream,
        ):
            return int((await stream.get_final_message()).usage.output_tokens)

    async def of_ollama(number: int) -> int:
        options = {"num_predict": 5 + number}
        async with front.ollama() as client:
            parts = await client.chat(MODEL, HELLO, options=options, stream=True)
            return len([part async for part in parts if part.done])

    counts = await asyncio.gather(*(each(number) for number in range(4) for each in (of_anthropic, of_ollama)))
    assert counts[1::2] == [1] * 4
    assert counts[::2] in ([5, 6, 7, 8], [0] * 4)
