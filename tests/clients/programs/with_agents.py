"""openai-agents: with_agents.py API FEATURE URL MODEL; its last line is JSON, `text` and its number of `pieces`."""

import asyncio
import json
import sys

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent


@function_tool
def look_up(word: str) -> str:
    """Look a word up in the book of words."""
    return f"{word} means {word[::-1]}"


async def main(api: str, feature: str, url: str, model: str) -> None:
    """Do what a user of the library does, and say what came."""
    set_tracing_disabled(disabled=True)
    client = AsyncOpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
    kind = OpenAIResponsesModel if api == "/v1/responses" else OpenAIChatCompletionsModel
    agent = Agent(
        name="brief",
        instructions="Be brief.",
        model=kind(model, client),
        tools=[look_up] if feature == "tools" else [],
        # At the limit, an answer is `incomplete`, which the library raises for: so there is none.
        model_settings=ModelSettings(),
    )
    result = Runner.run_streamed(agent, "What does sesame mean?")
    pieces = 0
    async for event in result.stream_events():
        pieces += event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent)
    print(json.dumps({"text": result.final_output, "pieces": pieces}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
