"""The table `machines`: what each machine that may sleep said last of its models, as JSON, by its URL."""

import sqlite3
from collections.abc import Mapping
from typing import Final

from router.store.remembered import MOST_MACHINES, MOST_TOLD

CREATE_MACHINES: Final = """\
CREATE TABLE machines (
    key TEXT PRIMARY KEY,        -- its URL in router.yaml
    told TEXT NOT NULL,          -- JSON
    at REAL NOT NULL             -- when it was written, Unix time
)"""

SINCE: Final = 2
"""The version of state.db that has it first."""

_ALL: Final = "SELECT key, told FROM machines WHERE typeof(told) = 'text' AND length(told) <= ? ORDER BY rowid"
_PUT: Final = "INSERT OR REPLACE INTO machines (key, told, at) VALUES (?, ?, ?)"
_DROP_OLDEST: Final = """\
DELETE FROM machines WHERE rowid <= (SELECT rowid FROM machines ORDER BY rowid DESC LIMIT 1 OFFSET ?)"""


def all_machines(db: sqlite3.Connection) -> dict[str, str]:
    """Read all rows, the oldest first; what is written there is for the reader to check."""
    return dict(db.execute(_ALL, [MOST_TOLD]))


def put_machines(db: sqlite3.Connection, told: Mapping[str, str], at: float) -> None:
    """Write some rows at a Unix time, and drop the oldest ones."""
    db.executemany(_PUT, [(key, each, at) for key, each in told.items()])
    db.execute(_DROP_OLDEST, [MOST_MACHINES])
