import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launchers import kin
from launchers.kin import Kin, Seen, descendants

ENGINE, CHILD, GRANDCHILD, STRANGER = 100, 101, 102, 200
SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(300)"]


def table(**more: tuple[int, int, str] | None):
    """An engine with a child, and a stranger, beside those of `more`: parent, session, start."""
    base = {
        "p1": (0, 1, "0"), f"p{STRANGER}": (1, STRANGER, "5"),
        f"p{ENGINE}": (50, ENGINE, "7"), f"p{CHILD}": (ENGINE, ENGINE, "8"),
    }  # fmt: skip
    said: dict[str, tuple[int, int, str] | None] = {**base, **more}
    return {int(name[1:]): Seen(*values, True) for name, values in said.items() if values is not None}


def nobody(pid, mark):  # noqa: ARG001
    return False


def look(kin_, seen, marked=nobody):
    return kin_.look(seen, marked)


@pytest.fixture
def engine():
    return Kin(ENGINE, "7", "mark")


def test_who_descends_belongs_wherever_its_session(engine):
    assert look(engine, table(p102=(CHILD, GRANDCHILD, "9"), p103=(GRANDCHILD, 103, "9"))) == {100, 101, 102, 103}


def test_who_lost_its_parent_belongs_by_its_session(engine):
    assert look(engine, table(p100=None, p101=(1, ENGINE, "8"))) == {CHILD}


def test_who_lost_its_parent_belongs_by_the_session_of_another_that_was_seen(engine):
    look(engine, table(p102=(CHILD, GRANDCHILD, "9")))
    orphan = {"p100": None, "p101": None, "p102": None, "p103": (1, GRANDCHILD, "9")}
    assert look(engine, table(**orphan)) == {103}


def test_who_was_seen_belongs_though_nothing_else_tells(engine):
    look(engine, table(p102=(CHILD, 60, "9")))
    assert look(engine, table(p100=None, p101=None, p102=(1, 60, "9"))) == {GRANDCHILD}


def test_who_has_a_pid_that_was_seen_but_started_later_is_a_stranger(engine):
    look(engine, table(p102=(CHILD, 60, "9")))
    assert look(engine, table(p100=None, p101=None, p102=(1, 60, "10"))) == set()


def test_a_daemon_belongs_by_its_mark(engine):
    daemon = table(p102=(1, GRANDCHILD, "9"), p103=(1, GRANDCHILD, "9"))
    assert look(engine, daemon, lambda pid, mark: (pid, mark) == (GRANDCHILD, "mark")) == {100, 101, 102, 103}


def test_a_program_that_was_given_the_pid_and_leads_a_session_again_is_a_stranger(engine):
    again = table(p100=(1, ENGINE, "20"), p101=(ENGINE, ENGINE, "21"))
    assert look(engine, again) == set()


def test_who_asks_and_the_first_process_of_all_belong_to_nobody(engine):
    assert (
        look(engine, {os.getpid(): Seen(ENGINE, ENGINE, "9", alive=True), 1: Seen(ENGINE, ENGINE, "9", alive=True)})
        == set()
    )


def test_descendants_are_those_of_any_depth():
    assert descendants(table(p102=(CHILD, GRANDCHILD, "9")), 50) == {ENGINE, CHILD, GRANDCHILD}


@pytest.fixture
def sleeper():
    env = {**os.environ, kin.MARK: "this one"}
    with subprocess.Popen(SLEEP, start_new_session=True, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_the_table_of_the_system(sleeper):
    found = kin.processes()
    assert (found[sleeper].parent, found[sleeper].session, found[sleeper].alive) == (os.getpid(), sleeper, True)
    assert found[sleeper].started == kin.started(sleeper)
    assert kin.started(2**22 + 1) is None


def test_the_table_of_ps_says_the_same(sleeper):
    """As it is read where there is no /proc."""
    there, here = kin.by_ps(), kin.processes()
    assert there[sleeper][:2] == here[sleeper][:2]
    assert there[sleeper].alive
    assert kin.by_ps("-p", str(sleeper)) == {sleeper: there[sleeper]}


def test_elsewhere_than_on_linux_ps_tells(sleeper, monkeypatch):
    """Of environments it tells nothing."""
    monkeypatch.setattr(kin, "IS_LINUX", False)
    monkeypatch.setattr(kin, "is_ours", lambda: False)  # there is no /proc
    by_ps = kin.by_ps("-p", str(sleeper))[sleeper]
    assert kin.processes()[sleeper] == by_ps
    assert kin.seen(sleeper) == by_ps
    assert kin.started(sleeper) == by_ps.started
    assert kin.seen(2**22 + 1) is None
    assert not kin.has_mark(sleeper, "this one")


def test_a_start_by_ps_is_the_same_within_a_second(monkeypatch):
    """The clock may be set between two looks, and then `ps` counts from another time of the boot."""
    assert not kin.is_same("100", "101")
    monkeypatch.setattr(kin, "IS_LINUX", False)
    assert kin.is_same("100", "101")
    assert kin.is_same("101", "100")
    assert not kin.is_same("100", "102")
    assert not kin.is_same("", "100")
    assert not kin.is_same("", "")
    engine = kin.Kin(ENGINE, "100", "mark")
    assert engine.look(table(p100=(1, ENGINE, "101"), p101=(1, ENGINE, "105"))) == {ENGINE, CHILD}


def test_the_zone_of_the_machine_changes_no_start(sleeper, monkeypatch):
    before = kin.by_ps("-p", str(sleeper))
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    assert kin.by_ps("-p", str(sleeper)) == before
    assert abs(int(before[sleeper].started) - time.time()) < 60


def test_a_table_that_ps_does_not_give_is_not_an_empty_one(monkeypatch, tmp_path):
    """Or all engines would look ended."""
    (tmp_path / "ps").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ps").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="ps doesn't list"):
        kin.by_ps()
    assert kin.by_ps("-p", "1") == {}


def test_a_table_of_another_namespace_is_none(monkeypatch):
    assert kin.is_ours()
    monkeypatch.setattr(os, "readlink", lambda _: "1")
    assert not kin.is_ours()
    assert kin.processes() == {}


def test_a_zombie_does_not_run():
    with subprocess.Popen(SLEEP) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert kin.started(process.pid) is None
        assert not kin.processes()[process.pid].alive
        assert not kin.by_ps()[process.pid].alive


def test_a_mark_is_that_very_one(sleeper):
    assert kin.has_mark(sleeper, "this one")
    assert not kin.has_mark(sleeper, "this")
    assert not kin.has_mark(2**22 + 1, "this one")


SHARES = """
import mmap, os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 4096)
kept = mmap.mmap(file, 4096)
print("mapped", flush=True)
time.sleep(300)
"""


def test_shared_memory_is_removed_once_nobody_uses_it():
    file = Path(kin.SHARED) / f"router-test-{os.getpid()}"
    with subprocess.Popen([sys.executable, "-c", SHARES, file], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        since = file.stat().st_ctime
        assert kin.shared_memory_of([process.pid], since) == {str(file)}
        assert kin.shared_memory_of([process.pid], since + 1) == set()
        kin.remove_shared_memory([str(file)])
        assert file.exists()
        process.kill()
    kin.remove_shared_memory([str(file), "/etc/hostname"])
    assert not file.exists()
    assert Path("/etc/hostname").exists()
