"""What Home Assistant's Ollama integration does, by the library that it uses: with_ollama.py API FEATURE URL MODEL."""

import asyncio
import json
import sys
from typing import Any

from ollama import AsyncClient

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look a word up in the book of words.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}


async def main(_: str, feature: str, url: str, model: str) -> None:
    """List the models, chat with one in a stream and give it what its tools gave, as the integration does."""
    client = AsyncClient(host=url)
    names = [each.model for each in (await client.list()).models]
    if feature == "models":
        shown = await client.show(model)
        print(json.dumps({"names": names, "capabilities": shown.capabilities, "info": shown.modelinfo}, default=str))
        return
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What does sesame mean?"},
    ]
    while True:
        text, pieces, last = "", 0, None
        calls: list[Any] = []
        async for part in await client.chat(
            model=model,
            messages=messages,
            tools=[TOOL] if feature == "tools" else None,
            stream=True,
            keep_alive="-1s" if feature == "chat" else -1,
            options={"num_ctx": 8192, "num_predict": 40},
        ):
            text += part.message.content or ""
            calls += part.message.tool_calls or []
            pieces += bool(part.message.content)
            last = part
        if not calls:
            break
        messages.append({"role": "assistant", "content": text, "tool_calls": [each.model_dump() for each in calls]})
        for call in calls:
            word = call.function.arguments["word"]
            messages.append({"role": "tool", "content": f"{word} means {word[::-1]}", "tool_name": call.function.name})
    assert last is not None
    print(
        json.dumps(
            {
                "text": text,
                "pieces": pieces,
                "done": last.done,
                "reason": last.done_reason,
                "tokens": [last.prompt_eval_count, last.eval_count],
                "names": names,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
