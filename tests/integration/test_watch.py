"""What editors and orchestrators do to a file, on a real file system."""

import asyncio
import errno
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import watchfiles
from structlog.testing import capture_logs

from launchers.files import read_ordinary
from router.fleet import watch
from router.fleet.watch import Watcher
from tests.running import eventually

BEFORE, AFTER = "one: 1\n", "one: 2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a file that is to be watched."""
    (tmp_path / "router.yaml").write_text(BEFORE)
    return tmp_path / "router.yaml"


@asynccontextmanager
async def watching(*files: Path, patterns: tuple[str, ...] = ()) -> AsyncIterator[list[str]]:
    """Give the list to which each change adds what the first of the files says then."""
    told: list[str] = []
    watcher = Watcher(files, patterns, lambda: told.append(files[0].read_text() if files[0].is_file() else "gone"))
    task = asyncio.create_task(watcher.watch())
    await asyncio.sleep(0.2)  # until the system watches, too: what comes before is found by the clock
    try:
        yield told
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def in_place(file: Path) -> None:
    file.write_text(AFTER)


def atomically(file: Path) -> None:
    other = file.with_name(".router.yaml.swp")
    other.write_text(AFTER)
    other.rename(file)


def with_a_backup(file: Path) -> None:
    file.rename(file.with_name("router.yaml~"))
    file.write_text(AFTER)


def removed_and_made_again(file: Path) -> None:
    file.unlink()
    file.write_text(AFTER)


def as_another_user_would_append(file: Path) -> None:
    with file.open("a") as opened:
        opened.write("two: 2\n")


@pytest.mark.parametrize(
    "edit", [in_place, atomically, with_a_backup, removed_and_made_again, as_another_user_would_append]
)
async def test_an_edit_is_told_once(file, edit: Callable[[Path], None]):
    """However it is written; and what is told of is whole."""
    async with watching(file) as told:
        edit(file)
        await eventually(lambda: told)
        await asyncio.sleep(3 * watch.SETTLED)
        assert told == [file.read_text()]
        assert told != [BEFORE]


async def test_each_edit_is_told(file):
    """The second of an editor that writes anew each time, too: not the first file is watched, but its name."""
    async with watching(file) as told:
        for i in range(3):
            other = file.with_name("new")
            other.write_text(f"n: {i}\n")
            other.rename(file)
            await eventually(lambda: told and told[-1] == f"n: {i}\n")  # noqa: B023
        assert len(told) == 3


async def test_a_file_that_is_written_in_parts_is_told_whole(file, monkeypatch):
    """Nobody hears of a part, though each is seen, as long as the next follows soon."""
    seen: set[bytes] = set()

    def note(path: str, most: int) -> bytes:
        found = read_ordinary(path, most)
        seen.add(found)
        return found

    monkeypatch.setattr(watch, "read_ordinary", note)
    monkeypatch.setattr(watch, "SETTLED", 0.5)
    monkeypatch.setattr(watch, "LONGEST", 30.0)
    async with watching(file) as told:
        whole = ""
        for part in ("one: 2\n", "two: 2\n", "three: 3\n"):
            whole += part
            file.write_text(whole)
            await eventually(lambda: whole.encode() in seen)  # noqa: B023
            assert not told
        await eventually(lambda: told)
        assert told == [whole]


async def test_what_never_rests_is_told_all_the_same(file):
    """After a while: a file that a program writes without end must not be waited for without end."""
    async with watching(file) as told:
        for i in range(60):
            file.write_text(f"n: {i}\n")
            await asyncio.sleep(watch.SETTLED / 3)
            if told:
                break
        assert told


async def test_a_touch_is_no_change(file):
    """Nor is the same text written again, nor a file beside it."""
    async with watching(file) as told:
        file.touch()
        atomically_same = file.with_name("same")
        atomically_same.write_text(BEFORE)
        atomically_same.rename(file)
        file.with_name("other").write_text("x")
        await asyncio.sleep(6 * watch.SETTLED)
        assert told == []
        file.write_text(AFTER)
        await eventually(lambda: told)
        assert told == [AFTER]


async def test_a_links_target_is_turned_round(tmp_path):
    """As Kubernetes does with a ConfigMap: router.yaml → ..data/router.yaml, ..data → ..the-time-of-day."""
    for name, text in (("..1", BEFORE), ("..2", AFTER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "router.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "router.yaml").symlink_to("..data/router.yaml")
    async with watching(tmp_path / "router.yaml") as told:
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        await eventually(lambda: told)
        assert told == [AFTER]


async def test_a_link_out_of_the_folder(tmp_path, monkeypatch):
    """A file that lies elsewhere is watched there."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 600.0)
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real.yaml").write_text(BEFORE)
    (tmp_path / "here" / "router.yaml").symlink_to(tmp_path / "there" / "real.yaml")
    async with watching(tmp_path / "here" / "router.yaml") as told:
        (tmp_path / "there" / "real.yaml").write_text(AFTER)
        await eventually(lambda: told)
        assert told == [AFTER]


async def test_a_file_that_a_pattern_will_match(file, tmp_path):
    """A part that is generated later is a change."""
    (tmp_path / "conf.d").mkdir()
    async with watching(file, patterns=(str(tmp_path / "conf.d" / "*.yaml"),)) as told:
        (tmp_path / "conf.d" / "new.txt").write_text("x")
        (tmp_path / "conf.d" / "new.yaml").write_text("two: 2\n")
        await eventually(lambda: told)
        (tmp_path / "conf.d" / "new.yaml").unlink()
        await eventually(lambda: len(told) == 2)


async def test_a_folder_that_is_gone_for_a_while(tmp_path, monkeypatch):
    """A network file system, an unmounted disk: it goes on by the clock, and finds the file again."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.05)
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "router.yaml"
    file.write_text(BEFORE)
    async with watching(file) as told:
        folder.rename(tmp_path / "elsewhere")
        await eventually(lambda: told == ["gone"])
        folder.mkdir()
        file.write_text(AFTER)
        await eventually(lambda: told == ["gone", AFTER])


@pytest.mark.parametrize("error", [OSError("too many watches"), RuntimeError("Too many open files (os error 24)")])
async def test_what_the_system_tells_nothing_of(file, monkeypatch, error):
    """Some network file systems tell of no change, others have no watch to give: it is found by looking."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.05)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(watchfiles, "awatch", refuse)
    with capture_logs() as said:
        async with watching(file) as told:
            for text in (AFTER, BEFORE):
                file.write_text(text)
                await eventually(partial(told.__contains__, text))
    assert [(each["log_level"], each["why"]) for each in said] == [("warning", str(error))]


@pytest.mark.skipif(sys.platform != "linux", reason="such a name can't be elsewhere")
async def test_a_folder_whose_name_is_no_utf_8(tmp_path, monkeypatch):
    """The library can't watch it: it is looked at by the clock."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.05)
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()  # noqa: ASYNC240
    file = folder / "router.yaml"
    file.write_text(BEFORE)
    async with watching(file) as told:
        file.write_text(AFTER)
        await eventually(lambda: told)
        assert told == [AFTER]


async def test_a_fifo_is_not_read(file):
    """It would be waited for until somebody writes to it: that it is there is the change."""
    async with watching(file) as told:
        before = file.with_name("before")
        file.rename(before)
        os.mkfifo(file)
        told_at_once = asyncio.get_running_loop().run_in_executor(
            None, lambda: file.open("w").close()
        )  # for `watching`
        await eventually(lambda: len(told) == 1)
        await told_at_once
        before.replace(file)
        await eventually(lambda: len(told) == 2)
        assert told[-1] == BEFORE


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE])
async def test_a_router_that_can_not_read_for_a_while_sees_no_change(file, monkeypatch, number):
    """It has no descriptor left, or the file's server is away: that says nothing of the file."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.02)
    looked = 0

    def refuse(*_: object) -> bytes:
        nonlocal looked
        looked += 1
        raise OSError(number, os.strerror(number))

    async with watching(file) as told:
        with monkeypatch.context() as patch:
            patch.setattr(watch, "read_ordinary", refuse)
            await eventually(lambda: looked > 5)
        file.write_text(AFTER)
        await eventually(lambda: told)
        assert told == [AFTER]


async def test_other_files_from_now_on(tmp_path, monkeypatch):
    """What is included changes with what is read."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 600.0)
    one, two = tmp_path / "one.yaml", tmp_path / "parts" / "two.yaml"
    two.parent.mkdir()
    one.write_text(BEFORE)
    two.write_text(BEFORE)
    told: list[str] = []
    watcher = Watcher([one], (), lambda: told.append("changed"))
    task = asyncio.create_task(watcher.watch())
    await asyncio.sleep(0.1)
    watcher.look_at([one, two], ())
    await asyncio.sleep(5 * watch.SETTLED)
    before = len(told)
    two.write_text(AFTER)
    await eventually(lambda: len(told) > before)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
