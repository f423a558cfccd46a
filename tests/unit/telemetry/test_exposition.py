"""How metrics are written: as Prometheus and OpenMetrics have it, and in slices."""

import asyncio
import subprocess
import sys
from itertools import count

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from router.telemetry import exposition as module
from router.telemetry.exposition import exposition, wants_openmetrics
from router.telemetry.families import Family
from router.telemetry.metrics import Histogram, Point

ASKED = Family("router_asked_total", "counter", ("name", "kind"), "What was asked.")
NOW = Family("router_now", "gauge", (), "How it is.")
TOOK = Family("router_took_seconds", "histogram", ("name",), "How long it took.", (0.5, 1, 2.5))
EMPTY = Family("router_empty", "gauge", (), "Nothing.")


def took(*values: float) -> Histogram:
    histogram = Histogram(TOOK.buckets)
    for each in values:
        histogram.add(each)
    return histogram


FOUND: list[tuple[Family, list[Point]]] = [
    (ASKED, [(('a "quoted"\\ name', "x"), 3), (("two\nlines", "狐"), 4.5)]),
    (EMPTY, []),
    (NOW, [((), 2)]),
    (TOOK, [(("a",), took(0.5, 0.7, 9.0))]),
]


async def test_prometheus_form():
    """Each family once, behind its meaning and type; buckets count what is below them, too."""
    assert (
        (await exposition(FOUND, openmetrics=False)).decode()
        == """\
# HELP router_asked_total What was asked.
# TYPE router_asked_total counter
router_asked_total{kind="x",name="a \\"quoted\\"\\\\ name"} 3.0
router_asked_total{kind="狐",name="two\\nlines"} 4.5
# HELP router_now How it is.
# TYPE router_now gauge
router_now 2.0
# HELP router_took_seconds How long it took.
# TYPE router_took_seconds histogram
router_took_seconds_bucket{le="0.5",name="a"} 1.0
router_took_seconds_bucket{le="1.0",name="a"} 2.0
router_took_seconds_bucket{le="2.5",name="a"} 2.0
router_took_seconds_bucket{le="+Inf",name="a"} 3.0
router_took_seconds_count{name="a"} 3.0
router_took_seconds_sum{name="a"} 10.2
"""
    )


@pytest.mark.parametrize(("is_open", "parse"), [(False, text_string_to_metric_families), (True, None)])
async def test_a_parser_reads_what_was_written(is_open, parse):
    """In both forms, also of families that are written in many pieces."""
    parse = parse or openmetrics.text_string_to_metric_families
    many = [((f"name {n}", "x"), n) for n in range(500)]
    histograms = [((f"name {n}",), took(0.1 * n)) for n in range(50)]
    written = (await exposition([(ASKED, many), (TOOK, histograms)], openmetrics=is_open)).decode()
    families = {each.name: each for each in parse(written)}
    assert written.count("# HELP") == written.count("# TYPE") == len(families) == 2
    assert written.endswith("# EOF\n") == is_open
    assert written.count("# EOF") == is_open
    assert {sample.labels["name"]: sample.value for sample in families["router_asked"].samples} == {
        f"name {n}": float(n) for n in range(500)
    }
    assert len(families["router_took_seconds"].samples) == 50 * 6


OPEN, TEXT = "application/openmetrics-text", "text/plain"


@pytest.mark.parametrize(
    ("accept", "wants"),
    [
        (f"{OPEN};version=1.0.0;q=0.5,{OPEN};version=0.0.1;q=0.4,{TEXT};version=0.0.4;q=0.3,*/*;q=0.1", True),
        (OPEN, True),
        (f"{TEXT}, {OPEN.upper()} ; version=1.0.0", True),
        (f"{TEXT};version=0.0.4;q=1,{OPEN};q=0", False),
        (f"{TEXT};q=1,{OPEN};q=0.1", False),
        (f"{TEXT};q=0,{OPEN};q=0.1,*/*", True),
        (f"text/*;q=0.5,{OPEN};q=0.4", False),
        (f"{OPEN};q=0.000", False),
        (f"{OPEN};q=wrong", False),
        (f"x{OPEN}, {OPEN}x", False),
        ("*/*", False),
        ("", False),
        (";,=", False),
    ],
)
def test_the_form_that_a_client_would_rather_have(accept, wants):
    """By its weights; OpenMetrics only if it is named."""
    assert wants_openmetrics(accept) is wants


async def test_others_have_their_turn():
    """Between two pieces, once a slice is over."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    many = [((f"name {n}", "x"), n) for n in range(1000)]
    await exposition([], openmetrics=False)
    turns = 0
    clock = count(0.0, module.SLICE)
    await exposition([(ASKED, many)], openmetrics=False, clock=lambda: next(clock))
    assert turns >= 1000 // module.AT_ONCE
    task.cancel()


def test_a_router_that_nobody_scrapes_does_not_import_it():
    """It takes some megabytes."""
    words = "import router.app, router.cli.run, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
