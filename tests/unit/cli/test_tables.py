import sys

import pytest

from router.cli import tables

ROWS = [{"ID": "3f0c7a52-0000", "STATE": "queued, 3 ahead of it", "AGE": "1.5s", "PATH": "/v1/chat/completions"}]


class Terminal:
    """A terminal of some width."""

    def isatty(self):
        """It is one."""
        return True


@pytest.fixture
def drawn(monkeypatch):
    def draw(width):
        monkeypatch.setattr(sys, "stdout", Terminal())
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("LINES", "25")
        monkeypatch.setenv("TERM", "dumb")
        return tables.table(ROWS, numbers=["AGE"], spare=["PATH"])

    return draw


def test_a_wide_terminal(drawn):
    assert drawn(80)[1].split() == [
        "3f0c7a52-0000",
        "queued,",
        "3",
        "ahead",
        "of",
        "it",
        "1.5s",
        "/v1/chat/completions",
    ]


def test_a_narrower_one_has_fewer_columns(drawn):
    assert "PATH" not in drawn(60)[0]


def test_a_narrow_one_wraps_what_is_no_name(drawn):
    """What people copy stays whole."""
    assert [line.split()[0] for line in drawn(34)] == ["ID", "3f0c7a52-0000", "ahead"]


@pytest.mark.parametrize("width", [30, 10, 1])
def test_one_that_is_far_too_narrow_has_a_line_for_each_value(drawn, width):
    """A strip of four letters tells nobody anything."""
    assert drawn(width) == ["3f0c7a52-0000", "  STATE queued, 3 ahead of it", "  AGE 1.5s"]
