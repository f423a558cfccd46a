"""A million names, keys, paths and ids that clients make up: metrics stay as large as they were."""

import gc
from typing import Any

import psutil

from router.core.ending import Ending
from router.core.record import Record
from router.telemetry.metrics import MOST_KEYS, MOST_PAIRS, MOST_ROWS, Metrics

MANY = 1_000_000
ROOM = 16 << 20
"""Bytes by which the process may be larger at the end than after the first tenth: what the allocator keeps."""

KNOWN = [f"model {n}" for n in range(50)]


class Names:
    """Fifty models, and a route for every name that begins with `any-`."""

    now = object()

    def meant(self, asked: str, backend: str | None) -> tuple[str, str]:  # noqa: ARG002
        """Look a name up."""
        if asked.startswith("any-"):
            return "model 0", "any-*"
        return (asked, "") if asked in KNOWN else ("", "")


def test_a_million_of_each():
    """Neither series nor memory grow, whatever is made up; and each request is counted."""
    metrics, process = Metrics(Names()), psutil.Process()
    sizes, memory = [], []
    for n in range(MANY):
        made_up = f"{n:x}"
        good = n % 2
        asked = f"any-{made_up}" if good else made_up
        record = Record(
            made_up, f"/v1/{made_up}", asked, f"box {n % 5}" if good else None, 200 if good else 404,
            "answered" if good else f"The model '{made_up}' does not exist.", 1, 0.1, 1.0, 100, 8, b"",
            key=made_up, client=made_up, error="" if good else "model_not_found",
        )  # fmt: skip
        metrics.ended(record, Ending(n % 5000, n % 300, "stop", error=False))
        if n % (MANY // 10) == MANY // 10 - 1:
            sizes.append(sum(len(points) for _, points in metrics.points()))
            gc.collect()
            memory.append(process.memory_info().rss)
    assert len(set(sizes)) == 1
    assert sizes[0] <= MOST_PAIRS * 15 + MOST_ROWS + 3 * MOST_KEYS + 100
    assert memory[-1] - memory[0] < ROOM
    counted: dict[str, dict[tuple[str, ...], Any]] = {family.name: dict(points) for family, points in metrics.points()}
    assert sum(counted["router_requests_total"].values()) == MANY
    assert sum(counted["router_key_requests_total"].values()) == MANY
