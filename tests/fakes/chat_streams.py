"""Streams of chat completions as Hypothesis makes them, and what they say; for the tests of each API's translator."""

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.sampled_from('ab<>/ \n"\\é漢🙂{}[]:,'), min_size=1, max_size=6)
NAMES = st.sampled_from(("look", "write"))
ARGUMENTS = st.dictionaries(st.sampled_from(("a", "b")), st.integers(-9, 9) | TEXT | st.lists(TEXT, max_size=2))

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
"""Any JSON."""


@dataclass
class Said:
    """What a stream says: `thinking` and `text` in one piece, each call as (id, name, arguments), and the usage."""

    chunks: list[dict[str, Any]] = field(default_factory=list)
    thinking: str = ""
    text: str = ""
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    finish: str = "stop"
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def stream(self, *, line_end: bytes = b"\n", done: bool = True) -> bytes:
        """Give the stream's bytes."""
        events = [b"data: " + json.dumps(chunk, ensure_ascii=False).encode() for chunk in self.chunks]
        return b"".join(event + line_end * 2 for event in [*events, *([b"data: [DONE]"] if done else [])])


@st.composite
def said(draw: st.DrawFn, *, mixed: bool = False) -> Said:
    """Make a stream: reasoning, then text, then calls whose pieces come in any order, `mixed` with texts."""
    found = Said()
    _add(found, {"role": "assistant", "content": None})
    for piece in draw(st.lists(TEXT, max_size=3)):
        found.thinking += piece
        _add(found, {draw(st.sampled_from(("reasoning_content", "reasoning"))): piece})
    for piece in draw(st.lists(TEXT, max_size=4)):
        # A text that begins with the tag would be parted: that is tested with the splitter.
        if not (found.text + piece).lstrip().startswith("<"):
            found.text += piece
            _add(found, {"content": piece})
    _add_calls(found, draw, mixed=mixed)
    found.finish = draw(st.sampled_from(("stop", "length", "tool_calls")))
    found.chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": found.finish}]})
    found.prompt, found.completion = draw(st.integers(0, 1000)), draw(st.integers(0, 1000))
    found.cached = draw(st.integers(0, found.prompt))
    usage = {
        "prompt_tokens": found.prompt,
        "completion_tokens": found.completion,
        "prompt_tokens_details": {"cached_tokens": found.cached},
    }
    found.chunks.append({"choices": [], "usage": usage})
    return found


def _add(found: Said, delta: dict[str, Any]) -> None:
    found.chunks.append({"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]})


def _add_calls(found: Said, draw: st.DrawFn, *, mixed: bool) -> None:
    pieces: list[list[dict[str, Any]]] = []
    for index in range(draw(st.integers(0, 3))):
        name, arguments = draw(NAMES), draw(ARGUMENTS)
        text = json.dumps(arguments, ensure_ascii=False)
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
        parts = [text[begins:ends] for begins, ends in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        first = {"index": index, "id": f"c{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        pieces.append([first, *({"index": index, "function": {"arguments": part}} for part in parts)])
        found.calls.append((f"c{index}", name, arguments))
    # The first piece of each call comes in order, the rest as engines may send it.
    while any(pieces):
        waiting = [each for each in pieces if each]
        begun = [each for each in waiting if "id" not in each[0]] + [each for each in waiting if "id" in each[0]][:1]
        _add(found, {"tool_calls": [draw(st.sampled_from(begun)).pop(0)]})
        if mixed and found.text and draw(st.booleans()):
            found.text += "x"
            _add(found, {"content": "x"})


@st.composite
def cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """Cut bytes anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[begins:ends] for begins, ends in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
