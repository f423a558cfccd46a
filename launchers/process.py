"""The router's side of its keepers, and of the processes that they keep.

`Keepers.spawn` has the router's own keeper (see launchers.keeper) start a process; the keeper itself is started before
the first process. `Keepers.adopt` takes over a process that an earlier router's keeper has kept, and keeps a connection
to that keeper as long as it has any process of ours. The keeper decides whether a process ends with the router.

1. SIGTERM goes to the first process alone, which knows the right order in which to end its children.
2. SIGKILL goes to everything that belongs to the engine.
3. When the first process has exited, for any reason, the rest is killed: an engine whose parent process died serves
   nobody, and would keep its memory. The engine is gone when nothing of it runs and its output was read to the end.

If a keeper is killed, or doesn't answer, its engines end with it: what is left of them is ended here.

Knows nothing of restarts, states or engines.
"""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import structlog

from launchers import kin, leftovers
from launchers.output import Output
from launchers.record import SCRATCH, ProcessRecord
from launchers.shortage import Shortages
from launchers.spec import Command

ANSWER_WITHIN = 5.0
"""Seconds within which a keeper answers an order to kill; it does so at once, before it kills."""

BEGIN_WITHIN = 30.0
"""Seconds within which a process has begun; a busy machine may take some of them to start the keeper."""

END_WITHIN = 5.0
"""Seconds within which a keeper has ended after the last order."""


KEEPER = "import sys; sys.path.append(sys.argv[1]); from launchers.keeper import main; main()"
"""The keeper's program. Without our libraries it starts in 50 ms and takes 12 MB."""

TEMPORARY = ("TMPDIR", "TEMP", "TMP")
"""The variables for the folder of temporary files, on one system or another."""

log = structlog.get_logger("launchers")


class Process:
    """One running process. `on_gone` is called once, when nothing of it runs and all of its output was read.

    What is told of its output has none of the `hidden` texts: clients and logs get its last words.
    """

    def __init__(self, id: str, link: "_Link", on_gone: Callable[[], None], hidden: Collection[str] = ()) -> None:  # noqa: A002
        self.id = id
        # None until it runs.
        self.record: ProcessRecord | None = None
        # A negative one is the signal that ended it; None: nobody knows.
        self.exit_code: int | None = None
        self.gone = False
        # Done once it runs; else it raises the reason. That is looked at here, as the caller may have left.
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.began.add_done_callback(lambda began: began.cancelled() or began.exception())
        self._output = Output(hidden)
        self._link = link
        self._on_gone = on_gone
        self._unheard: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "gone" if self.gone else "alive"
        return f"<Process {self.pid} {state} exit_code={self.exit_code}>"

    @property
    def pid(self) -> int:
        """The pid of its first process."""
        return 0 if self.record is None else self.record.pid

    @property
    def is_kept(self) -> bool:
        """Whether it outlives its router, if the router leaves it."""
        return self.record is not None and self.record.keep

    @property
    def last_lines(self) -> tuple[str, ...]:
        """Its last lines of output."""
        return self._output.last_lines

    @property
    def reason(self) -> str:
        """Why it ended, if it ended before it was ready."""
        return self._output.reason

    @property
    def shortages(self) -> Shortages:
        """What it said of a lack of memory."""
        return self._output.shortages

    def terminate(self) -> None:
        """Ask it to end (SIGTERM to its first process)."""
        self._order("terminate")

    def kill(self) -> None:
        """End it and all that it started."""
        if self.id in self._link.processes and self._unheard is None:
            self._unheard = asyncio.get_running_loop().call_later(ANSWER_WITHIN, self._doubt)
        self._order("kill")

    def _doubt(self) -> None:
        """Order again, once, as its keeper has not answered. If this process slept, the answer may lie unread."""
        self._unheard = asyncio.get_running_loop().call_later(ANSWER_WITHIN, self._link.give_up)
        self._order("kill")

    def look(self) -> None:
        """Have its keeper note which processes and shared memory belong to it by now."""
        self._order("look")

    def release(self) -> None:
        """Let it and its keeper run on, and listen to it no more."""
        self._link.keeps_on = True
        self._link.forget(self)

    def _order(self, what: str) -> None:
        if self.id in self._link.processes:
            self._link.tell(do=what, id=self.id)

    # Messages from its keeper

    def hear(self, message: dict[str, Any]) -> None:
        """Handle a message from its keeper."""
        if "said" in message:
            self._output.feed(message["said"].encode("latin-1"))
        elif "killing" in message:
            self._heard()
        elif "gone" in message:
            self.end(message["gone"])
        elif "record" in message:
            self.record = ProcessRecord(**message["record"])
            if not self.began.done():
                self.began.set_result(None)
        else:
            self.fail(message["failed"])

    def fail(self, why: str) -> None:
        """Note that it could not be started."""
        self._heard()
        self._link.forget(self)
        if not self.began.done():
            self.began.set_exception(ChildProcessError(why))

    def end(self, code: int | None) -> None:
        """Note that nothing of it is left."""
        self.fail("the engines' keeper ended before it had started one")
        self.exit_code, self.gone = code, True
        self._on_gone()

    def _heard(self) -> None:
        if self._unheard is not None:
            self._unheard.cancel()
            self._unheard = None


class _Link(asyncio.Protocol):
    """A connection to a keeper. `pid` is the keeper's; `child` is None if another router has started it.

    `keeps_on`: the keeper has engines that run on when this router goes.
    """

    def __init__(self, pid: int, child: "subprocess.Popen[bytes] | None") -> None:
        self.pid = pid
        self.processes: dict[str, Process] = {}
        self.lost = False
        self.keeps_on = False
        self.ended = asyncio.Event()
        self._child = child
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None
        self._burying: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass each line on to the process that it is about."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "warning" in message:
                log.warning(message["warning"])
            elif (process := self.processes.get(message["id"])) is not None:
                process.hear(message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- an end is all the same
        """Take leave of the keeper, which has ended or was left."""
        self.lost = True
        self._burying = asyncio.get_running_loop().create_task(self._bury(), name="end of a keeper")

    def tell(self, **order: object) -> None:
        """Send an order."""
        if self._transport is not None and not self.lost:
            self._transport.write(json.dumps(order).encode() + b"\n")

    def forget(self, process: Process) -> None:
        """Drop a process; with the last one, the connection to another router's keeper is closed."""
        self.processes.pop(process.id, None)
        if self._child is None and not self.processes:
            self.close()

    def close(self) -> None:
        """Close the connection; the keeper ends what isn't to be kept."""
        if self._transport is not None:
            self._transport.close()

    def give_up(self) -> None:
        """Kill a keeper that doesn't answer; its engines end with it."""
        log.error("the engines' keeper doesn't answer; it is killed, and its engines with it", pid=self.pid)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def _bury(self) -> None:
        """End what a dead keeper has left of our engines, and take its exit code if it is our child."""
        try:
            for process in list(self.processes.values()):
                if process.record is not None:
                    await asyncio.to_thread(leftovers.end, process.record)
                process.end(None)
            if self._child is not None and self.keeps_on:
                # It is meant to run on; without an exit code, subprocess would warn of it.
                self._child.returncode = self._child.poll() or 0
            elif self._child is not None:
                await asyncio.to_thread(_wait_for, self._child)
        finally:
            self.ended.set()


class Keepers:
    """The keepers of a router: its own, once there is a process to keep, and those whose processes it adopts."""

    def __init__(self) -> None:
        self._own: _Link | None = None
        self._starting = asyncio.Lock()
        # By the paths of their sockets.
        self._others: dict[str, _Link] = {}

    async def spawn(
        self,
        command: Command,
        log: Path,
        record: Path,
        on_gone: Callable[[], None] = lambda: None,
        *,
        port: int = 0,
        keep: bool = False,
        fingerprint: str = "",
        key: str = "",
        hidden: Collection[str] = (),
    ) -> Process:
        """Start a process whose output goes to `log`. Raises OSError if that fails.

        A later router recognises it by `fingerprint`, by default the command's, and shows it the `key`. If another
        living router has a record at `record`, this process gets a record beside it. Of its output, none of the
        `hidden` texts is told.
        """
        async with self._starting:
            if self._own is None or self._own.lost:
                self._own = await _start_keeper()
            link = self._own
        scratch = os.path.abspath(f"{tempfile.gettempdir()}/{SCRATCH}{secrets.token_hex(4)}")  # noqa: ASYNC240, PTH100 -- no I/O
        process = Process(scratch, link, on_gone, hidden)
        link.processes[scratch] = process
        link.tell(
            do="spawn", id=scratch, argv=command.argv, env=command.environment(os.environ),
            temporary=[name for name in TEMPORARY if name not in command.env], log=str(log),
            path=str(await asyncio.to_thread(leftovers.place, record.parent, record.stem)),
            name=record.stem, port=port, fingerprint=fingerprint or command.fingerprint, keep=keep, key=key,
            router=_me(),
        )  # fmt: skip
        await self._begun(process, BEGIN_WITHIN)
        return process

    async def adopt(
        self, record: ProcessRecord, on_gone: Callable[[], None] = lambda: None, hidden: Collection[str] = ()
    ) -> Process:
        """Watch over a process that an earlier router left running. Raises OSError if it has ended."""
        link = self._others.get(record.keeper_at)
        if link is None or link.lost:
            loop = asyncio.get_running_loop()
            _, link = await loop.create_unix_connection(lambda: _Link(record.keeper_pid, None), record.keeper_at)
            self._others[record.keeper_at] = link
        process = Process(record.scratch, link, on_gone, hidden)
        link.processes[record.scratch] = process
        link.tell(do="attach", id=record.scratch, router=_me())
        await self._begun(process, ANSWER_WITHIN)
        return process

    async def _begun(self, process: Process, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(process.began)
        except BaseException as error:
            process.kill()  # it may have begun, or still begin
            if isinstance(error, TimeoutError):
                raise ChildProcessError(f"the engines' keeper has not answered for {within:g} s") from error
            raise

    async def close(self) -> None:
        """Close all connections, and wait for the keepers that end: those without engines to keep."""
        links = [link for link in (self._own, *self._others.values()) if link is not None]
        for link in links:
            link.close()
        for link in links:
            await link.ended.wait()


async def _start_keeper() -> _Link:
    ours, its = socket.socketpair()
    try:
        child = subprocess.Popen(  # noqa: ASYNC220 -- it forks, and doesn't wait
            (sys.executable, "-I", "-S", "-c", KEEPER, str(Path(__file__).parent.parent), str(its.fileno())),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(its.fileno(),),
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        its.close()
    _, link = await asyncio.get_running_loop().create_unix_connection(lambda: _Link(child.pid, child), sock=ours)
    return link


def _wait_for(keeper: "subprocess.Popen[bytes]") -> None:
    try:
        keeper.wait(END_WITHIN)
    except subprocess.TimeoutExpired:
        # A process of its engines can't be killed yet, or it can't itself.
        keeper.kill()
        keeper.wait()


@cache
def _me() -> tuple[int, str]:
    return os.getpid(), kin.started(os.getpid()) or ""
