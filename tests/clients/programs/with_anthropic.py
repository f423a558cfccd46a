"""Anthropic's own library: with_anthropic.py API FEATURE URL MODEL; its last line is JSON, as of the others here."""

import asyncio
import json
import sys
from typing import Any

from anthropic import AsyncAnthropic

SCHEMA = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
TOOL = {"name": "look_up", "description": "Look a word up in the book of words.", "input_schema": SCHEMA}


async def main(_: str, feature: str, url: str, model: str) -> None:
    """Have a conversation, until no tool is called; say its last text, and of how many pieces that is."""
    messages: list[Any] = [{"role": "user", "content": "What does sesame mean?"}]
    more: dict[str, Any] = {"tools": [TOOL]} if feature == "tools" else {}
    async with AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
        while True:
            async with client.messages.stream(
                model=model, max_tokens=40, system="Be brief.", messages=messages, **more
            ) as stream:
                pieces = [piece async for piece in stream.text_stream]
                message = await stream.get_final_message()
            calls: list[Any] = [block for block in message.content if block.type == "tool_use"]
            if not calls:
                break
            messages.append({"role": "assistant", "content": message.content})
            results = [
                {
                    "type": "tool_result",
                    "tool_use_id": call.id,
                    "content": f"{call.input['word']} means {call.input['word'][::-1]}",
                }
                for call in calls
            ]
            messages.append({"role": "user", "content": results})
    print(json.dumps({"text": "".join(pieces), "pieces": len(pieces), "usage": message.usage.model_dump(mode="json")}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
