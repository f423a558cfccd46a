"""A step that fails says why; an environment is made once for what it holds."""

import sys

import pytest

from scripts.release.steps import ReleaseError, Toolbox, run


def test_a_step_gives_what_it_prints(tmp_path):
    """Both of its outputs, and it runs where it is told to, with what it is given."""
    code = "import os, sys; print(os.getcwd(), os.environ['A']); sys.stderr.write('more')"
    assert run([sys.executable, "-c", code], cwd=tmp_path, env={"A": "1"}) == f"{tmp_path} 1\nmore"


def test_a_step_that_fails_says_its_last_words():
    """With what that means, and not all that it said."""
    code = "import sys; [print(f'line {n}') for n in range(100)]; sys.exit(3)"
    with pytest.raises(ReleaseError, match=r"^it can't be built \(3\):\n    \| line 70\n") as raised:
        run([sys.executable, "-c", code], fails="it can't be built")
    assert "line 69" not in str(raised.value)


@pytest.fixture
def toolbox(tmp_path, monkeypatch):
    """Give a toolbox of sources that need one tool, and what it has installed."""
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\n[project.optional-dependencies]\nrelease = ["twine"]\n'
    )
    (tmp_path / "constraints.txt").write_text("twine==1\n")
    made = Toolbox(tmp_path / ".release", tmp_path, {})
    installed = []

    def fresh(_, __, folder):
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "bin/python"

    monkeypatch.setattr(Toolbox, "fresh", fresh)
    monkeypatch.setattr(Toolbox, "install", lambda _, python, *what: installed.append((python.parents[1].name, what)))
    return made, installed


def test_an_environment_is_made_once(toolbox, tmp_path):
    """As long as what it holds is wanted in the same versions."""
    made, installed = toolbox
    assert made.tools() == made.tools() == tmp_path / ".release/tools/bin/python"
    made.builder()
    assert installed == [("tools", ("twine",)), ("sources", ("setuptools",))]
    (tmp_path / "constraints.txt").write_text("twine==2\n")
    made.tools()
    assert installed[2:] == [("tools", ("twine",))]
