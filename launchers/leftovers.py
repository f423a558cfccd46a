"""What a router that was killed left running, found again by the next one, and ended.

Each running engine has a record, `run/NAME.json` in the folder of logs: written after the spawn, removed after the
exit. A record that is still there when a router starts tells of an engine whose router may have died. On Linux the
engine itself died with it (see shim.py), but not what the engine had started: those hold gigabytes.

Nobody may be killed by mistake, and pids are given again. So:

1. A pid counts only together with its start time. The two clocks that make up a start time (boot time and ticks)
   may drift apart by an adjusted wall clock: TOLERANCE seconds are allowed for that, which no pid is reused within.
2. A record counts only in the world that it was written in: after a reboot, or in a new container over old logs, all
   pids are strangers.
3. An engine leads a session, and all that it started stays in it. Where the leader is dead, what is left of its
   session is still known by the session's id: no new process gets that number for a pid while anyone has it as a
   session. Where the leader's pid is another program's now, nothing of ours is left.
4. A record of a router that lives is left alone: two may share a folder of logs.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import structlog

from launchers.tree import remove_shared_memory

TOLERANCE = 1.0  # seconds by which the start time of the same process may differ between two readings
_SCRATCH = "router-"
GONE_WITHIN = 5.0  # seconds to wait for what was killed

log = structlog.get_logger("launchers")


@dataclass(frozen=True, slots=True)
class Record:
    """One running engine, and the router that runs it."""

    name: str
    pid: int
    started: float  # psutil's create_time: seconds since the epoch
    port: int
    fingerprint: str  # spec.Command.fingerprint
    router_pid: int
    router_started: float
    world: str
    scratch: str = ""  # its own folder for temporary files
    shared: tuple[str, ...] = ()  # its files in shared memory


def make_scratch() -> str:
    """Make a folder for one engine's temporary files: killed, it would leave them. A short path, as sockets want it."""
    return tempfile.mkdtemp(prefix=_SCRATCH)


def remove_scratch(folder: str) -> None:
    """Remove such a folder with all that is in it; nothing else, whatever a record may say."""
    if Path(folder).name.startswith(_SCRATCH):
        shutil.rmtree(folder, ignore_errors=True)


def clean_up(scratch: str, shared: Iterable[str]) -> None:
    """Remove what an engine that has ended has left in files."""
    remove_scratch(scratch)
    remove_shared_memory(shared)


def remember(
    folder: Path, name: str, pid: int, port: int, fingerprint: str, scratch: str = "", shared: Iterable[str] = ()
) -> None:
    """Write the record of an engine that this process has spawned or adopted."""
    try:
        record = Record(
            name=name,
            pid=pid,
            started=psutil.Process(pid).create_time(),
            port=port,
            fingerprint=fingerprint,
            router_pid=os.getpid(),
            router_started=psutil.Process().create_time(),
            world=_world(),
            scratch=scratch,
            shared=tuple(shared),
        )
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"{name}.json.new"
        draft.write_text(json.dumps(asdict(record)))
        draft.replace(_path(folder, name))
    except psutil.NoSuchProcess:
        pass  # it has ended already
    except OSError as error:
        log.warning("an engine's record can't be written: should this router be killed, it may stay",
                    name=name, pid=pid, reason=str(error))  # fmt: skip


def forget(folder: Path, name: str) -> None:
    """Remove the record of an engine that has ended."""
    with suppress(OSError):
        _path(folder, name).unlink()


def left_running(folder: Path, name: str) -> Record | None:
    """Find the engine of this name that a dead router left running; None if there is none."""
    record = _read(_path(folder, name))
    if record is None or _is_alive(record.router_pid, record.router_started, record.world):
        return None
    return record if _is_alive(record.pid, record.started, record.world) else None


def running(folder: Path) -> dict[str, int]:
    """Tell the pid of each engine that runs and has its record here, by its name."""
    found = {record.name: record for path in sorted(folder.glob("*.json")) if (record := _read(path)) is not None}
    return {name: each.pid for name, each in found.items() if _is_alive(each.pid, each.started, each.world)}


def reap(folder: Path, spared: Collection[str] = ()) -> list[Record]:
    """End what dead routers left running, and return the records of it. Blocks until it is gone, 5 s at most.

    `spared` are names of engines that are to be adopted.
    """
    reaped = []
    for path in sorted(folder.glob("*.json")):
        record = _read(path)
        if record is not None and (
            _is_alive(record.router_pid, record.router_started, record.world) or record.name in spared
        ):
            continue
        if record is not None:
            if end(record):
                reaped.append(record)
            clean_up(record.scratch, record.shared)
        with suppress(OSError):
            path.unlink()
    return reaped


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _read(path: Path) -> Record | None:
    """The record in a file; None where it holds none."""
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_alive(pid: int, started: float, world: str) -> bool:
    """Whether that very process runs, not another that was given its number."""
    return world == _world() and (found := _started(pid)) is not None and abs(found - started) <= TOLERANCE


def _started(pid: int) -> float | None:
    """When the process with this pid started; None where there is none, or only its zombie."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return 0.0  # another user's, so none of ours


def end(record: Record) -> bool:
    """Kill the engine and all of its session. Whether there was anything to kill."""
    leader = _started(record.pid)
    theirs = leader is not None and abs(leader - record.started) > TOLERANCE
    if record.world != _world() or theirs:
        return False
    found = False
    deadline = time.monotonic() + GONE_WITHIN
    while (session := _session(record.pid)) and time.monotonic() < deadline:
        found = True
        for process in session:  # again and again: it may be starting another
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(session, timeout=0.1)
    return found


def _session(leader: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _world() -> str:
    """Names the time and place in which a pid means something: this boot of this machine, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"booted {psutil.boot_time():.0f}"
