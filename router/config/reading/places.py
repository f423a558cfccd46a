"""YAML text → plain data, with the line and column of every key and item.

Only the part of YAML is accepted that a configuration needs: one document, a mapping at its top, keys that are text and
occur once, no tags, no merge keys (`<<`). Anchors and aliases work. `scalars` says how words become values.

The depth of a file, and the number of its values after aliases are expanded, are bounded. Every mistake becomes a
`Problem`. One that leaves no data to go on with (broken syntax, a bound) is raised at once; the others are kept in the
document, to be reported with later ones.
"""

from __future__ import annotations

from typing import Any

import yaml

from router.config import foreign, scalars
from router.config.problems import MOST_ITEMS, TOO_LONG, ConfigError, KeyPath, Problem, SourcePosition, dotted
from router.config.reading.document import Document
from router.config.reading.excerpt import with_excerpts
from router.config.reading.files import decoded, fatal
from router.config.reading.syntax import MAX_DEPTH, TOO_DEEP, syntax_error
from router.config.redact import public

MAX_VALUES = 200_000

_CORE = "tag:yaml.org,2002:"
_TAGS = {None, *(f"{_CORE}{kind}" for kind in ("str", "seq", "map"))}

# libyaml's parser is five times as fast, but PyYAML may have been built without it.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse(raw: bytes, file: str, most: int = MAX_VALUES) -> Document:
    """The document in a file's bytes, with at most `most` values. Raises ConfigError if there is none."""
    text = decoded(raw, file)
    if theirs := foreign.of_text(text):
        raise fatal(SourcePosition(file, 1, 1), theirs)
    document = Document(file, places={(): SourcePosition(file, 1, 1)}, texts={file: text})
    try:
        if found := events(text, file):
            _Builder(document, found, most).build()
    except ConfigError as error:
        raise ConfigError(with_excerpts(error.problems, text)) from None
    return document


def events(text: str, file: str) -> list[Any]:
    """The parser's events, from the first node to the last. Raises ConfigError if this is no YAML."""
    try:
        return _parsed(text, file)
    except yaml.MarkedYAMLError as error:
        raise syntax_error(error, text, file) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML's own parser raises the last two for "\\UFFFFFFFF".
        raise fatal(SourcePosition(file, 1, 1), "this is no valid YAML: it has a character that is none") from None


def _parsed(text: str, file: str) -> list[Any]:
    """The same. Raises ConfigError if they are too many or too deep."""
    events: list[Any] = []
    depth = documents = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            events.append(event)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise fatal(_at(event, file), TOO_DEEP)
            if len(events) > 2 * MAX_VALUES:
                raise fatal(_at(event, file), f"the file grows beyond {MAX_VALUES} values")
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise fatal(_at(event, file), "a second document starts here: router.yaml is one")
    return events


class _Builder:
    """One walk over a document's events, which fills it. An alias repeats the events of its anchor."""

    def __init__(self, document: Document, events: list[Any], most: int) -> None:
        self._document = document
        self._events = events
        self._next = 0
        self._most = most
        # By anchor, the index of the event that begins its node.
        self._anchors: dict[str, int] = {}
        # Anchors of unfinished nodes: an alias to one would never end.
        self._open: set[str] = set()

    def build(self) -> None:
        top = self._events[0]
        data = self._value(())
        if isinstance(data, dict):
            self._document.data = data
        elif data is not None:
            place = _at(top, self._document.file)
            raise fatal(place, "expected keys and values, such as `server:`, at the top of the file")

    def _take(self) -> Any:  # noqa: ANN401 - PyYAML's events have no types
        event = self._events[self._next]
        self._next += 1
        return event

    def _value(self, path: KeyPath) -> Any:  # noqa: ANN401 - whatever the file holds
        event = self._take()
        self._document.size += 1
        if self._document.size > self._most:
            raise self._stop(event, path, f"the file grows beyond {MAX_VALUES} values")
        if len(path) > MAX_DEPTH:
            raise self._stop(event, path, TOO_DEEP)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        self._anchor(event, path)
        if event.tag not in _TAGS:
            self._report(event, path, "a tag (!…) has no meaning here: put text that starts with ! in quotes")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        self._open.add(event.anchor)
        value = self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._list(path)
        self._open.discard(event.anchor)
        return value

    def _anchor(self, event: Any, path: KeyPath) -> None:  # noqa: ANN401
        """Remember where a node begins, if it has an anchor."""
        if event.anchor and self._anchors.setdefault(event.anchor, self._next - 1) != self._next - 1:
            self._report(event, path, "an anchor (&…) of this name stands further up: give it another")

    def _alias(self, event: Any, path: KeyPath) -> Any:  # noqa: ANN401
        if event.anchor not in self._anchors:
            raise self._stop(event, path, "is an alias (*…) of nothing: put text that starts with * in quotes")
        if event.anchor in self._open:
            raise self._stop(event, path, "is an alias of something that it is part of")
        behind, self._next = self._next, self._anchors[event.anchor]
        value = self._value(path)
        self._next = behind
        return value

    def _scalar(self, event: Any, path: KeyPath) -> scalars.Scalar:  # noqa: ANN401
        if not _is_unquoted(event):
            return str(event.value)
        self._document.unquoted.add(path)
        return scalars.read(event.value)

    def _list(self, path: KeyPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._events[self._next], yaml.SequenceEndEvent):
            if len(items) == MOST_ITEMS:
                # Here, and not only where the list is checked: each item costs time until then.
                raise self._stop(event, path, TOO_LONG)
            item = (*path, len(items))
            self._document.places[item] = _at(event, self._document.file)
            items.append(self._value(item))
        self._next += 1
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := self._events[self._next], yaml.MappingEndEvent):
            key = self._key(path)
            if key is None:
                self._pass(path)
            elif key in mapping:
                first = self._document.places[*path, key]
                self._report(event, (*path, key), f"stands here a second time (first: line {first.line})")
                self._pass(path)
            else:
                self._document.places[*path, key] = _at(event, self._document.file)
                mapping[key] = self._value((*path, key))
        self._next += 1
        return mapping

    def _key(self, path: KeyPath) -> str | None:
        """The key; None if it is not a valid one, which is reported."""
        event = self._events[self._next]
        if not isinstance(event, yaml.ScalarEvent):
            self._report(event, path, "a key must be text, not a list, a mapping or an alias")
            self._pass(path)
            return None
        self._next += 1
        self._anchor(event, path)
        if _is_unquoted(event) and event.value == "<<":
            self._report(event, path, "merge keys (<<) are not supported: write the keys out")
            return None
        if _is_unquoted(event) and not isinstance(scalars.read(event.value), str):
            self._report(event, path, "a key must be text: put it in quotes")
            return None
        return str(event.value)

    def _pass(self, path: KeyPath) -> None:
        """Skip a value that is left out. Its anchors count, because aliases may refer to them."""
        depth = 0
        while True:
            event = self._take()
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
                self._anchor(event, path)
            if not depth:
                return

    def _report(self, event: Any, path: KeyPath, message: str) -> None:  # noqa: ANN401
        place = _at(event, self._document.file)
        self._document.report(Problem(*place, key=dotted(public(path)), message=message))

    def _stop(self, event: Any, path: KeyPath, message: str) -> ConfigError:  # noqa: ANN401
        self._report(event, path, message)
        return ConfigError(self._document.problems)


def _is_unquoted(event: Any) -> bool:  # noqa: ANN401
    return not event.style and event.tag is None


def _at(event: Any, file: str) -> SourcePosition:  # noqa: ANN401
    return SourcePosition(file, event.start_mark.line + 1, event.start_mark.column + 1)
