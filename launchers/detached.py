"""A process that outlives the router: spawned without a tie, or found again by the next router and adopted.

It has the interface of `launchers.process.Process`. What differs is what a process costs that must not end with us:

1. Its output goes straight into its log file, for a pipe would break with the router. The file is cut from time to
   time, once a copy of it is kept (NAME.log.1).
2. Its end is not told by the loop's watcher of children, which would end it with the loop, but by a descriptor of the
   process itself (Linux), or by looking some times a second.
3. Who adopts it is not its parent, so its exit code stays unknown.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from launchers.output import KEPT_LINES, MAX_FILE, MAX_LINE
from launchers.process import SHIM
from launchers.reason import first_error
from launchers.spec import Command

LOOK_EVERY = 0.25  # seconds between two looks, where a process can't be waited for
MOST_READ = 1024 * 1024  # bytes of a start's output that are read for why it failed
CUT_EVERY = 60.0  # seconds between two looks at the size of its log


class Detached:
    """One running process that isn't tied to this one. `on_gone` is called once, when it has ended.

    `begins` is how long its log was before its own output.
    """

    def __init__(
        self,
        pid: int,
        log: Path,
        on_gone: Callable[[], None],
        child: subprocess.Popen[bytes] | None,
        begins: int = 0,
    ) -> None:
        self.pid = pid
        self.exit_code: int | None = None
        self.gone = False
        self._log = log
        self._begins = begins
        self._on_gone = on_gone
        self._child = child
        self._loop = asyncio.get_running_loop()
        self._descriptor = _descriptor_of(pid)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        if self._descriptor is None:
            self._look()
        else:
            self._loop.add_reader(self._descriptor, self._end)
        self._cut()

    def __repr__(self) -> str:
        return f"<Detached {self.pid} {'gone' if self.gone else 'alive'}>"

    @property
    def last_lines(self) -> tuple[str, ...]:
        """What it said last."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - KEPT_LINES * 200))
                lines = file.read().replace(b"\r", b"\n").split(b"\n")
        except OSError:
            return ()
        return tuple(line[:MAX_LINE].decode(errors="replace").rstrip() for line in lines if line.strip())[-KEPT_LINES:]

    @property
    def reason(self) -> str:
        """Why it ended, if it did before it was ready."""
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(self._begins if self._begins <= size else 0)  # the log was cut meanwhile
                said = file.read(MOST_READ)
        except OSError:
            return ""
        return first_error(said.decode(errors="replace").replace("\r", "\n").split("\n")).text

    def terminate(self) -> None:
        """Ask it to end (SIGTERM to the leader)."""
        if not self.gone:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that it started (SIGKILL to the group)."""
        if not self.gone:
            self._kill_group()

    def release(self) -> None:
        """Let it run on, unwatched."""
        self._stop_watching()
        if self._child is not None:
            self._child.returncode = 0  # what runs on is meant to: subprocess would warn of it

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _look(self) -> None:
        if psutil.pid_exists(self.pid) and (self._child is None or self._child.poll() is None):
            self._timers["look"] = self._loop.call_later(LOOK_EVERY, self._look)
        else:
            self._end()

    def _end(self) -> None:
        self._stop_watching()
        if self._child is not None:
            self.exit_code = self._child.wait()  # it has ended: this only takes the code
        self._kill_group()
        self.gone = True
        self._on_gone()

    def _cut(self) -> None:
        """Keep the log bounded. What is written between the copy and the cut is lost."""
        with suppress(OSError):
            if self._log.stat().st_size > MAX_FILE:
                shutil.copyfile(self._log, self._log.with_name(self._log.name + ".1"))
                os.truncate(self._log, 0)
        self._timers["cut"] = self._loop.call_later(CUT_EVERY, self._cut)

    def _stop_watching(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def spawn_detached(command: Command, log: Path, on_gone: Callable[[], None] = lambda: None) -> Detached:
    """Start a process that stays when this one ends. Raises OSError where none can be started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        begins = file.tell()
        child = subprocess.Popen(
            (sys.executable, "-I", "-S", str(SHIM), "0", *command.argv),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env=command.environment(os.environ),
        )
    return Detached(child.pid, log, on_gone, child, begins)


def adopt(pid: int, log: Path, on_gone: Callable[[], None] = lambda: None) -> Detached:
    """Watch over a process that an earlier router left running. Raises ProcessLookupError if it has ended."""
    os.kill(pid, 0)
    return Detached(pid, log, on_gone, None)


def _descriptor_of(pid: int) -> int | None:
    """Open a descriptor that becomes readable when the process ends, where there is such a thing."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
