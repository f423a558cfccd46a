import os
from pathlib import Path

import pytest

from launchers.files import Changes, Disk, NoFileError, at_once, own_folder, read_ordinary, stamp
from launchers.keeper.log import Log
from launchers.record import ProcessRecord
from launchers.weights import described


def test_the_disk_is_seen_as_it_is(tmp_path):
    for name in ("b.gguf", "a.gguf"):
        (tmp_path / name).touch()
    disk = Disk()
    assert disk.list(str(tmp_path)) == ["a.gguf", "b.gguf"]
    assert disk.is_dir(str(tmp_path))
    assert not disk.is_file(str(tmp_path))
    assert disk.is_file(str(tmp_path / "a.gguf"))
    assert disk.home == str(Path.home())


def test_a_stamp_tells_a_file_from_what_it_was(tmp_path):
    """By its size and its time; a folder by what is in it; one of several parts by all of them."""
    whole, first, second = tmp_path / "m.gguf", tmp_path / "x-00001-of-00002.gguf", tmp_path / "x-00002-of-00002.gguf"
    for file in (whole, first, second):
        file.write_text("a")
    paths = [str(whole), str(first)]
    seen = stamp(paths)
    assert stamp(paths) == seen
    second.write_text("ab")
    assert stamp(paths) != seen
    seen = stamp(paths)
    whole.chmod(0o400)
    assert stamp(paths) != seen
    of_folder = stamp([str(tmp_path)])
    whole.unlink()
    assert stamp([str(tmp_path)]) != of_folder
    assert stamp(["org/name", str(tmp_path / "none"), "\0", "x" * 5000]) == ()


def test_a_file_is_read(tmp_path):
    """As much of it as is asked for."""
    (tmp_path / "file").write_text("12345")
    assert read_ordinary(tmp_path / "file") == b"12345"
    assert read_ordinary(str(tmp_path / "file"), 2) == b"12"


@pytest.mark.parametrize("place", ["fifo", "/dev/zero", "/dev/tty"])
def test_what_is_no_file_is_not_waited_for(tmp_path, place):
    """Nor is a device read, which may have no end."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=r"is no ordinary file|No such device"):
        read_ordinary(tmp_path / place)
    with pytest.raises(NoFileError):
        read_ordinary(tmp_path / "fifo")


def test_a_fifo_among_the_files_of_engines_holds_up_nobody(tmp_path):
    """A record of an engine that ran, what a model says of itself, an engine's log."""
    for name in ("demo.json", "config.json", "demo.log"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "model.safetensors").touch()
    assert ProcessRecord.read(tmp_path / "demo.json") is None
    assert described(str(tmp_path), {}) == {}
    said: list[str] = []
    log = Log(tmp_path / "demo.log", said.append)
    log.write(b"lost")
    assert "can't be written" in said[0]


def test_a_change_counts_once_two_looks_have_seen_the_same():
    """What is still being written waits; what was used again is no change any more."""
    one, two, three = ((("m", 1, size, 1),) for size in (1, 2, 3))
    changes = Changes()
    changes.used(one)
    assert [changes.look(now) for now in (one, two, three, three)] == [False, False, False, True]
    changes.used(three)
    assert not changes.look(three)
    assert [changes.look(now) for now in (one, one)] == [False, True]


def test_what_is_made_is_for_its_owner_alone(tmp_path):
    """Files and folders, whatever the umask, and those above; what is there stays as it is."""
    before = os.umask(0)
    try:
        own_folder(tmp_path / "a" / "b")
        with open(tmp_path / "a" / "b" / "c", "w", opener=at_once):
            pass
    finally:
        os.umask(before)
    modes = {each.name: each.stat().st_mode & 0o777 for each in (tmp_path / "a", *(tmp_path / "a").rglob("*"))}
    assert modes == {"a": 0o700, "b": 0o700, "c": 0o600}
    (tmp_path / "a").chmod(0o750)
    own_folder(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750
    with pytest.raises(FileExistsError):
        own_folder(tmp_path / "a" / "b" / "c")
