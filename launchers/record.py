"""The record of a running engine, `run/NAME.json` in the folder of logs: the next router finds the engine by it.

A keeper writes it after the spawn, and removes it when nothing of the engine is left. Standard library alone.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from launchers import kin
from launchers.files import at_once, own_folder, read_ordinary

SCRATCH = "router-"
"""The beginning of the names of engines' folders for temporary files; no other folder is ever removed."""

FORMAT = 2
"""The version of the record, and of a keeper's messages. Engines of another version are ended, not adopted."""


class ProcessRecord(NamedTuple):
    """One running engine, its keeper and its router.

    `path` is the record's own. `started`, `router_started` and `keeper_started` are as `kin.started` gives them,
    `fingerprint` as `spec.Command` gives it, `world` as `kin.world` does. `keep`: it outlives its router. `scratch` is
    its folder for temporary files, and also its mark and its id at its keeper. `keeper_at` is the keeper's socket, ""
    if it keeps nothing. Each request must show the `key`. `shared` are its files in shared memory.
    """

    path: str
    name: str
    pid: int
    started: str
    port: int
    fingerprint: str
    keep: bool
    scratch: str
    router_pid: int
    router_started: str
    keeper_pid: int
    keeper_started: str
    keeper_at: str
    world: str
    key: str = ""
    shared: tuple[str, ...] = ()
    format: int = FORMAT

    def write(self) -> None:
        """Write it whole or not at all, readable by its owner alone. Raises OSError."""
        path = Path(self.path)
        own_folder(path.parent)
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        with open(draft, "x", opener=at_once) as file:
            json.dump(self._asdict(), file)
        draft.replace(path)

    def clean_up(self) -> None:
        """Remove the files of an engine that has ended, and last the record itself."""
        import shutil  # noqa: PLC0415 -- takes as long to import as all else that a keeper needs

        if Path(self.scratch).name.startswith(SCRATCH):
            shutil.rmtree(self.scratch, ignore_errors=True)
        kin.remove_shared_memory(self.shared)
        written = ProcessRecord.read(Path(self.path))
        # Another router may have put its own there.
        if written is None or written.scratch == self.scratch:
            with suppress(OSError):
                Path(self.path).unlink()

    @staticmethod
    def read(path: Path) -> "ProcessRecord | None":
        """Read the record in a file, also one of another version; None if there is none in it."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            said = json.loads(read_ordinary(path)) | {"path": str(path.absolute())}
            if "keeper_pid" not in said:
                said = _without_keeper(said)
            read = ProcessRecord(**{name: value for name, value in said.items() if name in ProcessRecord._fields})
            if [type(value) for value in read[:-3]] == [type(value) for value in _EXAMPLE[:-3]]:
                return read._replace(key=str(read.key), shared=tuple(map(str, read.shared)))
        return None


def _without_keeper(said: dict[str, Any]) -> dict[str, Any]:
    """Translate a record of format 1: engines had no keeper, and start times were in seconds since 1970."""
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
