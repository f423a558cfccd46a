"""A server that refuses every field it doesn't know, in the words of OpenAI's, Azure's, Mistral's or Groq's.

Their forms are taken from their users' reports: https://github.com/nashsu/llm_wiki/issues/336 (OpenAI),
https://github.com/charmbracelet/crush/issues/1590 (Mistral), https://github.com/janhq/jan/issues/8136 (Groq).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tests.fakes.scripted import Say, Scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENAIS: Final = frozenset({
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p",
    "stop", "seed", "presence_penalty", "frequency_penalty", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "reasoning_effort", "user", "n", "logprobs", "top_logprobs", "logit_bias",
})  # fmt: skip
MISTRALS: Final = OPENAIS - {"max_completion_tokens", "stream_options", "seed", "user", "logprobs", "logit_bias"}
OF_A_MESSAGE: Final = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "refusal"})

FORMS: Final = ("openai", "openai_older", "azure", "mistral", "groq")

Place = tuple[str | int, ...]


@dataclass
class Strict(Scripted):
    """The engine; `knows` are the fields that it takes, and `form` is that of its refusals. It counts these.

    `late`: it refuses a field once it has said 200, in a stream by its first event.
    """

    form: str = "openai"
    knows: frozenset[str] = OPENAIS
    refusals: int = 0
    late: bool = False

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        unknown = list(_unknown(body, self.knows))
        if unknown:
            self.refusals += 1
            status, told = _refusal(self.form, unknown)
            if self.late and body.get("stream"):
                event = f"data: {json.dumps(told)}\n\ndata: [DONE]\n\n"
                return web.Response(text=event, content_type="text/event-stream")
            return web.json_response(told, status=200 if self.late else status)
        self.says(Say(text="Hello", thinks="Hm."))
        return await super()._chat(request)


def _unknown(body: dict[str, Any], knows: frozenset[str]) -> Iterator[Place]:
    yield from ((name,) for name in body if name not in knows)
    for number, message in enumerate(body["messages"]):
        yield from (("messages", number, name) for name in message if name not in OF_A_MESSAGE)


def _refusal(form: str, unknown: list[Place]) -> tuple[int, dict[str, Any]]:
    first = unknown[0]
    name, where = str(first[-1]), ".".join(map(str, first[:-1]))
    error: dict[str, Any] = {"type": "invalid_request_error", "param": None, "code": None}
    if form == "mistral":
        message = "Extra inputs are not permitted"
        detail = [
            {"type": "extra_forbidden", "loc": ["body", *_tagged(each)], "msg": message, "input": {"a": 1}}
            for each in unknown
        ]
        return 422, {"object": "error", "message": {"detail": detail}, **error}
    if form == "openai":
        said = f"Unknown parameter: '{_path(first)}'."
        error |= {"param": _path(first), "code": "unknown_parameter"}
    elif form == "groq":
        said = f"property '{name}' is unsupported"
        if where:
            said = f"'{where}' : for 'role:assistant' the following must be satisfied[('{where}' : {said})]"
    elif where:
        said = f"Additional properties are not allowed ('{name}' was unexpected) - '{where}'"
    else:
        top = [str(each[0]) for each in unknown if len(each) == 1]
        several = form == "azure" and len(top) > 1
        said = f"Unrecognized request argument{'s' * several} supplied: {', '.join(top) if several else name}"
    return 400, {"error": {"message": said, **error}}


def _path(place: Place) -> str:
    """Write it as OpenAI does: messages[1].reasoning_content."""
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in place)[1:]


def _tagged(place: Place) -> Place:
    """Write it as pydantic does where a list holds objects of several types."""
    return (*place[:2], "assistant", *place[2:]) if len(place) > 1 else place
