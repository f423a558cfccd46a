"""A YAML file of another program → plain data that remembers its lines. Pure.

Others take more of YAML than router.yaml does: merge keys (`<<`), tags, a key twice. Bounds are those of router.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from router.config import scalars
from router.config.problems import KeyPath, SourcePosition
from router.config.reading.files import decoded, fatal
from router.config.reading.places import LOADER, MAX_VALUES, events

if TYPE_CHECKING:
    from collections.abc import Mapping

_MERGE: Final = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Source:
    """A file's data, and the line of each key and item."""

    file: str
    data: Mapping[str, Any]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def line(self, *path: str | int) -> int:
        """Give the line of what stands at a path, or of the nearest thing around it; 0 if there is none."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)


def parsed(raw: bytes, file: str) -> Source:
    """Read a file's bytes. Raises ConfigError where it is no YAML with a mapping at its top."""
    text = decoded(raw, file)
    # For their bounds, and for words about broken syntax.
    events(text, file)
    reading = _Reading(file)
    top = yaml.compose(text, Loader=LOADER)
    data = {} if top is None else reading.value(top, ())
    if not isinstance(data, dict):
        raise fatal(SourcePosition(file, 1, 1), "expected keys and values, such as `models:`, at the top of the file")
    return Source(file, data, reading.lines)


class _Reading:
    """One walk over a file's nodes. What an alias repeats is read again, at the places where it stands."""

    def __init__(self, file: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._file = file
        self._size = 0
        # Nodes that are being read: an alias to one would never end.
        self._open: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401 -- whatever the file holds
        self._size += 1
        line = node.start_mark.line + 1
        if self._size > MAX_VALUES:
            raise fatal(SourcePosition(self._file, line), f"the file grows beyond {MAX_VALUES} values")
        if any(node is each for each in self._open):
            raise fatal(SourcePosition(self._file, line), "is an alias of something that it is part of")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._item(each, (*path, index)) for index, each in enumerate(node.value)]
        finally:
            self._open.pop()
        # PyYAML's types know no style.
        style: Any = getattr(node, "style", None)
        return str(node.value) if style else scalars.read(node.value)

    def _item(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401
        self.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    found = self.value(each, path)
                    merged = {**(found if isinstance(found, dict) else {}), **merged}
                continue
            name = str(key.value)
            self.lines[*path, name] = key.start_mark.line + 1
            own[name] = self.value(value, (*path, name))
        # Merged keys first: the last of two in `lines` is a mapping's own.
        return {**merged, **own}
