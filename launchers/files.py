"""The disk, as far as finding a model needs it. Engines, which do no I/O, get a `Disk` to look with."""

import glob
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

MOST_STAMPED = 10_000
"""Most files of a folder that are looked at for changes."""


MOST = 16 * 1024 * 1024
"""Most bytes that are read of a file: descriptions of models and records of engines are far smaller."""

FOR_US_ALONE = 0o600
"""The mode of files with logs, keys or state: what models were asked, and who asked, is nobody else's affair."""


class NoFileError(OSError):
    """A FIFO, a device, a socket."""


def read_ordinary(path: Path | str, most: int = MOST) -> bytes:
    """Read the first bytes of a regular file, without waiting. Raises OSError; for a folder IsADirectoryError."""
    with open(path, "rb", opener=at_once) as stream:
        if not S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise NoFileError(f"{path} is no ordinary file")
        return stream.read(most)


def at_once(path: str, flags: int) -> int:
    """Open a file without waiting: opening a FIFO would wait for its other end. One that it makes is for us alone."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), FOR_US_ALONE)


def own_folder(folder: Path) -> None:
    """Make a folder that its owner alone can enter, and those above it, unless they are there. Raises OSError."""
    for each in (*reversed(folder.parents), folder):
        with suppress(FileExistsError):
            if not each.is_dir():
                each.mkdir(mode=0o700)
    # A file stands there.
    folder.mkdir(exist_ok=True)


class Disk:
    """The machine's own files: the real `launchers.engines.Files`."""

    @property
    def home(self) -> str:
        """The user's home folder, which `~` stands for."""
        return str(Path.home())

    def is_file(self, path: str) -> bool:
        """Whether `path` is a file, or a link to one; a relative path counts from the working directory."""
        return Path(path).is_file()

    def is_dir(self, path: str) -> bool:
        """Whether `path` is a folder, or a link to one."""
        return Path(path).is_dir()

    def list(self, folder: str) -> list[str]:
        """The names in `folder`, sorted. Raises OSError where it can't be read."""
        return sorted(os.listdir(folder))  # noqa: PTH208 -- names are what is wanted, not paths


Stamp = tuple[tuple[str, int, int, int], ...]
"""What shows that files have changed: names, inodes, sizes, and times of change, which change with permissions, too."""


def stamp(paths: Iterable[str]) -> Stamp:
    """Look at files, and at those in folders, as they are now; missing ones are left out."""
    return tuple(each for path in paths for each in _stamps(Path(path)))


def _stamps(path: Path) -> list[tuple[str, int, int, int]]:
    found = []
    # ValueError: a name that no file can have.
    with suppress(OSError, ValueError):
        files = sorted(path.iterdir())[:MOST_STAMPED] if path.is_dir() else [path, *_parts(path)]
        for file in files:
            with suppress(OSError):
                stat = file.stat()
                found.append((str(file), stat.st_ino, stat.st_size, stat.st_ctime_ns))
    return found


def _parts(path: Path) -> list[Path]:
    """Give the files beside `x-00001-of-00003.gguf` that are of the same model."""
    name, of, _ = path.name.partition("-00001-of-")
    return sorted(path.parent.glob(f"{glob.escape(name)}-*-of-*")) if of else []


class Changes:
    """Whether files have changed since they were used last.

    A change counts once two looks in a row have seen the same: what is still being written waits until it is whole.
    """

    def __init__(self) -> None:
        self._used: Stamp = ()
        self._seen: Stamp = ()

    def used(self, now: Stamp) -> None:
        """Note the files as they are used."""
        self._used = self._seen = now

    def look(self, now: Stamp) -> bool:
        """Look at them again; tell whether they are others than those that were used, and whole."""
        changed = now != self._used and now == self._seen
        self._seen = now
        return changed
