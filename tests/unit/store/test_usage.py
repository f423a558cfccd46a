import sqlite3
from contextlib import closing

import pytest

from router.store import usage
from router.store.database import Database
from router.store.remembered import StoreError
from router.store.usage import Place, Sums, add, drop_oldest, grouped, sums

MONDAY, TUESDAY = "2026-11-30", "2026-12-01"
ONE = Sums(1, 0, 12, 4, 40, 0.5)
USED = {
    Place(MONDAY, "alice", "qwen"): ONE,
    Place(MONDAY, "bob", "qwen"): ONE._replace(estimated=1),
    Place(TUESDAY, "alice", "llama"): ONE._replace(requests=3),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "usage.db"


@pytest.fixture
def file(path):
    made = Database.of_usage(path)
    yield made
    made.close()


def told(path, by=(), since=""):
    nothing: dict[usage.Group, Sums] = {}
    file = Database.of_usage(path)
    try:
        return file.read(lambda db: sums(db, by, since), nothing, check=False)
    finally:
        file.close()


@pytest.mark.parametrize("by", [(), ("key",), ("model",), ("day",), ("day", "model"), ("model", "key", "day")])
@pytest.mark.parametrize("since", ["", TUESDAY, "2026-12-02"])
def test_the_file_and_the_memory_tell_the_same(path, file, by, since):
    """Whatever is told apart."""
    file.write(lambda db: add(db, USED))
    file.write(lambda db: add(db, USED))
    assert told(path, by, since) == grouped([*USED.items(), *USED.items()], by, since)


def test_sums(path, file):
    """In the order that was asked for."""
    file.write(lambda db: add(db, USED))
    assert told(path, ("model", "key"), MONDAY) == {
        ("qwen", "alice"): ONE,
        ("qwen", "bob"): ONE._replace(estimated=1),
        ("llama", "alice"): ONE._replace(requests=3),
    }
    assert told(path) == {(): Sums(5, 1, 36, 12, 120, 1.5)}


def test_the_oldest_days_are_dropped(path, file, monkeypatch):
    """Whole days, so that no day has a part of what was used."""
    monkeypatch.setattr(usage, "MOST_ROWS", 2)
    file.write(lambda db: add(db, USED))
    file.write(drop_oldest)
    assert told(path, ("day",)) == {(TUESDAY,): ONE._replace(requests=3)}


def test_what_was_committed_is_there_for_others_at_once(path, file):
    """Though it is in the log alone, and the connection is kept."""
    file.write(lambda db: add(db, USED))
    assert path.with_name("usage.db-wal").stat().st_size
    assert told(path) == {(): Sums(5, 1, 36, 12, 120, 1.5)}
    file.close()
    assert not path.with_name("usage.db-wal").exists()
    assert told(path) == {(): Sums(5, 1, 36, 12, 120, 1.5)}


def test_a_file_that_was_removed_is_begun_anew(path, file):
    """A connection that is kept would write into one that is gone."""
    file.write(lambda db: add(db, USED))
    for each in path.parent.iterdir():
        each.unlink()
    file.write(lambda db: add(db, USED))
    assert told(path)[()].requests == 5


def test_a_broken_file_is_moved_aside(path, file):
    """And counted anew."""
    file.write(lambda db: add(db, USED))
    file.close()
    path.write_bytes(bytes(512) + path.read_bytes()[512:])
    file.write(lambda db: add(db, USED))
    assert told(path)[()].requests == 5
    assert len([*path.parent.glob("usage.db.broken-*")]) == 1


def test_a_broken_file_is_moved_aside_by_who_reads(path, file):
    file.write(lambda db: add(db, USED))
    file.close()
    path.write_bytes(b"x" * 4096)
    assert told(path) == {}
    assert not path.exists()


def test_two_routers_add_up(path, file):
    """One that ends, too, doesn't take what the other has."""
    other = Database.of_usage(path)
    for _ in range(3):
        file.write(lambda db: add(db, USED))
        other.write(lambda db: add(db, USED))
    other.close()
    assert told(path)[()].requests == 30


def test_a_newer_file_is_left(path, file):
    """Its tables may mean something else."""
    file.write(lambda db: add(db, USED))
    file.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match="newer"):
        file.write(lambda db: add(db, USED))
    with pytest.raises(StoreError, match="newer"):
        told(path)
