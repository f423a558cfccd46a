"""What the distribution is called, and how something is installed beside it."""

import sys
import tomllib

import pytest

from router import distribution
from router.cli.options import parser
from tests.running import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_pyproject_has_the_same_name_and_gives_it_to_a_command():
    """`pipx run` and `uvx` start the command that is called as the distribution is."""
    assert PROJECT["name"] == distribution.NAME
    assert PROJECT["scripts"] == dict.fromkeys(("router", distribution.NAME), "router.__main__:main")


def test_installing_names_each_extra():
    """Those for who works on it are told elsewhere."""
    page = (REPOSITORY / "docs/installing.md").read_text(encoding="utf-8")
    extras = PROJECT["optional-dependencies"].keys() - {"dev", "release"}
    assert [each for each in sorted(extras) if f"| `{each}` |" not in page] == []


def test_nothing_asks_the_installed_metadata_for_it():
    """Under which name it was installed is nobody's affair but pip's."""
    asking = ('version("router")', "version('router')", 'distribution("router")')
    for path in (REPOSITORY / "router").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert [each for each in asking if each in text] == [], path


def test_what_is_missing_is_installed_into_this_python(monkeypatch):
    """By pip where there is one, else by uv, whose environments have none. Another program's command stays."""
    monkeypatch.setattr(sys, "executable", "/my tools/python")
    monkeypatch.setattr(distribution, "find_spec", lambda _: object())
    assert distribution.install_command("pip install vllm") == "'/my tools/python' -m pip install vllm"
    assert distribution.install_command("brew install it") == "brew install it"
    monkeypatch.setattr(distribution, "find_spec", lambda _: None)
    assert distribution.install_command("pip install vllm") == "uv pip install --python '/my tools/python' vllm"


@pytest.mark.parametrize(
    ("started", "called"),
    [
        ("/usr/local/bin/router", "router"),
        ("llm-engine-router", "llm-engine-router"),
        ("/somewhere/router/__main__.py", "python -m router"),
    ],
)
def test_messages_say_what_to_type(monkeypatch, started, called):
    """The name by which it was started, as in an environment of pipx no Python on PATH has the module."""
    monkeypatch.setattr(sys, "argv", [started])
    assert distribution.called() == called
    assert parser().prog == called
