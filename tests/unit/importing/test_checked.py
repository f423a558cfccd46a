"""What is made of other programs' configurations, `check` accepts, as it stands, once its variables are set."""

import re
import shutil
from pathlib import Path

import pytest

from launchers.engines import ENGINES
from router.cli import check
from router.cli.main import main
from router.doctor.looking import look_at_machine
from router.importing.accepting import stand_ins
from tests.running import REPOSITORY
from tests.unit.importing.routed import made_of

FILES = sorted((Path(__file__).parent / "imports").glob("*/*.*"))


@pytest.fixture(scope="module")
def machine():
    """This machine, looked at once."""
    return look_at_machine(ENGINES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_check_accepts_it(tmp_path, monkeypatch, capsys, machine, file):
    """Its programs are there, and so are models beside it."""
    imported, text, _ = made_of(file.read_bytes(), file.name)
    (tmp_path / "router.yaml").write_text(text)
    (tmp_path / "models").mkdir()
    for name in set(re.findall(r"models/[\w.-]+\.gguf", text)):
        (tmp_path / name).write_bytes((REPOSITORY / "models/demo/demo.gguf").read_bytes())
    for name, value in stand_ins(imported.variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(check, "look_at_machine", lambda _: machine)
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/usr/bin/{name}")
    code = main(["check", "--config", str(tmp_path / "router.yaml")])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "can be used" in said.out
