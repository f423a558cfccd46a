"""A line for each request, cheaply: records are gathered, and their lines are written together, some times a second.

    05:11:58 200 POST /v1/chat/completions demo gpu-box 1.204s ttft=0.036s 1418B 12+40tok stop 003c4d29-de6a-443a-92cd-…

Status, path, model, backend, duration, TTFT, bytes; what the engine said of the tokens (prompt + completion) and why it
stopped; the id; and where there is something to say, the attempts, whether a hedge won or lost, the time in the queue,
whose key it was. They go to `<dir>/access.log` (bounded, as router.log is), and to the terminal where there is one.
What went wrong is said in router.log as well, with its reason.
"""

import asyncio
import logging
import time
from pathlib import Path

from router.core.record import Record, ending
from router.telemetry.logs import BoundedFile, printable
from router.telemetry.tasks import unharmed
from router.telemetry.terminal import Terminal

FLUSH_EVERY = 0.25
"""Seconds that a record may wait to be written."""

MOST_RECORDS = 1024
"""Records that may wait: more of them are written at once."""


class AccessLog:
    """Writes lines to a folder's access.log and to a terminal; either may be none."""

    def __init__(self, folder: Path | None, terminal: Terminal | None) -> None:
        self._file = None if folder is None else BoundedFile(folder / "access.log")
        self._terminal = terminal
        self._records: list[Record] = []
        self._loop = asyncio.get_running_loop()
        self._flushing: asyncio.TimerHandle | None = None

    def write(self, record: Record) -> None:
        """Take a record."""
        self._records.append(record)
        if self._flushing is None:
            self._flushing = self._loop.call_later(FLUSH_EVERY, self.flush)
        elif len(self._records) >= MOST_RECORDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits; a mistake in that costs these lines alone."""
        unharmed("access.log", self._flush)

    def _flush(self) -> None:
        """Write what waits; its time is now, a quarter of a second late at most."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        records, self._records = self._records, []
        if not records:
            return
        clock = time.strftime("%H:%M:%S")
        text = "\n".join([f"{clock} {line(record)}" for record in records])
        if self._file is not None:
            self._file.handle(logging.makeLogRecord({"msg": text}))
        if self._terminal is not None:
            self._terminal.write(text + "\n")

    def close(self) -> None:
        """Write what waits, and write no more."""
        self.flush()
        if self._file is not None:
            self._file.close()


def line(record: Record) -> str:
    """Write an exchange as a line of access.log, without its time."""
    said = ending(record.tail)
    prompt, completion = said.prompt_tokens, said.completion_tokens
    ttft = "-" if record.ttft is None else f"{record.ttft:.3f}s"
    tokens = ""
    if prompt is not None or completion is not None:
        tokens = f" {'-' if prompt is None else prompt}+{'-' if completion is None else completion}tok"
    why = f" {said.finish_reason}" if said.finish_reason else ""
    failed = " error" if said.error and record.status < 400 else ""
    retried = f" attempts={record.attempts}" if record.attempts > 1 else ""
    retried += f" hedge={record.hedge}" if record.hedge else ""
    waited = f" queued={record.waited:.3f}s" if record.waited else ""
    key = f" key={printable(record.key)}" if record.key else ""
    return (
        f"{record.status} POST {record.path} {printable(record.model)} {record.backend or '-'}"
        f" {record.duration:.3f}s ttft={ttft} {record.sent}B{tokens}{why}{failed} {record.id}{retried}{waited}{key}"
    )
