"""llama-swap's macros: `${name}` in any value is what `macros` says; a model's own win. Pure.

A macro may have others in it, and those of the model that is read count there, too. `${PORT}` is the port that is
chosen for a model, `${MODEL_ID}` its name, `${env.NAME}` a variable of the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from router.config.reading.environment import literal
from router.importing.commands import PORT

if TYPE_CHECKING:
    from router.importing.imported import Imported, Value

_MACRO = re.compile(r"\$\{([A-Za-z0-9_-]+)\}")
_ENVIRONMENT = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
_ROUNDS: Final = 16
"""Macros within macros: more than anybody writes, and few enough for a circle of them."""
_LONGEST: Final = 1 << 16


class Macros:
    """What macros mean where a value stands."""

    def __init__(self, *each: Mapping[str, Any], model: str = "") -> None:
        self._said = {name: value for said in each for name, value in said.items()}
        if model:
            self._said |= {"MODEL_ID": model, "PORT": PORT}

    def expanded(self, value: Any) -> Any:  # noqa: ANN401 -- whatever the file holds
        """Give a value with its macros replaced; one that is a macro alone keeps that one's type."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {self._name(name): self.expanded(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.expanded(each) for each in value]
        return value

    def _name(self, name: str) -> str:
        return str(self._text(name))

    def _text(self, text: str) -> Any:  # noqa: ANN401
        value: Any = text
        for _ in range(_ROUNDS):
            if not isinstance(value, str) or len(value) > _LONGEST:
                break
            alone = _MACRO.fullmatch(value)
            if alone and alone[1] in self._said:
                value = self._said[alone[1]]
                continue
            replaced = _MACRO.sub(self._meaning, value)
            if replaced == value:
                break
            value = replaced
        return value

    def _meaning(self, macro: re.Match[str]) -> str:
        said = self._said.get(macro[1])
        if said is None:
            return macro[0]
        return str(said).lower() if isinstance(said, bool) else str(said)


def unknown(value: Any) -> list[str]:  # noqa: ANN401
    """Give the macros in an expanded value that nothing says, as they are written there."""
    if isinstance(value, str):
        return [found[0] for found in _MACRO.finditer(value)]
    if isinstance(value, Mapping):
        return [each for one in value.values() for each in unknown(one)]
    return [each for one in value for each in unknown(one)] if isinstance(value, list) else []


def carried(value: Any, imported: Imported, about: str) -> Value:  # noqa: ANN401
    """Write a value as router.yaml has it: variables of the environment stay such, any other `${` is text."""
    if isinstance(value, str):
        parts, end = list[str](), 0
        for found in _ENVIRONMENT.finditer(value):
            # llama-swap doesn't start without them.
            parts += [literal(value[end : found.start()]), imported.refer(found[1], about, needed=True)]
            end = found.end()
        return "".join([*parts, literal(value[end:])])
    if isinstance(value, Mapping):
        return {name: carried(each, imported, about) for name, each in value.items()}
    if isinstance(value, list):
        return [carried(each, imported, about) for each in value]
    known: Value = value
    return known
