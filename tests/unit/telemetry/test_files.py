import gzip
import os
import shutil
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from router.telemetry import files
from router.telemetry.files import LogFile, Rotation

SMALL = Rotation(size=100, keep=3)


def written(file: LogFile, *lines: str) -> str:
    for line in lines:
        file.put(line)
    file.flush()
    return file.path.read_text()


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def unpacked(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def test_lines_are_appended(tmp_path):
    """Those of an earlier start stay."""
    path = tmp_path / "router.log"
    path.write_text("before\n")
    assert written(LogFile(path), "one", "two\nthree") == "before\none\ntwo\nthree\n"


def test_half_a_character_is_written_in_ascii(tmp_path):
    """Whoever chose the text: the line isn't lost."""
    assert written(LogFile(tmp_path / "router.log"), "cut \ud83d") == "cut \\ud83d\n"


def test_many_threads_write_one_file(tmp_path):
    """No line is torn, and each thread's lines keep their order."""
    file = LogFile(tmp_path / "router.log")

    def write(name: str) -> None:
        for i in range(200):
            file.put(f"{name} {i}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    lines = written(file).splitlines()
    for name in "abcd":
        assert [line for line in lines if line.startswith(name)] == [f"{name} {i}" for i in range(200)]


# Rotation


def test_a_file_of_its_size_is_rotated_and_compressed(tmp_path):
    """The newest are kept, each of whole lines."""
    file = LogFile(tmp_path / "router.log", SMALL)
    for i in range(100):
        written(file, f"line {i}")
    assert names(tmp_path) == ["router.log", "router.log.1.gz", "router.log.2.gz", "router.log.3.gz"]
    assert [each.stat().st_mode & 0o077 for each in tmp_path.iterdir()] == [0] * 4
    whole = "".join(unpacked(tmp_path / f"router.log.{i}.gz") for i in (3, 2, 1)) + file.path.read_text()
    assert whole.splitlines() == [f"line {i}" for i in range(100)][-len(whole.splitlines()) :]
    assert len(whole) > 300
    assert file.path.stat().st_size <= 100
    assert {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("apart", [True, False])
def test_lines_that_come_together_are_kept_to_the_size(tmp_path, monkeypatch, apart):
    """However many wait, and however they were put; a line that is longer has a file of its own."""
    monkeypatch.setattr(files._WRITER, "wake", lambda _: None)
    file = LogFile(tmp_path / "router.log", Rotation(size=100, keep=100))
    lines = [f"line {i:03d} {'ä' * (i % 20)}" for i in range(50)]
    lines[20] = "long" * 50
    for text in lines if apart else ["\n".join(lines)]:
        file.put(text)
    file.write()
    parts = [unpacked(tmp_path / f"router.log.{i}.gz") for i in range(len(names(tmp_path)) - 1, 0, -1)]
    parts.append(file.path.read_text())
    assert "".join(parts).splitlines() == lines
    sizes = [len(part.encode()) for part in parts]
    assert [size for size in sizes if size > 100] == [201]
    # And each is as full as it may be.
    for i, part in enumerate(parts[1:]):
        assert sizes[i] + len(part.partition("\n")[0].encode()) + 1 > 100


def test_no_more_are_kept_once_fewer_may_be(tmp_path):
    """Those of an earlier configuration go with the next rotation; so does one that was not compressed."""
    for i in range(1, 9):
        (tmp_path / f"router.log.{i}.gz").write_bytes(gzip.compress(b"old\n"))
    (tmp_path / "router.log.9").write_text("old\n")
    (tmp_path / "router.log.mine").write_text("a person's\n")
    file = LogFile(tmp_path / "router.log", Rotation(size=100, keep=2))
    for i in range(11):
        written(file, f"{i:019d}")
    assert names(tmp_path) == ["router.log", "router.log.1.gz", "router.log.2.gz", "router.log.mine"]
    file.rotation = Rotation(size=100, keep=0)
    for i in range(11):
        written(file, f"{i:019d}")
    assert names(tmp_path) == ["router.log", "router.log.mine"]


@pytest.fixture(params=["Asia/Kolkata", "America/New_York"])
def elsewhere(request, monkeypatch):
    """Be in another time zone than the first line was written in."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("said", ["05:11:58.123+00:00", "05:11:58Z", "06:11:58+0100", "02:11:58.123456-03:00"])
def test_a_file_that_was_begun_in_another_time_zone(tmp_path, said):
    """Its first line says its offset."""
    (tmp_path / "a.log").write_text(f'{{"timestamp": "2026-11-30T{said}"}}\n')
    assert files._begun(tmp_path / "a.log", 0.0) == pytest.approx(1796015518, abs=1)


@pytest.mark.parametrize("moment", ["2026-11-30T05:11:58.123456", "2026-11-30 05:11:58"])
def test_a_file_of_its_age_is_rotated(tmp_path, moment):
    """Its age is that of its first line, also of an earlier start's."""
    (tmp_path / "a.log").write_text(f'{{"event": "x", "timestamp": "{moment}"}}\n')
    begun = datetime.fromisoformat("2026-11-30T05:11:58").timestamp()
    now = [begun + 60]
    file = LogFile(tmp_path / "a.log", Rotation(age=100), clock=lambda: now[0])
    written(file, "two")
    assert names(tmp_path) == ["a.log"]
    now[0] += 60
    assert written(file, "three") == "three\n"
    assert unpacked(tmp_path / "a.log.1.gz").endswith("\ntwo\n")
    now[0] += 99
    assert written(file, "four") == "three\nfour\n"
    now[0] += 2
    assert written(file, "five") == "five\n"


def test_a_file_whose_first_line_has_no_date_is_as_old_as_its_last_change(tmp_path):
    """It may be an earlier form, or garbage."""
    (tmp_path / "a.log").write_text("2026-99-99 99:99:99\n")
    file = LogFile(tmp_path / "a.log", Rotation(age=100))
    assert written(file, "two").endswith("\ntwo\n")
    os.utime(tmp_path / "a.log", (0, 0))
    assert written(LogFile(tmp_path / "a.log", Rotation(age=100)), "three") == "three\n"


def test_what_can_not_be_compressed_stays_as_it_is(tmp_path, monkeypatch):
    """As on a full disk."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_compress", fail)
    file = LogFile(tmp_path / "router.log", SMALL)
    for i in range(7):
        written(file, f"{i:019d}")
    assert names(tmp_path) == ["router.log", "router.log.1"]


# Where it can't be written


def test_a_file_that_was_removed_is_made_again(tmp_path):
    """And so is its folder: what is written to a file without a name nobody reads."""
    file = LogFile(tmp_path / "logs" / "router.log")
    with capture_logs() as said:
        written(file, "one")
        shutil.rmtree(tmp_path / "logs")
        assert written(file, "two") == "two\n"
        file.path.unlink()
        assert written(file, "three") == "three\n"
        file.path.rename(tmp_path / "logs" / "elsewhere")
        assert written(file, "four") == "four\n"
    assert said == []


def test_losses_are_counted_and_told_when_it_is_over(tmp_path):
    """That it can't be written is said once, and nobody waits."""
    (tmp_path / "taken").write_text("no folder")
    file = LogFile(tmp_path / "taken" / "router.log")
    with capture_logs() as said:
        for _ in range(3):
            file.put("lost\nlost")
            file.flush()
        assert [each["log_level"] for each in said] == ["error"]
        assert "can't be written: Not a directory" in said[0]["event"]
        (tmp_path / "taken").unlink()
        assert written(file, "kept") == "kept\n"
        written(file, "kept")
    assert [each["log_level"] for each in said] == ["error", "warning"]
    assert said[1]["event"].endswith("router.log can be written again: 6 lines are lost")
    assert said[1]["lost"] == 6
    assert file.lost == 6


def test_losses_of_all_files(tmp_path):
    """By their names, in all; one that lost nothing, or wasn't written to, has 0."""
    (tmp_path / "taken").write_text("no folder")
    files_ = [LogFile(tmp_path / "taken" / "unlucky.log"), LogFile(tmp_path / "lucky.log")]
    with capture_logs():
        for each in files_:
            each.put("one\ntwo")
            each.flush()
    found = files.losses(("unlucky", "unwritten"))
    assert (found["unlucky"], found["lucky"]) == (2, 0)
    assert {"lucky", "unwritten"} <= found.keys()
    assert found["unwritten"] == 0


def test_what_is_lost_at_the_end_is_told_at_the_close(tmp_path):
    """Nothing will be over then."""
    (tmp_path / "taken").write_text("no folder")
    file = LogFile(tmp_path / "taken" / "router.log")
    with capture_logs() as said:
        file.put("lost")
        file.close()
        file.close()
    assert [each["event"].rpartition(" ")[0].rpartition("router.log ")[2] for each in said][1:] == [
        "is closed: 1 lines are"
    ]


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="there is no folder that nobody may write to")
def test_a_folder_that_is_read_only():
    """As any other that can't be written."""
    file = LogFile(Path("/sys/kernel/router.log"))
    with capture_logs() as said:
        file.put("lost")
        file.flush()
    assert "can't be written: " in said[0]["event"]


def test_a_fifo_in_a_files_place_is_not_waited_for(tmp_path):
    """Nobody reads it: it can't be written, which is said."""
    os.mkfifo(tmp_path / "router.log")
    file = LogFile(tmp_path / "router.log")
    with capture_logs() as said:
        file.put("lost")
        file.close()
    assert "can't be written: nobody reads it" in said[0]["event"]


def test_half_a_line_is_ended_before_the_next(tmp_path, monkeypatch):
    """A disk that was full in the middle of a line: the next one stands alone."""
    room, write = [14], os.write

    def bounded(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        taken = write(descriptor, data[: room[0]])
        room[0] -= taken
        return taken

    file = LogFile(tmp_path / "router.log")
    monkeypatch.setattr(os, "write", bounded)
    with capture_logs() as said:
        file.put("line one")
        file.put("line two")
        file.put("line three")
        file.flush()
        room[0] = 1000
        assert written(file, "line four") == "line one\nline \nline four\n"
    assert said[1]["lost"] == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_said_once():
    """Nothing is raised, and the lines are lost."""
    file = LogFile(Path("/dev/full"))
    with capture_logs() as said:
        for _ in range(1000):
            file.put("lost" * 100)
        file.close()
    assert "can't be written: No space left on device" in said[0]["event"]
    assert said[1]["lost"] == 1000
    assert len(said) == 2


class Stuck:
    """A disk that takes nothing until it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go, self.is_asked = threading.Event(), threading.Event()
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: bytes) -> int:
        """Wait, then write."""
        self.is_asked.set()
        assert self.may_go.wait(60)
        return self._write(descriptor, data)


def test_nobody_waits_for_a_disk_that_does_not_answer(tmp_path, monkeypatch):
    """What waits is bounded; what is more is counted, and told with the first line that is written then."""
    stuck = Stuck(monkeypatch)
    file = LogFile(tmp_path / "router.log")
    with capture_logs() as said:
        file.put("first")
        assert stuck.is_asked.wait(60)
        line = "x" * 9999
        for _ in range(1000):
            file.put(line)
        assert file._size <= files.MOST_WAITING
        file.flush(0.01)
        stuck.may_go.set()
        file.flush(60)
        lines = file.path.read_text().splitlines()
    assert said[0]["event"].endswith(f"could not be written fast enough: {1001 - len(lines)} lines are lost")
    assert len(lines) > 400


def test_a_disk_that_is_too_slow_for_long_is_told_once_a_minute(tmp_path, monkeypatch):
    """And at the close."""
    monkeypatch.setattr(files, "MOST_WAITING", 10)
    file = LogFile(tmp_path / "router.log")
    with capture_logs() as said:
        for _ in range(5):
            file.put("far too long for it")
            written(file, "short")
        file.close()
    assert [each["lost"] for each in said] == [1, 4]


def test_all_files_are_written_at_the_programs_end(tmp_path):
    """Whoever closes them or not."""
    file = LogFile(tmp_path / "router.log")
    file.put("last")
    files._WRITER.end()
    assert file.path.read_text() == "last\n"


def test_the_end_waits_for_no_disk_for_ever(tmp_path, monkeypatch):
    """It has a bound."""
    monkeypatch.setattr(files, "FLUSH_WITHIN", 0.1)
    stuck = Stuck(monkeypatch)
    file = LogFile(tmp_path / "router.log")
    file.put("last")
    began = time.monotonic()
    files._WRITER.end()
    assert time.monotonic() - began < 30
    stuck.may_go.set()
    file.flush(60)


def test_where_no_thread_can_be_started_nobody_waits(tmp_path, monkeypatch):
    """The next line tries again."""
    writer = files._Writer()
    monkeypatch.setattr(files, "_WRITER", writer)
    start = threading.Thread.start

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    file = LogFile(tmp_path / "router.log")
    file.put("one")
    file.flush(60)
    assert not file.path.exists()
    monkeypatch.setattr(threading.Thread, "start", start)
    assert written(file, "two") == "one\ntwo\n"


def test_a_bug_in_one_file_harms_no_other(tmp_path, monkeypatch):
    """It is logged."""
    broken, file = LogFile(tmp_path / "a.log"), LogFile(tmp_path / "b.log")
    monkeypatch.setattr(broken, "write", lambda: 1 / 0)
    with capture_logs() as said:
        broken.put("lost")
        assert written(file, "kept") == "kept\n"
    assert "because of a bug" in said[0]["event"]
