"""The tools of a request of /v1/responses, as functions of chat completions.

1. A function stays one; its fields stand in an object of their own.
2. The functions of a namespace become `namespace__function`. A call of one is answered with both names apart, which is
   the only form that Codex runs.
3. A custom tool becomes a function with one text, `input` (`responses_custom`).
4. Every other type is run by OpenAI's servers, or by a client that knows it (local_shell): the model isn't told of it.
"""

from typing import Final

import msgspec

from router.core.errors import BadRequestError
from router.translate import responses_request as request
from router.translate.completions import NULL
from router.translate.reading import read
from router.translate.responses_custom import PARAMETERS, described
from router.translate.responses_request import Tool

Fields = dict[str, object]

NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')


class Tools:
    """The functions that the engine is told of, and how their names are said to the client."""

    def __init__(self) -> None:
        self.functions: Final[dict[str, Fields]] = {}
        self._spaces: Final[dict[str, tuple[str, str]]] = {}
        self._custom: Final[set[str]] = set()

    def add(self, given: msgspec.Raw, place: str) -> None:
        """Take a list of tools. Raises BadRequestError."""
        tools = read(request.tools, given, place) if given else None
        for number, tool in enumerate(tools or ()):
            if tool.type == "namespace":
                for inner, each in enumerate(tool.tools or ()):
                    self._add(each, tool.name or "", f"{place}[{number}].tools[{inner}]")
            else:
                self._add(tool, "", f"{place}[{number}]")

    def _add(self, tool: Tool, space: str, place: str) -> None:
        if tool.type not in {"function", "custom"}:
            return
        tool = tool.function or tool
        if not tool.name:
            raise BadRequestError(f"{place} is a function without a name.", param=place)
        name = self.flat(space, tool.name)
        function: Fields = {"name": name}
        if tool.type == "custom":
            self._custom.add(name)
            function["description"] = described(tool.description, tool.format)
            function["parameters"] = PARAMETERS
        else:
            if tool.description is not None:
                function["description"] = tool.description
            function["parameters"] = NO_PARAMETERS if tool.parameters in NULL else tool.parameters
            if tool.strict is not None:
                function["strict"] = tool.strict
        self.functions[name] = {"type": "function", "function": function}
        if space:
            self._spaces[name] = (space, tool.name)

    def flat(self, space: str | None, name: str) -> str:
        """Give the name by which the engine knows a function."""
        return f"{space}__{name}" if space else name

    def is_custom(self, name: str) -> bool:
        """Whether a function that was called stands for a custom tool."""
        return self.flat(*self.parted(name)) in self._custom

    def parted(self, name: str) -> tuple[str, str]:
        """Give the namespace ("" for none) and the name of a function that was called.

        Some models leave out the namespace: it is added if only one has such a function.
        """
        found = self._spaces.get(name)
        if found is None and name not in self.functions:
            owners = [each for each in self._spaces.values() if each[1] == name]
            found = owners[0] if len(owners) == 1 else None
        return found or ("", name)

    def choose(self, given: msgspec.Raw) -> object:
        """Read `tool_choice`: leave the allowed tools alone, and give the choice for the engine, or None."""
        if given in NULL:
            return None
        choice = read(request.choice, given, "tool_choice")
        if isinstance(choice, str):
            return self._word(choice)
        if choice.type == "allowed_tools":
            allowed = {self.flat(each.namespace, each.name) for each in choice.tools or ()}
            for name in self.functions.keys() - allowed:
                del self.functions[name]
            return self._word(choice.mode or "auto")
        name = self.flat(choice.namespace, choice.name)
        if choice.type not in {"function", "custom"} or name not in self.functions:
            raise BadRequestError(
                f"tool_choice asks for {choice.name or choice.type or 'no tool'}, which is none of the request's"
                " functions or custom tools; the engine has no others.",
                param="tool_choice",
            )
        return {"type": "function", "function": {"name": name}}

    def _word(self, word: str) -> str:
        if word == "required" and not self.functions:
            raise BadRequestError(
                "tool_choice is required, but none of the request's tools is a function or custom.",
                param="tool_choice",
            )
        return word
