"""What counts as left over by loads."""

import os
from pathlib import Path

import pytest

from scripts.residency_load.watching import counts, opened, own_files


@pytest.mark.parametrize(
    "path", ["/a/logs/system.log", "/a/logs/router.log", "/proc/7/task/7/stat", "/sys/fs/cgroup/a"]
)
def test_logs_of_the_router_and_what_the_kernel_tells_do_not_count(path: str):
    """The former are opened at their first line, the latter only while they are read."""
    assert not counts(Path(path))


@pytest.mark.parametrize("path", ["/a/logs/m0.log", "/a/state/usage.db", "/a/tmp/left", "socket:[12]", "/process"])
def test_all_else_counts(path: str):
    """An engine's log, a database, a socket."""
    assert counts(Path(path))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are read as Linux tells them")
def test_what_a_process_has_open_is_found(tmp_path: Path):
    """While it is open; a process that is gone has none."""
    with (tmp_path / "left").open("wb"):
        assert tmp_path / "left" in opened(os.getpid())
    assert tmp_path / "left" not in opened(os.getpid())
    assert opened(2**22 + 1) == []


def test_files_of_other_users_are_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Their programs use /dev/shm, too."""
    (tmp_path / "psm_left").touch()
    assert [*own_files(tmp_path)] == ["psm_left"]
    assert [*own_files(tmp_path / "none")] == []
    monkeypatch.setattr(os, "getuid", lambda: -1)
    assert [*own_files(tmp_path)] == []
