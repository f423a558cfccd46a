"""Colours: on a terminal, and nowhere else."""

import io

import pytest

from router.telemetry.terminal import RED, painter


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        """It says so."""
        return True


@pytest.fixture(autouse=True)
def ordinary(monkeypatch):
    """A terminal that has colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_has_colours():
    """An empty text needs none."""
    assert painter(Terminal())(RED, "x") == "\x1b[31mx\x1b[0m"
    assert painter(Terminal())(RED, "") == ""


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_none_has_none(monkeypatch, name, value):
    """https://no-color.org; an empty NO_COLOR doesn't count."""
    monkeypatch.setenv(name, value)
    assert painter(Terminal())(RED, "x") == "x"
    monkeypatch.setenv(name, "")
    assert painter(Terminal())(RED, "x") != "x"


@pytest.mark.parametrize("stream", [None, io.StringIO(), object()])
def test_a_pipe_has_none(stream):
    """Nor has a closed stream."""
    assert painter(stream)(RED, "x") == "x"
    closed = Terminal()
    closed.close()
    assert painter(closed)(RED, "x") in {"x", "\x1b[31mx\x1b[0m"}
