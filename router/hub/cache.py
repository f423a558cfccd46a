"""The hub's cache on this disk, as huggingface_hub, mlx, vllm and llama.cpp have it.

models--ORG--NAME/refs/main                      the commit that is `main`
models--ORG--NAME/snapshots/COMMIT/model.gguf    a link to
models--ORG--NAME/blobs/DIGEST                   the file itself
models--ORG--NAME/blobs/DIGEST.incomplete        what there is of one that isn't whole
.locks/models--ORG--NAME/DIGEST.lock             locked by whoever downloads it
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final

from launchers.files import read_ordinary
from launchers.weights import hub_folder
from router.hub.errors import HubError
from router.hub.listing import RemoteFile, Repository

RESERVE: Final = 512 << 20
"""Bytes that must stay free on the disk: other programs need some, and full file systems are slow."""

MOST_FILES: Final = 10_000
"""Files of a repository that are looked at."""


class Cache:
    """The part of the cache that is one repository's, at one commit."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        name = hub_folder(repository.name)
        self._cache = folder
        self._folder = folder / name
        self._locks = folder / ".locks" / name
        self._commit = repository.commit

    def place(self, file: RemoteFile) -> Path:
        """Say where programs find a file."""
        return self._folder / "snapshots" / self._commit / file.name

    def blob(self, file: RemoteFile) -> Path:
        """Say where its bytes lie."""
        return self._folder / "blobs" / file.digest

    def partial(self, file: RemoteFile) -> Path:
        """Say where those lie that are there of it, while it isn't whole."""
        return self._folder / "blobs" / f"{file.digest}.incomplete"

    def has(self, file: RemoteFile) -> bool:
        """Whether a file is there, and whole: its name is its checksum."""
        return file.size in {_size(self.blob(file)), _size(self.place(file))}

    def missing(self, files: Iterable[RemoteFile]) -> int:
        """Give the bytes that files still take on the disk."""
        return sum(max(0, each.size - max(0, _size(self.partial(each)))) for each in files if not self.has(each))

    def free(self) -> int:
        """Give the bytes that are free on the disk of the cache."""
        there = next(each for each in (self._cache, *self._cache.absolute().parents) if each.is_dir())
        return shutil.disk_usage(there).free

    @contextmanager
    def locked(self, file: RemoteFile) -> Iterator[None]:
        """Hold the lock of a file's download, as other programs with this cache do. Raises HubError, OSError."""
        self._locks.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._locks / f"{file.digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HubError(f"{file.name}: another program is downloading it", may_pass=True) from None
            except OSError:
                # A file system without locks: the next one writes the same bytes.
                pass
            yield
        finally:
            os.close(lock)

    def link(self, file: RemoteFile) -> Path:
        """Let programs find a file that is whole. Raises OSError."""
        place, blob = self.place(file), self.blob(file)
        if _size(blob) != file.size and _size(place) == file.size:
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            place.unlink()
        try:
            place.symlink_to(os.path.relpath(blob, place.parent))
        except OSError:
            # A file system without links.
            blob.replace(place)
        return place

    def keep(self, file: RemoteFile) -> None:
        """Put a file that was received whole, and checked, where it belongs. Raises OSError."""
        self.partial(file).replace(self.blob(file))

    def is_main(self) -> None:
        """Note that this commit is what `main` means. Raises OSError."""
        refs = self._folder / "refs"
        refs.mkdir(parents=True, exist_ok=True)
        (refs / "main").write_text(self._commit)


def cached(cache: Path, name: str) -> Repository | None:
    """Say what is there of a repository, whose name may be in other letters, without the hub; None if nothing is.

    Its commit is the one that `main` was when it was fetched, else the last that was fetched.
    """
    wanted = hub_folder(name).lower()
    try:
        folder = next(each for each in cache.iterdir() if each.name.lower() == wanted)
        commit = _commit(folder)
        found = [each for each in islice((folder / "snapshots" / commit).rglob("*"), MOST_FILES) if each.is_file()]
    except (OSError, StopIteration, ValueError):
        return None
    place = folder / "snapshots" / commit
    files = (RemoteFile(each.relative_to(place).as_posix(), _size(each), each.resolve().name) for each in found)
    return Repository("/".join(folder.name.split("--")[1:]), commit, tuple(sorted(files, key=lambda each: each.name)))


def _commit(folder: Path) -> str:
    """Give the commit that is used of a repository. Raises OSError, and ValueError if there is none."""
    with suppress(OSError, ValueError):
        commit = read_ordinary(folder / "refs/main", 100).decode("ascii").strip()
        if commit.isalnum() and (folder / "snapshots" / commit).is_dir():
            return commit
    return max((folder / "snapshots").iterdir(), key=lambda each: each.stat().st_mtime).name


def _size(path: Path) -> int:
    """Give the size of a file; -1 if it isn't there."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
