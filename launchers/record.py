"""The record of a running engine: `run/NAME.json` in the folder of logs, which tells the next router of it.

A keeper writes it after the spawn, and removes it when nothing of the engine is left. Standard library alone.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from launchers import kin
from launchers.files import read_ordinary

SCRATCH = "router-"
"""What the names of engines' own folders for temporary files begin with; no other is ever removed."""

FORMAT = 2
"""Of the record, and of what is said to a keeper: those of another version are ended, not adopted."""


class ProcessRecord(NamedTuple):
    """One running engine, who keeps it, and whose it is."""

    path: str  # the record's own
    name: str
    pid: int
    started: str  # kin.started, as are the other two
    port: int
    fingerprint: str  # spec.Command.fingerprint
    keep: bool  # whether it outlives its router
    scratch: str  # its own folder for temporary files; also its mark, and what its keeper knows it by
    router_pid: int
    router_started: str
    keeper_pid: int
    keeper_started: str
    keeper_at: str  # the keeper's socket; none where nothing is kept
    world: str  # kin.world
    key: str = ""  # what it is to be shown with each request
    shared: tuple[str, ...] = ()  # its files in shared memory
    format: int = FORMAT

    def write(self) -> None:
        """Write it whole or not at all, for nobody else to read. Raises OSError."""
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        with open(draft, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump(self._asdict(), file)
        draft.replace(path)

    def clean_up(self) -> None:
        """Remove what the engine, which has ended, has left in files, and in the end the record itself."""
        import shutil  # noqa: PLC0415 -- takes as long to import as all else that a keeper needs

        if Path(self.scratch).name.startswith(SCRATCH):
            shutil.rmtree(self.scratch, ignore_errors=True)
        kin.remove_shared_memory(self.shared)
        written = ProcessRecord.read(Path(self.path))
        if written is None or written.scratch == self.scratch:  # another router may have put its own there
            with suppress(OSError):
                Path(self.path).unlink()

    @staticmethod
    def read(path: Path) -> "ProcessRecord | None":
        """Read the record in a file, of another version, too; None where it holds none."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            said = json.loads(read_ordinary(path)) | {"path": str(path.absolute())}
            if "keeper_pid" not in said:
                said = _without_keeper(said)
            read = ProcessRecord(**{name: value for name, value in said.items() if name in ProcessRecord._fields})
            if [type(value) for value in read[:-3]] == [type(value) for value in _EXAMPLE[:-3]]:
                return read._replace(key=str(read.key), shared=tuple(map(str, read.shared)))
        return None


def _without_keeper(said: dict[str, Any]) -> dict[str, Any]:
    """Put a record of format 1 into the words of today: engines had no keeper, and started in seconds since 1970."""
    stat = read_ordinary("/proc/stat").decode()
    booted = float(stat.partition("btime")[2].split()[0])
    ticks = {
        each: str(round((said[each] - booted) * os.sysconf("SC_CLK_TCK"))) for each in ("started", "router_started")
    }
    return (
        {"scratch": "", "keep": True, "keeper_pid": 0, "keeper_started": "", "keeper_at": "", "format": 1}
        | said
        | ticks
    )


_EXAMPLE = ProcessRecord("", "", 0, "", 0, "", False, "", 0, "", 0, "", "", "")  # noqa: FBT003 -- types alone
