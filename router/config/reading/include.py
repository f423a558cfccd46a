"""router.yaml and the files that it includes, as one document in which each part remembers its file.

    include: conf.d/*.yaml        or a list: [machines.yaml, "conf.d/*.yaml"]

Patterns are relative to the including file and are taken in order; the matches of one are sorted by name. The backends
of an included file follow those before, its routes are merged, and any other section may be in one file only. An
included file can't include others. Mistakes in one file don't hide those in another.
"""

from __future__ import annotations

import glob
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from router.config.problems import ConfigError
from router.config.reading import environment, places
from router.config.reading.files import MAX_BYTES, read
from router.config.reading.places import MAX_VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from router.config.problems import KeyPath
    from router.config.reading.document import Document

MAX_FILES = 500
"""Files that one pattern may match."""


class Sources(NamedTuple):
    """The files that a configuration was read from, and the absolute patterns that other files may match later."""

    files: tuple[Path, ...]
    patterns: tuple[str, ...] = ()


def gathered(path: Path, environ: Mapping[str, str], raw: bytes | None = None) -> tuple[Document, Sources]:
    """A file, or what it would be with the bytes `raw`, and the files that it includes.

    Raises ConfigError if the file itself gives no data.
    """
    raw = read(path) if raw is None else raw
    document = places.parse(raw, str(path))
    environment.expand(document, environ, "include")
    files, room = {path.absolute(): path}, MAX_BYTES - len(raw)
    patterns = list(_patterns(document))
    for key, pattern in patterns:
        for found in _matching(document, key, path.parent, pattern):
            if found.absolute() in files:
                continue
            files[found.absolute()] = found
            try:
                raw = read(found, room)
                part = places.parse(raw, str(found), MAX_VALUES - document.size)
            except ConfigError as error:
                # If a file can't be read, its problem has the place of the pattern that names it.
                for problem in error.problems:
                    named = document.problem(key, f"{found}: {problem.message}")
                    document.report(problem if problem.line is not None else named)
                # It might have had backends.
                document.broken.add(("backends",))
                continue
            room -= len(raw)
            _Merge(document, part).all()
    absolute = Path(glob.escape(str(path.parent.absolute())))
    return document, Sources(tuple(files.values()), tuple(str(absolute / pattern) for _, pattern in patterns))


def _patterns(document: Document) -> Iterator[tuple[KeyPath, str]]:
    """Each pattern with its path. Values that are no patterns are refused later, by the type of the key."""
    given = document.data.get("include")
    for index, pattern in enumerate(given if isinstance(given, list) else [given]):
        if isinstance(pattern, str) and pattern and pattern.isprintable():
            yield ("include", index), str(pattern)


def _matching(document: Document, key: KeyPath, folder: Path, pattern: str) -> list[Path]:
    def wrong(message: str) -> list[Path]:
        document.report(document.problem(key, message))
        return []

    if "**" in pattern:
        return wrong("** is not supported: name the folders, or include each with a pattern of its own")
    rooted = str(Path(glob.escape(str(folder))) / pattern)
    # Path.glob would take special characters in the folder's own name for a pattern.
    found = list(islice(glob.iglob(rooted), MAX_FILES + 1))  # noqa: PTH207
    if len(found) > MAX_FILES:
        return wrong(f"matches more than {MAX_FILES} files")
    if not found and not glob.has_magic(pattern):
        document.broken.add(("backends",))
        return wrong("there is no such file: {got}")
    return [Path(each) for each in sorted(found)]


class _Merge:
    """The merging of an included file into the document."""

    def __init__(self, document: Document, part: Document) -> None:
        self._document = document
        self._part = part
        self._left_out: set[KeyPath] = set()
        backends = document.data.get("backends")
        self._before = len(backends) if isinstance(backends, list) else 0

    def all(self) -> None:
        """Merge what can be merged with its places, and report the rest."""
        for key, value in self._part.data.items():
            self._section(key, value)
        document, part = self._document, self._part
        for path, place in part.places.items():
            if (moved := self._moved(path)) is not None:
                document.places.setdefault(moved, place)
        document.unquoted |= {moved for path in part.unquoted if (moved := self._moved(path)) is not None}
        document.report(*part.problems)
        document.size += part.size
        document.texts |= part.texts

    def _section(self, key: str, value: object) -> None:
        data = self._document.data
        if key == "include":
            self._refuse((key,), "a file that is included can't include others: name them in the first file")
        elif data.get(key) is None:
            data[key] = value
        elif key == "backends" and isinstance(data[key], list) and isinstance(value, list | None):
            data[key] += value or []
        elif key == "routes" and isinstance(data[key], dict) and isinstance(value, dict | None):
            for name, route in (value or {}).items():
                if name in data[key]:
                    self._refuse((key, name), "stands in {other}, too: a route is written once")
                else:
                    data[key][name] = route
        else:
            self._refuse((key,), "stands in {other}, too: a section is written in one file")

    def _refuse(self, path: KeyPath, message: str) -> None:
        self._left_out.add(path)
        message = message.replace("{other}", self._document.place(path))
        self._document.report(self._part.problem(path, message))

    def _moved(self, path: KeyPath) -> KeyPath | None:
        """The path in the whole document of a path in the part; None if that was left out."""
        if not path or path[:1] in self._left_out or path[:2] in self._left_out:
            return None
        if path[0] == "backends" and len(path) > 1 and isinstance(path[1], int):
            return ("backends", path[1] + self._before, *path[2:])
        return path
