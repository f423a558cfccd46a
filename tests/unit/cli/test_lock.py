import fcntl
import json
import os
import socket

import pytest

from router.cli.lock import NAME, FolderLock
from router.fleet.launches import StartError


def held(tmp_path, **said) -> FolderLock:
    """Have another router hold the folder: its lock isn't this object's; it says these things of itself."""
    other = FolderLock(tmp_path, tmp_path / "router.yaml")
    other.__enter__()
    if said:
        (tmp_path / NAME).write_text(json.dumps(said))
    return other


def refused(tmp_path) -> str:
    with pytest.raises(StartError) as caught, FolderLock(tmp_path, tmp_path / "other.yaml"):
        pass
    return str(caught.value)


def test_a_second_router_is_told_of_the_first(tmp_path):
    """Its pid, its address, its file, and what to do."""
    other = held(tmp_path)
    assert f"(pid {os.getpid()}, which is starting, of {tmp_path}/router.yaml)" in refused(tmp_path)
    other.serves_at("http://127.0.0.1:8001")
    words = refused(tmp_path)
    assert f"(pid {os.getpid()}, at http://127.0.0.1:8001, of {tmp_path}/router.yaml)" in words
    assert f"in {tmp_path}, " in words
    assert f"Stop that one (kill {os.getpid()}), or give this one a folder of its own: set logging.dir" in words
    other.__exit__()
    with FolderLock(tmp_path, tmp_path / "other.yaml"):
        assert "other.yaml" in (tmp_path / NAME).read_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "config": "c", "host": "h"}', '{"pid": 1'])
def test_a_file_that_says_nothing_is_a_lock_all_the_same(tmp_path, text):
    other = held(tmp_path)
    (tmp_path / NAME).write_text(text)
    assert "another router keeps its logs" in refused(tmp_path)
    other.__exit__()


def test_one_on_another_machine_is_not_to_be_killed_here(tmp_path):
    """Folders may be shared; and what the file says can't steer the terminal."""
    other = held(tmp_path, pid=77, config="c\x1b[2J", url="http://h:1", host="far")
    words = refused(tmp_path)
    assert "(pid 77 on far, at http://h:1, of c\\x1b[2J)" in words
    assert "Stop that one, or" in words
    other.__exit__()


def test_what_a_dead_router_left_is_no_lock(tmp_path):
    (tmp_path / NAME).write_text(json.dumps({"pid": 1, "config": "c", "host": socket.gethostname()}))
    with FolderLock(tmp_path, tmp_path / "router.yaml"):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_a_folder_that_can_not_be_locked_costs_no_start(tmp_path, monkeypatch):
    """A file in its place, and a file system without locks."""
    (tmp_path / "file").touch()
    with FolderLock(tmp_path / "file", tmp_path) as lock:
        lock.serves_at("http://127.0.0.1:1")

    def without(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(fcntl, "flock", without)
    with FolderLock(tmp_path / "logs", tmp_path):
        assert (tmp_path / "logs" / NAME).exists()
