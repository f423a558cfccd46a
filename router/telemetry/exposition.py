"""Writes families of metrics as Prometheus reads them, in slices: the event loop has its turn between two of them.

prometheus-client writes the text (`telemetry.prometheus`). It is imported when it is first needed, in a thread: a
router that nobody scrapes has no memory to spare for it.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Final

from router.telemetry.families import HISTOGRAM, Family
from router.telemetry.metrics import Point
from router.telemetry.tasks import aside

SLICE: Final = 0.001
"""Seconds for which the loop may be held at a time, by about as much again as one piece takes."""

AT_ONCE: Final = 64
"""Points of a piece; of histograms, each of which has nearly twenty series, a sixteenth of them."""

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_RANGE: Final = re.compile(r"([a-z*]+/[a-z*.+-]+)((?:;[^,;]*)*)")
_WEIGHT: Final = re.compile(r";q=([01](?:\.[0-9]*)?)(?:;|\Z)")

_END: Final = b"# EOF\n"

Write = Callable[[Family, Sequence[Point]], bytes]


def wants_openmetrics(accept: str) -> bool:
    """Tell from the header `Accept` whether a client would rather have OpenMetrics, which it must name."""
    weights: dict[str, float] = {}
    for each in re.sub(r"[ \t]", "", accept.lower()).split(","):
        said = _RANGE.fullmatch(each)
        if said is not None:
            weight = _WEIGHT.search(said[2])
            found = float(weight[1]) if weight is not None else 0.0 if ";q=" in said[2] else 1.0
            weights[said[1]] = max(found, weights.get(said[1], 0.0))
    text = next((weights[kind] for kind in ("text/plain", "text/*", "*/*") if kind in weights), 0.0)
    return 0.0 < weights.get("application/openmetrics-text", 0.0) >= text


async def exposition(
    found: Iterable[tuple[Family, Sequence[Point]]],
    *,
    openmetrics: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> bytes:
    """Write them. A family without points is left out."""
    module = await aside(import_module, "router.telemetry.prometheus")
    write: Write = module.openmetrics if openmetrics else module.text
    written: list[bytes] = []
    began = clock()
    for family, points in found:
        many = AT_ONCE // 16 if family.kind == HISTOGRAM else AT_ONCE
        for place in range(0, len(points), many):
            piece = write(family, points[place : place + many]).removesuffix(_END)
            written.append(_without_head(piece) if place else piece)
            if clock() - began >= SLICE:
                await asyncio.sleep(0)
                began = clock()
    return b"".join(written) + (_END if openmetrics else b"")


def _without_head(piece: bytes) -> bytes:
    """Leave out the comments of a piece's beginning, which the first piece of its family has, too."""
    while piece.startswith(b"# "):
        piece = piece.partition(b"\n")[2]
    return piece
