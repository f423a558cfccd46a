"""Puts requests of Anthropic's Messages API right, for engines that speak it themselves.

1. `max_tokens` is wanted, as in Anthropic's API. 0 is 1: it asks that the prompt be read and cached, and engines make
   one token at least.
2. A text document and a search result become text: engines ignore such blocks, or refuse them.
3. Empty stop sequences are left out: they would end each answer at once.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from launchers.engines import bodies, chats
from launchers.engines.bodies import Fields, Rule
from launchers.errors import UnfitRequestError

MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"

Items = Annotated[list[dict[str, msgspec.Raw]], msgspec.Meta(min_length=1)]
Block = dict[str, Any]

CONVERSATION = Rule(Items, "must be a list of one message or more", required=True)
RULES: Mapping[str, Mapping[str, Rule]] = MappingProxyType({
    MESSAGES: {"messages": CONVERSATION, "max_tokens": Rule(int, "must be a whole number", required=True)},
    COUNT: {"messages": CONVERSATION},
})  # fmt: skip

_IN_WORDS = (b'"document"', b'"search_result"')


def put_messages_right(found: Fields) -> None:
    """Do what is said above to a body that `RULES` have passed."""
    if found.get("max_tokens") == bodies.ZERO:
        found["max_tokens"] = bodies.raw(1)
    chats.put_stop_right(found, "stop_sequences")
    given = bytes(found["messages"])
    if any(kind in given for kind in _IN_WORDS):
        messages = bodies.value(found["messages"])
        for number, message in enumerate(messages):
            _put_content_right(message, f"messages[{number}]")
        found["messages"] = bodies.raw(messages)


def wanted_call(found: Fields) -> Block:
    """Give the choice of a tool if it wants a call, else nothing."""
    choice = bodies.value(found.get("tool_choice", bodies.NO_TEXT))
    return choice if isinstance(choice, dict) and choice.get("type") in {"any", "tool"} else {}


def keep_tool(found: Fields, name: object) -> None:
    """Keep only the tool of this name."""
    every = bodies.value(found.get("tools", bodies.NO_TEXT))
    tools = every if isinstance(every, list) else []
    left = [tool for tool in tools if isinstance(tool, dict) and tool.get("name") == name]
    if not left:
        raise UnfitRequestError(f"tool_choice names {name}, which is none of the tools.", "tool_choice")
    if left != tools:
        found["tools"] = bodies.raw(left)


def _put_content_right(holder: Block, place: str) -> None:
    """Put the blocks of a message's content right, or those of a tool's result."""
    content = holder.get("content")
    if not isinstance(content, list):
        return
    for number, block in enumerate(content):
        if not isinstance(block, dict):
            continue
        if block.get("type") in {"document", "search_result"}:
            content[number] = {"type": "text", "text": _words(block, f"{place}.content[{number}]")}
        elif block.get("type") == "tool_result":
            _put_content_right(block, f"{place}.content[{number}]")


def _words(block: Block, place: str) -> str:
    said = block.get("content")
    if block["type"] == "document":
        source = block.get("source")
        if not isinstance(source, dict) or source.get("type") not in {"text", "content"}:
            raise UnfitRequestError(f"{place} is a document that is no text: send its text.", "messages")
        said = source.get("data") or source.get("content")
    if isinstance(said, list):
        texts = [each.get("text") for each in said if isinstance(each, dict)]
        said = "\n".join([text for text in texts if isinstance(text, str)])
    return "\n".join([text for text in (block.get("title"), said) if isinstance(text, str) and text])
