"""The service under a real systemd; `make test-service` runs it. It needs root, and namespaces."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import REPOSITORY

pytestmark = pytest.mark.long

ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--net", "--propagation", "private")


def able() -> bool:
    """Whether a systemd of its own can be started here."""
    if os.geteuid() or not Path("/lib/systemd/systemd").exists() or not shutil.which("unshare"):
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def steps():
    """Give what systemd showed at each step."""
    if not able():
        pytest.skip("it needs root, systemd and namespaces")
    script = str(REPOSITORY / "tests/integration/systemd.sh")
    words = (*ALONE, "bash", script, sys.executable, str(REPOSITORY), str(REPOSITORY / "models/demo"))
    done = subprocess.run(words, capture_output=True, text=True, timeout=110, check=False)
    print(done.stdout, done.stderr)  # noqa: T201  (pytest shows it of a test that fails)
    parts = done.stdout.split("== ")[1:]
    return {name: said for name, _, said in (part.partition("\n") for part in parts)}


def test_it_is_started(steps):
    """And says so itself: systemd waits for that."""
    assert "rc=0" in steps["start"]
    assert "ActiveState=active" in steps["start"]
    assert "StatusText=Serving " in steps["start"]


def test_its_engine_answers_within_what_is_closed(steps):
    assert "NoNewPrivs:\t1" in steps["hardened"]
    assert "Seccomp:\t2" in steps["hardened"]
    assert json.loads(steps["chat"])["choices"]


def test_many_reloads_are_no_silence(steps):
    """The watchdog counts from its last sign of life."""
    assert steps["reloads"].count("rc=0") == 6
    assert "NRestarts=0" in steps["reloads"]
    assert "ActiveState=active" in steps["reloads"]


def test_a_mistake_is_told_until_it_is_mended(steps):
    assert "router.yaml is not taken over: 1 mistake" in steps["mistake"]
    assert "not taken over" not in steps["mended"]
    assert "never" not in steps["mended"]


def test_it_stops_with_its_engines(steps):
    assert steps["stop"].splitlines()[0] == "rc=0"
    assert "ActiveState=inactive" in steps["stop"]
    assert "Result=success" in steps["stop"]
    assert steps["stop"].splitlines()[-1] == "0"


def test_one_that_hangs_is_ended(steps):
    """By SIGABRT, when its time is over."""
    assert "rc=0" in steps["again"]
    assert "Result=watchdog" in steps["hangs"]
    assert "ExecMainStatus=6" in steps["hangs"]
