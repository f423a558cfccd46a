"""Measures what translating another API costs, in microseconds of CPU time: the best of some rounds, and the bounds.

python -m scripts.bench.translate         as the modules are: compiled (`make fast`), or as they stand

Of each API, a request of 1 KB and one of a long conversation with tools are translated, and a stream of a thousand
events. The last column has the long request's time as a share of what Python's own json takes to read and write it,
measured in turns: it means the same on any machine, however busy.
"""

import json
import time
from collections.abc import Callable
from typing import Any, Final

from router.translate import SPEECHES, chat
from router.translate.speech import Context

REQUEST, FURTHER_KB, EVENT = 40.0, 4.0, 8.0
"""The bounds, in microseconds, compiled: a request of 1 KB, each further KB of one, and an event."""

SCHEMA: Final = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
SAYS, RESULT = "I will look at the next file. " * 4, "a line of the file\n" * 30
EVENTS, ROUNDS = 1000, 25

Turn = tuple[str, str, str]
"""Of one turn: what the model says, the number of its call, and the call's result."""


def turns(count: int) -> list[Turn]:
    """Make a conversation."""
    return [(SAYS, f"call_{number}", RESULT) for number in range(count)]


def messages(said: list[Turn]) -> dict[str, Any]:
    """Give a request in Anthropic's form."""
    found: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Look at the files. " * 20}]}]
    for text, call, result in said:
        use = {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": "cat file"}}
        found.append({"role": "assistant", "content": [{"type": "text", "text": text}, use]})
        found.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": result}]})
    tool = {"name": "Bash", "description": "Runs a command.", "input_schema": SCHEMA}
    more = {"tools": [tool] * (1 + len(said) // 4), "max_tokens": 1024, "stream": True}
    return {"system": "You are kind. " * 15, "messages": found, **more}


def responses(said: list[Turn]) -> dict[str, Any]:
    """Give a request in the form of OpenAI's Responses."""
    found: list[Any] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look at the files. " * 20}]}
    ]
    for text, call, result in said:
        content = [{"type": "output_text", "text": text}]
        found += [
            {"type": "message", "role": "assistant", "content": content},
            {"type": "function_call", "call_id": call, "name": "Bash", "arguments": '{"command": "cat file"}'},
            {"type": "function_call_output", "call_id": call, "output": result},
        ]
    tool = {"type": "function", "name": "Bash", "description": "Runs a command.", "parameters": SCHEMA, "strict": False}
    tools = [tool] * (1 + len(said) // 4)
    return {"instructions": "You are kind. " * 15, "input": found, "tools": tools, "stream": True, "store": False}


def ollama(said: list[Turn]) -> dict[str, Any]:
    """Give a request in Ollama's form."""
    found: list[Any] = [
        {"role": "system", "content": "You are kind. " * 15},
        {"role": "user", "content": "Look at the files. " * 20},
    ]
    for text, _, result in said:
        called = [{"function": {"name": "Bash", "arguments": {"command": "cat file"}}}]
        found.append({"role": "assistant", "content": text, "tool_calls": called})
        found.append({"role": "tool", "tool_name": "Bash", "content": result})
    tool = {"type": "function", "function": {"name": "Bash", "description": "Runs a command.", "parameters": SCHEMA}}
    return {"messages": found, "tools": [tool] * (1 + len(said) // 4)}


def generate(said: list[Turn]) -> dict[str, Any]:
    """Give a request of a completion in Ollama's form."""
    return {"system": "You are kind. " * 15, "prompt": "\n".join(text for turn in said for text in turn) + "x" * 600}


APIS: Final[dict[str, Callable[[list[Turn]], dict[str, Any]]]] = {
    "/v1/messages": messages,
    "/v1/responses": responses,
    "/api/chat": ollama,
    "/api/generate": generate,
}
"""The client's path → what makes a request from a conversation."""


def delta(text: str) -> bytes:
    """Give an event of a chat as llama_server writes it."""
    said = {
        "choices": [{"finish_reason": None, "index": 0, "delta": {"content": text}}],
        "created": 1795985449,
        "id": "chatcmpl-6hC3uBoAeC3Fh3Lvs0g1oIBZ1JN73PZQ",
        "model": "models/demo/demo.gguf",
        "system_fingerprint": "b0-unknown",
        "object": "chat.completion.chunk",
    }
    return b"data: %b\n\n" % json.dumps(said).encode()


def micros(times: int, *works: Callable[[], object]) -> list[float]:
    """Give the microseconds that one call of each takes, in its best round; they take turns."""
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for place, work in enumerate(works):
            began = time.thread_time()
            for _ in range(times):
                work()
            best[place] = min(best[place], time.thread_time() - began)
    return [each / times * 1e6 for each in best]


def measure(path: str) -> tuple[float, float, float, float]:
    """Give microseconds of a request of 1 KB, of each further KB and of an event; and the share of plain JSON's."""
    translate, make = SPEECHES[path], APIS[path]
    context = Context("0123456789abcdef", "demo", path, 1795985449.0, 0.0)
    small, large = (json.dumps({"model": "demo", **make(turns(count))}).encode() for count in (0, 60))
    (at_1_kb,) = micros(200, lambda: translate(small, context))
    long, plain = micros(10, lambda: translate(large, context), lambda: json.dumps(json.loads(large)))
    further = (long - at_1_kb) / ((len(large) - len(small)) / 1024)
    events = [delta(f" word{number}") for number in range(EVENTS)]

    def stream() -> None:
        answer = translate(small, context).answer
        for event in events:
            answer.feed(event, 0.0)

    return at_1_kb, further, micros(1, stream)[0] / EVENTS, long / plain


def main() -> None:
    """Print the figures."""
    print(chat.__file__)
    print("| API | µs a request of 1 KB | µs each further KB | µs an event | of json's time |")
    print("|---|---:|---:|---:|---:|")
    for path in APIS:
        if path in SPEECHES:
            request, further, event, share = measure(path)
            print(f"| {path} | {request:.1f} | {further:.2f} | {event:.2f} | {share:.2f} |")
    print(f"| bounds | {REQUEST:.1f} | {FURTHER_KB:.2f} | {EVENT:.2f} | |")


if __name__ == "__main__":
    main()
