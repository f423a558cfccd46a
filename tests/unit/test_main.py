import sys

from router.__main__ import main


def test_windows_is_told_where_the_router_runs(monkeypatch, capsys):
    """Instead of an error about a signal that isn't there."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert main() == 2
    assert "inside WSL" in capsys.readouterr().err
