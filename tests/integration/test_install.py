"""The command as it is installed: of this checkout, of a wheel, and from any folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from router.distribution import VERSION
from tests.running import REPOSITORY

LINE = "backends: [{name: mine, launch: {model: m.gguf, engine: llama_cpp}}]\n"


def ran(folder: Path, *command: str | Path, code: int = 0) -> str:
    """Run a command in a folder, with nothing of the tests' environment that says where modules are."""
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "ROUTER_PURE"}}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_this_checkout_runs_from_any_folder(tmp_path):
    """Compiled or not: what its modules share is found from there, too."""
    assert ran(tmp_path, sys.executable, "-m", "router", "--version") == f"router {VERSION}\n"
    assert ran(tmp_path, sys.executable, "-c", "import router.proxy.exchange as it; print(it.__file__)").startswith(
        str(REPOSITORY / "router" / "proxy" / "exchange.")
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel of what git would carry, as it stands, without compiling."""
    copy, wheels = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheels")
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for name in files:
        if (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((REPOSITORY / name).read_bytes())
    command = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", wheels, copy)
    subprocess.run(command, env={**os.environ, "ROUTER_PURE": "1"}, check=True)
    (found,) = wheels.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheel):
    """Install it into an environment of its own, which finds what it needs in ours; give the folder of commands."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    paths = {"base": str(folder), "platbase": str(folder)}
    site, commands = Path(sysconfig.get_path("purelib", vars=paths)), Path(sysconfig.get_path("scripts", vars=paths))
    command = (sys.executable, "-m", "pip", "--python", commands / "python", "install", "-q", "--no-deps", wheel)
    subprocess.run(command, check=True)
    (site / "ours.pth").write_text(sysconfig.get_path("purelib"))  # its own folder goes before ours
    return commands


def test_a_wheel_brings_the_command_and_the_profiles(installed, tmp_path):
    """All that starts nothing works from a folder that has only a router.yaml."""
    (tmp_path / "router.yaml").write_text(LINE)
    shutil.copy(REPOSITORY / "models/demo/demo.gguf", tmp_path / "m.gguf")
    assert ran(tmp_path, installed / "router", "--version") == f"router {VERSION}\n"
    assert ran(tmp_path, installed / "router", "check") == "router.yaml can be used. Backends: 1, routes: 0.\n"
    assert "ok  llama_cpp" in ran(tmp_path, installed / "router", "doctor")
    assert "usage: router [" in ran(tmp_path, installed / "router", "--help")
    assert ran(tmp_path, installed / "llm-engine-router", "--version") == f"router {VERSION}\n"
    where = ran(tmp_path, installed / "python", "-c", "import router, profiles; print(router.__file__)")
    assert where.startswith(str(installed.parent))


def test_a_wheel_brings_what_people_read(installed):
    """The router.yaml that explains itself, the pages, the schema that it names, and the boards."""
    share = installed.parent / "share/llm-engine-router"
    for name in ("router.yaml", "docs/configuration.md", "docs/router.schema.json", "dashboards/overview.json"):
        assert (share / name).read_bytes() == (REPOSITORY / name).read_bytes()


def test_without_router_yaml_one_sentence_says_what_to_do(installed, tmp_path):
    """Where it was looked for, and what is enough."""
    said = ran(tmp_path, installed / "router", code=2)
    assert said.startswith(f"router.yaml: there is no such file in {tmp_path}; ")
    assert len(said.splitlines()) == 1
    assert "backends: [{name: mine" in said
