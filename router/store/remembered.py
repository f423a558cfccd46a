"""What is remembered, and the error of what can't be; no SQLite, which a router without launches doesn't load."""

from collections.abc import Mapping
from typing import Final, NamedTuple

MOST: Final = 4096
"""Footprints that are kept, the newest ones: a model not loaded for so many loads of others is measured again."""

MOST_MACHINES: Final = 256
"""Machines whose models are kept, the newest ones."""

MOST_TOLD: Final = 1024 * 1024
"""Characters of what is kept of one machine: thousands of models."""


class StoreError(Exception):
    """The database can't be read or written now; the message says why."""


class Remembered(NamedTuple):
    """What was learned under a key: `bytes` by device after `loads` loads, raised by a lack of memory or not."""

    bytes: Mapping[str, int]
    loads: int
    raised: bool
    load_seconds: float
