"""Notices changes of files, in whatever way an editor or an orchestrator makes them.

The folders are watched, not the files: most editors write a new file and rename it over the old one, and Kubernetes
changes a symbolic link two folders away. An event of the system is only a hint to look. So is each `LOOK_EVERY`, for
file systems without events. A file has changed if its content has. A change is reported once the files have stayed the
same for `SETTLED`, so that a file that is written in two halves is read as a whole.
"""

import asyncio
import errno
import glob
import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import structlog
import watchfiles

from launchers.files import read_ordinary
from router.telemetry.tasks import aside

with suppress(ImportError):
    # watchfiles needs it. With its first use, it would be read while the event loop waits.
    import_module("anyio._backends._asyncio")

log = structlog.get_logger("router")

LOOK_EVERY = 2.0
"""Seconds after which the files are read, even without an event."""

SETTLED = 0.1
"""Seconds without a change before a change is reported."""

LONGEST = 0.6
"""Seconds after which a change is reported though the files still change."""

MOST = 64 * 1024 * 1024
"""Bytes that are read of a file; a longer one is no router.yaml."""

_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR}
"""Errors that tell nothing about a file: no descriptor is left, or a file server is away for a while."""

Digests = dict[str, str]


class Watcher:
    """Calls `changed` when the content of a file, or of one that matches a pattern, has changed.

    `what` is what the log calls them.
    """

    def __init__(
        self, files: Iterable[Path], patterns: Iterable[str], changed: Callable[[], None], what: str = "router.yaml"
    ) -> None:
        self._changed = changed
        self._what = what
        # Set when other folders are to be watched.
        self._moved = asyncio.Event()
        # Why the system reports no changes, if it doesn't.
        self._unwatched = ""
        self._known: Digests = {}
        self.look_at(files, patterns)
        self._known = self._state()

    def look_at(self, files: Iterable[Path], patterns: Iterable[str]) -> None:
        """Watch these files and patterns from now on."""
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
            except (OSError, RuntimeError, ValueError) as error:
                # A missing folder, no more watches, an odd name, …
                why = f"{error}".partition("\n")[0] or type(error).__name__
            if why and why != self._unwatched:
                log.warning(
                    f"the system can't tell when {self._what} changes: it is looked at each {LOOK_EVERY:g} s", why=why
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
        """Give each file's digest; of one that can't be read now, the last one if the error will pass."""
        found = {str(path) for path in self._files}
        for pattern in self._patterns:
            found.update(glob.glob(pattern))  # noqa: PTH207 -- Path.glob takes no absolute pattern
        return {path: _digest(path, self._known.get(path, "")) for path in sorted(found)}

    def _folders(self) -> tuple[Path, ...]:
        """Give the folders in which changes show: those of the files' names, and those where links lead."""
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
