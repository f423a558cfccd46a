"""Tells when files change, whatever way an editor or an orchestrator has of changing them.

The folders are watched, not the files: most editors write a new file and rename it over the old, and Kubernetes turns
a symbolic link round, two folders away. What the system tells is taken for a hint to look, and so is the passing of
`LOOK_EVERY`, for file systems that tell nothing; a file has changed where its content has. A change is told once the
files have stood still for `SETTLED`, so that what is written in two halves is read as a whole.
"""

import asyncio
import errno
import glob
import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import structlog
import watchfiles

from launchers.files import read_ordinary
from router.telemetry.tasks import aside

log = structlog.get_logger("router")

LOOK_EVERY = 2.0
"""Seconds after which the files are looked at, though nobody said that they changed."""

SETTLED = 0.1
"""Seconds in which nothing may change, before a change is told; at most `LONGEST` are waited for it."""

LONGEST = 0.6
MOST = 64 * 1024 * 1024
"""Bytes that are read of a file; what is longer is no router.yaml."""

_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR}
"""Errors that say nothing of a file: the router has no descriptor left, or a server of files is away for a while."""

Digests = dict[str, str]


class Watcher:
    """Calls `changed` when one of the files, or of those that match a pattern, has other content than before."""

    def __init__(self, files: Iterable[Path], patterns: Iterable[str], changed: Callable[[], None]) -> None:
        self._changed = changed
        self._moved = asyncio.Event()  # what is watched has changed: watch that
        self._unwatched = ""  # why the system can't tell of changes, if it can't
        self._known: Digests = {}
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
            why = ""
            try:
                async for _ in watchfiles.awatch(
                    *self._watched, debounce=50, step=25, recursive=False, watch_filter=None,
                    rust_timeout=int(LOOK_EVERY * 1000), yield_on_timeout=True, stop_event=self._moved,
                ):  # fmt: skip
                    await self._look()
            except (
                OSError,
                RuntimeError,
                ValueError,
            ) as error:  # no folder, no more watches, an odd name, …
                why = f"{error}".partition("\n")[0] or type(error).__name__
            if why and why != self._unwatched:
                log.warning(
                    f"the system can't tell when router.yaml changes: it is looked at each {LOOK_EVERY:g} s", why=why
                )
            self._unwatched = why
            await asyncio.sleep(0 if self._moved.is_set() else LOOK_EVERY)
            await self._look()

    async def _look(self) -> None:
        state = await aside(self._state)
        if state == self._known:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + LONGEST
        while loop.time() < until:
            await asyncio.sleep(SETTLED)
            before, state = state, await aside(self._state)
            if state == before:
                break
        if state != self._known:
            self._known = state
            self._changed()

    def _state(self) -> Digests:
        """What each file says, in short; what can't be read says nothing, or what it said, if that is to pass."""
        found = {str(path) for path in self._files}
        for pattern in self._patterns:
            found.update(glob.glob(pattern))  # noqa: PTH207 -- Path.glob takes no absolute pattern
        return {path: _digest(path, self._known.get(path, "")) for path in sorted(found)}

    def _folders(self) -> tuple[Path, ...]:
        """The folders in which a change shows: of the files as they are called, and as links lead to them."""
        paths = {*self._files, *map(Path, self._patterns)}
        folders = set()
        for path in paths:
            folders.add(path.absolute().parent)
            with suppress(OSError, RuntimeError):
                folders.add(path.resolve().parent)
        return tuple(sorted(folder for folder in folders if folder.is_dir()))


def _digest(path: str, before: str) -> str:
    try:
        return hashlib.blake2b(read_ordinary(path, MOST)).hexdigest()
    except OSError as error:
        return before if error.errno in _PASSING else f"{type(error).__name__}"
