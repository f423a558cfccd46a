import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from launchers import kin, leftovers
from launchers.record import ProcessRecord

SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]
PARENT = """
import subprocess, sys, time
code = "import time; print(flush=True); time.sleep(300)"
session = bool(sys.argv[1:])
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=session, stdout=subprocess.PIPE)
child.stdout.readline()  # from now on the system tells its environment
print(child.pid, flush=True)
time.sleep(300)
"""
DEAD = 2**22 + 1  # no process has it


@pytest.fixture
def engine(tmp_path):
    """Starts processes that lead sessions of their own and have an engine's mark, and ends them."""
    started = []

    def start(argv):
        env = {**os.environ, kin.MARK: str(tmp_path / "router-1")}
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True, env=env)
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.communicate()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def leave(folder, process, **changes):
    """Write the record of an engine whose router and keeper are dead."""
    record = ProcessRecord(
        path=str(folder / "demo.json"), name="demo", pid=process.pid, started=kin.started(process.pid) or "",
        port=20001, fingerprint="f", keep=False,
        scratch=str(folder.parent / "router-1"), router_pid=DEAD, router_started="1", keeper_pid=DEAD,
        keeper_started="1", keeper_at="", world=kin.world(),
    )._replace(**changes)  # fmt: skip
    record.write()
    return record


def me():
    return {"pid": os.getpid(), "started": kin.started(os.getpid())}


def test_an_engine_whose_router_and_keeper_are_dead_is_killed(folder, engine):
    process = engine(SLEEP)
    record = leave(folder, process)
    (folder.parent / "router-1").mkdir()
    assert leftovers.reap(folder) == [record]
    assert process.wait(1) == -9
    assert not list(folder.iterdir())
    assert not (folder.parent / "router-1").exists()


@pytest.mark.parametrize("session", [[], ["of its own"]])
def test_what_a_dead_engine_started_is_killed_too(folder, engine, session):
    process = engine([sys.executable, "-c", PARENT, *session])
    child = psutil.Process(int(process.stdout.readline()))
    leave(folder, process)
    process.kill()
    process.wait()
    assert len(leftovers.reap(folder)) == 1
    deadline = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline


def test_an_engine_that_is_kept_is_left_to_be_adopted(folder, engine):
    """While its keeper, here the test, lives."""
    process = engine(SLEEP)
    record = leave(folder, process, keep=True, keeper_pid=os.getpid(), keeper_started=me()["started"])
    assert leftovers.reap(folder, ["demo"]) == []
    assert leftovers.left_running(folder, "demo") == record
    assert leftovers.left_running(folder, "other") is None
    assert leftovers.running(folder) == {"demo": process.pid}


@pytest.mark.parametrize(
    "changes",
    [
        {"started": "5"},
        {"world": "before the reboot"},
        {"pid": DEAD},
        {"keep": False},
        {"keeper_started": "5"},
        {"router_pid": os.getpid(), "router_started": kin.started(os.getpid())},
        {"format": 1},
    ],
)
def test_who_is_not_adopted(folder, engine, changes):
    """Another process; one that isn't kept, or has no keeper; that of a living router; one of another version."""
    kept = {"keep": True, "keeper_pid": os.getpid(), "keeper_started": me()["started"]}
    leave(folder, engine(SLEEP), **{**kept, **changes})
    assert leftovers.left_running(folder, "demo") is None


def test_a_keeper_that_lives_ends_its_engine_by_itself(folder, engine, monkeypatch, tmp_path):
    """It is told which, and is left alone once it has removed the record: it may keep others."""
    keeper, process = engine(UNMARKED), engine(SLEEP)
    record = kept_by(keeper, folder, process, keeper_at=str(tmp_path / "door"))
    with told_to(record, monkeypatch, Path(record.path).unlink) as told:
        assert leftovers.end(record)
    assert told == [{"do": "kill", "id": record.scratch}]
    assert (keeper.poll(), process.poll()) == (None, None)


def test_what_a_keeper_leaves_that_dies_of_it_is_ended_here(folder, engine, monkeypatch, tmp_path):
    """It is not waited for any longer."""
    keeper, process = engine(UNMARKED), engine(SLEEP)
    record = kept_by(keeper, folder, process, keeper_at=str(tmp_path / "door"))

    def die() -> None:
        keeper.kill()
        keeper.wait()

    with told_to(record, monkeypatch, die):
        assert leftovers.end(record)
    assert process.wait() == -9
    assert not list(folder.iterdir())


def test_a_keeper_that_does_not_end_its_engine_is_killed_with_it(folder, engine, monkeypatch):
    """There is nobody at its socket."""
    keeper, process = engine(UNMARKED), engine(SLEEP)
    record = kept_by(keeper, folder, process)
    monkeypatch.setattr(leftovers, "_eventually", lambda condition: condition())
    assert leftovers.end(record)
    assert (keeper.wait(), process.wait()) == (-9, -9)
    assert not list(folder.iterdir())


UNMARKED = ["env", "-u", kin.MARK, *SLEEP]
"""A program that belongs to no engine."""


def kept_by(keeper, folder, process, **changes):
    started = kin.started(keeper.pid)
    return leave(folder, process, keep=True, keeper_pid=keeper.pid, keeper_started=started, **changes)


@contextmanager
def told_to(record, monkeypatch, obey: Callable[[], object]) -> Iterator[list[object]]:
    """Play the keeper of a record: it obeys the first order, and what is waited for is true then."""
    told: list[object] = []
    seen: list[bool] = []

    def play(door: socket.socket) -> None:
        connection, _ = door.accept()
        with connection:
            told.append(json.loads(connection.makefile().readline()))
        obey()

    def once(condition: Callable[[], bool]) -> bool:
        thread.join()
        seen.append(condition())
        return seen[-1]

    with socket.socket(socket.AF_UNIX) as door:
        door.bind(record.keeper_at)
        door.listen()
        thread = threading.Thread(target=play, args=[door], daemon=True)
        thread.start()
        monkeypatch.setattr(leftovers, "_eventually", once)
        yield told
    assert seen[0]


def test_an_engine_of_a_living_router_is_left_alone(folder, engine):
    process = engine(SLEEP)
    leave(folder, process, router_pid=os.getpid(), router_started=me()["started"])
    assert leftovers.reap(folder) == []
    assert process.poll() is None
    assert (folder / "demo.json").exists()


@pytest.mark.parametrize("changes", [{"started": "5"}, {"world": "before the reboot"}])
def test_another_program_with_the_same_pid_is_left_alone(folder, engine, changes):
    process = engine(SLEEP)
    leave(folder, process, **changes, scratch="/nowhere/router-another")
    assert leftovers.reap(folder) == []
    assert process.poll() is None
    assert not list(folder.iterdir())
    assert leftovers.running(folder) == {}


def test_what_a_later_version_left_running_is_ended(folder, engine):
    """Its record says things that this version doesn't know."""
    process = engine(SLEEP)
    record = leave(folder, process, keep=True, format=3)
    (folder / "demo.json").write_text(json.dumps(record._asdict() | {"place": {"of": "something"}}))
    assert leftovers.left_running(folder, "demo") is None
    assert leftovers.reap(folder, ["demo"]) == [record]
    assert process.wait(1) == -9
    assert not list(folder.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="what it said elsewhere can't be told from other times")
def test_what_the_first_version_left_running_is_ended(folder, engine):
    """It had no keepers, and told the time otherwise."""
    process = engine(SLEEP)
    folder.mkdir()
    (folder / "demo.json").write_text(json.dumps({
        "name": "demo", "pid": process.pid, "started": psutil.Process(process.pid).create_time(), "port": 20001,
        "fingerprint": "f", "router_pid": DEAD, "router_started": 1700000000.5, "world": kin.world(),
        "scratch": str(folder.parent / "router-1"), "shared": [],
    }))  # fmt: skip
    assert leftovers.left_running(folder, "demo") is None
    assert [record.pid for record in leftovers.reap(folder, ["demo"])] == [process.pid]
    assert process.wait(1) == -9
    assert not list(folder.iterdir())


def test_two_routers_with_the_same_folder_have_records_of_their_own(folder, engine):
    """Else the engines of one would be lost sight of."""
    router = engine(SLEEP)
    assert leftovers.place(folder, "demo") == folder / "demo.json"
    leave(folder, engine(SLEEP), router_pid=router.pid, router_started=kin.started(router.pid))
    second = leftovers.place(folder, "demo")
    assert second == folder / f"demo@{os.getpid()}.json"
    kept = leave(folder, engine(SLEEP), path=str(second), keep=True,
                 keeper_pid=os.getpid(), keeper_started=kin.started(os.getpid()))  # fmt: skip
    assert leftovers.left_running(folder, "demo") == kept
    assert leftovers.reap(folder, ["demo"]) == []
    router.kill()
    router.wait()
    assert leftovers.place(folder, "demo") == folder / "demo.json"


def test_a_record_that_another_has_replaced_is_left_alone(folder, engine):
    first = leave(folder, engine(SLEEP), scratch=str(folder.parent / "router-0"))
    second = leave(folder, engine(SLEEP))
    first.clean_up()
    assert ProcessRecord.read(folder / "demo.json") == second


def test_an_engine_that_is_gone_needs_only_its_record_removed(folder, engine):
    process = engine(SLEEP)
    leave(folder, process)
    process.kill()
    process.wait()
    assert leftovers.reap(folder) == []
    assert not list(folder.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"pid": 1, "port": 1}', b"\xff"])
def test_a_record_that_is_none_is_removed(folder, content):
    folder.mkdir()
    (folder / "demo.json").write_bytes(content)
    assert leftovers.reap(folder) == []
    assert not list(folder.iterdir())


@pytest.mark.parametrize("changes", [{"pid": "1"}, {"scratch": 5}, {"shared": 3}])
def test_a_record_with_wrong_values_is_none(folder, engine, changes):
    leave(folder, engine(SLEEP))
    path = folder / "demo.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert ProcessRecord.read(path) is None


def test_no_folder_but_an_engines_own_is_removed(folder, engine):
    (folder.parent / "mine").mkdir()
    record = leave(folder, engine(SLEEP), scratch=str(folder.parent / "mine"))
    record.clean_up()
    assert (folder.parent / "mine").exists()


def test_no_folder_no_leftovers(tmp_path):
    assert leftovers.reap(tmp_path / "none") == []
