"""An engine that says what a test has written: it speaks chat completions alone, and keeps what it was asked.

    engine.says(Say(text="Hello"), Say(calls=[Called("weather", '{"city":"Paris"}')]))

Each request gets the next of these, streamed or in one piece as it asks for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT: Final = "/v1/chat/completions"
PIECE: Final = 3
"""Characters in an event of a stream."""

USAGE: Final[dict[str, Any]] = {
    "prompt_tokens": 21,
    "completion_tokens": 7,
    "total_tokens": 28,
    "prompt_tokens_details": {"cached_tokens": 16},
}


@dataclass(frozen=True)
class Called:
    """A call of a tool."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True)
class Say:
    """An answer, or what comes instead.

    `thinks` is given as reasoning_content. Calls come behind the text; `in_turns`: their pieces come in turns, with the
    text between them. With a `status` it is an error of this `message`; `breaks` ends a stream behind so many events:
    with an error event if there is a `message`, else with the connection.
    """

    text: str = ""
    thinks: str = ""
    calls: tuple[Called, ...] = ()
    in_turns: bool = False
    finish: str = ""
    status: int = 200
    message: str = ""
    retry_after: str = ""
    breaks: int = 0

    @property
    def reason(self) -> str:
        """Its finish reason."""
        return self.finish or ("tool_calls" if self.calls else "stop")


@dataclass
class Scripted:
    """The engine, from entering to leaving."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    _script: list[Say] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post(CHAT, self._chat)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def says(self, *script: Say) -> None:
        """Answer the next requests so."""
        self._script = list(script)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        say = self._script.pop(0)
        if say.status != 200:
            headers = {"retry-after": say.retry_after} if say.retry_after else {}
            return web.json_response({"error": {"message": say.message}}, status=say.status, headers=headers)
        if not body.get("stream"):
            return web.json_response(_whole(body, say))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number, chunk in enumerate(_chunks(body, say)):
            if say.breaks and number == say.breaks:
                if say.message:
                    await response.write(_event({"error": {"message": say.message, "code": 500}}))
                assert request.transport is not None
                request.transport.close()
                return response
            await response.write(_event(chunk))
        await response.write(b"data: [DONE]\n\n")
        return response


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _frame(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": body["model"]}


def _call(number: int, call: Called) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id or f"call_{number}", "type": "function", "function": function}


def _whole(body: dict[str, Any], say: Say) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": say.text or None}
    if say.thinks:
        message["reasoning_content"] = say.thinks
    if say.calls:
        message["tool_calls"] = [_call(number, call) for number, call in enumerate(say.calls)]
    choice = {"index": 0, "message": message, "finish_reason": say.reason}
    return {**_frame(body, "chat.completion"), "choices": [choice], "usage": USAGE}


def _deltas(say: Say) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None if say.calls else ""}
    yield from ({"reasoning_content": piece} for piece in _pieces(say.thinks))
    texts: list[dict[str, Any]] = [{"content": piece} for piece in _pieces(say.text)]
    if not say.in_turns:
        yield from texts
    calls: list[list[dict[str, Any]]] = []
    for number, call in enumerate(say.calls):
        began = _call(number, call)
        began["function"]["arguments"] = ""
        pieces = [{"index": number, "function": {"arguments": piece}} for piece in _pieces(call.arguments)]
        calls.append([{"tool_calls": [each]} for each in ({"index": number, **began}, *pieces)])
    if not say.in_turns:
        yield from (delta for call in calls for delta in call)
        return
    rows: list[list[dict[str, Any]]] = [*calls, texts]
    for at in range(max(map(len, rows))):
        yield from (row[at] for row in rows if at < len(row))


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + PIECE] for start in range(0, len(text), PIECE))


def _chunks(body: dict[str, Any], say: Say) -> Iterator[dict[str, Any]]:
    frame = _frame(body, "chat.completion.chunk")
    for delta in _deltas(say):
        yield {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": say.reason}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**frame, "choices": [], "usage": USAGE}
