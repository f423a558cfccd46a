"""OpenAI's own library: with_openai.py API FEATURE URL MODEL; its last line is JSON, `text` and number of `pieces`."""

import asyncio
import json
import sys
from typing import Any

from openai import AsyncOpenAI

SCHEMA = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
FUNCTION = {"name": "look_up", "description": "Look a word up in the book of words.", "parameters": SCHEMA}
ASK = "What does sesame mean?"


def looked_up(arguments: str) -> str:
    """Do what the tool does."""
    word = json.loads(arguments)["word"]
    return f"{word} means {word[::-1]}"


async def chat(client: AsyncOpenAI, model: str, *, tools: bool) -> tuple[str, int]:
    """Have a conversation by chat completions, until no tool is called; give its last text and the pieces of that."""
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASK}]
    more: dict[str, Any] = {"tools": [{"type": "function", "function": FUNCTION}]} if tools else {}
    message: Any
    while True:
        pieces = 0
        async with client.chat.completions.stream(
            model=model, messages=messages, max_tokens=40, stream_options={"include_usage": True}, **more
        ) as stream:
            async for event in stream:
                pieces += event.type == "content.delta"
            message = (await stream.get_final_completion()).choices[0].message
        if not message.tool_calls:
            return message.content or "", pieces
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            result = looked_up(call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


async def respond(client: AsyncOpenAI, model: str, *, tools: bool) -> tuple[str, int]:
    """Have it by responses."""
    items: list[Any] = [{"role": "user", "content": ASK}]
    more: dict[str, Any] = {"tools": [{"type": "function", "strict": False, **FUNCTION}]} if tools else {}
    last: Any = None
    while True:
        pieces = 0
        async with client.responses.stream(
            model=model, input=items, instructions="Be brief.", max_output_tokens=40, store=False, **more
        ) as stream:
            async for event in stream:
                pieces += event.type == "response.output_text.delta"
                last = event
        # At the token limit it ends as `incomplete`, for which the library has no method.
        answer = last.response
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return answer.output_text, pieces
        items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
        for call in calls:
            result = looked_up(call.arguments)
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})


async def main(api: str, feature: str, url: str, model: str) -> None:
    """Do what a user of the library does, and say what came."""
    async with AsyncOpenAI(base_url=url + "/v1", api_key="none", max_retries=0) as client:
        if feature == "embeddings":
            data = (await client.embeddings.create(model=model, input=["a", "b"])).data
            print(json.dumps({"sizes": [len(each.embedding) for each in data]}))
            return
        have = respond if api == "/v1/responses" else chat
        text, pieces = await have(client, model, tools=feature == "tools")
    print(json.dumps({"text": text, "pieces": pieces}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
