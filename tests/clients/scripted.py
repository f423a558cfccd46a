"""An engine whose answers are known: it speaks chat completions alone, and asks for the tools that a test names.

It answers a conversation by what it holds: as long as there are fewer results of tools than `calls`, it asks for the
next one, if the request offers a tool of that name; else it answers with text that repeats the last result.

It is as strict as the strictest server: whatever a chat template of a model could not show is a 400 that says why.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO: Final = "Good morning from naïve 🦊 engines."
"""What it says when there is no result of a tool to repeat."""

ROLES: Final = frozenset({"system", "user", "assistant", "tool"})
PARTS: Final = frozenset({"text", "image_url"})
SIZE: Final = 5
"""Characters in an event."""


@dataclass(frozen=True)
class Call:
    """A call of a tool that the engine asks for."""

    name: str
    arguments: dict[str, Any]


@dataclass
class ScriptedEngine:
    """Listens on loopback from entering to leaving. `requests` has the bodies of all chats, as they came."""

    calls: list[Call] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def script(self, *calls: Call) -> None:
        """Forget what was, and ask for these calls in every conversation to come."""
        self.calls = list(calls)
        self.requests.clear()
        self.refused.clear()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def _embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vector: object = [0.5, 0.25]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<2f", 0.5, 0.25)).decode()
        data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return web.json_response({"object": "list", "model": "scripted", "data": data, "usage": usage})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        if wrong := "; ".join(_faults(body)):
            self.refused.append(wrong)
            return web.json_response({"error": {"message": wrong, "type": "invalid_request_error"}}, status=400)
        call, text = self._decide(body)
        if not body.get("stream"):
            return web.json_response(_whole(body, call, text))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for chunk in _chunks(body, call, text):
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    def _decide(self, body: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """Give the call to ask for, or None; and the text to say without one."""
        results = [_text(message) for message in body["messages"] if message["role"] == "tool"]
        offered = [tool["function"]["name"] for tool in body.get("tools") or []]
        if len(results) < len(self.calls) and body.get("tool_choice") != "none":
            call = self.calls[len(results)]
            # A namespace of the client may stand before the name.
            name = next((each for each in offered if each == call.name or each.endswith(call.name)), None)
            if name:
                function = {"name": name, "arguments": json.dumps(call.arguments)}
                return {"id": f"call_{len(results)}", "type": "function", "function": function}, ""
        return None, f"The tool said: {results[-1]}" if results else HELLO


def _faults(body: dict[str, Any]) -> Iterator[str]:
    """Give what a strict server would refuse."""
    asked: set[str] = set()
    for index, message in enumerate(body["messages"]):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            yield f"messages[{index}].role is {role!r}"
        if isinstance(content, list):
            yield from (
                f"messages[{index}] has a part of type {part.get('type')!r}"
                for part in content
                if part.get("type") not in PARTS
            )
        elif not isinstance(content, str) and not (role == "assistant" and message.get("tool_calls")):
            yield f"messages[{index}] of role {role} has no content"
        for call in message.get("tool_calls") or []:
            asked.add(call["id"])
            json.loads(call["function"]["arguments"])
        if role == "tool" and message.get("tool_call_id") not in asked:
            yield f"messages[{index}] answers no call: {message.get('tool_call_id')!r}"
    for tool in body.get("tools") or []:
        if tool.get("type") != "function" or not tool.get("function", {}).get("name"):
            yield f"a tool is no function: {str(tool)[:200]}"


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _usage(body: dict[str, Any]) -> dict[str, Any]:
    prompt = len(json.dumps(body["messages"])) // 4
    return {"prompt_tokens": prompt, "completion_tokens": 7, "total_tokens": prompt + 7}


def _whole(body: dict[str, Any], call: dict[str, Any] | None, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": None if call else text, **({"tool_calls": [call]} if call else {})}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if call else "stop"}
    return {**_frame(body, "chat.completion"), "choices": [choice], "usage": _usage(body)}


def _frame(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": body["model"]}


def _chunks(body: dict[str, Any], call: dict[str, Any] | None, text: str) -> Iterator[dict[str, Any]]:
    frame = _frame(body, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    yield chunk({"role": "assistant", "content": ""})
    if call:
        arguments = call["function"]["arguments"]
        yield chunk({"tool_calls": [{"index": 0, **call, "function": {**call["function"], "arguments": ""}}]})
        for piece in _pieces(arguments):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    for piece in _pieces(text):
        yield chunk({"content": piece})
    yield chunk({}, "tool_calls" if call else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**frame, "choices": [], "usage": _usage(body)}


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + SIZE] for start in range(0, len(text), SIZE))
