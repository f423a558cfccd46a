"""Engines that an earlier router left running: the next router finds them, and adopts or ends them.

Each running engine has a record (launchers.record). A record that is there when a router starts belongs to one of:

1. A living router. Its engine is left alone: where a folder can't be locked, two routers may share it.
2. A living keeper without a router. It ends its engines by itself, which is waited for, or keeps them. Of those that it
   keeps, the router adopts what it would start itself; the keeper gets orders to end the others.
3. Nobody alive: the keeper was killed, too, or the system has no subreapers. What is left of the engine is found by its
   session, its mark and its descendants (launchers.kin), and ended here.

No process may be killed by mistake, and pids are reused. So a pid counts only together with its start time, and only in
the world in which its record was written: after a reboot, or in a new container over old logs, all pids are strangers'.
"""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from launchers import kin
from launchers.record import FORMAT, SCRATCH, ProcessRecord

GONE_WITHIN = 5.0
"""Seconds to wait for what must end."""

LOOK_EVERY = 0.02
"""Seconds between two looks whether it has ended."""


def left_running(folder: Path, name: str) -> ProcessRecord | None:
    """Find the engine of this name that a dead router left to its keeper, or None."""
    for record in _records(folder):
        is_left = record.name == name and record.format == FORMAT and record.keep and not _has_router(record)
        if is_left and _is_alive(record.pid, record.started, record) and _has_keeper(record):
            return record
    return None


def place(folder: Path, name: str) -> Path:
    """Choose the path of an engine's record. A living router's record in the same folder stays as it is."""
    path = folder / f"{name}.json"
    record = ProcessRecord.read(path)
    if record is None or record.router_pid == os.getpid() or not _has_router(record):
        return path
    return folder / f"{name}@{os.getpid()}.json"


def running(folder: Path) -> dict[str, int]:
    """Give the pids of the running engines that have a record here, by their names."""
    return {record.name: record.pid for record in _records(folder) if _is_alive(record.pid, record.started, record)}


def reap(folder: Path, spared: Collection[str] = ()) -> list[ProcessRecord]:
    """End what dead routers left running, and give its records. Blocks until it is gone, some seconds at most.

    `spared` are the names of engines to be adopted.
    """
    reaped = []
    for path in sorted(folder.glob("*.json")):
        record = ProcessRecord.read(path)
        if record is not None and (
            _has_router(record) or (record.name in spared and left_running(folder, record.name) == record)
        ):
            continue
        if record is None:
            with suppress(OSError):
                path.unlink()
        elif end(record):
            reaped.append(record)
    return reaped


def end(record: ProcessRecord) -> bool:
    """End an engine and all that belongs to it, and remove its files. Tell whether anything ran.

    A living keeper does it, and removes the record; if it doesn't within `GONE_WITHIN`, it is killed.
    """
    if record.world != kin.world():
        record.clean_up()
        return False
    found = False
    if _has_keeper(record):
        found = _is_alive(record.pid, record.started, record)
        _tell_to_end(record)
        _eventually(lambda: not Path(record.path).exists() or not _has_keeper(record))
        if not Path(record.path).exists():
            return found
        with suppress(ProcessLookupError):
            os.kill(record.keeper_pid, signal.SIGKILL)
    # The door of a keeper that is dead by now.
    if (door := Path(record.keeper_at).parent).name.startswith(SCRATCH):
        shutil.rmtree(door, ignore_errors=True)
    engine = kin.Kin(record.pid, record.started, record.scratch)
    found |= _kill(engine)
    # Again and again: it may be starting another process.
    _eventually(lambda: not _kill(engine))
    record.clean_up()
    return found


def _records(folder: Path) -> list[ProcessRecord]:
    return [record for path in sorted(folder.glob("*.json")) if (record := ProcessRecord.read(path)) is not None]


def _kill(engine: kin.Kin) -> bool:
    """Kill what runs of an engine; tell whether anything did."""
    table = kin.processes()
    living = [pid for pid in engine.look(table) if table[pid].alive]
    for pid in living:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return bool(living)


def _tell_to_end(record: ProcessRecord) -> None:
    """Order its keeper to end an engine; a keeper ends what isn't to be kept by itself."""
    if not record.keep:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX) as keeper:
        keeper.settimeout(GONE_WITHIN)
        keeper.connect(record.keeper_at)
        keeper.sendall(json.dumps({"do": "kill", "id": record.scratch}).encode() + b"\n")


def _eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + GONE_WITHIN
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(LOOK_EVERY)
    return True


def _has_router(record: ProcessRecord) -> bool:
    return _is_alive(record.router_pid, record.router_started, record)


def _has_keeper(record: ProcessRecord) -> bool:
    return _is_alive(record.keeper_pid, record.keeper_started, record)


def _is_alive(pid: int, started: str, record: ProcessRecord) -> bool:
    """Whether that very process runs, not another with the same pid."""
    return record.world == kin.world() and kin.is_same(kin.started(pid) or "", started)
