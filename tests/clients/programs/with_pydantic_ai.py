"""pydantic-ai: with_pydantic_ai.py API FEATURE URL MODEL; its last line is JSON, `text` and its number of `pieces`."""

import asyncio
import json
import sys

from anthropic import AsyncAnthropic
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


class Meaning(BaseModel):
    """What a word means."""

    word: str
    meaning: str


def made(api: str, url: str, model: str) -> Model:
    """Make the model that speaks an API."""
    if api == "/v1/messages":
        client = AsyncAnthropic(base_url=url, api_key="none", max_retries=0)
        return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=client))
    provider = OpenAIProvider(base_url=url + "/v1", api_key="none")
    if api == "/v1/responses":
        return OpenAIResponsesModel(model, provider=provider)
    return OpenAIChatModel(model, provider=provider)


async def main(api: str, feature: str, url: str, model: str) -> None:
    """Do what a user of the library does, and say what came."""
    agent: Agent = Agent(made(api, url, model), instructions="Be brief.", model_settings={"max_tokens": 40})
    if feature == "tools":

        @agent.tool_plain
        def look_up(word: str) -> str:
            """Look a word up in the book of words."""
            return f"{word} means {word[::-1]}"

    if feature == "structured output":  # asked for as the call of a tool
        result = await agent.run("What does sesame mean?", output_type=Meaning)
        print(json.dumps({"text": result.output.meaning}))
        return
    async with agent.run_stream("What does sesame mean?") as streamed:
        pieces = [piece async for piece in streamed.stream_text(delta=True, debounce_by=None)]
        usage = streamed.usage() if callable(streamed.usage) else streamed.usage
    print(json.dumps({"text": "".join(pieces), "pieces": len(pieces), "usage": str(usage)}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
