"""The table `footprints`: how much memory each model took on each device, and how long it took to load."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Final

from router.store.remembered import MOST, Remembered

CREATE_FOOTPRINTS: Final = """\
CREATE TABLE footprints (
    key TEXT PRIMARY KEY,        -- model file, engine, flags and devices
    bytes TEXT NOT NULL,         -- JSON: bytes by the device's name
    loads INTEGER NOT NULL,      -- how many loads were measured
    raised INTEGER NOT NULL,     -- 1: a lack of memory has raised it since
    load_seconds REAL NOT NULL,
    at REAL NOT NULL             -- when it was written, Unix time
)"""

_ALL: Final = "SELECT key, bytes, loads, raised, load_seconds FROM footprints ORDER BY rowid"
_PUT: Final = (
    "INSERT OR REPLACE INTO footprints (key, bytes, loads, raised, load_seconds, at) VALUES (?, ?, ?, ?, ?, ?)"
)
# A row that is replaced gets a new rowid, so the rowids are in the order of writing, whatever the clock says.
_DROP_OLDEST: Final = """\
DELETE FROM footprints WHERE rowid <= (SELECT rowid FROM footprints ORDER BY rowid DESC LIMIT 1 OFFSET ?)"""

_LARGEST: Final = 1 << 60
"""A figure beyond this is nonsense."""


def all_footprints(db: sqlite3.Connection) -> dict[str, Remembered]:
    """Read all rows that make sense, the oldest first."""
    read = {key: _read(*columns) for key, *columns in db.execute(_ALL)}
    return {key: remembered for key, remembered in read.items() if remembered is not None}


def put(db: sqlite3.Connection, learned: Mapping[str, Remembered], at: float) -> None:
    """Write some rows at a Unix time, and drop the oldest ones."""
    rows = [
        (key, json.dumps(dict(each.bytes)), each.loads, int(each.raised), each.load_seconds, at)
        for key, each in learned.items()
    ]
    db.executemany(_PUT, rows)
    db.execute(_DROP_OLDEST, [MOST])


def _read(said: object, loads: object, raised: object, seconds: object) -> Remembered | None:
    """Read a row; None if somebody has written nonsense there."""
    try:
        sizes = json.loads(said) if isinstance(said, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(sizes, dict) or not all(map(_is_count, sizes.values())):
        return None
    if not isinstance(loads, int) or not _is_count(loads) or not isinstance(seconds, float):
        return None
    return Remembered(sizes, loads, raised == 1, seconds) if 0 <= seconds < _LARGEST else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST
