"""YAML text → plain data, with the line and column of every key and item.

Only a part of YAML is accepted, the part that a configuration needs: one document, a mapping at its top, keys that
are text and appear once, no tags, no merge keys (`<<`). Anchors and aliases work. How words become values:
`scalars`.

Nothing here trusts the file. Its size, its depth, and the number of its nodes after aliases are expanded have
bounds, and whatever is wrong becomes a `Problem`. What leaves no data to go on with (no file, no UTF-8, broken
syntax, a bound) is raised at once; the rest is left in the document, to be reported with all that follows.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Any

import yaml
from yaml.reader import Reader

from router.config import scalars
from router.config.document import Document
from router.config.problems import ConfigError, KeyPath, Place, Problem, dotted

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 32

_UNQUOTED = "unquoted"  # our own tag: a scalar that YAML would guess the type of
_PLAIN_TAGS = {_UNQUOTED, *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))}


def _without_guesses(loader: type) -> Any:  # noqa: ANN401 - PyYAML's loaders share no base class
    """The loader with one resolver in place of YAML 1.1's: it only tells unquoted words from the others."""
    return type("Loader", (loader,), {"yaml_implicit_resolvers": {None: [(_UNQUOTED, re.compile(""))]}})


_LOADER = _without_guesses(getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def read(path: Path) -> Document:
    """The document in a file. Raises ConfigError if there is no data to be had from it."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _fatal(Place(file), "there is no such file") from None
    except IsADirectoryError:
        raise _fatal(Place(file), "is a directory; name the file in it") from None
    except PermissionError:
        raise _fatal(Place(file), "may not be read: check the file's owner and permissions") from None
    except (OSError, ValueError) as error:
        raise _fatal(Place(file), f"can't be read: {getattr(error, 'strerror', None) or error}") from None
    return parse(raw, file)


def parse(raw: bytes, file: str) -> Document:
    """The document in a file's bytes. A UTF-8 byte order mark, as some editors write, is passed over."""
    text = _decoded(raw, file)
    try:
        _survey(text, file)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except (yaml.YAMLError, ValueError, OverflowError):  # as Python's parser has it for "\\UFFFFFFFF"
        raise _fatal(Place(file), "this is no valid YAML: it has a character that is none") from None
    document = Document(file, places={(): Place(file, 1, 1)})
    if root is not None:  # a file of comments has no root; what is missing then is said by the types
        _Builder(document).build(root)
    return document


def _decoded(raw: bytes, file: str) -> str:
    if len(raw) > MAX_BYTES:
        raise _fatal(Place(file), f"is larger than {MAX_BYTES >> 20} MiB: this can't be a router.yaml")
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        place = _place_at(raw[: error.start].decode(), file)
        raise _fatal(place, "is not UTF-8 text: save the file as UTF-8") from None
    if odd := Reader.NON_PRINTABLE.search(text):
        raise _fatal(_place_at(text[: odd.start()], file), f"the character {odd[0]!r} can't stand in YAML")
    return text


def _survey(text: str, file: str) -> None:
    """Bound the depth, and count the documents, before anything recursive runs over the text."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if documents > 1:
            raise _fatal(_at(event.start_mark, file), "a second document starts here: router.yaml is one")
        if depth > MAX_DEPTH:
            raise _fatal(_at(event.start_mark, file), f"is nested deeper than {MAX_DEPTH} levels")


class _Builder:
    """One walk over the nodes of a document, which fills it. Aliases are copied out, so that no data is shared."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: set[int] = set()  # the nodes that are being built: an alias to one has no end
        self._nodes = 0

    def build(self, root: yaml.Node) -> None:
        data = self._value(root, ())
        if isinstance(data, dict):
            self._document.data = data
        elif data is not None:
            place = _at(root.start_mark, self._document.file)
            raise _fatal(place, "expected keys and values, such as `server:`, at the top of the file")

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401 - whatever the file holds
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._stop(path, f"the file grows beyond {MAX_NODES} values")
        if len(path) > MAX_DEPTH:
            raise self._stop(path, f"is nested deeper than {MAX_DEPTH} levels")
        if node.tag not in _PLAIN_TAGS:
            self._report(path, "a tag (!…) has no meaning here: put text that starts with ! in quotes", node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            raise self._stop(path, "is an alias of something that it is part of")
        self._open.add(id(node))
        value = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._list(node, path)
        self._open.remove(id(node))
        return value

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> scalars.Scalar:
        if node.tag != _UNQUOTED:
            return str(node.value)
        self._document.unquoted.add(path)
        return scalars.read(node.value)

    def _list(self, node: yaml.Node, path: KeyPath) -> list[Any]:
        for index, item in enumerate(node.value):
            self._document.places[*path, index] = _at(item.start_mark, self._document.file)
        return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in mapping:
                first = self._document.places[*path, key]
                self._report((*path, key), f"stands here a second time (first: line {first.line})", key_node)
                continue
            self._document.places[*path, key] = _at(key_node.start_mark, self._document.file)
            mapping[key] = self._value(value_node, (*path, key))
        return mapping

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        """The key, or None if it can't be one, which is reported."""
        if not isinstance(node, yaml.ScalarNode):
            self._report(path, "a key must be text, not a list or a mapping", node)
            return None
        if node.tag == _UNQUOTED and node.value == "<<":
            self._report(path, "merge keys (<<) are not supported: write the keys out", node)
            return None
        if node.tag == _UNQUOTED and not isinstance(scalars.read(node.value), str):
            self._report(path, "a key must be text: put it in quotes", node)
            return None
        return str(node.value)

    def _report(self, path: KeyPath, message: str, node: yaml.Node) -> None:
        place = _at(node.start_mark, self._document.file)
        self._document.problems.append(Problem(*place, key=dotted(path), message=message))

    def _stop(self, path: KeyPath, message: str) -> ConfigError:
        return ConfigError([*self._document.problems, self._document.problem(path, message)])


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> ConfigError:
    """The parser's complaint, after the mistakes that it words badly."""
    mark = error.problem_mark or error.context_mark
    place = _at(mark, file) if mark else Place(file)
    lines = text.splitlines()
    line = lines[place.line - 1] if place.line and place.line <= len(lines) else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        return _fatal(place, "a tab stands where only spaces may: YAML is indented with spaces")
    hint = "; inside [ ] and { }, put ${…} in quotes" if "${" in line else ""
    problem = re.sub(r"'[^']{2,}'", "'…'", str(error.problem or error.context))  # it may be a secret with a * before
    return _fatal(place, f"this is no valid YAML: {problem}{hint}")


def _at(mark: Any, file: str) -> Place:  # noqa: ANN401 - the C parser's marks are a type of their own
    return Place(file, mark.line + 1, mark.column + 1)


def _place_at(before: str, file: str) -> Place:
    """The place after the text `before`."""
    return Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _fatal(place: Place, message: str) -> ConfigError:
    return ConfigError([Problem(*place, key="", message=message)])
