import os

import pytest

from launchers.keeper import log as log_file
from launchers.keeper.log import Log


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "demo.log"


@pytest.fixture
def warnings():
    return []


def test_a_log_is_continued(path, warnings):
    for word in (b"one\n", b"two"):
        log = Log(path, warnings.append)
        log.write(word)
        log.close()
    assert path.read_bytes() == b"one\ntwo"
    assert not warnings


def test_a_log_that_is_full_makes_room_for_the_next(path, warnings, monkeypatch):
    monkeypatch.setattr(log_file, "MAX_FILE", 100)
    log = Log(path, warnings.append)
    for number in range(50):
        log.write(b"line %03d\n" % number)
    log.close()
    assert path.with_name("demo.log.1").stat().st_size < 110
    assert path.with_name("demo.log.1").read_bytes().endswith(b"line 047\n")
    assert path.read_bytes() == b"line 048\nline 049\n"
    assert not warnings


def test_a_folder_that_can_not_be_written_costs_one_warning(tmp_path, warnings):
    (tmp_path / "logs").write_text("a file, not a folder")
    log = Log(tmp_path / "logs" / "demo.log", warnings.append)
    log.write(b"still\n")
    log.write(b"heard\n")
    (warning,) = warnings
    assert warning.startswith(f"{tmp_path}/logs/demo.log: the engine's log can't be written")


def test_a_log_goes_on_once_it_can_be_written(tmp_path, warnings):
    """It is tried again after a second; how much is lost is said."""
    now = [0.0]
    (tmp_path / "logs").write_text("a file, not a folder")
    log = Log(tmp_path / "logs" / "demo.log", warnings.append, lambda: now[0])
    log.write(b"lost\n")
    (tmp_path / "logs").unlink()
    log.write(b"lost\n")
    now[0] += 1
    log.write(b"kept\n")
    log.write(b"kept\n")
    log.close()
    assert (tmp_path / "logs" / "demo.log").read_bytes() == b"kept\nkept\n"
    assert [warning.rpartition(": ")[2] for warning in warnings][1:] == [
        "the engine's log can be written again; 10 bytes are lost"
    ]


def test_a_log_that_was_removed_is_made_again(path, warnings):
    """With its folder: what is written to a file without a name nobody reads."""
    log = Log(path, warnings.append)
    log.write(b"one\n")
    path.unlink()
    log.write(b"two\n")
    assert path.read_bytes() == b"two\n"
    path.unlink()
    path.parent.rmdir()
    log.write(b"three\n")
    log.close()
    assert path.read_bytes() == b"three\n"
    assert not warnings


def test_a_fifo_that_nobody_reads_is_not_waited_for(path, warnings):
    """The engine would wait for it, too."""
    path.parent.mkdir()
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = Log(path, warnings.append)
    log.write(b"x" * (1 << 20))
    log.close()
    os.close(reading)
    assert len(warnings) == 1


def test_a_full_disk_costs_one_warning(path, warnings):
    path.parent.mkdir()
    path.symlink_to("/dev/full")
    log = Log(path, warnings.append)
    log.write(b"still\n")
    log.write(b"heard\n")
    assert ["No space left on device" in warning for warning in warnings] == [True]
