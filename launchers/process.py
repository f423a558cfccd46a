"""The router's side of its keepers, and of the processes that they keep.

`Keepers.spawn` has the router's own keeper (see launchers.keeper) start a process; the keeper is started before the
first. `Keepers.adopt` takes over one that an earlier router's keeper has kept, and speaks with that keeper as long as
it has any of ours. Whether a process ends with the router is decided by the keeper, not here.

1. SIGTERM goes to the first process alone, which knows the right order in which to end its children.
2. SIGKILL goes to all that belongs to the engine.
3. When the first process has exited, however it came about, the rest is killed: an engine whose parent process died
   serves nobody, and would keep its memory. It is gone when nothing of it runs and its output was read to the end.

A keeper that is killed, or doesn't answer, takes its engines with it: what is left of them is ended here.

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
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import structlog

from launchers import kin, leftovers
from launchers.output import Output
from launchers.record import SCRATCH, ProcessRecord
from launchers.spec import Command

ANSWER_WITHIN = 5.0  # seconds; a keeper that is told to kill says at once that it does
BEGIN_WITHIN = 30.0  # seconds; a machine that is busy may take some to start the keeper
END_WITHIN = 5.0  # seconds from the last order until a keeper has ended

KEEPER = "import sys; sys.path.append(sys.argv[1]); from launchers.keeper import main; main()"
"""The keeper's program: without our libraries, it takes 20 ms to start and few MB."""

TEMPORARY = ("TMPDIR", "TEMP", "TMP")
"""Variables that say where temporary files go, on one system or another."""

log = structlog.get_logger("launchers")


class Process:
    """One running process. `on_gone` is called once, when nothing of it runs and all of its output was read."""

    def __init__(self, id: str, link: "_Link", on_gone: Callable[[], None]) -> None:  # noqa: A002
        self.id = id
        self.record: ProcessRecord | None = None  # once it runs
        self.exit_code: int | None = None  # negative: the signal that ended it; None: nobody knows
        self.gone = False
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # or why it didn't
        self.began.add_done_callback(lambda began: began.cancelled() or began.exception())  # its asker may have left
        self._output = Output()
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
        """Whether it will outlive its router, if that wants it to."""
        return self.record is not None and self.record.keep

    @property
    def last_lines(self) -> tuple[str, ...]:
        """What it said last."""
        return self._output.last_lines

    @property
    def reason(self) -> str:
        """Why it ended, if it did before it was ready."""
        return self._output.reason

    def terminate(self) -> None:
        """Ask it to end (SIGTERM to its first process)."""
        self._order("terminate")

    def kill(self) -> None:
        """End it and all that it started."""
        if self.id in self._link.processes and self._unheard is None:
            self._unheard = asyncio.get_running_loop().call_later(ANSWER_WITHIN, self._doubt)
        self._order("kill")

    def _doubt(self) -> None:
        """Its keeper has not answered: ask again, once. Its answer may lie unread where it is us who slept."""
        self._unheard = asyncio.get_running_loop().call_later(ANSWER_WITHIN, self._link.give_up)
        self._order("kill")

    def look(self) -> None:
        """Have its keeper look at what belongs to it by now, and what that would leave behind."""
        self._order("look")

    def release(self) -> None:
        """Hear no more of it: it runs on, and so does its keeper."""
        self._link.keeps_on = True
        self._link.forget(self)

    def _order(self, what: str) -> None:
        if self.id in self._link.processes:
            self._link.tell(do=what, id=self.id)

    # What its keeper says

    def hear(self, message: dict[str, Any]) -> None:
        """Take in a message."""
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
        """It never ran."""
        self._heard()
        self._link.forget(self)
        if not self.began.done():
            self.began.set_exception(ChildProcessError(why))

    def end(self, code: int | None) -> None:
        """It is gone."""
        self.fail("the engines' keeper ended before it had started one")
        self.exit_code, self.gone = code, True
        self._on_gone()

    def _heard(self) -> None:
        if self._unheard is not None:
            self._unheard.cancel()
            self._unheard = None


class _Link(asyncio.Protocol):
    """A connection to a keeper. `pid` is the keeper's; `child` is there if we have started it."""

    def __init__(self, pid: int, child: "subprocess.Popen[bytes] | None") -> None:
        self.pid = pid
        self.processes: dict[str, Process] = {}
        self.lost = False
        self.keeps_on = False  # whether it has engines that run on when we go
        self.ended = asyncio.Event()
        self._child = child
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None
        self._burying: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It can be spoken to."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """It says something, in lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "warning" in message:
                log.warning(message["warning"])
            elif (process := self.processes.get(message["id"])) is not None:
                process.hear(message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- an end is all the same
        """It has ended, or we leave it."""
        self.lost = True
        self._burying = asyncio.get_running_loop().create_task(self._bury(), name="end of a keeper")

    def tell(self, **order: object) -> None:
        """Order something."""
        if self._transport is not None and not self.lost:
            self._transport.write(json.dumps(order).encode() + b"\n")

    def forget(self, process: Process) -> None:
        """Speak of a process no more; with the last of them, another router's keeper is left."""
        self.processes.pop(process.id, None)
        if self._child is None and not self.processes:
            self.close()

    def close(self) -> None:
        """Leave it: what isn't kept ends."""
        if self._transport is not None:
            self._transport.close()

    def give_up(self) -> None:
        """End a keeper that doesn't answer: its engines end with it."""
        log.error("the engines' keeper doesn't answer; it is killed, and its engines with it", pid=self.pid)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def _bury(self) -> None:
        """End what a dead keeper has left of ours; take our child's exit code."""
        try:
            for process in list(self.processes.values()):
                if process.record is not None:
                    await asyncio.to_thread(leftovers.end, process.record)
                process.end(None)
            if self._child is not None and self.keeps_on:
                self._child.returncode = self._child.poll() or 0  # it is meant to run on: subprocess would warn of it
            elif self._child is not None:
                await asyncio.to_thread(_wait_for, self._child)
        finally:
            self.ended.set()


class Keepers:
    """The keepers that a router speaks with: its own, once there is a process to keep, and those whose it adopts."""

    def __init__(self) -> None:
        self._own: _Link | None = None
        self._starting = asyncio.Lock()
        self._others: dict[str, _Link] = {}  # by their sockets

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
    ) -> Process:
        """Start a process whose output goes to `log`. Raises OSError where none can be started.

        A later router knows it by the command's fingerprint, or by another one, if that is given, and shows it the key.
        Where another router that lives has its own record at `record`, this one's goes beside it.
        """
        async with self._starting:
            if self._own is None or self._own.lost:
                self._own = await _start_keeper()
            link = self._own
        scratch = os.path.abspath(f"{tempfile.gettempdir()}/{SCRATCH}{secrets.token_hex(4)}")  # noqa: ASYNC240, PTH100 -- no I/O
        process = Process(scratch, link, on_gone)
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

    async def adopt(self, record: ProcessRecord, on_gone: Callable[[], None] = lambda: None) -> Process:
        """Watch over a process that an earlier router left running. Raises OSError if it has ended."""
        link = self._others.get(record.keeper_at)
        if link is None or link.lost:
            loop = asyncio.get_running_loop()
            _, link = await loop.create_unix_connection(lambda: _Link(record.keeper_pid, None), record.keeper_at)
            self._others[record.keeper_at] = link
        process = Process(record.scratch, link, on_gone)
        link.processes[record.scratch] = process
        link.tell(do="attach", id=record.scratch, router=_me())
        await self._begun(process, ANSWER_WITHIN)
        return process

    async def _begun(self, process: Process, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(process.began)
        except BaseException as error:
            process.kill()  # if it has begun, or yet does
            if isinstance(error, TimeoutError):
                raise ChildProcessError(f"the engines' keeper has not answered for {within:g} s") from error
            raise

    async def close(self) -> None:
        """Leave them all; those that keep nothing any more end, and are waited for."""
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
    except subprocess.TimeoutExpired:  # something of its engines can't be killed yet, or it can't be itself
        keeper.kill()
        keeper.wait()


@cache
def _me() -> tuple[int, str]:
    return os.getpid(), kin.started(os.getpid()) or ""
