"""How late the event loop is, and what held it up.

A timer beats in the loop. How late it comes is the loop's lag: all requests are late by as much. While the loop is
watched, a thread looks whether the last beat is too long ago, and if so, where the loop's thread is just then. A beat
that is late by `HELD` is a warning that says where it was seen most often. Compiled functions have no frames: the one
that called them is named. If the thread itself was late, too, the process got no CPU, or C code held the
interpreter's lock; which of them it was, its CPU time tells. Linux also says how long the loop's thread alone waited
for a CPU, as on a busy machine. Both beat seldom while the process has nothing to do.
"""

import asyncio
import os
import sys
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

log = structlog.get_logger("router")

BEAT: Final = 0.04
"""Seconds from one beat to the next, and from one look of the thread to the next."""

IDLE_BEAT: Final = 0.25
"""The same while the process does nothing: each costs up to 0.1 ms, and wakes a processor."""

IDLE: Final = 0.01
"""The share of CPU time up to which that is so."""

HELD: Final = 0.1
"""Seconds by which a beat is late that is a warning."""

KEPT: Final = 60
"""Seconds for which the worst is told."""

MOST_SEEN: Final = 100
"""Looks at the loop's thread while it is held once, and different places that are remembered of them."""

MOST_FRAMES: Final = 6
"""Functions that are named, from the innermost one on."""

MOST_SAID: Final = 10
"""Warnings within `KEPT` seconds; of others, the number is told."""

BUSY: Final = 0.5
"""The share of a hold-up from which on CPU time says what it was: work of the process, or its wait for a CPU."""

_HERE: Final = str(Path(__file__).parents[2])


class Lag:
    """How late the loop is, from `start` to `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # The worst of each second, and which second that is.
        self._late: deque[float] = deque([0.0], maxlen=KEPT)
        self._second = 0
        self._due = 0.0
        self._every = BEAT
        self._cpu = 0.0
        self._watch: _Watch | None = None

    def start(self) -> None:
        """Take it from now on."""
        self._cpu = time.process_time()
        self._plan()

    def watch(self) -> None:
        """Say from now on what holds the loop up, too; by the thread that runs it."""
        if self._timer is not None:
            # What came before, such as the program's start, isn't judged.
            self._timer.cancel()
            self._note(self._loop.time())
            self.start()
        self._watch = _Watch()

    def _plan(self) -> None:
        self._due = self._loop.time() + self._every
        self._timer = self._loop.call_at(self._due, self._beat)

    def stop(self) -> None:
        """Take it no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.stop()

    def _beat(self) -> None:
        now, cpu = self._loop.time(), time.process_time()
        late = self._note(now)
        used, self._cpu = cpu - self._cpu, cpu
        self._every = BEAT if late > BEAT or used > IDLE * (self._every + late) else IDLE_BEAT
        if self._watch is not None:
            self._watch.beat(late, used, self._every)
        self._plan()

    def _note(self, now: float) -> float:
        """Keep how late the loop is now, and give it."""
        late = max(0.0, now - self._due)
        while self._second < int(now):
            self._late.append(0.0)
            self._second = max(self._second + 1, int(now) - KEPT)
        self._late[-1] = max(self._late[-1], late)
        return late

    @property
    def worst(self) -> float:
        """The worst of the last minute, in seconds."""
        return max(self._late)


class _Watch:
    """The thread that looks at the loop's."""

    def __init__(self) -> None:
        self._of = threading.get_ident()
        self._ended = threading.Event()
        self._beaten = time.monotonic()
        self._every = BEAT
        self._seen: Counter[str] = Counter()
        self._said: deque[float] = deque(maxlen=MOST_SAID)
        self._more = 0
        self._queue = _RunQueue()
        self._waited = self._queue.waited()
        threading.Thread(target=self._look_on, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self._queue.close()

    def beat(self, late: float, cpu: float, every: float) -> None:
        """Note a beat, in the loop; since the last one, the process had so much CPU time. The next comes in `every`."""
        waited = self._queue.waited()
        is_starved = waited - self._waited > late * BUSY
        if late > HELD and (cpu > late * BUSY or (self._seen and not is_starved)):
            self._tell(late, cpu)
        self._seen, self._waited = Counter(), waited
        self._beaten, self._every = time.monotonic(), every

    def _tell(self, late: float, cpu: float) -> None:
        now = time.monotonic()
        if len(self._said) == MOST_SAID and now - self._said[0] < KEPT:
            self._more += 1
            return
        self._said.append(now)
        where = max(self._seen, key=self._seen.__getitem__, default="in C code, which let nothing else run")
        more = {"others": self._more} if self._more else {}
        self._more = 0
        log.warning("the event loop was held up", where=where, seconds=round(late, 3), cpu=round(cpu, 3), **more)

    def _look_on(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(self._every):
            now, at_most = time.monotonic(), self._every + BEAT
            # If it comes late itself, the loop may be as late for the same reason.
            if now - self._beaten > at_most and now - before < at_most:
                self._look()
            before = now

    def _look(self) -> None:
        seen = self._seen
        if seen.total() < MOST_SEEN:
            seen[where(sys._current_frames().get(self._of))] += 1  # noqa: SLF001  (there is no other way)


class _RunQueue:
    """How long the thread that makes it has waited for a CPU, as Linux tells; elsewhere that isn't known."""

    def __init__(self) -> None:
        self._file = -1
        with suppress(OSError):
            # Kept open: to open it takes ten times as long as to read it.
            self._file = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)

    def waited(self) -> float:
        """Give the seconds; 0 where they aren't known."""
        with suppress(OSError, ValueError, IndexError):
            # Nanoseconds on a CPU, those of waiting for one, and how often it got one.
            return int(os.pread(self._file, 100, 0).split()[1]) / 1e9
        return 0.0

    def close(self) -> None:
        """Read it no more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def where(frame: FrameType | None) -> str:
    """Name the functions that a thread is in, from the innermost one on: `parse (router/a.py:12) < answer (…)`."""
    named: list[str] = []
    while frame is not None and len(named) < MOST_FRAMES:
        code = frame.f_code
        file = code.co_filename
        short = file[len(_HERE) + 1 :] if file.startswith(_HERE) else "/".join(file.split("/")[-2:])
        named.append(f"{code.co_qualname} ({short}:{frame.f_lineno})")
        frame = frame.f_back
    return " < ".join(named)
