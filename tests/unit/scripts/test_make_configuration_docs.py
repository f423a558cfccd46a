"""docs/configuration.md and docs/router.schema.json are what the types say."""

import json
import sys

import pytest

from router.config.schema import schema
from scripts import make_configuration_docs as docs


@pytest.fixture
def called(monkeypatch, tmp_path):
    """Run the command in another folder."""
    monkeypatch.setattr(docs, "DOCS", tmp_path)

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["make_configuration_docs", *arguments])
        return docs.main()

    return call


def test_they_are_current(monkeypatch, capsys):
    """What is in the folder is what would be written."""
    monkeypatch.setattr(sys, "argv", ["make_configuration_docs", "--check"])
    assert docs.main() == 0, capsys.readouterr().err


def test_what_is_stale_is_told_and_written(called, tmp_path, capsys):
    """--check changes nothing; without it both are written, and then they are current."""
    assert called("--check") == 1
    assert capsys.readouterr().err.count("is not current: run") == 2
    assert called() == 0
    assert called("--check") == 0
    assert json.loads((tmp_path / "router.schema.json").read_text(encoding="utf-8")) == schema()
    (tmp_path / "configuration.md").write_text("old", encoding="utf-8")
    assert called("--check") == 1
    assert (tmp_path / "configuration.md").read_text(encoding="utf-8") == "old"
