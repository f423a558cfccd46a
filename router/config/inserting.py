"""Adds entries below `backends:` of a router.yaml, and leaves every other letter of it as it is. Pure.

PyYAML can't keep comments, so the text is changed, not the data: lines go in behind the last entry. Where these can't
stand there, as behind `backends: [...]`, nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import yaml

from router.config.reading.files import LINE_BREAK
from router.config.reading.places import LOADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class InsertError(Exception):
    """Entries can't be added to this file; the message says what to do instead."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file indents its backends: columns before a dash, from there to its keys, and from keys to those below."""

    dash: int
    key: int
    step: int


USUAL: Final = Layout(2, 2, 2)


def inserted(text: str, write: Callable[[Layout], Iterable[str]]) -> str:
    """Give the text with the lines that `write` gives for its layout, behind the last backend.

    The text must be YAML. Raises InsertError.
    """
    top = yaml.compose(text, Loader=LOADER)
    if top is not None and (not isinstance(top, yaml.MappingNode) or top.flow_style):
        raise InsertError("the file is one mapping in { }: write its keys on lines of their own")
    found = None if top is None else next((pair for pair in top.value if pair[0].value == "backends"), None)
    if found is None:
        return _at_the_end(text, [*_keyed(write)])
    key, value = found
    if isinstance(value, yaml.SequenceNode) and not value.flow_style and value.start_mark.line > key.start_mark.line:
        layout = _layout_of(value)
        return _behind(text, _last_line(text, value, layout.dash), write(layout))
    if isinstance(value, yaml.ScalarNode) and not value.value and value.start_mark.line <= key.end_mark.line:
        return _behind(text, key.start_mark.line, write(USUAL))
    raise InsertError(
        "`backends` is no list of lines that begin with `- `, such as `  - name: mine`: write it so, or add the "
        "entries to another file, and name that in `include`"
    )


def _keyed(write: Callable[[Layout], Iterable[str]]) -> Iterator[str]:
    yield "backends:"
    yield from write(USUAL)


def _layout_of(backends: yaml.SequenceNode) -> Layout:
    """Find out how the backends are indented, by the first of them that shows it."""
    dash = backends.start_mark.column
    for each in backends.value:
        if isinstance(each, yaml.MappingNode) and not each.flow_style and each.value:
            first = each.value[0][0].start_mark.column
            below = [
                value.start_mark.column
                for _, value in each.value
                if isinstance(value, yaml.MappingNode) and not value.flow_style
            ]
            step = below[0] - first if below else USUAL.step
            return Layout(dash, max(first - dash, 2), step if step > 0 else USUAL.step)
    return Layout(dash, USUAL.key, USUAL.step)


def _last_line(text: str, backends: yaml.SequenceNode, dash: int) -> int:
    """Give the number of the last line that belongs to a list, from 0: with it go the comments below, if indented."""
    lines = LINE_BREAK.split(text)
    last = max(_ends(backends))
    while last and not lines[last].strip():
        last -= 1
    while last + 1 < len(lines) and lines[last + 1].lstrip(" ")[:1] == "#":
        if len(lines[last + 1]) - len(lines[last + 1].lstrip(" ")) <= dash:
            break
        last += 1
    return last


def _ends(node: yaml.Node) -> Iterator[int]:
    """Give the lines at which the parts of a node end. A block of text, and a list, end where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        yield node.start_mark.line
        for each in node.value:
            for part in each if isinstance(each, tuple) else (each,):
                yield from _ends(part)
    else:
        end = node.end_mark
        yield max(end.line - (not end.column), node.start_mark.line)


def _behind(text: str, line: int, lines: Iterable[str]) -> str:
    """Put lines behind the line of this number."""
    breaks = [*LINE_BREAK.finditer(text)]
    ending = breaks[0][0] if breaks else "\n"
    if line < len(breaks):
        at = breaks[line].end()
        return text[:at] + "".join(each + ending for each in lines) + text[at:]
    return text + "".join(ending + each for each in lines) + ending


def _at_the_end(text: str, lines: Iterable[str]) -> str:
    found = LINE_BREAK.search(text)
    ending = found[0] if found else "\n"
    gap = "" if not text else ending if LINE_BREAK.search(text[-1]) else ending * 2
    return text + gap + "".join(each + ending for each in lines)
