"""What llama_server answers natively on /v1/messages, beside the translation of its chats: recorded, the same prompts.

Recorded from xllamacpp 2026.10 with the demo model at temperature 0, where both say the same. `thinking` was recorded
with a chat template that begins the answer with <think>.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from router.translate.chat import ChatTranslator
from router.translate.messages_answer import MessagesWriter
from router.translate.speech import Context

RECORDED: dict[str, dict[str, str]] = json.loads(
    Path(__file__).with_name("llama_server_messages.json").read_text(encoding="utf-8")
)
CONTEXT = Context("req-1", "models/demo/demo.gguf", "/v1/messages", 0.0, 0.0)


def translator(*, streams: bool) -> ChatTranslator:
    return ChatTranslator(MessagesWriter(CONTEXT, streams=streams))


def lacks(native: Any, told: Any, place: str = "$") -> list[str]:
    """List where the translation lacks something that the native answer has, or says another thing."""
    if isinstance(native, dict) and isinstance(told, dict):
        return [
            problem
            for name, value in native.items()
            for problem in (lacks(value, told[name], f"{place}.{name}") if name in told else [f"{place}.{name}"])
        ]
    if isinstance(native, list) and isinstance(told, list) and len(native) == len(told):
        return [
            problem
            for number, value in enumerate(native)
            for problem in lacks(value, told[number], f"{place}[{number}]")
        ]
    return [] if native == told else [place]


def events(stream: str) -> list[tuple[str, Any]]:
    found = []
    for event in stream.strip().split("\n\n"):
        name, data = event.split("\n")
        found.append((name, json.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.parametrize("case", ["text", "thinking"])
def test_an_answer_in_one_piece(case):
    """The translation has all that the native answer has, but for the id."""
    native = json.loads(RECORDED[case]["messages"])
    told = json.loads(translator(streams=False).whole(RECORDED[case]["chat"].encode(), 0.0))
    assert lacks(native, told) == ["$.id"]


@pytest.mark.parametrize("case", ["text", "thinking"])
def test_a_stream(case):
    """The same events in the same order; only the first can't tell the prompt's tokens yet, and the last does."""
    native = events(RECORDED[case]["messages_stream"])
    told = events(translator(streams=True).feed(RECORDED[case]["chat_stream"].encode(), 0.0).decode())
    assert [name for name, _ in told] == [name for name, _ in native]
    usage = "$.message.usage"
    assert [lacks(first, second) for (_, first), (_, second) in zip(native, told, strict=True)] == [
        ["$.message.id", f"{usage}.cache_read_input_tokens", f"{usage}.input_tokens"],
        *([] for _ in native[1:]),
    ]
    start = native[0][1]["message"]["usage"]
    assert lacks({**start, "output_tokens": 5}, told[-2][1]["usage"]) == []


def test_an_error():
    """The message is the engine's; the form is Anthropic's, which llama_server itself doesn't write."""
    native = json.loads(RECORDED["error"]["messages"])
    told = json.loads(translator(streams=False).error(400, RECORDED["error"]["chat"].encode()))
    assert told["error"] == {"type": native["error"]["type"], "message": native["error"]["message"]}
    assert told["type"] == "error"
