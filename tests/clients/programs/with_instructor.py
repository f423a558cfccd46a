"""instructor: with_instructor.py API FEATURE URL MODEL; its last line is JSON, the `text` of what came."""

import json
import sys
from typing import Any, Literal

import instructor
from anthropic import Anthropic
from openai import OpenAI
from pydantic import BaseModel


class Meaning(BaseModel):
    """What a word means."""

    word: Literal["sesame", "poppy"]
    meaning: Literal["a seed", "a flower"]


def made(api: str, url: str, *, by_call: bool) -> Any:
    """Make a client, which has the object as the call of a tool or as the answer's form."""
    if api == "/v1/messages":
        mode = instructor.Mode.ANTHROPIC_TOOLS
        return instructor.from_anthropic(Anthropic(base_url=url, api_key="none", max_retries=0), mode=mode)
    mode = instructor.Mode.TOOLS if by_call else instructor.Mode.JSON_SCHEMA
    return instructor.from_openai(OpenAI(base_url=url + "/v1", api_key="none", max_retries=0), mode=mode)


def main(api: str, feature: str, url: str, model: str) -> None:
    """Ask for an object of a type, and say what came."""
    client = made(api, url, by_call=feature != "structured output")
    meaning = client.chat.completions.create(
        model=model,
        max_tokens=300,
        max_retries=0,
        response_model=Meaning,
        messages=[{"role": "user", "content": "What does sesame mean?"}],
    )
    print(json.dumps({"text": meaning.meaning}))


if __name__ == "__main__":
    main(*sys.argv[1:])
