"""Writes a router.yaml of what was imported, with comments on where each part comes from. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from router.scan.entries import quoted
from router.telemetry.logs import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from router.importing.imported import Entry, Imported, LeftOut, Value

WIDTH: Final = 118
"""Columns of a line, if it can be broken."""

_BLOCKS: Final = frozenset({"launch", "keys"})
"""Keys whose values stand on lines of their own, however short they are."""
_DEFAULT_PORT: Final = 8001


def written(imported: Imported) -> str:
    """Write the file."""
    parts = [_head(imported), *([*section(*each)] for each in imported.sections.items()), [*_entries(imported)]]
    if imported.routes:
        parts.append([*_routes(imported)])
    return "\n".join("".join(f"{line}\n" for line in part) for part in parts)


def _head(imported: Imported) -> list[str]:
    """Say where it comes from, what is to be done first, and what is left out."""
    lines = [f"router.yaml, made by `router import` of {printable(imported.file)} ({imported.whose}).", ""]
    lines += ["  check it    python -m router check", "  start it    python -m router", ""]
    if imported.port:
        said = f"It answers at port {_DEFAULT_PORT} of this machine; {imported.whose} usually does at {imported.port}."
        lines += [*_wrapped(f"{said} `server: {{port: {imported.port}}}` takes its place."), ""]
    lines += [line for said in imported.advice for line in (*_wrapped(said), "")]
    if imported.variables:
        lines.append("Variables of the environment that it reads:")
        wide = max(map(len, imported.variables))
        for name, each in imported.variables.items():
            needed = "; it doesn't start without it" if each.needed else ""
            lines.append(f"  {name:{wide}}  {printable(each.about)}{needed}")
        lines.append("")
    lines += told(imported)
    while not lines[-1]:
        lines.pop()
    return [f"# {line}".rstrip() for line in lines]


def told(imported: Imported) -> list[str]:
    """Say what is left out, and why; what the router doesn't need stands together."""
    lost = [each for each in imported.left_out if each.is_lost]
    needless = [each for each in imported.left_out if not each.is_lost]
    lines = ["Left out, and why:"] if lost else []
    for each in lost:
        lines += _wrapped(f"{_placed(each)}: {each.why}", "  - ", "    ")
    by_reason: dict[str, list[str]] = {}
    for each in needless:
        by_reason.setdefault(each.why, []).append(_placed(each))
    lines += ["", "Not needed here:"] if lost and needless else ["Not needed here:"] if needless else []
    for why, places in by_reason.items():
        lines += _wrapped(f"{', '.join(places)}: {why}", "  - ", "    ")
    return lines


def _placed(left: LeftOut) -> str:
    return printable(left.what) + (f" (line {left.line})" if left.line else "")


def _wrapped(text: str, first: str = "", then: str = "") -> list[str]:
    """Break a sentence into lines, without tearing words apart."""
    return textwrap.wrap(
        printable(text),
        WIDTH - 2,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )


def section(name: str, keys: Mapping[str, Value]) -> list[str]:
    """Write a section."""
    return [f"{name}:", *(line for key, value in keys.items() for line in _key(key, value, 2))]


def _entries(imported: Imported) -> Iterator[str]:
    usable = [each for each in imported.entries if not each.reason]
    yield "backends:" if usable else "backends: []"
    for number, each in enumerate([*usable, *(each for each in imported.entries if each.reason)]):
        if number:
            yield ""
        yield from entry(each)


def entry(each: Entry) -> Iterator[str]:
    """Write an entry below `backends`; one with a reason is a comment."""
    place = f" (line {each.line})" if each.line else ""
    about = f"{each.about}{place}"
    for line in _wrapped(f"{about}. Not used: {each.reason}" if each.reason else about):
        yield f"  # {line}"
    first = "- "
    for key, value in each.keys.items():
        for line in _key(key, value, 2):
            whole = f"  {first}{line[2:]}"
            yield f"  # {whole[2:]}" if each.reason else whole
            first = "  "


def _routes(imported: Imported) -> Iterator[str]:
    yield "routes:"
    for name, route in imported.routes.items():
        to: Value = route.to[0] if len(route.to) == 1 else route.to
        yield from _key(name, {"to": to, **route.keys} if route.keys else to, 2)


def _key(key: str, value: Value, indent: int) -> Iterator[str]:
    """Write a key with its value: on one line where it fits."""
    before = f"{' ' * indent}{quoted(key)}:"
    whole = f"{before} {inline(value)}"
    is_block = key in _BLOCKS and isinstance(value, Mapping | list) and value
    if isinstance(value, str) or not isinstance(value, Mapping | Sequence) or (len(whole) <= WIDTH and not is_block):
        yield whole
    elif isinstance(value, Mapping):
        yield before
        for name, each in value.items():
            yield from _key(name, each, indent + 2)
    elif any(isinstance(each, Mapping) for each in value):
        yield before
        for each in value:
            yield from _item(each, indent + 2)
    else:
        yield from _list(f"{before} [", [inline(each) for each in value])


def _item(value: Value, indent: int) -> Iterator[str]:
    """Write an item of a list on a line of its own, or a mapping on several."""
    whole = f"{' ' * indent}- {inline(value)}"
    if len(whole) <= WIDTH or not isinstance(value, Mapping):
        yield whole
        return
    lines = [line for key, each in value.items() for line in _key(key, each, indent + 2)]
    yield f"{' ' * indent}- {lines[0].lstrip()}"
    yield from lines[1:]


def _list(before: str, items: Iterable[str]) -> Iterator[str]:
    """Write a long list in brackets, on as many lines as it takes."""
    line, begin, between = before, " " * len(before), ""
    for item in items:
        if len(line) + len(between) + len(item) + 2 > WIDTH and line.strip() != before.strip():
            yield f"{line},"
            line, between = begin, ""
        line += between + item
        between = ", "
    yield f"{line}]"


def inline(value: Value) -> str:
    """Write a value on one line."""
    if isinstance(value, str):
        # As JSON in an argument.
        return f"'{value}'" if '"' in value and "'" not in value and value.isprintable() else quoted(value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(key)}: {inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(inline(each) for each in value) + "]"
    return str(int(value)) if float(value).is_integer() else repr(value)
