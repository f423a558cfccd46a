"""One engine that a keeper keeps: its output, its processes, its files."""

import os
import signal
import time
from contextlib import suppress

from launchers import kin
from launchers.keeper.link import Link
from launchers.keeper.log import Log
from launchers.record import ProcessRecord

MOST_UNSAID = 1024 * 1024
"""Most bytes of an engine's output that wait for the router; older ones are dropped."""

MOST_SAID = 64 * 1024
"""Most bytes of output in one message: the router reads them on the thread that serves requests."""

SAY_EVERY = 0.1
"""Seconds between two messages of that size; smaller ones may follow sooner."""

LAST = 16 * 1024
"""Bytes of an engine's last output that are kept for the router that adopts it."""


class KeptEngine:
    """One engine, from its spawn until nothing of it is left. `pipe` is where its output is read, until that ends.

    `link` leads to its router, if it has one. `code` is the exit code of its first process, once that has exited.
    `ending` is when all of it began to be killed, `empty` since when none of it runs: both by time.monotonic().
    """

    def __init__(self, record: ProcessRecord, log: Log, pipe: int, link: Link) -> None:
        self.record = record
        self.link: Link | None = link
        self.pipe: int | None = pipe
        self.code: int | None = None
        self.ending: float | None = None
        self.empty: float | None = None
        # Output that its router hasn't got yet, and when it gets more: the sooner, the less it got before.
        self.unsaid = bytearray()
        self.say_at = 0.0
        # Its last output, for a router that adopts it.
        self.last = bytearray()
        self._log = log
        # Before all of its files, whose clock may lag by a moment.
        self._since = time.time() - 1
        self._kin = kin.Kin(record.pid, record.started, record.scratch)
        # Without a record, no later router would find it.
        if not self.remember() and record.keep:
            self.record = record._replace(keep=False)
            self.warn(f"{record.name}: will end with the router, as a later one couldn't find it")

    def remember(self) -> bool:
        """Write its record; tell whether that succeeded."""
        try:
            self.record.write()
        except OSError as error:
            name, path, why = self.record.name, self.record.path, error.strerror or error
            self.warn(f"{name}: {path} can't be written, by which a later router would find the engine: {why}")
            return False
        return True

    def warn(self, text: str) -> None:
        """Send a warning to its router."""
        if self.link is not None:
            self.link.tell(warning=text)

    def hear(self) -> bool:
        """Read some output; tell whether there may be more."""
        assert self.pipe is not None  # noqa: S101 -- the caller has checked
        data = os.read(self.pipe, 65536)
        self._log.write(data)
        self.unsaid += data
        self.last += data
        del self.unsaid[:-MOST_UNSAID], self.last[:-LAST]
        return bool(data)

    def look(self, table: kin.Table) -> set[int]:
        """Find its running processes, and note their shared memory."""
        found = {pid for pid in self._kin.look(table) if table[pid].alive}
        shared = kin.shared_memory_of(found, self._since) - set(self.record.shared)
        if shared:
            self.record = self.record._replace(shared=(*self.record.shared, *shared))
            self.remember()
            if self.link is not None:
                self.link.tell(id=self.record.scratch, record=self.record._asdict())
        return found

    def say(self, most: int) -> None:
        """Send at most so many bytes of its output to its router."""
        if self.unsaid and self.link is not None:
            said = self.unsaid[:most]
            self.link.tell(id=self.record.scratch, said=said.decode("latin-1"))
            self.say_at = time.monotonic() + SAY_EVERY * len(said) / MOST_SAID
            del self.unsaid[:most]

    def terminate(self) -> None:
        """Send SIGTERM to its first process, which knows in which order to end the others."""
        if self.code is None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.record.pid, signal.SIGTERM)

    def say_gone(self) -> None:
        """Report to its router, once, that it is gone."""
        if self.link is not None:
            self.say(MOST_UNSAID)
            self.link.tell(id=self.record.scratch, gone=self.code)
            self.link = None

    def clean_up(self) -> None:
        """Close its log, and remove its other files."""
        self._log.close()
        self.record.clean_up()
