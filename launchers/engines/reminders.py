"""Puts system messages among the turns of Anthropic's API where every template takes them.

Claude Code sends such a message in each request. llama_server hands it to the model's template as it stands, and many
templates refuse a system message that isn't the first. One before the first turn joins `system`. A later one becomes
text of the user's turn, in the tags in which Claude Code itself writes such text: moved to the front, it would change
the prompt's beginning, which the engine has cached.
"""

from typing import Any

from launchers.engines import bodies
from launchers.engines.bodies import Fields

_SYSTEM = b'"system"'

Part = dict[str, Any]


def put_reminders_right(found: Fields) -> None:
    """Rewrite the system messages of a body whose messages are a list."""
    if _SYSTEM not in bytes(found["messages"]):
        return
    messages: list[Any] = bodies.value(found["messages"])
    turns: list[Any] = []
    for message in messages:
        if not isinstance(message, dict) or message.get("role") != "system":
            turns.append(message)
            continue
        parts = _parts(message.get("content"))
        if not turns:
            found["system"] = bodies.raw(_parts(bodies.value(found.get("system", bodies.NO_TEXT))) + parts)
            continue
        reminder = _reminder(parts)
        last = turns[-1]
        if isinstance(last, dict) and last.get("role") == "user":
            turns[-1] = last | {"content": [*_parts(last.get("content")), reminder]}
        else:
            turns.append({"role": "user", "content": [reminder]})
    if len(turns) < len(messages) or turns != messages:
        found["messages"] = bodies.raw(turns)


def _parts(content: object) -> list[Any]:
    """Give a content, which may be a text, as a list of parts."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content if isinstance(content, list) else []


def _reminder(parts: list[Any]) -> Part:
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return {"type": "text", "text": "<system-reminder>\n{}\n</system-reminder>".format("\n".join(texts))}
