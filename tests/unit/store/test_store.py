import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from router.store import store
from router.store.database import Database
from router.store.footprints import CREATE_FOOTPRINTS, put
from router.store.remembered import MOST, MOST_MACHINES, MOST_TOLD, Remembered
from router.store.store import Store
from tests.running import REPOSITORY, eventually

QWEN = Remembered({"RAM": 1 << 30}, 1, raised=False, load_seconds=3.0)


async def known(folder: Path) -> dict[str, Remembered]:
    return await Store(folder).footprints()


def transactions(folder: Path) -> int:
    """How often the file was changed: SQLite counts that in its header."""
    return int.from_bytes((folder / "state.db").read_bytes()[24:28])


async def test_what_is_remembered_is_there_at_the_next_start(tmp_path):
    """Written at once, and at the latest when the router stops."""
    first = Store(tmp_path)
    assert await first.footprints() == {}
    first.remember("a", QWEN)
    await eventually((tmp_path / "state.db").exists)
    first.remember("b", QWEN)
    await first.close()
    assert await known(tmp_path) == {"a": QWEN, "b": QWEN}


async def test_nothing_to_remember_makes_no_file(tmp_path):
    """Nor a folder."""
    quiet = Store(tmp_path / "state")
    await quiet.footprints()
    await quiet.close()
    assert list(tmp_path.iterdir()) == []


async def test_what_comes_together_is_written_together(tmp_path):
    """One transaction for the first, one for all that came while it was written; the newest of each key counts."""
    busy = Store(tmp_path)
    for number in range(100):
        busy.remember(f"key-{number % 10}", QWEN._replace(loads=number))
    await busy.close()
    assert {key: each.loads for key, each in (await known(tmp_path)).items()} == {
        f"key-{number}": 90 + number for number in range(10)
    }
    assert transactions(tmp_path) <= 2


async def test_what_waits_to_be_written_is_bounded(tmp_path):
    """A disk may be gone for long."""
    (tmp_path / "file").touch()
    waiting = Store(tmp_path / "file")
    for number in range(MOST + 10):
        waiting.remember(str(number), QWEN)
    await waiting.close()
    waiting.remember("last", QWEN)
    assert [*waiting._pending][:: MOST - 1] == ["11", "last"]
    await waiting.close()


async def test_a_folder_that_cannot_be_made_is_said_once(tmp_path):
    """The caller hears nothing of it; what was kept is written once the folder is there."""
    (tmp_path / "state").touch()
    kept = Store(tmp_path / "state")
    with capture_logs() as told:
        for number in range(3):
            kept.remember(f"{number}", QWEN)
            await kept.close()
        assert [each["log_level"] for each in told] == ["warning"]
        assert "state.db can't be written (" in told[0]["event"]
        assert "all works without it" in told[0]["event"]
        (tmp_path / "state").unlink()
        kept.remember("1", QWEN._replace(loads=9))
        await kept.close()
    assert [each["event"] for each in told[1:]] == [f"{tmp_path}/state/state.db can be written again"]
    assert {key: each.loads for key, each in (await known(tmp_path / "state")).items()} == {"0": 1, "2": 1, "1": 9}


async def test_a_file_that_was_removed_is_made_again(tmp_path):
    """With what is learned from then on."""
    kept = Store(tmp_path)
    kept.remember("a", QWEN)
    await kept.close()
    (tmp_path / "state.db").unlink()
    kept.remember("b", QWEN)
    await kept.close()
    assert await known(tmp_path) == {"b": QWEN}


async def test_a_disk_that_hangs_holds_up_neither_the_start_nor_the_end(tmp_path, monkeypatch):
    """As a network folder may: here another program has locked the file, and never lets go."""
    kept = Store(tmp_path)
    kept.remember("a", QWEN)
    await kept.close()
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other, capture_logs() as told:
        other.execute("BEGIN EXCLUSIVE")
        assert await kept.footprints() == {}
        kept.remember("b", QWEN)
        await kept.close()
        other.execute("ROLLBACK")
    assert [each["log_level"] for each in told] == ["warning"]
    assert "can't be read (the disk takes longer than 0.05 s)" in told[0]["event"]
    # The thread goes on by itself.
    await eventually(lambda: len(store._footprints(kept.path)) == 2)


CHILD = """\
import asyncio, json, os, resource, signal, sys
from pathlib import Path
import structlog
from structlog.testing import capture_logs
from router.store.remembered import Remembered
from router.store.store import Store

async def main(folder):
    store = Store(Path(folder))
    with capture_logs() as told:
        before = await store.footprints()
        {harm}
        for name in ("b", "c"):
            store.remember(name, Remembered({{"RAM": 2}}, 1, False, 3.0))
            await store.close()
        {mend}
        store.remember("d", Remembered({{"RAM": 2}}, 1, False, 3.0))
        await store.close()
    print(json.dumps([sorted(before), [each["event"] for each in told]]))

asyncio.run(main(sys.argv[1]))
"""


def child(folder: Path, harm: str = "pass", mend: str = "pass", first: str = "") -> tuple[list[str], list[str]]:
    """Play a router in a process of its own, with something harmed for a while; what it knew, and what it said."""
    words = [sys.executable, "-c", first + CHILD.format(harm=harm, mend=mend), str(folder)]
    said = subprocess.run(words, cwd=REPOSITORY, capture_output=True, check=True, text=True)
    assert said.stderr == ""
    before, told = json.loads(said.stdout)
    return before, told


async def test_a_full_disk(tmp_path):
    """What it holds can still be read; what couldn't be written is, once there is room."""
    kept = Store(tmp_path)
    kept.remember("a", QWEN)
    await kept.close()
    # The system refuses to let a file grow, or be written, beyond so many bytes.
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY))"
    before, told = child(tmp_path, limit.format(1024), limit.format("resource.RLIM_INFINITY"))
    assert before == ["a"]
    assert ["can't be written (" in each for each in told] == [True, False]
    assert told[1].endswith("can be written again")
    assert sorted(await known(tmp_path)) == ["a", "b", "c", "d"]


async def test_a_folder_that_is_read_only(tmp_path):
    """What is known there is used."""
    folder = tmp_path / "state"
    kept = Store(folder)
    kept.remember("a", QWEN)
    await kept.close()
    content = (folder / "state.db").read_bytes()
    (folder / "state.db").chmod(0o444)
    folder.chmod(0o555)
    # Root may write everywhere, so it becomes somebody else, who may look into the folders on the way.
    nobody = "os.setuid(65534) if os.getuid() == 0 else None"
    outer = [
        each for each in (tmp_path, *tmp_path.parents) if each.stat().st_uid == os.getuid() and each != each.parent
    ]
    modes = {each: each.stat().st_mode for each in outer}
    try:
        for each, mode in modes.items():
            each.chmod(mode | 0o001)
        before, told = child(folder, nobody)
    finally:
        for each, mode in modes.items():
            each.chmod(mode)
        folder.chmod(0o755)
    assert before == ["a"]
    (said,) = told
    assert "can't be written (" in said
    assert (folder / "state.db").read_bytes() == content


async def test_a_python_without_sqlite(tmp_path):
    """Some are built so: the router works, and says what it lacks."""
    before, told = child(tmp_path, first="import sys; sys.modules['sqlite3'] = None\n")
    assert before == []
    (said,) = told
    assert "sqlite3" in said
    assert child(tmp_path) == ([], [])


@pytest.mark.parametrize("content", [b"no database at all", b"x" * 5000])
async def test_a_broken_file_costs_what_it_held(tmp_path, content):
    """See tests/unit/store/test_database.py."""
    (tmp_path / "state.db").write_bytes(content)
    kept = Store(tmp_path)
    assert await kept.footprints() == {}
    kept.remember("a", QWEN)
    await kept.close()
    assert await known(tmp_path) == {"a": QWEN}


async def test_what_machines_serve_is_remembered_beside(tmp_path):
    """The newest of each; what is too long is left out."""
    first = Store(tmp_path)
    assert await first.machines() == {}
    first.remember("a", QWEN)
    first.remember_machine("http://pc:8000/v1", '{"old": {}}')
    first.remember_machine("http://pc:8000/v1", '{"qwen": {}}')
    first.remember_machine("http://mac:8000/v1", "x" * (MOST_TOLD + 1))
    await first.close()
    assert await Store(tmp_path).machines() == {"http://pc:8000/v1": '{"qwen": {}}'}
    assert await known(tmp_path) == {"a": QWEN}


async def test_machines_that_cannot_be_written_are_tried_again(tmp_path):
    """As footprints are."""
    (tmp_path / "state").touch()
    kept = Store(tmp_path / "state")
    kept.remember_machine("http://pc", "{}")
    await kept.close()
    (tmp_path / "state").unlink()
    await kept.close()
    assert await Store(tmp_path / "state").machines() == {"http://pc": "{}"}


async def test_a_file_of_an_earlier_router_gets_the_table(tmp_path):
    """What it knew of footprints stays."""
    old = Database(tmp_path / "state.db", (CREATE_FOOTPRINTS,))
    old.write(lambda db: put(db, {"a": QWEN}, 1.0))
    new = Store(tmp_path)
    assert (await new.machines(), await new.footprints()) == ({}, {"a": QWEN})
    new.remember_machine("http://pc", "{}")
    await new.close()
    assert (await new.machines(), await new.footprints()) == ({"http://pc": "{}"}, {"a": QWEN})


async def test_the_oldest_machines_are_dropped(tmp_path):
    """And what somebody else wrote there is left out."""
    kept = Store(tmp_path)
    for number in range(MOST_MACHINES + 2):
        kept.remember_machine(str(number), "{}")
    await kept.close()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as db:
        db.execute("UPDATE machines SET told = x'05' WHERE key = '2'")
    assert list(await kept.machines()) == [str(number) for number in range(3, MOST_MACHINES + 2)]
