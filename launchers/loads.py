"""Watches an engine's load: every second it looks at its processes and its output. `launchers.progress` judges."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from launchers.process import Process
from launchers.progress import Load
from launchers.tree import sample_of

LOOK_EVERY = 1.0
"""Seconds between two looks."""


class LoadWatch:
    """Watches one load at a time. `on_look` is called when there is something new, and if the watch has failed."""

    def __init__(self, on_look: Callable[[], None]) -> None:
        # Of this load, or of the last one.
        self.share = 0.0
        self.resident = 0
        self._on_look = on_look
        self._moved = False
        self._task: asyncio.Task[None] | None = None

    def begin(self, engine: str, process: Process, size: Callable[[], Awaitable[int]]) -> None:
        """Watch this process from now on; `size` gives the bytes of its model's files, 0 if unknown."""
        self.share, self.resident, self._moved = 0.0, 0, False
        self._task = asyncio.create_task(self._watch(engine, process, size), name=f"load of {process.pid}")
        self._task.add_done_callback(lambda _: self._on_look())

    def take_move(self) -> bool:
        """Tell whether the load has come further since this was asked last. Raises what the watch failed by."""
        if self._task is not None and self._task.done():
            self._task.result()
        moved, self._moved = self._moved, False
        return moved

    async def stop(self) -> None:
        """Watch no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._moved = False

    def cancel(self) -> None:
        """Watch no more, without waiting for the last look to end."""
        if self._task is not None:
            self._task.cancel()

    async def _watch(self, engine: str, process: Process, size: Callable[[], Awaitable[int]]) -> None:
        load = Load(engine, await size())
        due = time.monotonic()
        while True:
            # A look that took long isn't made up for.
            due = max(due + LOOK_EVERY, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            sample = await asyncio.to_thread(sample_of, process.pid)
            share, moved = load.look(sample, process.last_lines)
            changed = share != self.share
            self.share, self.resident, self._moved = share, sample.resident, self._moved or moved
            if changed or moved:
                self._on_look()
