"""What tests of /v1/responses share: chats as engines stream them, and responses read as OpenAI's SDK declares them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent

from router.translate.responses import responses
from router.translate.speech import Context, Translation

CONTEXT = Context(id="req-1a2b", model="demo", path="/v1/responses", unix=1_800_000_000.5, now=50.0)
UNION = get_args(get_args(ResponseStreamEvent)[0])
TYPES: Mapping[str, Any] = {get_args(each.model_fields["type"].annotation)[0]: each for each in UNION}
NOW = 52.0

Json = dict[str, Any]


def ask(**fields: Any) -> Translation:
    """Translate a request."""
    return responses(json.dumps({"model": "m", "input": "hi"} | fields).encode(), CONTEXT)


def chat(**fields: Any) -> Json:
    """The chat that a request becomes."""
    found: Json = json.loads(ask(**fields).body)
    return found


def chunk(finish: str | None = None, usage: Json | None = None, **delta: Any) -> bytes:
    """One event of a chat's stream."""
    said: Json = {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    if usage is not None:
        said["usage"] = usage
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def call(index: int, id_: str | None = None, name: str | None = None, arguments: str = "") -> list[Json]:
    """A piece of a call, as `tool_calls`."""
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return [{"index": index, "function": function} | ({} if id_ is None else {"id": id_})]


DONE = b"data: [DONE]\n\n"
USAGE = {
    "prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2},
}  # fmt: skip


def told(translation: Translation, *chunks: bytes) -> list[Json]:
    """The events that a client gets of a stream, each checked."""
    data = translation.answer.feed(b"".join(chunks), NOW) + translation.answer.ended(NOW)
    return events(data)


def events(data: bytes) -> list[Json]:
    """Read a stream; each event must have all that the SDK declares, and their numbers must follow each other."""
    found: list[Json] = []
    for block in data.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        name, said = lines
        event = json.loads(said.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        TYPES[event["type"]].model_validate(event)
        assert event["sequence_number"] == len(found)
        found.append(event)
    return found


def accumulated(found: Iterable[Json]) -> Response:
    """What the SDK makes of the deltas of a stream, without the last event's whole response."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    snapshot: Any = None
    for event in found:
        state.handle_event(TYPES[event["type"]].model_validate(event))
        snapshot = state._ResponseStreamState__current_snapshot  # type: ignore[attr-defined]
    assert isinstance(snapshot, Response)
    return snapshot


def response(event: Json) -> Json:
    """The response of an event, checked."""
    found: Json = event["response"]
    Response.model_validate(found)
    return found
