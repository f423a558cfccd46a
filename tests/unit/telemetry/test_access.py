import asyncio
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from router.telemetry import access
from router.telemetry.access import FLUSH_EVERY, MOST_LINES, AccessLog

CLOCK = re.compile(r"\d\d:\d\d:\d\d ")


class Terminal:
    """One that remembers each write."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        """Take it."""
        self.writes.append(text)
        return len(text)


async def soon(condition) -> None:
    """Wait until it holds, for as long as the slowest machine may take."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (what is waited for says nothing when it comes)
            await asyncio.sleep(FLUSH_EVERY / 10)


async def test_lines_are_gathered_and_written_together(tmp_path):
    """Within FLUSH_EVERY of the first, each with its time; once to the file, once to the terminal."""
    terminal, began = Terminal(), time.monotonic()
    log = AccessLog(tmp_path, terminal)  # type: ignore[arg-type]  # write is all that is asked of it
    log.write("one")
    log.write("two %s\\n {}")
    assert terminal.writes == []
    assert not (tmp_path / "access.log").exists()
    await soon(lambda: terminal.writes)
    assert time.monotonic() - began >= FLUSH_EVERY * 0.9
    assert [CLOCK.sub("", text) for text in terminal.writes] == ["one\ntwo %s\\n {}\n"]
    assert len(CLOCK.findall(terminal.writes[0])) == 2
    assert (tmp_path / "access.log").read_text() == terminal.writes[0]
    log.close()


async def test_lines_after_a_flush_are_flushed_too(tmp_path):
    """There is always a next time."""
    log = AccessLog(tmp_path, None)
    for count in (1, 2, 3):
        log.write("line")
        await soon(lambda count=count: (tmp_path / "access.log").exists() and lines(tmp_path) == count)
    log.close()


def lines(folder: Path) -> int:
    return len((folder / "access.log").read_text().splitlines())


async def test_many_lines_are_written_at_once(tmp_path):
    """What waits is bounded."""
    log = AccessLog(tmp_path, None)
    for _ in range(MOST_LINES - 1):
        log.write("line")
    assert not (tmp_path / "access.log").exists()
    log.write("line")
    assert lines(tmp_path) == MOST_LINES
    log.write("line")
    log.close()
    assert lines(tmp_path) == MOST_LINES + 1


async def test_what_waits_is_written_at_the_close(tmp_path):
    """And nothing is left that would write later."""
    terminal = Terminal()
    log = AccessLog(tmp_path, terminal)  # type: ignore[arg-type]
    log.write("last words")
    log.close()
    assert CLOCK.sub("", (tmp_path / "access.log").read_text()) == "last words\n"
    assert log._flushing is None
    await asyncio.sleep(0)
    assert len(terminal.writes) == 1


async def test_nothing_is_written_where_there_is_nothing(tmp_path):
    """A router that nobody asks leaves no file."""
    AccessLog(tmp_path, None).close()
    assert list(tmp_path.iterdir()) == []


async def test_a_terminal_alone_is_enough():
    """And so is neither."""
    terminal = Terminal()
    for log in (AccessLog(None, terminal), AccessLog(None, None)):  # type: ignore[arg-type]
        log.write("line")
        log.close()
    assert len(terminal.writes) == 1


async def test_the_clock_moves_on(monkeypatch):
    """A line has the second in which it was taken, not that in which it is written."""
    terminal, now = Terminal(), iter([10.9, 11.0, 11.5])
    log = AccessLog(None, terminal)  # type: ignore[arg-type]
    clock = SimpleNamespace(time=lambda: next(now), localtime=time.gmtime, strftime=time.strftime)
    monkeypatch.setattr(access, "time", clock)
    for _ in range(3):
        log.write("line")
    log.flush()
    assert terminal.writes == ["00:00:10 line\n00:00:11 line\n00:00:11 line\n"]
    log.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_a_full_disk_costs_nothing(tmp_path, capsys):
    """It is said once, while lines come and at the close."""
    (tmp_path / "access.log").symlink_to("/dev/full")
    log = AccessLog(tmp_path, None)
    for _ in range(3):
        log.write("line")
        log.flush()
    log.close()
    assert capsys.readouterr().err.count("can't be written") == 1
