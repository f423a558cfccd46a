from pathlib import Path

import pytest

from launchers.kills import LOOK_EVERY, Kills


@pytest.fixture
def root(tmp_path):
    """A machine's files, in which process 7 is in a group of its own."""
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text("4:memory:/old\n0::/a/b\n")
    (tmp_path / "sys/fs/cgroup/a/b").mkdir(parents=True)
    return tmp_path


def group(root: Path, count: int) -> None:
    (root / "sys/fs/cgroup/a/b/memory.events").write_text(f"low 0\noom 9\noom_kill {count}\noom_group_kill 0\n")


def machine(root: Path, count: int) -> None:
    (root / "proc/vmstat").write_text(f"pgfault 5\noom_kill {count}\n")


def test_a_kill_in_its_group_counts(root):
    group(root, 3)
    machine(root, 5)
    kills = Kills(7, 0.0, root)
    machine(root, 6)
    assert not kills.rose
    group(root, 4)
    assert kills.rose


@pytest.mark.parametrize("pid", [7, 8])
def test_without_a_group_any_kill_of_the_machine_counts(root, pid):
    machine(root, 5)
    kills = Kills(pid, 0.0, root)
    assert not kills.rose
    machine(root, 6)
    assert kills.rose


def test_a_kill_of_long_ago_does_not_count(root):
    """It counts until the look after the next one: an engine's end is noticed a moment after it."""
    machine(root, 5)
    kills = Kills(7, 0.0, root)
    machine(root, 6)
    for time, rose in ((1.0, True), (LOOK_EVERY, True), (LOOK_EVERY + 1, True), (LOOK_EVERY * 2, False)):
        kills.look(time)
        assert kills.rose is rose


def test_who_tells_nothing_has_killed_nobody(tmp_path):
    """macOS, or a kernel that isn't asked."""
    kills = Kills(7, 0.0, tmp_path)
    assert not kills.rose
    kills.look(LOOK_EVERY)
    assert not kills.rose
