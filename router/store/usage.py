"""The table `usage`: what was used by each key, of each model, on each day."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from router.core.usage import Sum

if TYPE_CHECKING:
    import sqlite3

CREATE_USAGE: Final = """\
CREATE TABLE usage (
    day TEXT NOT NULL,           -- of the machine's own calendar, as 2026-11-30
    key TEXT NOT NULL,           -- the key's name; empty: none was shown
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    estimated INTEGER NOT NULL,  -- how many of the requests have estimated tokens
    prompt INTEGER NOT NULL,     -- tokens
    cached INTEGER NOT NULL,     -- tokens of the prompts that were in an engine's cache
    completion INTEGER NOT NULL, -- tokens
    cost REAL NOT NULL,          -- money, in the unit of the prices in router.yaml
    PRIMARY KEY (day, key, model)
) WITHOUT ROWID"""

MOST_ROWS: Final = 1_000_000
"""Rows that are kept: the oldest days are dropped. 20 keys that use 10 models each day have 13 years."""

GROUPS: Final = ("key", "model", "day")
"""What can be told apart, in the table's words."""

_COUNTS: Final = ("requests", "estimated", "prompt", "cached", "completion", "cost")

_ADD: Final = """\
INSERT INTO usage (day, key, model, requests, estimated, prompt, cached, completion, cost)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, key, model) DO UPDATE SET
    requests = requests + excluded.requests, estimated = estimated + excluded.estimated,
    prompt = prompt + excluded.prompt, cached = cached + excluded.cached,
    completion = completion + excluded.completion, cost = cost + excluded.cost"""
_DROP_OLDEST: Final = "DELETE FROM usage WHERE day <= (SELECT day FROM usage ORDER BY day DESC LIMIT 1 OFFSET ?)"


class Place(NamedTuple):
    """Where something is counted."""

    day: str
    key: str
    model: str


class Sums(NamedTuple):
    """What was used: requests, how many of them are estimated, tokens, and money."""

    requests: int = 0
    estimated: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    cost: float = 0.0


NOTHING: Final = Sums()

Group = tuple[str, ...]
"""The values of what is told apart, in the order in which it was asked for."""


def sums_of(sum_: Sum) -> Sums:
    """Write down a sum as it is now."""
    return Sums(sum_.requests, sum_.estimated, sum_.prompt, sum_.cached, sum_.completion, sum_.cost)


def plus(one: Sums, two: Sums) -> Sums:
    """Add up both."""
    return Sums(
        one.requests + two.requests,
        one.estimated + two.estimated,
        one.prompt + two.prompt,
        one.cached + two.cached,
        one.completion + two.completion,
        one.cost + two.cost,
    )


def add(db: "sqlite3.Connection", used: Mapping[Place, Sums]) -> None:
    """Add to what is there."""
    db.executemany(_ADD, [(*place, *sums) for place, sums in used.items()])


def drop_oldest(db: "sqlite3.Connection") -> None:
    """Drop the oldest days, if there are more rows than are kept."""
    db.execute(_DROP_OLDEST, [MOST_ROWS])


def sums(db: "sqlite3.Connection", by: Sequence[str], since: str) -> dict[Group, Sums]:
    """Add up what was used from a day on (empty: from the first one), told apart `by` some of GROUPS."""
    names = ", ".join(name for name in GROUPS if name in by)
    counts = ", ".join(f"total({name})" for name in _COUNTS)
    query = f"SELECT {counts}{', ' if names else ''}{names} FROM usage WHERE day >= ?"  # noqa: S608 -- our own words
    query += f" GROUP BY {names}" if names else ""
    found: dict[Group, Sums] = {}
    order = [name for name in GROUPS if name in by]
    for row in db.execute(query, [since]):
        counted, values = row[: len(_COUNTS)], dict(zip(order, row[len(_COUNTS) :], strict=True))
        if counted[0]:
            tokens = [int(each) for each in counted[:-1]]
            found[tuple(str(values[name]) for name in by)] = Sums(*tokens, cost=counted[-1])  # type: ignore[misc]
    return found


def grouped(used: Iterable[tuple[Place, Sums]], by: Sequence[str], since: str) -> dict[Group, Sums]:
    """Do the same with what isn't in the table yet."""
    found: dict[Group, Sums] = {}
    for place, each in used:
        if place.day >= since:
            group = tuple(str(getattr(place, name)) for name in by)
            found[group] = plus(found.get(group, NOTHING), each)
    return found
