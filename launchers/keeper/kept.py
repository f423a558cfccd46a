"""One engine that a keeper keeps: what it says, what belongs to it, what it leaves behind."""

import os
import signal
import time
from contextlib import suppress

from launchers import kin
from launchers.keeper.link import Link
from launchers.keeper.log import Log
from launchers.record import ProcessRecord

MOST_UNSAID = 1024 * 1024
"""Bytes of an engine's latest output that wait for the router."""

MOST_SAID = 64 * 1024
"""Bytes that a router is told at a time: it reads them line by line, on the thread that serves requests."""

SAY_EVERY = 0.1
"""Seconds between two times that it is told as much; less is told sooner."""

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
        self.unsaid = bytearray()  # output that its router has not been told
        self.last = bytearray()  # its last output, for the router that adopts it
        self.say_at = 0.0  # when its router is told more: sooner, the less it was told before
        self._log = log
        self._since = time.time() - 1  # before all of its files: clocks of files tick seldom
        self._kin = kin.Kin(record.pid, record.started, record.scratch)
        if not self.remember() and record.keep:  # nobody would find it again
            self.record = record._replace(keep=False)
            self.warn(f"{record.name}: will end with the router, as a later one couldn't find it")

    def remember(self) -> bool:
        """Write its record; whether that could be done."""
        try:
            self.record.write()
        except OSError as error:
            name, path, why = self.record.name, self.record.path, error.strerror or error
            self.warn(f"{name}: {path} can't be written, by which a later router would find the engine: {why}")
            return False
        return True

    def warn(self, text: str) -> None:
        """Tell its router of a trouble."""
        if self.link is not None:
            self.link.tell(warning=text)

    def hear(self) -> bool:
        """Take in some of what it says; whether it may say more."""
        assert self.pipe is not None  # noqa: S101 -- who asks has looked
        data = os.read(self.pipe, 65536)
        self._log.write(data)
        self.unsaid += data
        self.last += data
        del self.unsaid[:-MOST_UNSAID], self.last[:-LAST]
        return bool(data)

    def look(self, table: kin.Table) -> set[int]:
        """Give its processes that run, and note what they have of shared memory."""
        found = {pid for pid in self._kin.look(table) if table[pid].alive}
        shared = kin.shared_memory_of(found, self._since) - set(self.record.shared)
        if shared:
            self.record = self.record._replace(shared=(*self.record.shared, *shared))
            self.remember()
            if self.link is not None:
                self.link.tell(id=self.record.scratch, record=self.record._asdict())
        return found

    def say(self, most: int) -> None:
        """Tell its router at most so many bytes of its output."""
        if self.unsaid and self.link is not None:
            said = self.unsaid[:most]
            self.link.tell(id=self.record.scratch, said=said.decode("latin-1"))
            self.say_at = time.monotonic() + SAY_EVERY * len(said) / MOST_SAID
            del self.unsaid[:most]

    def terminate(self) -> None:
        """Ask it to end; its first process knows the right order."""
        if self.code is None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.record.pid, signal.SIGTERM)

    def say_gone(self) -> None:
        """Tell its router, once, that it is gone."""
        if self.link is not None:
            self.say(MOST_UNSAID)
            self.link.tell(id=self.record.scratch, gone=self.code)
            self.link = None

    def clean_up(self) -> None:
        """Remove what it leaves."""
        self._log.close()
        self.record.clean_up()
