"""Tells when files change, whatever way an editor or an orchestrator has of changing them.

The folders are watched, not the files: most editors write a new file and rename it over the old, and Kubernetes turns
a symbolic link round, two folders away. What the system tells is taken for a hint to look, and so is the passing of
`LOOK_EVERY`, for file systems that tell nothing; a file has changed where its content has. A change is told once the
files have stood still for `SETTLED`, so that what is written in two halves is read as a whole.
"""

import asyncio
import glob
import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import structlog
import watchfiles

log = structlog.get_logger("router")

LOOK_EVERY = 2.0
"""Seconds after which the files are looked at, though nobody said that they changed."""

SETTLED = 0.1
"""Seconds in which nothing may change, before a change is told; at most `LONGEST` are waited for it."""

LONGEST = 0.6
MOST = 64 * 1024 * 1024
"""Bytes that are read of a file; what is longer is no router.yaml."""

State = dict[str, str]


class Watcher:
    """Calls `changed` when one of the files, or of those that match a pattern, has other content than before."""

    def __init__(self, files: Iterable[Path], patterns: Iterable[str], changed: Callable[[], None]) -> None:
        self._changed = changed
        self._moved = asyncio.Event()  # what is watched has changed: watch that
        self.look_at(files, patterns)
        self._known = self._state()

    def look_at(self, files: Iterable[Path], patterns: Iterable[str]) -> None:
        """Watch these from now on."""
        self._files, self._patterns = tuple(files), tuple(patterns)
        folders = self._folders()
        if folders != getattr(self, "_watched", None):
            self._watched = folders
            self._moved.set()

    async def watch(self) -> None:
        """Watch until cancelled."""
        while True:
            self._moved.clear()
            try:
                async for _ in watchfiles.awatch(
                    *self._watched, debounce=50, step=25, recursive=False, watch_filter=None,
                    rust_timeout=int(LOOK_EVERY * 1000), yield_on_timeout=True, stop_event=self._moved,
                ):  # fmt: skip
                    await self._look()
            except OSError as error:  # a folder that is gone, no more watches to be had: look by the clock
                log.debug("can't watch router.yaml's folder", why=str(error))
            await asyncio.sleep(0 if self._moved.is_set() else LOOK_EVERY)
            await self._look()

    async def _look(self) -> None:
        state = await asyncio.to_thread(self._state)
        if state == self._known:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + LONGEST
        while loop.time() < until:
            await asyncio.sleep(SETTLED)
            before, state = state, await asyncio.to_thread(self._state)
            if state == before:
                break
        if state != self._known:
            self._known = state
            self._changed()

    def _state(self) -> State:
        """What each file says, in short; what can't be read says nothing."""
        found = {str(path) for path in self._files}
        for pattern in self._patterns:
            found.update(glob.glob(pattern))  # noqa: PTH207 -- Path.glob takes no absolute pattern
        return {path: _digest(path) for path in sorted(found)}

    def _folders(self) -> tuple[Path, ...]:
        """The folders in which a change shows: of the files as they are called, and as links lead to them."""
        paths = {*self._files, *map(Path, self._patterns)}
        folders = set()
        for path in paths:
            folders.add(path.absolute().parent)
            with suppress(OSError, RuntimeError):
                folders.add(path.resolve().parent)
        return tuple(sorted(folder for folder in folders if folder.is_dir()))


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return hashlib.blake2b(file.read(MOST)).hexdigest()
    except OSError:
        return ""
