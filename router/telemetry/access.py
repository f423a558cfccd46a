"""A line for each request, cheaply: lines are gathered and written together, some times a second.

    05:11:58 200 POST /v1/chat/completions demo gpu-box 1.204s ttft=0.036s 1418B 003c4d29-de6a-443a-92cd-963cd4c4ec7a

They go to `<dir>/access.log` (bounded, as router.log is), and to the terminal where there is one. What went wrong is
said in router.log as well, with its reason.
"""

import asyncio
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from router.telemetry.logs import BoundedFile

FLUSH_EVERY = 0.25
"""Seconds that a line may wait to be written."""

MOST_LINES = 4096
"""Lines that may wait: more of them are written at once."""


class AccessLog:
    """Writes lines to a folder's access.log and to a terminal; either may be none."""

    def __init__(self, folder: Path | None, terminal: IO[str] | None) -> None:
        self._file = None if folder is None else BoundedFile(folder / "access.log")
        self._terminal = terminal
        self._lines: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._flushing: asyncio.TimerHandle | None = None
        self._second, self._clock = 0, ""

    def write(self, line: str) -> None:
        """Take a line, without its time."""
        second = int(time.time())
        if second != self._second:
            self._second, self._clock = second, time.strftime("%H:%M:%S ", time.localtime(second))
        self._lines.append(self._clock + line)
        if len(self._lines) >= MOST_LINES:
            self.flush()
        elif self._flushing is None:
            self._flushing = self._loop.call_later(FLUSH_EVERY, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if not self._lines:
            return
        text = "\n".join(self._lines)
        self._lines = []
        if self._file is not None:
            self._file.handle(logging.makeLogRecord({"msg": text}))
        if self._terminal is not None:
            with suppress(OSError):  # a terminal that was closed
                self._terminal.write(text + "\n")

    def close(self) -> None:
        """Write what waits, and write no more."""
        self.flush()
        if self._file is not None:
            self._file.close()
