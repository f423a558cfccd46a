"""The asyncio side of one process: spawned, listened to, signalled, and gone without a trace.

A process leads a session and a process group of its own, so that a Ctrl-C in the router's terminal doesn't reach it
before the router has drained, and so that whatever it starts itself can be ended with it:

1. SIGTERM goes to the leader alone, which knows the right order in which to end its children.
2. SIGKILL goes to the whole group.
3. When the leader has exited, however it came about, the rest of the group is killed: an engine whose parent
   process died serves nobody, and would keep its memory.

It is gone when it has exited and its output has been read to the end. A descendant that left the group can hold
the pipe open: that is waited for LINGER seconds and no longer.

Spawn from the main thread's event loop: the kernel ties the process to the thread that forked it (see shim.py).
Knows nothing of restarts, states or engines.
"""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import cast

from launchers.output import Output
from launchers.spec import Command

SHIM = Path(__file__).with_name("shim.py")
LINGER = 0.5  # seconds from the exit until its output is taken for complete
PORTS = range(20000, 30000)  # below those that operating systems hand out for outgoing connections


class Process(asyncio.SubprocessProtocol):
    """One running process. `on_gone` is called once, when `exit_code` is known and all output was read."""

    def __init__(self, output: Output, on_gone: Callable[[], None]) -> None:
        self._output = output
        self._on_gone = on_gone
        self._transport: asyncio.SubprocessTransport | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self.pid = 0
        self.exit_code: int | None = None  # negative: the signal that ended it
        self.gone = False

    def __repr__(self) -> str:
        state = "gone" if self.gone else "alive"
        return f"<Process {self.pid} {state} exit_code={self.exit_code}>"

    @property
    def last_lines(self) -> tuple[str, ...]:
        """What it said last."""
        return self._output.last_lines

    @property
    def reason(self) -> str:
        """Why it ended, if it did before it was ready."""
        return self._output.reason

    def terminate(self) -> None:
        """Ask it to end (SIGTERM to the leader)."""
        if self._transport is not None and self.exit_code is None:
            with suppress(ProcessLookupError):
                self._transport.terminate()

    def kill(self) -> None:
        """End it and all that it started (SIGKILL to the group)."""
        if self.exit_code is None:
            self._kill_group()

    def _kill_group(self) -> None:
        # ProcessLookupError: none is left. PermissionError: macOS says so where only zombies are.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    # What asyncio calls, in this order but for the last two, of which either can be first.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 -- there is one pipe
        """It said something."""
        self._output.feed(data)

    def process_exited(self) -> None:
        """The leader has ended."""
        assert self._transport is not None  # noqa: S101 -- asyncio's order
        self.exit_code = self._transport.get_returncode()
        self._kill_group()
        self._lingering = asyncio.get_running_loop().call_later(LINGER, self._finish)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- an exit is all the same
        """It has ended, and its output is read."""
        self._finish()

    def _finish(self) -> None:
        if self.gone:
            return
        self.gone = True
        if self._lingering is not None:
            self._lingering.cancel()
        if self._transport is not None:
            self._transport.close()
        self._output.close()
        self._on_gone()


async def spawn(command: Command, log: Path, on_gone: Callable[[], None] = lambda: None) -> Process:
    """Start a process whose output goes to `log`. Raises OSError where none can be started."""
    output = Output(log)
    try:
        _, process = await asyncio.get_running_loop().subprocess_exec(
            lambda: Process(output, on_gone),
            *(sys.executable, "-I", "-S", str(SHIM), str(os.getpid()), *command.argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env=command.environment(os.environ),
        )
    except BaseException:
        output.close()
        raise
    return process


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens now, and that wasn't handed out lately.

    An engine opens it only when its model has loaded, minutes later. So it is taken from outside of the range that
    outgoing connections get theirs from, of which the router has many; and two engines that start at the same time
    never get the same. Raises OSError where none is free.
    """
    for port in islice(_ports, len(PORTS)):
        with closing(socket.socket()) as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no port is free on 127.0.0.1 from {PORTS.start} to {PORTS.stop - 1}")


def _in_turn(ports: range) -> Iterator[int]:
    """All ports again and again, from one that another router is unlikely to begin with."""
    first = secrets.randbelow(len(ports))
    return cycle((*ports[first:], *ports[:first]))


_ports = _in_turn(PORTS)
