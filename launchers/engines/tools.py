"""Rewrites the tools of a chat, and the choice among them, into forms that every engine accepts.

1. A tool without parameters gets an empty schema of them.
2. `allowed_tools` becomes a shorter list of tools, and a mode.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from launchers.engines import bodies, usual
from launchers.engines.bodies import Fields
from launchers.errors import UnfitRequestError

NO_PARAMETERS = {"type": "object", "properties": {}}

_TOOLS = "tools must be a list of objects, each with its type and its function."

_CHOICE = "tool_choice must be auto, none or required, or an object that names a function."

_whole = msgspec.json.Decoder(usual.WholeTools).decode


def put_tools_right(found: Fields, engine: str) -> None:
    """Do 1 and 2 above. An empty list of tools is dropped; a tool that is no function is refused."""
    given = found.get("tools")
    if given is not None:
        try:
            _whole(given)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _put_each_tool_right(found, given, engine)
    _narrow(found)


def _put_each_tool_right(found: Fields, given: msgspec.Raw, engine: str) -> None:
    every: list[dict[str, Any]] = bodies.read(given, list[dict[str, Any]], _TOOLS, "tools")
    if every:
        found["tools"] = bodies.raw([_whole_tool(tool, f"tools[{place}]", engine) for place, tool in enumerate(every)])
        return
    for name in ("tools", "parallel_tool_calls"):
        found.pop(name, None)


def _whole_tool(tool: dict[str, Any], place: str, engine: str) -> dict[str, Any]:
    kind = tool.get("type") or "function"
    if kind != "function":
        raise UnfitRequestError(f"{place} is of type {kind}; {engine} takes tools of type function only.", "tools")
    function = tool.get("function") or {name: value for name, value in tool.items() if name != "type"}
    return {**tool, "type": kind, "function": whole_function(function, f"{place}.function", "tools")}


def whole_function(function: object, place: str, param: str) -> dict[str, Any]:
    """Give a function with its parameters, and without nulls."""
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise UnfitRequestError(f"{place} must be an object with the function's name.", param)
    whole = {name: value for name, value in function.items() if value is not None}
    parameters = whole.get("parameters") or NO_PARAMETERS
    if not isinstance(parameters, dict):
        raise UnfitRequestError(f"{place}.parameters must be an object, a JSON schema.", param)
    return {**whole, "parameters": parameters}


def _narrow(found: Fields) -> None:
    """Keep only the `allowed_tools`. A choice that names a function must name one of them."""
    choice = chosen(found)
    if not isinstance(choice, dict):
        _check_word(found, choice)
        return
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        allowed = allowed if isinstance(allowed, dict) else choice
        names = allowed.get("tools")
        only(found, {_name(each) for each in names} if isinstance(names, list) else ())
        found["tool_choice"] = bodies.raw("required" if allowed.get("mode") == "required" else "auto")
        return
    name = _name(choice)
    only(found, {name}, keep=True)
    found["tool_choice"] = bodies.raw({"type": "function", "function": {"name": name}})


def _check_word(found: Fields, choice: str | None) -> None:
    """Without tools, drop a choice that requires nothing, and refuse one that requires a call."""
    if choice not in (None, "auto", "none", "required"):
        raise UnfitRequestError(_CHOICE, "tool_choice")
    if choice and "tools" not in found and "functions" not in found:
        if choice == "required":
            raise UnfitRequestError("tool_choice is required, but there are no tools.", "tool_choice")
        del found["tool_choice"]


def chosen(found: Fields) -> str | dict[str, Any] | None:
    """Give the tool choice: a word, an object, or None."""
    given = found.get("tool_choice")
    return None if given is None else bodies.read(given, str | dict[str, Any], _CHOICE, "tool_choice")


def all_of(found: Fields) -> list[dict[str, Any]]:
    """Give the tools that `put_tools_right` has passed."""
    return bodies.value(found["tools"]) if "tools" in found else []


def only(found: Fields, names: Iterable[str], *, keep: bool = False) -> None:
    """Keep only the tools of these names, of which one must exist; with `keep`, keep the others, too."""
    left = [tool for tool in all_of(found) if tool["function"]["name"] in names]
    if not left:
        raise UnfitRequestError(f"tool_choice names {', '.join(names)}, which is none of the tools.", "tool_choice")
    if not keep:
        found["tools"] = bodies.raw(left)


def _name(of: object) -> str:
    """Give the name of the function of a tool or of a choice: beside its type, or in an object of its own."""
    if isinstance(of, dict):
        function = of.get("function")
        name = (function if isinstance(function, dict) else of).get("name")
        if isinstance(name, str):
            return name
    raise UnfitRequestError(_CHOICE, "tool_choice")


NO_CALLS = "this model's chat template shows it no tools"


def refuse_wanted_call(found: Fields, why: str) -> None:
    """Refuse a choice that wants a call where nothing can hold an answer to one."""
    choice = chosen(found)
    if choice == "required" or isinstance(choice, dict):
        raise UnfitRequestError(f"tool_choice wants a call, but {why}.", "tool_choice")


def refuse_functions(found: Fields, engine: str) -> None:
    """Refuse functions, the predecessors of tools: an engine that knows only tools would silently ignore them."""
    for name in ("functions", "function_call"):
        if name in found:
            raise UnfitRequestError(f"{name} is not for {engine}; say it by tools and tool_choice.", name)
