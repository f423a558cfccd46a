"""The last versions of router.yaml: each text that was in force, with who brought it, a file each in a folder.

They have the file's secrets, so their owner alone can read them.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from launchers.files import own_folder, read_ordinary
from router.config.reading.files import MAX_BYTES

MOST: Final = 11
"""Versions that are kept: the one in force, and ten before it."""

EDITED: Final = "edited"
"""Who brings a version that was written on the disk, and not by the API."""

_SUFFIX: Final = ".json"
_MOST_BYTES: Final = 8 * MAX_BYTES
"""Of a file with a version: JSON writes a letter as six at most, and names are short."""


class Version(NamedTuple):
    """A text that was in force from `at` on, in seconds since the epoch; `by` is an admin's name, or EDITED."""

    id: int
    at: float
    by: str
    text: str


class Versions:
    """The versions in a folder, which need not be there yet. All methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, text: str, at: float, by: str) -> None:
        """Keep a text that is in force now, unless it is the last one; drop the oldest. Raises OSError."""
        ids = self._ids()
        if ids and (last := self._read(ids[-1])) is not None and last.text == text:
            return
        own_folder(self._folder)
        # Their order is that of their numbers, whatever the clock does.
        number = max(int(at * 1000), ids[-1] + 1 if ids else 0)
        # mkstemp's files are for their owner alone.
        handle, name = tempfile.mkstemp(prefix=".", dir=self._folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"at": at, "by": by, "text": text}, file, ensure_ascii=False)
            Path(name).replace(self._place(number))
        finally:
            Path(name).unlink(missing_ok=True)
        for old in [*ids, number][:-MOST]:
            self._place(old).unlink(missing_ok=True)

    def all(self) -> list[Version]:
        """Give all of them, the last one first."""
        found = (self._read(number) for number in reversed(self._ids()))
        return [each for each in found if each is not None]

    def one(self, number: int) -> Version | None:
        """Give one of them; None if there is none."""
        return self._read(number)

    def _ids(self) -> list[int]:
        names: list[str] = []
        with suppress(OSError):
            names = os.listdir(self._folder)  # noqa: PTH208 -- names are all that is wanted
        stems = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())

    def _read(self, number: int) -> Version | None:
        """Read a version; None where there is none, or it can't be read."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            said: dict[str, Any] = json.loads(read_ordinary(self._place(number), _MOST_BYTES))
            return Version(number, float(said["at"]), str(said["by"]), str(said["text"]))
        return None

    def _place(self, number: int) -> Path:
        return self._folder / f"{number}{_SUFFIX}"
