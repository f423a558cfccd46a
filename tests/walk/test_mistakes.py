"""The usual mistakes in router.yaml: `check` says of each what mistakes.md has, letter by letter."""

import re
from pathlib import Path

import pytest

from router.cli.main import main
from tests.running import REPOSITORY

PAGE = Path(__file__).with_name("mistakes.md").read_text(encoding="utf-8")
CASES = re.findall(r"^## (.*?) \((\d)\)\n\n```yaml\n(.*?)```\n\n```\n(.*?)```\n", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "code", "text", "said"), CASES, ids=[name for name, *_ in CASES])
def test_a_mistake(name, code, text, said, tmp_path, monkeypatch, capsys):  # noqa: ARG001 - the name is the test's
    """Its place, what is wrong, what would be right, and the line with a caret."""
    (tmp_path / "good.gguf").write_bytes(b"GGUF" + bytes(60))
    (tmp_path / "page.gguf").write_text("<!DOCTYPE html>")
    (tmp_path / "demo").symlink_to(REPOSITORY / "models/demo")
    (tmp_path / "router.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MY_KEY", raising=False)
    assert main(["check"]) == int(code)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.replace(str(tmp_path), "FOLDER") == said


def test_no_mistake_is_left_out():
    """Each heading of the page has its test."""
    assert len(CASES) == PAGE.count("\n## ") >= 35
