"""The images' recipe: by hadolint, and by what people rely on."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.dockerfile import DOCKERFILE, is_sent, stages
from tests.running import REPOSITORY

STAGES = stages()


@pytest.mark.skipif(sys.platform != "linux", reason="the wheel of hadolint is for Linux")
def test_hadolint_finds_nothing():
    """Every rule is on; what is left out says so in the file."""
    hadolint = Path(sys.executable).with_name("hadolint")
    command = (hadolint, "--no-color", "--failure-threshold=style", DOCKERFILE)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("image", ["cpu", "cuda"])
def test_an_image_runs_as_nobody_special(image):
    """The last user of each is the router's, by its number, so that Kubernetes can tell that it isn't root."""
    assert STAGES[image].base == "base"
    assert STAGES[image].all("USER")[-1] == "10001"
    assert [rest for rest in STAGES["base"].all("RUN") if "useradd" in rest and "--uid 10001" in rest]


def test_the_router_is_process_1():
    """Without a shell between, which would keep signals for itself; its base has the health check, too."""
    assert STAGES["base"].all("ENTRYPOINT") == ['["router"]']
    assert len(STAGES["base"].all("HEALTHCHECK")) == 1
    assert STAGES["cpu"].all("ENTRYPOINT") + STAGES["cuda"].all("ENTRYPOINT") == []


def test_docker_build_makes_the_image_for_the_cpu():
    """It is the last one."""
    assert list(STAGES)[-1] == "cpu"


def test_no_secret_gets_in():
    """Neither as a variable nor as a file."""
    for stage in STAGES.values():
        variables = " ".join([*stage.all("ARG"), *stage.all("ENV")])
        assert [word for word in ("KEY", "TOKEN", "SECRET", "PASSWORD") if word in variables] == []
    for name in ("router.yaml.bak", ".env", "tls.key", ".git/config", "models/demo/demo.gguf", "logs/access.log",
                 "state/router.db", ".venv/bin/python", "router/x.so", "router/core/__pycache__/a.pyc"):  # fmt: skip
        assert not is_sent(name), name


def test_what_the_wheel_is_built_of_gets_in():
    """Each file of the packages, and what setup.py and pyproject.toml name."""
    command = ["git", "ls-files", "router", "launchers", "profiles", "dashboards", "docs", "packaging", "setup.py",
               "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "router.yaml", "constraints.txt"]  # fmt: skip
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) > 300
    assert [name for name in done.stdout.splitlines() if not is_sent(name)] == []
