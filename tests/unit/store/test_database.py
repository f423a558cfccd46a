import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from router.store import database
from router.store.database import APPLICATION, MOST_BROKEN, STEPS, Database
from router.store.footprints import all_footprints, put
from router.store.remembered import MOST, Remembered, StoreError
from tests.running import REPOSITORY

QWEN = Remembered({"RAM": 1 << 30, "GPU-1": 6 << 30}, 3, raised=True, load_seconds=12.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


def wrote(path: Path, *keys: str, remembered: Remembered = QWEN) -> None:
    Database(path).write(lambda db: put(db, dict.fromkeys(keys, remembered), 1.0))


def known(path: Path) -> dict[str, Remembered]:
    return Database(path).read(all_footprints, {})


def changed(path: Path, *statements: str) -> None:
    """Change a file as another program would."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.broken-*"))


def test_a_look_makes_nothing(path):
    """A router that launches nothing leaves no file and no folder."""
    assert known(path) == {}
    assert not path.parent.exists()


def test_what_was_written_is_read(path):
    """By the next process, too: nothing is kept open."""
    wrote(path, "qwen")
    wrote(path, "llama", remembered=QWEN._replace(raised=False))
    assert known(path) == {"qwen": QWEN, "llama": QWEN._replace(raised=False)}
    assert [each.name for each in path.parent.iterdir()] == ["state.db"]


def test_the_newest_counts_and_is_the_last(path):
    """Whatever was known under its key before."""
    wrote(path, "a", "b")
    wrote(path, "a", remembered=QWEN._replace(loads=4))
    assert [(key, each.loads) for key, each in known(path).items()] == [("b", 3), ("a", 4)]


def test_the_oldest_are_dropped(path):
    """The table is bounded; which are the oldest doesn't depend on the clock."""
    wrote(path, *map(str, range(MOST)))
    wrote(path, "0", "new", "newer")
    assert list(known(path)) == [*map(str, range(3, MOST)), "0", "new", "newer"]


def test_nobody_can_fill_the_disk(path, monkeypatch):
    """The file is bounded, too, and what doesn't go in leaves the rest as it was."""
    wrote(path, "a")
    monkeypatch.setattr(database, "MOST_PAGES", 8)
    with pytest.raises(StoreError, match="full"):
        wrote(path, "long" * 8192)
    assert known(path) == {"a": QWEN}


@pytest.mark.parametrize(
    "change",
    [
        "bytes = 'x'",
        "bytes = 5",
        "bytes = '[1]'",
        """bytes = '{"RAM": -1}'""",
        """bytes = '{"RAM": "1"}'""",
        """bytes = '{"RAM": true}'""",
        "bytes = '" + "[" * 100_000 + "'",
        f"loads = {1 << 61}",
        "loads = 'x'",
        "load_seconds = -1",
        "load_seconds = 1e999",
        "load_seconds = 'x'",
    ],
)
def test_nonsense_in_a_row_is_not_read(path, change):
    """Whoever wrote it; the other rows count."""
    wrote(path, "a", "b")
    changed(path, f"UPDATE footprints SET {change} WHERE key = 'a'")  # noqa: S608 -- the cases above
    assert list(known(path)) == ["b"]


# ------------------------------------------------------------------- broken files


def _text(path: Path) -> None:
    path.write_text("these are the notes of a person\n" * 100)


def _short(path: Path) -> None:
    path.write_bytes(b"x")


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _torn(path: Path) -> None:
    content = bytearray(path.read_bytes())
    # The second page has a table: a disk has lost a part of it.
    content[4096:6000] = bytes(1904)
    path.write_bytes(content)


def _header(path: Path) -> None:
    path.write_bytes(bytes(512) + path.read_bytes()[512:])


def _of_others(path: Path) -> None:
    path.unlink()
    changed(path, "CREATE TABLE t (a)")


def _without_the_table(path: Path) -> None:
    changed(path, "DROP TABLE footprints", "CREATE TABLE t (a)")


def _other_columns(path: Path) -> None:
    changed(path, "DROP TABLE footprints", "CREATE TABLE footprints (key, at)")


BREAKS = [_text, _short, _cut, _torn, _header, _of_others, _without_the_table, _other_columns]


@pytest.mark.parametrize("harm", BREAKS)
def test_a_broken_file_is_moved_aside_when_it_is_read(path, harm: Callable[[Path], None]):
    """Nothing of it is lost, a new one is begun, and the log says so once."""
    wrote(path, *map(str, range(100)))
    harm(path)
    content = path.read_bytes()
    with capture_logs() as told:
        assert known(path) == {}
        wrote(path, "new")
        assert known(path) == {"new": QWEN}
    (old,) = aside(path)
    assert old.read_bytes() == content
    assert [each["log_level"] for each in told] == ["warning"]
    assert f"it was moved to {old.name}, and a new one is begun" in told[0]["event"]


@pytest.mark.parametrize("harm", [each for each in BREAKS if each is not _torn])
def test_a_broken_file_is_moved_aside_when_it_is_written(path, harm: Callable[[Path], None]):
    """What is learned meanwhile is in the new one. A torn page that isn't touched is found at the next start."""
    wrote(path, *map(str, range(100)))
    harm(path)
    wrote(path, "new")
    assert known(path) == {"new": QWEN}
    assert len(aside(path)) == 1


def test_the_journal_of_a_broken_file_goes_with_it(path):
    """Some programs leave theirs there; it is no part of the new file."""
    changed(path, "PRAGMA journal_mode = persist", "CREATE TABLE t (a)")
    journal = path.with_name("state.db-journal")
    assert journal.exists()
    wrote(path, "new")
    assert known(path) == {"new": QWEN}
    assert not journal.exists()
    assert [each.name.removeprefix("state.db.broken-")[15:] for each in aside(path)] == ["", "-journal"]


def test_another_router_may_have_moved_it(path):
    """The file that it has begun since stays."""
    path.parent.mkdir()
    _text(path)
    broken = path.stat()
    path.rename(path.with_name("other"))
    wrote(path, "new")
    Database(path)._move_aside(broken, ValueError("broken"))
    assert known(path) == {"new": QWEN}
    path.unlink()
    Database(path)._move_aside(broken, ValueError("broken"))
    assert aside(path) == []


def test_a_disk_that_breaks_each_file_is_not_filled_with_them(path):
    """From then on, nothing is remembered, and it is said what to do."""
    path.parent.mkdir()
    for _ in range(MOST_BROKEN):
        _text(path)
        wrote(path, "a")
    assert len(aside(path)) == MOST_BROKEN
    _text(path)
    with pytest.raises(StoreError, match="10 others that were are beside it: remove them all"):
        wrote(path, "a")
    assert len(aside(path)) == MOST_BROKEN


@pytest.mark.parametrize("size", [0, None])
def test_a_file_whose_making_was_cut_short(path, size):
    """An empty file, or one without tables, is ours to fill."""
    changed(path, "PRAGMA user_version = 0", "CREATE TABLE t (a)", "DROP TABLE t")
    if size is not None:
        os.truncate(path, size)
    assert known(path) == {}
    wrote(path, "a")
    assert known(path) == {"a": QWEN}
    assert aside(path) == []


def test_a_file_of_a_newer_router_is_left_as_it_is(path):
    """Its next start finds what it knew."""
    wrote(path, "a")
    changed(path, f"PRAGMA user_version = {len(STEPS) + 1}", "ALTER TABLE footprints ADD COLUMN more")
    content = path.read_bytes()
    for use in (known, wrote):
        with pytest.raises(StoreError, match="a newer router made it"):
            use(path)
    assert path.read_bytes() == content
    assert aside(path) == []


def test_the_header_says_whose_it_is(path):
    """`file state.db` shows both."""
    wrote(path, "a")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        assert db.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


# ---------------------------------------------------------- several, and killed ones

WRITER = """\
import sys
from pathlib import Path
from router.store.database import Database
from router.store.footprints import put
from router.store.remembered import Remembered

database, name = Database(Path(sys.argv[1])), sys.argv[2]
for number in range(int(sys.argv[3])):
    told = Remembered({"RAM": number}, number, False, 1.0)
    database.write(lambda db: put(db, {f"{name}-a": told, f"{name}-b": told, f"{name}-{number % 20}": told}, 1.0))
    print(number, flush=True)
"""


def writer(path: Path, name: str, times: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", WRITER, str(path), name, str(times)]
    return subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE)


def test_two_routers_share_a_folder(path):
    """Neither loses what it wrote, from the making of the file on."""
    both = [writer(path, name, 40) for name in ("one", "other")]
    for each in both:
        each.communicate()
    assert [each.returncode for each in both] == [0, 0]
    assert {key: told.loads for key, told in known(path).items() if key.endswith("-a")} == {"one-a": 39, "other-a": 39}
    assert len(known(path)) == 2 * 22


def test_a_killed_router_leaves_whole_transactions(path):
    """Wherever it was: what it said is there, and of what it was writing all or nothing."""
    for said in (1, 2, 3, 5, 8, 13):
        with writer(path, "a", 1_000_000) as process:
            assert process.stdout is not None
            for _ in range(said):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            last = max([last, *map(int, process.stdout.read().split())])
        found = known(path)
        assert found["a-a"] == found["a-b"]
        assert found["a-a"].loads in {last, last + 1}
    assert aside(path) == []
