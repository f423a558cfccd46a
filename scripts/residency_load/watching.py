"""What engines take of memory while a load runs, and what is left over when it has ended, as Linux tells it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import psutil

from launchers.footprints.parts import RAM
from launchers.footprints.resident import measure
from router.telemetry.logs import FILES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

    from scripts.residency_load.fleet import RouterProcess

EVERY: Final = 0.2
"""Seconds between two samples of memory."""

BOOKS_EVERY: Final = 1.0
"""Seconds between two looks at what the router has reserved."""

OWN_LOGS: Final = frozenset(f"{name}.log" for name in ("router", "access", *FILES))
"""The router's own logs. Those of engines are named after their backends, here m0, m1 and so on."""

_SHARED = Path("/dev/shm")  # noqa: S108  (it is what is looked at)


class MemoryWatch:
    """Samples the memory of all engines in a thread, pages that processes share counted once, while it is entered.

    `samples` are moments (`time.monotonic`) with their bytes.
    """

    def __init__(self, router: RouterProcess) -> None:
        self.samples: list[tuple[float, int]] = []
        self._router = router
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + EVERY, time.monotonic())
            self.samples.append((time.monotonic(), taken(self._router)))

    @property
    def most(self) -> int:
        """The largest sample."""
        return max((size for _, size in self.samples), default=0)

    def above(self, limit: int) -> list[int]:
        """Give the samples above a limit."""
        return [size for _, size in self.samples if size > limit]


@asynccontextmanager
async def books_checked(router: RouterProcess, problems: list[str]) -> AsyncIterator[None]:
    """Ask the router every second what it has reserved; more than its limit is a problem: something counts twice."""

    async def check() -> None:
        while True:
            held = {each["name"]: each["reserved"].get(RAM, 0) for each in (await router.models())["models"]}
            if sum(held.values()) > router.settings.limit:
                problems.append(f"{sum(held.values())} bytes are reserved, of {router.settings.limit}: {held}")
            await asyncio.sleep(BOOKS_EVERY)

    checking = asyncio.create_task(check())
    try:
        yield
    finally:
        checking.cancel()
        with suppress(asyncio.CancelledError):
            await checking


def taken(router: RouterProcess) -> int:
    """Give the bytes that all engines of a router take now."""
    engines = router.engines()
    pids = {each.pid for each in engines}
    size = 0
    for engine in engines:
        with suppress(psutil.NoSuchProcess):
            if engine.ppid() in pids:  # it is counted with its parent
                continue
        found = measure(engine.pid)
        size += found.total if found is not None else 0
    return size


@dataclass(frozen=True)
class Leavings:
    """What a router and its engines hold: nothing of it may grow with the number of loads."""

    processes: int
    ports: int
    descriptors: int
    shared_memory: frozenset[str]
    """Names of this user's files in /dev/shm. Other users' programs make some, too."""
    files: int
    memory: int
    """Bytes of the router's process alone."""

    def beyond(self, before: Leavings, memory: int) -> list[str]:
        """Say what there is more of than before; of memory, more than `memory` bytes."""
        said = [
            f"{name}: {now} instead of {then}"
            for name in ("processes", "ports", "descriptors", "files")
            if (now := getattr(self, name)) > (then := getattr(before, name))
        ]
        said += [f"shared memory: {name}" for name in sorted(self.shared_memory - before.shared_memory)]
        if self.memory > before.memory + memory:
            said.append(f"the router's memory: {self.memory >> 10} KiB instead of {before.memory >> 10} KiB")
        return said


def counts(path: Path) -> bool:
    """Whether a file may be a leftover of a load.

    The router opens a log at the first line for it: system.log after a minute, whatever was loaded by then. What the
    kernel tells (/proc, /sys) is open only while it is read.
    """
    return path.name not in OWN_LOGS and not path.is_relative_to("/proc") and not path.is_relative_to("/sys")


def opened(pid: int) -> list[Path]:
    """What a process's descriptors stand for."""
    found = []
    with suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                found.append(each.readlink())
    return found


def own_files(folder: Path) -> Iterator[str]:
    """Names of this user's files in a folder."""
    with suppress(FileNotFoundError):
        for each in folder.iterdir():
            with suppress(FileNotFoundError):
                if each.stat().st_uid == os.getuid():
                    yield each.name


def leavings(router: RouterProcess) -> Leavings:
    """Look at what there is now."""
    own = psutil.Process(router.pid)
    members = router.members()
    ports = descriptors = 0
    for each in members:
        with suppress(psutil.Error):
            ports += sum(link.status == psutil.CONN_LISTEN for link in each.net_connections(kind="tcp"))
            descriptors += sum(counts(path) for path in opened(each.pid))
    folders = [router.folder / "tmp", router.folder / "logs", router.folder / "state"]
    return Leavings(
        processes=len(members),
        ports=ports,
        descriptors=descriptors,
        shared_memory=frozenset(own_files(_SHARED)),
        files=sum(
            path.is_file() and counts(path) for folder in folders if folder.exists() for path in folder.rglob("*")
        ),
        memory=own.memory_info().rss,
    )
