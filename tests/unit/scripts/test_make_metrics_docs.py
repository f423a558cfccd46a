"""docs/metrics.md is what the metrics' definitions say."""

import sys

import pytest

from scripts import make_metrics_docs as docs


@pytest.fixture
def called(monkeypatch, tmp_path):
    """Run the command on another file."""
    monkeypatch.setattr(docs, "FILE", tmp_path / "metrics.md")

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["make_metrics_docs", *arguments])
        return docs.main()

    return call


def test_it_is_current(monkeypatch, capsys):
    """What is in the folder is what would be written."""
    monkeypatch.setattr(sys, "argv", ["make_metrics_docs", "--check"])
    assert docs.main() == 0, capsys.readouterr().err


def test_what_is_stale_is_told_and_written(called, tmp_path, capsys):
    """--check changes nothing; without it the page is written, and then it is current."""
    assert called("--check") == 1
    assert capsys.readouterr().err.count("is not current: run") == 1
    assert called() == 0
    assert called("--check") == 0
    assert (tmp_path / "metrics.md").read_text(encoding="utf-8") == docs.page()
