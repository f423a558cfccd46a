"""docs/security.md keeps to the code: its tests are there, its lists are those of the engines."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from launchers.engines import ENGINES
from router.doctor.faults import FAULTS

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "security.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("## Published faults") :]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_every_published_fault_has_a_test():
    """A row without one would be a promise that nobody looks after."""
    rows = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
    assert len(rows) >= 20
    assert [line for line in rows if "::test_" not in line] == []


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_the_tests_that_are_named_are_there(file, name):
    """Under this name."""
    tree = ast.parse((TOP / file).read_text(encoding="utf-8"))
    assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_private_fields_are_those_of_the_engines(engine):
    """Each of them, and no other."""
    rows = re.findall(rf"^\| {engine} \| ((?:`[\w.]+`(?:, )?)+) \|$", PAGE, re.MULTILINE)
    assert [set(re.findall(r"`([\w.]+)`", row)) for row in rows] == [ENGINES[engine].private]


def test_the_table_of_faults_knows_those_that_doctor_tells():
    """A fault that has a row of its own, and that an engine of ours had, is one that doctor warns of."""
    of_engines = re.findall(r"\((?:vLLM|llama\.cpp|mlx-lm) (CVE-[\d-]+)", TABLE)
    assert set(of_engines) <= {each.id for each in FAULTS}


def test_no_database_is_on_a_requests_way():
    """Neither what knows keys nor what moves requests can reach one."""
    for folder in ("core", "proxy", "http1", "translate"):
        for path in (TOP / "router" / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"^\s*(?:import|from) (?:sqlite3|router\.store)\b", text, re.MULTILINE), path


def test_dependencies_are_few_and_bounded():
    """A new major version, or a dependency more, doesn't come by itself; the tested versions are pinned."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(project["dependencies"]) <= 16
    lines = (TOP / "constraints.txt").read_text().replace("_", "-").lower().splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    for each in project["dependencies"]:
        name, bounds = re.findall(r"^([\w-]+)(.*)$", each.partition(";")[0].strip())[0]
        assert "<" in bounds, each
        assert name.lower() in pinned, each
