import io
import re
from typing import Any

from rich.console import Console

from scripts.stress import page, report
from scripts.stress.results import StressResults


def sheets(results):
    return {sheet.title: sheet for sheet in [*report.sheets(results), *report.details(results)]}


def test_the_tables(finished):
    """There is one for each thing that was found; a column only where it tells something."""
    found = sheets(finished)
    assert list(found) == [
        "The loads", "Failures", "Ratios to base, and from which to which round", "Late over early", "Behaviour",
        "The server and what it started, on this machine", "The load generator", "The options",
    ]  # fmt: skip
    assert all(len(row) == len(sheet.heads) for sheet in found.values() for row in sheet.rows)
    assert ("BROKEN", "p99 of TTFT", "100 ms", "198 ms") in report.bounds(finished)
    assert ("1 client", "base", "timeout", "<b>late</b>" * 7, "1") in found["Failures"].rows
    plain = StressResults(**{**{n: getattr(finished, n) for n in finished.__struct_fields__}, "targets": {"base": ""}})
    assert len(sheets(plain)["The loads"].heads) == len(found["The loads"].heads) - 1


def test_backends(finished):
    """Where there are several, each has a row for each load."""
    assert "By backend" not in sheets(finished)
    for step in finished.steps:
        step.backends[""] = step.backends["demo"]
    rows = sheets(finished)["By backend"].rows
    assert [row[:5] for row in rows[:2]] == [
        ("1 client", "base", "demo", "100", "1"), ("1 client", "base", "(not said)", "100", "1"),
    ]  # fmt: skip


def test_in_a_terminal(finished):
    """All of it can be read, and nothing of what others said is taken for markup."""
    console = Console(width=160, file=io.StringIO(), record=True)
    report.show(finished, console)
    said = console.export_text()
    assert "[bold" not in said
    for words in ("BROKEN", "198 ms", "timeout", "a stream's form", "used 10% of a core"):
        assert words in said


def test_in_a_narrow_terminal(finished):
    """A wide table of numbers is turned, so that no number is cut in two."""
    console = Console(width=70, file=io.StringIO(), record=True)
    report.show(finished, console)
    said = console.export_text()
    assert re.search(r"load +1 client +1 client", said)
    assert re.search(r"TTFT p50 +149 ms +149 ms", said)
    for name in ("TTFT p99", "token gap p50", "token gap p99", "whole p50", "whole p99"):
        assert re.search(rf"^ *{name} ", said, re.MULTILINE), name


def test_tokens_that_come_several_at_a_time(finished):
    """A gap of 0 would look like a mistake."""
    for step in finished.steps:
        step.times.gap.p50 = 0.0
    table = sheets(finished)["The loads"]
    assert {row[report.full(table.heads).index("token gap p50")] for row in table.rows} == {"at once"}


def test_the_page(finished):
    """One file: nothing is loaded from anywhere, what others said is text, every plot is there."""
    html = page.page(finished)
    assert '<td class=n data-name="TTFT p99">' in html  # what a narrow screen shows before each cell
    assert not re.findall(r"(?:src|href|url)\s*[=(]", html)
    assert "<script" not in html
    assert "<b>late" not in html
    assert "&lt;other&gt;" in html
    titles = re.findall(r"<figcaption>([^<]+)", html)
    assert titles == [
        "TTFT by percentile", "Time between tokens by percentile", "Tokens/s", "TTFT, median", "Requests ended/s",
        "Requests in flight", "Failures/s", "CPU, in cores", "Resident memory", "Requests by backend",
    ]  # fmt: skip


def test_nothing_was_measured(finished):
    """A run that was interrupted at once has a report, too."""
    empty: dict[str, Any] = {
        "steps": [],
        "samples": [],
        "checks": [],
        "ratios": [],
        "drifts": [],
        "bounds": [],
        "findings": [],
    }
    fields = {name: getattr(finished, name) for name in finished.__struct_fields__}
    results = StressResults(**{**fields, **empty, "interrupted": True})
    assert "Nothing was measured." in page.page(results)
    report.show(results, Console(quiet=True))
