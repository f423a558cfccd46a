"""Conversations from a file: questions, and their answers."""

import json
from pathlib import Path
from typing import Any, NamedTuple

_PEOPLE = ("human", "user")
_MODELS = ("gpt", "assistant", "chatgpt", "bing", "bard")


class ChatTurn(NamedTuple):
    """One question, and the answer that the next turn's request repeats."""

    prompt: str
    answer: str = ""


Conversation = tuple[ChatTurn, ...]


def read(path: Path) -> tuple[Conversation, ...]:
    """Read a file of prompts. Raises ValueError where there is none in it, OSError where it can't be read.

    1. A JSON list in ShareGPT's form: `[{"conversations": [{"from": "human", "value": "…"}, …]}, …]`.
    2. JSON lines, each with `prompt`, `text`, `messages` or `conversations`; or a string.
    3. Plain text, a prompt a line.
    """
    text = path.read_text(encoding="utf-8")
    try:
        found = [_conversation(each) for each in _entries(text)]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} looks like JSON, but isn't: {error}") from None
    conversations = tuple(each for each in found if each)
    if not conversations:
        raise ValueError(f"no prompt was found in {path}")
    return conversations


def _entries(text: str) -> list[Any]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    if lines and lines[0][0] in '{"':
        return [json.loads(line) for line in lines]
    return lines


def _conversation(entry: object) -> Conversation:
    if isinstance(entry, str):
        return (ChatTurn(entry),)
    if not isinstance(entry, dict):
        return ()
    for name in ("prompt", "text"):
        if isinstance(entry.get(name), str):
            return (ChatTurn(entry[name]),)
    said = entry.get("messages") or entry.get("conversations") or ()
    return _turns([each for each in said if isinstance(each, dict)])


def _turns(said: list[dict[str, Any]]) -> Conversation:
    turns: list[ChatTurn] = []
    for each in said:
        who, words = each.get("from") or each.get("role"), each.get("value") or each.get("content")
        if not isinstance(words, str):
            continue
        if who in _PEOPLE:
            turns.append(ChatTurn(words))
        elif who in _MODELS and turns and not turns[-1].answer:
            turns[-1] = turns[-1]._replace(answer=words)
    return tuple(turns)
