"""Processes that outlive the one that started them."""

import signal
import sys

import psutil
import pytest

from launchers import detached
from launchers.detached import adopt, spawn_detached
from launchers.spec import Command
from tests.running import eventually

SAYING = "import time; print('hello', flush=True); time.sleep(300)"


def command(code: str) -> Command:
    return Command((sys.executable, "-c", code), {}, ())


@pytest.fixture
async def kept(tmp_path):
    """A process of its own, and its end."""
    process = spawn_detached(command(SAYING), tmp_path / "logs" / "demo.log")
    yield process
    process.kill()
    await eventually(lambda: process.gone)


async def test_what_it_says_is_in_its_log(kept, tmp_path):
    """And the last of it at hand."""
    await eventually(lambda: kept.last_lines == ("hello",))
    assert (tmp_path / "logs" / "demo.log").read_text() == "hello\n"


async def test_an_adopted_process_is_watched(kept, tmp_path):
    """Its end is noticed, its last words are known, and it can be ended; nobody knows its exit code."""
    ended = []
    adopted = adopt(kept.pid, tmp_path / "logs" / "demo.log", lambda: ended.append(True))
    await eventually(lambda: adopted.last_lines == ("hello",))
    adopted.terminate()
    await eventually(lambda: ended == [True])
    assert (adopted.gone, adopted.exit_code) == (True, None)
    await eventually(lambda: kept.exit_code == -signal.SIGTERM)


async def test_the_first_error_of_this_start_is_its_reason(tmp_path):
    """Whatever an earlier one's was, in the same log, and however much is said after it."""
    log = tmp_path / "demo.log"
    log.write_text("ValueError: of an earlier start\n")
    process = spawn_detached(command("print('ValueError: no room\\n' + 'cleaning up\\n' * 1000)"), log)
    await eventually(lambda: process.gone)
    assert process.reason == "ValueError: no room"
    log.unlink()
    assert process.reason == ""


async def test_without_descriptors_of_processes_it_is_looked_at(tmp_path, monkeypatch):
    """Its end is noticed all the same."""
    monkeypatch.setattr(detached, "_descriptor_of", lambda _: None)
    process = spawn_detached(command("pass"), tmp_path / "demo.log")
    await eventually(lambda: process.gone)
    assert process.exit_code == 0


async def test_a_released_process_runs_on(tmp_path):
    """Nobody is told of it any more."""
    process = spawn_detached(command(SAYING), tmp_path / "demo.log")
    process.release()
    try:
        assert psutil.pid_exists(process.pid)
    finally:
        psutil.Process(process.pid).kill()


async def test_nobody_is_adopted_who_is_gone(kept, tmp_path):
    """It says so."""
    kept.kill()
    await eventually(lambda: kept.gone)
    with pytest.raises(ProcessLookupError):
        adopt(kept.pid, tmp_path / "demo.log")


async def test_a_log_stays_bounded(kept, tmp_path, monkeypatch):
    """What is cut off is kept once, beside it."""
    log = tmp_path / "logs" / "demo.log"
    await eventually(lambda: kept.last_lines)
    monkeypatch.setattr(detached, "MAX_FILE", 3)
    kept._cut()
    assert log.read_bytes() == b""
    assert log.with_name("demo.log.1").read_bytes() == b"hello\n"


async def test_a_program_that_is_not_there(tmp_path):
    """Its log says it, and it has ended."""
    process = spawn_detached(Command(("/no/such/program",), {}, ()), tmp_path / "demo.log")
    await eventually(lambda: process.gone)
    assert process.exit_code == 127
    assert process.last_lines == ("/no/such/program: No such file or directory",)
