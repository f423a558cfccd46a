"""The keeper's loop: reacts to routers' orders, to engines' output and ends, and to signals."""

import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from launchers import kin
from launchers.keeper.kept import MOST_SAID, KeptEngine
from launchers.keeper.link import Door, Link
from launchers.keeper.log import Log
from launchers.keeper.spawn import ended_child, spawn, take_orphans
from launchers.record import ProcessRecord

LINGER = 0.5
"""Seconds after the last process' end until the output counts as complete."""

GIVE_UP = 60.0
"""Seconds after which a process that can't be killed is left to the kernel."""

SAY_GONE = 10.0
"""Seconds after which an engine is reported gone, though a process of it can't be killed."""

LOOK_FIRST, LOOK_LAST = 0.01, 0.5
"""Seconds between two looks at ending engines: few at first, then more."""


class Keeper:
    """Keeps engines for the router at the other end of `connection`, and for later routers."""

    def __init__(self, connection: socket.socket) -> None:
        self._me = (os.getpid(), kin.started(os.getpid()) or "", kin.world())
        self._engines: dict[str, KeptEngine] = {}
        self._links: list[Link] = []
        self._selector = selectors.DefaultSelector()
        # The door for later routers, once there is an engine to keep for them.
        self._door: Door | None = None
        self._pause = LOOK_FIRST
        self._told_to_end = False
        take_orphans()
        self._hear_signals()
        self._link(connection)

    def run(self) -> None:
        """Keep engines until there is neither a router nor an engine."""
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
                self._tell(link)
        self._sweep()
        if self._door is not None:
            self._door.remove()

    def _tell(self, link: Link) -> None:
        """Send its engines' output to a router, as much as there is room for."""
        for engine in self._engines.values():
            if engine.link is link and link.has_room and time.monotonic() >= engine.say_at:
                engine.say(MOST_SAID)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.send() else 0)
        self._selector.modify(link.connection, events, self._selector.get_key(link.connection).data)

    def warn(self, text: str) -> None:
        """Send a warning to all routers at once."""
        for link in self._links:
            link.tell(warning=text)
            link.send()

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
        except (ValueError, TypeError, KeyError, AttributeError):
            # It is no router of ours. The engines of others stay.
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

    # Orders

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
            # Children that its first process leaves behind must be known when it is gone.
            self._engines[id].look(kin.processes())
            self._engines[id].terminate()

    def _do_kill(self, link: Link, id: str) -> None:  # noqa: A002
        link.tell(id=id, killing=True)
        if id in self._engines:
            self._kill(self._engines[id])

    # Engines

    def _spawn(
        self, link: Link, *, id: str, argv: list[str], env: dict[str, str], temporary: list[str], log: str, path: str,  # noqa: A002
        name: str, port: int, fingerprint: str, keep: bool, key: str, router: tuple[int, str],
    ) -> KeptEngine:  # fmt: skip
        if keep:
            try:
                self._open_door(Path(id).parent)
            except OSError as error:
                keep = False
                link.tell(
                    warning=f"{name}: will end with the router, as there can be no socket for the next one: {error}"
                )
        Path(id).mkdir(mode=0o700)
        try:
            pid, pipe = spawn(argv, {**env, **dict.fromkeys(temporary, id), kin.MARK: id})
        except OSError:
            Path(id).rmdir()
            raise
        door = "" if self._door is None else str(self._door.path)
        # It may have ended by now, but stays in the table until it is waited for.
        child = kin.seen(pid)
        record = ProcessRecord(path, name, pid, child.started if child else "", port, fingerprint, keep, id, *router,
                        self._me[0], self._me[1], door, self._me[2], key)  # fmt: skip
        return KeptEngine(record, Log(Path(log), lambda text: link.tell(warning=text)), pipe, link)

    def _open_door(self, folder: Path) -> None:
        """Open the door for later routers, once. Raises OSError."""
        if self._door is None:
            self._door = door = Door(folder)
            self._selector.register(door.listener, selectors.EVENT_READ, lambda: self._let_in(door.listener))

    def _let_in(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the router has left already
            self._link(listener.accept()[0])

    def _listen(self, engine: KeptEngine) -> None:
        if engine.pipe is not None and not engine.hear():
            self._close(engine)

    def _close(self, engine: KeptEngine) -> None:
        if engine.pipe is not None:
            os.set_blocking(engine.pipe, False)
            with suppress(BlockingIOError):
                engine.hear()
            self._selector.unregister(engine.pipe)
            os.close(engine.pipe)
            engine.pipe = None

    # Ends

    def _kill(self, *engines: KeptEngine) -> None:
        for engine in engines:
            if engine.ending is None:
                engine.ending, self._pause = time.monotonic(), LOOK_FIRST
                # Without a table, only its process group is certainly its own.
                if kin.IS_LINUX and not kin.is_ours():
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(engine.record.pid, signal.SIGKILL)

    def _bury(self) -> None:
        """Take the exit codes of all children that have ended: engines, and orphans of theirs."""
        leaders = {engine.record.pid: engine for engine in self._engines.values() if engine.code is None}
        while ended := ended_child():
            if ended[0] in leaders:
                leaders[ended[0]].code = ended[1]
                self._kill(leaders[ended[0]])

    def _end(self) -> None:
        """Kill the processes of ending engines; report those of which nothing runs as gone."""
        ending = [engine for engine in self._engines.values() if engine.ending is not None]
        if not ending:
            return
        self._pause = min(self._pause * 1.5, LOOK_LAST)
        table = kin.processes()
        # A process that no rule finds (a daemon with an environment of its own) ends with the last engine.
        hidden = kin.descendants(table, self._me[0]) if len(ending) == len(self._engines) else set()
        for engine in ending:
            assert engine.ending is not None  # noqa: S101 -- by the choice above
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
        """Kill every descendant that is left."""
        until = time.monotonic() + GIVE_UP
        while time.monotonic() < until:
            while ended_child():
                pass
            table = kin.processes()
            living = [pid for pid in kin.descendants(table, self._me[0]) if table[pid].alive]
            if not living:
                return
            for pid in living:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(LOOK_FIRST)


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
