"""Goes through folders in search of models, within bounds. Reads names, and the few small files that name others.

Three kinds of folders are known by their form, wherever they are:

    models--ORG--NAME/snapshots/REVISION/     huggingface_hub's cache: the revision that `refs/main` names
    manifests/ and blobs/                     Ollama's store
    anything else                             a folder of files and folders, as LM Studio's and llama.cpp's

A link to a folder is followed once. Nothing is opened that isn't an ordinary file. Hidden folders are left out.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from launchers.files import read_ordinary
from launchers.scan.ollama import blobs_of, name_of
from launchers.scan.sorting import sort

MOST_FOLDERS: Final = 20_000
MOST_NAMES: Final = 200_000
"""Names of files and folders that are looked at, in all."""
MOST_DEPTH: Final = 8
"""Folders below the one that is searched. LM Studio's models are two below its own."""
MOST_MODELS: Final = 2_000
TOO_LONG: Final = "it took too long"
MOST_MANIFEST: Final = 1 << 20
"""Bytes of a manifest, and of a revision's name."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be a model: its files, and where it was found. `reason` says why it is none that can be used.

    `name` is what people call it. `place` is a file or a folder that engines take; `hub` is the repository, of a folder
    in the hub's cache.
    """

    name: str
    place: str
    files: tuple[Path, ...]
    is_gguf: bool
    projector: Path | None = None
    of_ollama: bool = False
    hub: str = ""
    reason: str = ""


class Walk:
    """One search, with what it has left of its bounds. `cut` says why it ended before it had seen everything.

    `in_time` is asked now and then; with False, the search ends.
    """

    def __init__(self, in_time: Callable[[], bool]) -> None:
        self.cut = ""
        self._in_time = in_time
        self._seen: set[tuple[int, int]] = set()
        self._names = 0
        self._models = 0

    def candidates(self, roots: Iterable[Path]) -> Iterator[Candidate]:
        """Give what may be models in these folders; of a file, the model that it is part of."""
        for root in roots:
            # Unlike Path's, these say False of what may not be looked at, as another user's home.
            if os.path.isdir(root):  # noqa: PTH112
                yield from self._below(root)
            elif os.path.isfile(root):  # noqa: PTH113
                of_folder = self._of_files(root.parent, self._listed(root.parent)[0])
                yield from (each for each in of_folder if root in each.files)
            if self.cut:
                return

    def _below(self, root: Path) -> Iterator[Candidate]:
        ahead = deque([(root, 0)])
        while ahead:
            folder, depth = ahead.popleft()
            if not self._is_new(folder):
                continue
            files, folders = self._listed(folder)
            found, inside = self._in(folder, files, folders)
            yield from found
            self._models += len(found)
            # What is below a model in Hugging Face's layout are its parts, but not below the folder of all.
            has_parts = depth > 0 and any(not each.is_gguf for each in found)
            if depth < MOST_DEPTH and not has_parts:
                ahead.extend((each, depth + 1) for each in inside)
            self._check()
            if self.cut:
                return

    def _in(self, folder: Path, files: list[str], folders: list[str]) -> tuple[list[Candidate], list[Path]]:
        """Give what a folder holds by itself, and the folders in it that are to be searched."""
        # 1. One of the hub's cache.
        if folder.name.startswith("models--") and "snapshots" in folders:
            return [*self._of_hub(folder)], []
        # 2. Ollama's store.
        if {"manifests", "blobs"} <= set(folders):
            return [*self._of_ollama(folder)], []
        # 3. Any other.
        return self._of_files(folder, files), [folder / name for name in folders if not name.startswith(".")]

    def _of_files(self, folder: Path, files: list[str]) -> list[Candidate]:
        if "model_index.json" in files:
            # diffusers: each part has a config.json of its own.
            reason = "a model that draws: no engine here runs it"
            return [Candidate(folder.name, str(folder), (), is_gguf=False, reason=reason)]
        found = []
        for each in sort(files):
            paths = tuple(folder / name for name in each.names)
            reason = "" if each.is_complete else f"{len(each.names)} of its {each.whole} parts are here"
            found.append(
                Candidate(
                    each.name or folder.name or "model",
                    str(paths[0]) if each.is_gguf else str(folder),
                    paths,
                    each.is_gguf,
                    folder / each.projector if each.projector else None,
                    reason=reason,
                )
            )
        return found

    def _of_hub(self, folder: Path) -> Iterator[Candidate]:
        """Give the models of a repository in the hub's cache, of the revision that engines take."""
        repository = folder.name.removeprefix("models--").replace("--", "/")
        snapshots = folder / "snapshots"
        _, revisions = self._listed(snapshots)
        with suppress(OSError, ValueError):
            said = read_ordinary(folder / "refs" / "main", MOST_MANIFEST).decode().strip()
            revisions = [said] if said in revisions else revisions
        for revision in revisions[-1:]:
            inside = deque([(snapshots / revision, 0)])
            while inside:
                at, depth = inside.popleft()
                files, folders = self._listed(at)
                if depth < MOST_DEPTH and self._is_new(at):
                    inside.extend((at / name, depth + 1) for name in folders)
                for each in self._of_files(at, files):
                    if each.is_gguf:
                        yield each
                    elif not depth:
                        yield replace(each, name=repository.rpartition("/")[2], hub=repository)

    def _of_ollama(self, store: Path) -> Iterator[Candidate]:
        manifests = store / "manifests"
        ahead = deque([manifests])
        while ahead and not self.cut:
            folder = ahead.popleft()
            files, folders = self._listed(folder)
            if len(folder.relative_to(manifests).parts) < MOST_DEPTH and self._is_new(folder):
                ahead.extend(folder / name for name in folders)
            parts = folder.relative_to(manifests).parts
            if parts:
                yield from (self._of_manifest(store, folder / name, name_of((*parts, name))) for name in files)
            self._check()

    def _of_manifest(self, store: Path, manifest: Path, name: str) -> Candidate:
        try:
            found = blobs_of(read_ordinary(manifest, MOST_MANIFEST))
        except OSError as error:
            found = f"its manifest can't be read: {error.strerror or error}"
        if isinstance(found, str):
            return Candidate(name, str(manifest), (), is_gguf=True, of_ollama=True, reason=found)
        blob = store / "blobs" / found.model
        projector = store / "blobs" / found.projector if found.projector else None
        return Candidate(name, str(blob), (blob,), is_gguf=True, projector=projector, of_ollama=True)

    # Bounds

    def _is_new(self, folder: Path) -> bool:
        """Whether a folder wasn't looked at yet: a link may lead back."""
        try:
            stat = folder.stat()
        except OSError:
            return False
        known = len(self._seen)
        self._seen.add((stat.st_dev, stat.st_ino))
        return len(self._seen) > known

    def _listed(self, folder: Path) -> tuple[list[str], list[str]]:
        """Give the names of the files and of the folders in a folder, sorted; none of one that can't be read."""
        files: list[str] = []
        folders: list[str] = []
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                self._names += 1
                if self._names > MOST_NAMES:
                    break
                (folders if _is_folder(entry) else files).append(entry.name)
        return sorted(files), sorted(folders)

    def _check(self) -> None:
        """Find out whether a bound is reached."""
        if len(self._seen) >= MOST_FOLDERS or self._names > MOST_NAMES:
            self.cut = f"more than {MOST_FOLDERS} folders or {MOST_NAMES} names"
        elif self._models >= MOST_MODELS:
            self.cut = f"more than {MOST_MODELS} models"
        elif not self._in_time():
            self.cut = TOO_LONG


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A link to itself is none.
    with suppress(OSError):
        return entry.is_dir()
    return False
