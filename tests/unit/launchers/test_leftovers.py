import json
import os
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from structlog.testing import capture_logs

from launchers import leftovers

SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(child.pid, flush=True)
time.sleep(300)
"""


@pytest.fixture
def engine():
    """Starts processes that lead sessions of their own, and ends them."""
    started = []

    def start(argv):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.communicate()


def edit(folder, **changes):
    """Change the one record of a folder, as if another router had written it."""
    (path,) = folder.glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def orphan(folder, process, **changes):
    """The record of an engine whose router is dead."""
    leftovers.remember(folder, "demo", process.pid, 20001, "f")
    edit(folder, router_started=1.0, **changes)


def test_an_engine_whose_router_is_dead_is_killed(tmp_path, engine):
    process = engine(SLEEP)
    orphan(tmp_path, process)
    (record,) = leftovers.reap(tmp_path)
    assert (record.name, record.pid, record.port, record.fingerprint) == ("demo", process.pid, 20001, "f")
    assert not psutil.pid_exists(process.pid)
    assert not list(tmp_path.iterdir())


def test_what_a_dead_engine_started_is_killed_too(tmp_path, engine):
    process = engine([sys.executable, "-c", PARENT])
    child = psutil.Process(int(process.stdout.readline()))
    orphan(tmp_path, process)
    process.kill()
    process.wait()
    assert len(leftovers.reap(tmp_path)) == 1
    deadline = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline


def test_an_engine_that_is_spared_is_left_to_be_adopted(tmp_path, engine):
    process = engine(SLEEP)
    orphan(tmp_path, process)
    assert leftovers.reap(tmp_path, ["demo"]) == []
    found = leftovers.left_running(tmp_path, "demo")
    assert found is not None
    assert (found.pid, found.port, found.fingerprint) == (process.pid, 20001, "f")
    assert leftovers.left_running(tmp_path, "other") is None


@pytest.mark.parametrize("changes", [{"started": 5.0}, {"world": "before the reboot"}, {"pid": 2**22 + 1}])
def test_what_is_not_that_very_engine_is_not_adopted(tmp_path, engine, changes):
    orphan(tmp_path, engine(SLEEP), **changes)
    assert leftovers.left_running(tmp_path, "demo") is None


def test_an_engine_of_a_living_router_is_not_adopted(tmp_path, engine):
    leftovers.remember(tmp_path, "demo", engine(SLEEP).pid, 20001, "f")
    assert leftovers.left_running(tmp_path, "demo") is None


def test_an_engine_of_a_living_router_is_left_alone(tmp_path, engine):
    process = engine(SLEEP)
    leftovers.remember(tmp_path, "demo", process.pid, 20001, "f")
    assert leftovers.reap(tmp_path) == []
    assert process.poll() is None
    assert (tmp_path / "demo.json").exists()


@pytest.mark.parametrize("changes", [{"started": 5.0}, {"world": "before the reboot"}])
def test_another_program_with_the_same_pid_is_left_alone(tmp_path, engine, changes):
    process = engine(SLEEP)
    orphan(tmp_path, process, **changes)
    assert leftovers.reap(tmp_path) == []
    assert process.poll() is None
    assert not list(tmp_path.iterdir())


def test_an_engine_that_is_gone_needs_only_its_record_removed(tmp_path, engine):
    process = engine(SLEEP)
    orphan(tmp_path, process)
    process.kill()
    process.wait()
    assert leftovers.reap(tmp_path) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"pid": 1, "port": 1}', b"\xff"])
def test_a_record_that_is_none_is_removed(tmp_path, content):
    (tmp_path / "demo.json").write_bytes(content)
    assert leftovers.reap(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_no_folder_no_leftovers(tmp_path):
    assert leftovers.reap(tmp_path / "none") == []


def test_an_engine_that_ended_is_forgotten(tmp_path, engine):
    leftovers.remember(tmp_path, "demo", engine(SLEEP).pid, 20001, "f")
    leftovers.forget(tmp_path, "demo")
    leftovers.forget(tmp_path, "demo")
    assert not list(tmp_path.iterdir())


def test_a_record_that_can_not_be_written_is_a_warning(tmp_path):
    (tmp_path / "run").write_text("a file, not a folder")
    with capture_logs() as logs:
        leftovers.remember(tmp_path / "run", "demo", os.getpid(), 20001, "f")
    assert [entry["log_level"] for entry in logs] == ["warning"]
