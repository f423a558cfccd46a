"""An engine's log: a file that can't grow for ever."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from launchers.files import at_once, own_folder

MAX_FILE = 8 * 1024 * 1024
"""Bytes of a log. Then it becomes NAME.log.1, and the one before that is gone."""


class Log:
    """A log file of at most two parts. If it can't be written, there is one warning, and no log."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._file: BinaryIO | None = None
        try:
            own_folder(path.parent)
            self._open()
        except OSError as error:
            self._give_up(error)

    def write(self, data: bytes) -> None:
        """Append output."""
        if self._file is None:
            return
        try:
            self._file.write(data)
            if self._file.tell() >= MAX_FILE:
                self.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._open()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self._file = open(self._path, "ab", buffering=0, opener=at_once)  # noqa: SIM115 -- it stays open

    def _give_up(self, error: OSError) -> None:
        self._warn(f"{self._path}: the engine's log can't be written, and is left out: {error.strerror or error}")
        self.close()
