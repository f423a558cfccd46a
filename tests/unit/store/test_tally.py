import asyncio
import shutil
import sqlite3
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from router.core.usage import Use
from router.store import tally
from router.store.database import Database
from router.store.remembered import StoreError
from router.store.tally import Tally, read
from router.store.usage import Sums
from tests.running import eventually

TODAY, KEY, MODEL = "2026-11-30", "alice", "qwen"
ONE = Sums(1, 0, 12, 4, 40, 0.5)


@pytest.fixture
async def used(tmp_path):
    made = Tally(tmp_path / "state")
    yield made
    await made.close()


def count(used, day=TODAY):
    used.pending.add((day, KEY, MODEL), Use(12, 4, 40, estimated=False), 0.5)


def written(used) -> dict[tuple[str, ...], Sums]:
    return read(used.path, ("key",), "")


async def test_nothing_makes_no_file(used):
    assert await used.told(("key",)) == {}
    await used.close()
    assert not used.path.parent.exists()


async def test_it_is_written_soon(used):
    """By itself, many counts at once."""
    for _ in range(100):
        count(used)
    await eventually(lambda: used.path.exists() and written(used))
    assert written(used) == {(KEY,): Sums(100, 0, 1200, 400, 4000, 50.0)}


async def test_what_waits_is_told(used):
    """Before it is written, and each count once, while others read and write."""
    for number in range(50):
        count(used)
        one, two = await asyncio.gather(used.told(("key",)), used.told(("model",)))
        assert one[KEY,].requests == two[MODEL,].requests == number + 1


async def test_a_stop_loses_nothing(used):
    """Of what was counted before it."""
    count(used)
    await used.close()
    assert written(used) == {(KEY,): ONE}


async def test_a_folder_that_cannot_be_written_is_told_once(used):
    """What was used stays in memory, and is written once that can be done again."""
    used.path.parent.write_text("no folder")
    with capture_logs() as logs:
        for number in range(3):
            count(used)
            assert (await used.told(("key",)))[KEY,].requests == number + 1
        used.path.parent.unlink()
        count(used)
        assert (await used.told(("key",)))[KEY,].requests == 4
    assert [each["log_level"] for each in logs] == ["warning", "info"]
    assert "can't be written" in logs[0]["event"]
    assert written(used)[KEY,].requests == 4


async def test_a_file_that_cannot_be_read_tells_what_is_in_memory(used, monkeypatch):
    """And nothing raises."""
    count(used)

    def fail(*_):
        raise StoreError("no")

    monkeypatch.setattr(tally, "read", fail)
    with capture_logs() as logs:
        assert await used.told(("key",)) == {}
    assert "can't be read" in logs[0]["event"]


async def test_a_disk_that_hangs_holds_up_nobody_for_long(used, monkeypatch):
    """What is being written then is told from memory, once."""
    monkeypatch.setattr(tally, "PATIENCE", 0.05)
    gate, write = asyncio.Event(), Database.write
    loop = asyncio.get_running_loop()

    def late(self, change):
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
        write(self, change)

    monkeypatch.setattr(Database, "write", late)
    count(used)
    assert await used.told(("key",)) == {(KEY,): ONE}
    count(used)
    assert (await used.told(("key",)))[KEY,].requests == 2
    with capture_logs() as logs:
        await used.close()
    assert "longer than" in logs[0]["event"]
    gate.set()
    monkeypatch.setattr(tally, "PATIENCE", 30)
    assert (await used.told(("key",)))[KEY,].requests == 2


async def test_a_disk_that_hangs_at_a_read_is_waited_for_no_longer(used, monkeypatch):
    """The rest goes on."""
    count(used)
    await used.told(("key",))
    monkeypatch.setattr(tally, "PATIENCE", 0.05)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def late(*_):
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
        return {}

    monkeypatch.setattr(tally, "read", late)
    with capture_logs() as logs:
        assert await used.told(("key",)) == {}
    gate.set()
    assert "can't be read" in logs[0]["event"]


async def test_a_python_without_sqlite_counts_in_memory(used, monkeypatch):
    """It says so once."""
    monkeypatch.setitem(__import__("sys").modules, "router.store.database", None)
    with capture_logs() as logs:
        count(used)
        assert await used.told(("key",)) == {(KEY,): ONE}
    assert len(logs) == 1


async def test_a_new_day_drops_the_oldest(used, monkeypatch):
    """Only then: it takes a look at all rows."""
    monkeypatch.setattr("router.store.usage.MOST_ROWS", 1)
    for day in ("2026-11-28", "2026-11-29", "2026-11-30"):
        count(used, day)
        await used.told(())
    assert await used.told(("day",)) == {("2026-11-30",): ONE}


async def test_a_copy_that_is_put_back_counts(used, tmp_path):
    """The connection to the file before isn't used any more."""
    count(used)
    await used.close()
    shutil.copy(used.path, tmp_path / "copy")
    count(used)
    await used.told(())
    await used.close()
    shutil.copy(tmp_path / "copy", tmp_path / "copy2")
    (tmp_path / "copy2").replace(used.path)
    count(used)
    assert (await used.told(("key",)))[KEY,].requests == 2
    with closing(sqlite3.connect(used.path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
