"""The keeper: a small process that is the parent of all engines, so that none can outlive whoever should end it.

    router ──socket── keeper ──▶ engine ──▶ its workers, wherever they hide

A router starts one (launchers.process) and speaks with it by lines of JSON. What it is for:

1. **It hears the router's end at once**, however it came about: its socket closes. Then it ends every engine that isn't
   to be kept, with all that belongs to it (launchers.kin), and looks again until nothing is left.
2. **It is told of every end.** It is the engines' parent, and on Linux what has lost its parent among their processes
   becomes its child, too: no zombie stays, and none gets away. When an engine's first process has exited, what belongs
   to the engine is killed: it would serve nobody and keep its memory. "Gone" is said when nothing of it runs.
3. **It holds what an engine leaves behind**: its log, which it writes so that an engine never loses its output; its
   record, its folder for temporary files, its shared memory, which it removes in the end.
4. **With server.keep_engines it stays** when the router goes, as long as its engines run, and listens on a socket where
   the next router asks for them.

Should the keeper itself be killed, the kernel ends the engines' first processes (Linux: the parent-death signal), and
the router, or the next one, what is left of them (launchers.leftovers).

It leads a session of its own, so that a Ctrl-C in the router's terminal doesn't reach it. SIGTERM has it end its
engines as soon as it has no router: who serves is stopped by its router. One thread, and standard library alone.
"""

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from launchers import kin
from launchers.files import at_once
from launchers.record import SCRATCH, ProcessRecord

LINGER = 0.5  # seconds from the last process's end until the output is taken for complete
GIVE_UP = 60.0  # seconds, after which what can't be killed is left to the kernel
SAY_GONE = 10.0  # seconds, after which an engine is said to be gone though something of it can't be killed
LOOK_FIRST, LOOK_LAST = 0.01, 0.5  # seconds between two looks at what is ending

MOST_UNSAID = 1024 * 1024  # bytes of an engine's latest output that wait for the router
MOST_SAID, SAY_EVERY = (
    64 * 1024,
    0.1,
)  # bytes that it is told at a time, and seconds between: it reads them line by line
MOST_SENT = 256 * 1024  # bytes that wait in a socket; output waits beyond that
LONGEST_DOOR = 100  # bytes of a socket's path: systems take 103 or 107
KEPT = 16 * 1024  # bytes of an engine's last output, for who adopts it
MAX_FILE = 8 * 1024 * 1024  # bytes of a log; then it becomes NAME.log.1, and its predecessor is gone

FRESH = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD]
"""Signals that an engine is to meet as any program does."""


class Log:
    """A log file that can't grow for ever. One that can't be written costs the log and a warning, nothing more."""

    def __init__(self, path: Path, warn: Callable[[str], None], max_file: int = MAX_FILE) -> None:
        self._path = path
        self._warn = warn
        self._max_file = max_file
        self._file: BinaryIO | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            self._give_up(error)

    def write(self, data: bytes) -> None:
        """Write on."""
        if self._file is None:
            return
        try:
            self._file.write(data)
            if self._file.tell() >= self._max_file:
                self.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._open()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self._file = open(self._path, "ab", buffering=0, opener=at_once)  # noqa: SIM115 -- it stays open

    def _give_up(self, error: OSError) -> None:
        self._warn(f"{self._path}: the engine's log can't be written, and is left out: {error.strerror or error}")
        self.close()


class Engine:
    """One engine, from its spawn until nothing of it is left. `scratch` names it; `pipe` is the end of its output."""

    def __init__(self, record: ProcessRecord, log: Log, pipe: int, link: "Link") -> None:
        self.record = record
        self.link: Link | None = link
        self.pipe: int | None = pipe
        self.code: int | None = None  # of its first process, once that has exited
        self.ending: float | None = None  # since when all of it is killed
        self.empty: float | None = None  # since when none of it runs
        self.unsaid = bytearray()
        self.say_at = 0.0  # when its router is told more: sooner, the less it was told before
        self.last = bytearray()
        self._log = log
        self._since = time.time() - 1  # files' clocks tick seldom
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
        del self.unsaid[:-MOST_UNSAID], self.last[:-KEPT]
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

    def terminate(self) -> None:
        """Ask it to end; its first process knows the right order."""
        if self.code is None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.record.pid, signal.SIGTERM)

    def say_gone(self) -> None:
        """Tell its router, once, that it is gone."""
        if self.link is not None:
            self.link.say(self, MOST_UNSAID)
            self.link.tell(id=self.record.scratch, gone=self.code)
            self.link = None

    def clean_up(self) -> None:
        """Remove what it leaves."""
        self._log.close()
        self.record.clean_up()


class Link:
    """A connection to a router."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003
        self.connection = connection
        self._in = bytearray()
        self._out = bytearray()

    def tell(self, **message: object) -> None:
        """Have the router know, soon."""
        self._out += json.dumps(message).encode() + b"\n"

    def say(self, engine: Engine, most: int) -> None:
        """Pass on what an engine has said."""
        if engine.unsaid:
            self.tell(id=engine.record.scratch, said=engine.unsaid[:most].decode("latin-1"))
            engine.say_at = time.monotonic() + SAY_EVERY * len(engine.unsaid[:most]) / MOST_SAID
            del engine.unsaid[:most]

    def hear(self) -> list[dict[str, Any]] | None:
        """Read what the router wants; None: it is gone."""
        try:
            data = self.connection.recv(1 << 20)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, rest = (self._in + data).split(b"\n")
        self._in = bytearray(rest)
        return [json.loads(line) for line in lines]

    def send(self, engines: list[Engine]) -> bool:
        """Send what can be sent by now; whether something waits for the router to read."""
        with suppress(OSError):  # it is full, or the router is gone, which reading will tell
            for engine in engines:
                if len(self._out) < MOST_SENT and time.monotonic() >= engine.say_at:
                    self.say(engine, MOST_SAID)
            while self._out:
                del self._out[: self.connection.send(self._out)]
        return bool(self._out)


class Keeper:
    """Keeps engines for the router at the other end of `connection`, and for those that come after it."""

    def __init__(self, connection: socket.socket) -> None:
        self._me = (os.getpid(), kin.started(os.getpid()) or "", kin.world())
        self._engines: dict[str, Engine] = {}
        self._links: list[Link] = []
        self._selector = selectors.DefaultSelector()
        self._door = Path()  # the folder of the socket where other routers come in
        self._pause = LOOK_FIRST
        self._told_to_end = False
        self._libc = ctypes.CDLL(None, use_errno=True) if kin.IS_LINUX else None
        if self._libc is not None:
            self._libc.prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans among the engines' processes are ours
        self._hear_signals()
        self._link(connection)

    def run(self) -> None:
        """Keep them, until there is nobody to keep them for and none to keep."""
        while self._links or self._engines:
            engines = self._engines.values()
            pauses = [self._pause] if any(engine.ending is not None for engine in engines) else []
            pauses += [
                max(LOOK_FIRST, engine.say_at - time.monotonic()) for engine in engines if engine.unsaid and engine.link
            ]
            for key, _ in self._selector.select(min(pauses, default=None)):
                key.data()
            self._bury()
            if self._told_to_end and not self._links:
                self._kill(*self._engines.values())
            self._end()
            for link in self._links:
                more = link.send([engine for engine in self._engines.values() if engine.link is link])
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if more else 0)
                self._selector.modify(link.connection, events, self._selector.get_key(link.connection).data)
        self._sweep()
        if self._door.name:
            (self._door / "keeper").unlink(missing_ok=True)
            self._door.rmdir()

    def warn(self, text: str) -> None:
        """Tell all routers of a trouble, at once."""
        for link in self._links:
            link.tell(warning=text)
            link.send([])

    # Signals

    def _hear_signals(self) -> None:
        woken, waking = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(waking, False)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._tell_to_end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._selector.register(woken, selectors.EVENT_READ, lambda: os.read(woken, 4096))

    def _tell_to_end(self, *_: object) -> None:
        self._told_to_end = True

    # Routers

    def _link(self, connection: socket.socket) -> None:
        link = Link(connection)
        self._links.append(link)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear(link))

    def _hear(self, link: Link) -> None:
        try:
            orders = link.hear()
            for order in orders or ():
                getattr(self, f"_do_{order.pop('do')}")(link, **order)
        except (ValueError, TypeError, KeyError, AttributeError):  # no router of ours: the others' engines stay
            orders = None
        if orders is None:
            self._lost(link)

    def _lost(self, link: Link) -> None:
        self._links.remove(link)
        self._selector.unregister(link.connection)
        link.connection.close()
        for engine in self._engines.values():
            if engine.link is link:
                engine.link = None
                # The next router finds it by its record, whose folder may have been removed meanwhile.
                if not engine.record.keep or not engine.remember():
                    self._kill(engine)

    # What they want

    def _do_spawn(self, link: Link, **order: Any) -> None:  # noqa: ANN401 -- _spawn says what it holds
        try:
            engine = self._spawn(link, **order)
        except OSError as error:
            link.tell(id=order["id"], failed=f"no process can be started: {error.strerror or error}")
            return
        self._engines[order["id"]] = engine
        assert engine.pipe is not None  # noqa: S101 -- it is new
        self._selector.register(engine.pipe, selectors.EVENT_READ, lambda: self._listen(engine))
        link.tell(id=order["id"], record=engine.record._asdict())

    def _do_attach(self, link: Link, id: str, router: tuple[int, str]) -> None:  # noqa: A002 -- the message's word
        engine = self._engines.get(id)
        if engine is None or engine.ending is not None:
            link.tell(id=id, failed="it has ended")
            return
        engine.link = link
        engine.record = engine.record._replace(router_pid=router[0], router_started=router[1])
        engine.remember()
        engine.unsaid[:] = engine.last
        link.tell(id=id, record=engine.record._asdict())

    def _do_look(self, _: Link, id: str) -> None:  # noqa: A002
        if id in self._engines:
            self._engines[id].look(kin.processes())

    def _do_terminate(self, _: Link, id: str) -> None:  # noqa: A002
        if id in self._engines:
            self._engines[id].look(kin.processes())  # what its first process doesn't end is to be known afterwards
            self._engines[id].terminate()

    def _do_kill(self, link: Link, id: str) -> None:  # noqa: A002
        link.tell(id=id, killing=True)
        if id in self._engines:
            self._kill(self._engines[id])

    # Engines

    def _spawn(
        self, link: Link, *, id: str, argv: list[str], env: dict[str, str], temporary: list[str], log: str, path: str,  # noqa: A002
        name: str, port: int, fingerprint: str, keep: bool, key: str, router: tuple[int, str],
    ) -> Engine:  # fmt: skip
        if keep and not self._door.name:
            try:
                self._listen_for_routers(Path(id).parent)
            except OSError as error:
                keep = False
                link.tell(
                    warning=f"{name}: will end with the router, as there can be no socket for the next one: {error}"
                )
        Path(id).mkdir(mode=0o700)
        env = {**env, **dict.fromkeys(temporary, id), kin.MARK: id}
        ours, its = os.pipe()
        try:
            pid = os.fork()
            if pid == 0:
                self._become(argv, env, its)
        except OSError:
            os.close(ours)
            Path(id).rmdir()
            raise
        finally:
            os.close(its)
        door = str(self._door / "keeper") if self._door.name else ""
        child = kin.seen(pid)  # it may have ended, but is there until it is waited for
        record = ProcessRecord(path, name, pid, child.started if child else "", port, fingerprint, keep, id, *router,
                        self._me[0], self._me[1], door, self._me[2], key)  # fmt: skip
        return Engine(record, Log(Path(log), lambda text: link.tell(warning=text)), ours, link)

    def _become(self, argv: list[str], env: dict[str, str], output: int) -> None:
        """Turn the forked process into the engine; never returns."""
        try:
            os.setsid()
            if self._libc is not None:
                self._libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with its parent, the keeper
                if os.getppid() != self._me[0]:
                    os._exit(1)  # which ended before that held
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            signal.set_wakeup_fd(-1)
            for number in FRESH:
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(argv[0], argv, env)  # noqa: S606 -- no shell is wanted
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode(errors="replace"))
        finally:
            os._exit(127)

    def _listen_for_routers(self, folder: Path) -> None:
        door = folder / f"{SCRATCH}{os.urandom(4).hex()}"
        if len(os.fsencode(door / "keeper")) > LONGEST_DOOR:
            door = Path("/tmp", door.name)  # noqa: S108 -- nobody else may enter it
        door.mkdir(mode=0o700)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(door / "keeper"))
            listener.listen()
        except OSError:
            listener.close()
            (door / "keeper").unlink(missing_ok=True)
            door.rmdir()
            raise
        listener.setblocking(False)  # noqa: FBT003
        self._door = door
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._let_in(listener))

    def _let_in(self, listener: socket.socket) -> None:
        with suppress(OSError):  # who knocked has left
            self._link(listener.accept()[0])

    def _listen(self, engine: Engine) -> None:
        if engine.pipe is not None and not engine.hear():
            self._close(engine)

    def _close(self, engine: Engine) -> None:
        if engine.pipe is not None:
            os.set_blocking(engine.pipe, False)
            with suppress(BlockingIOError):
                engine.hear()
            self._selector.unregister(engine.pipe)
            os.close(engine.pipe)
            engine.pipe = None

    # Ends

    def _kill(self, *engines: Engine) -> None:
        for engine in engines:
            if engine.ending is None:
                engine.ending, self._pause = time.monotonic(), LOOK_FIRST
                if kin.IS_LINUX and not kin.is_ours():  # there is no table: its group alone is sure to be its own
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(engine.record.pid, signal.SIGKILL)

    def _bury(self) -> None:
        """Take the exit codes of all children that have ended: engines, and orphans of theirs."""
        leaders = {engine.record.pid: engine for engine in self._engines.values() if engine.code is None}
        while ended := _ended_child():
            if ended[0] in leaders:
                leaders[ended[0]].code = ended[1]
                self._kill(leaders[ended[0]])

    def _end(self) -> None:
        """Kill what is to end; an engine of which nothing runs is gone."""
        ending = [engine for engine in self._engines.values() if engine.ending is not None]
        if not ending:
            return
        self._pause = min(self._pause * 1.5, LOOK_LAST)
        table = kin.processes()
        # Who hides from all rules (a daemon with an environment of its own) ends with the last engine.
        hidden = kin.descendants(table, self._me[0]) if len(ending) == len(self._engines) else set()
        for engine in ending:
            assert engine.ending is not None  # noqa: S101 -- these are the ones
            living = engine.look(table) | {pid for pid in hidden if table[pid].alive}
            for pid in living:
                with suppress(ProcessLookupError, PermissionError):  # macOS says the second of a zombie
                    os.kill(pid, signal.SIGKILL)
            now = time.monotonic()
            engine.empty = None if living else engine.empty or now
            has_exited = engine.code is not None
            has_said_all = engine.pipe is None or (engine.empty is not None and now > engine.empty + LINGER)
            if (has_exited and not living and has_said_all) or now > engine.ending + GIVE_UP:
                del self._engines[engine.record.scratch]
                self._close(engine)
                engine.clean_up()
                engine.say_gone()
            elif has_exited and now > engine.ending + SAY_GONE:
                engine.say_gone()

    def _sweep(self) -> None:
        """Leave no descendant, however it hid."""
        until = time.monotonic() + GIVE_UP
        while time.monotonic() < until:
            while _ended_child():
                pass
            table = kin.processes()
            living = [pid for pid in kin.descendants(table, self._me[0]) if table[pid].alive]
            if not living:
                return
            for pid in living:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(LOOK_FIRST)


def _ended_child() -> tuple[int, int] | None:
    """Take the pid and the exit code of a child that has ended, if one has; a signal's number is negative."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def main() -> None:
    """Keep engines for the router at the other end of the socket whose number is the last argument."""
    connection = socket.socket(fileno=int(sys.argv[-1]))
    connection.set_inheritable(False)
    keeper = Keeper(connection)
    try:
        keeper.run()
    except BaseException:
        import traceback  # noqa: PLC0415

        keeper.warn(f"the keeper of the engines failed; the engines end with it:\n{traceback.format_exc()}")
        raise
