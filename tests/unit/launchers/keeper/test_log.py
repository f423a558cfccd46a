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


def test_a_full_disk_costs_one_warning(path, warnings):
    path.parent.mkdir()
    path.symlink_to("/dev/full")
    log = Log(path, warnings.append)
    log.write(b"still\n")
    log.write(b"heard\n")
    assert ["No space left on device" in warning for warning in warnings] == [True]
