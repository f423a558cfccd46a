"""A file comes whole and right, or not at all; what came of it is kept for the next time."""

import errno
import os
import resource

import pytest

from router.hub import fetching
from router.hub.errors import HubError
from router.hub.fetching import LONGEST, TRIES
from tests.unit.hub.conftest import CONTENT, NAME


async def test_a_file_comes(downloads):
    """It lies where every program with this cache looks, and its name is its checksum."""
    place = await downloads.fetch()
    assert place.read_bytes() == CONTENT
    assert place.is_symlink()
    assert downloads.at[-1] == len(CONTENT)
    assert [each.name for each in place.resolve().parent.iterdir()] == [(await downloads.file()).digest]


async def test_a_small_file_is_checked_as_git_does(downloads):
    assert (await downloads.fetch("sub/b.json")).read_bytes() == b"{}"
    downloads.fake.repositories[NAME]["config.json"] = b'{"a": 1}'
    assert (await downloads.fetch("config.json")).read_bytes() == b'{"a": 1}'


async def test_a_connection_that_is_cut(downloads):
    """It goes on where it was, however often; what came isn't asked for again."""
    downloads.fake.cuts = [100_000, 1, 200_000]
    place = await downloads.fetch()
    assert place.read_bytes() == CONTENT
    assert len(downloads.lost) == 3
    assert downloads.lost[0] == "the connection was cut"
    begins = [int(each.removeprefix("bytes=").partition("-")[0]) for each in downloads.fake.ranges]
    assert begins == sorted(begins)
    assert begins[-1] > 200_000


async def test_a_program_that_ended_meanwhile(downloads):
    """The next one goes on with what the first one left."""
    downloads.fake.cuts = [300_000] + [0] * TRIES
    with pytest.raises(HubError, match=r"tiny\.gguf: the connection was cut; what came of it is kept") as raised:
        await downloads.fetch()
    assert raised.value.may_pass
    assert downloads.pauses[:4] == [1, 2, 4, 8]
    assert max(downloads.pauses) <= LONGEST
    cache, file = await downloads.cache(), await downloads.file()
    kept = cache.partial(file).stat().st_size
    assert 0 < kept < len(CONTENT)
    assert cache.missing([file]) == len(CONTENT) - kept
    assert (await downloads.fetch()).read_bytes() == CONTENT
    assert downloads.fake.ranges[-1] == f"bytes={kept}-{len(CONTENT) - 1}"
    assert not cache.partial(file).exists()


async def test_a_hub_that_knows_no_parts(downloads):
    """It sends all of it, which is taken from the beginning."""
    cache, file = await downloads.cache(), await downloads.file()
    cache.partial(file).parent.mkdir(parents=True)
    cache.partial(file).write_bytes(b"x" * 1000)
    downloads.fake.knows_ranges = False
    assert (await downloads.fetch()).read_bytes() == CONTENT


async def test_a_wrong_checksum(downloads):
    """Nothing of it stays."""
    downloads.fake.flips = 1
    with pytest.raises(HubError, match=r"what came isn't what the hub has: its checksum is \w{64}") as raised:
        await downloads.fetch()
    assert raised.value.may_pass
    assert [each for each in downloads.folder.rglob("*") if each.is_file() and each.suffix != ".lock"] == []
    assert (await downloads.fetch()).read_bytes() == CONTENT


async def test_what_was_kept_is_wrong(downloads):
    """All of it is fetched once more, in the same go."""
    cache, file = await downloads.cache(), await downloads.file()
    cache.partial(file).parent.mkdir(parents=True)
    cache.partial(file).write_bytes(b"x" * 1000)
    assert (await downloads.fetch()).read_bytes() == CONTENT


async def test_more_is_kept_than_there_is(downloads):
    cache, file = await downloads.cache(), await downloads.file()
    cache.partial(file).parent.mkdir(parents=True)
    cache.partial(file).write_bytes(CONTENT + b"x")
    assert (await downloads.fetch()).read_bytes() == CONTENT


async def test_more_comes_than_there_is(downloads):
    """A disk isn't filled by a hub that says one size and sends another."""
    downloads.fake.knows_ranges = False
    downloads.fake.more = b"more"
    with pytest.raises(HubError, match="more comes than the 1048576 bytes that the hub says"):
        await downloads.fetch()


async def test_a_file_that_is_there(downloads):
    """Nothing is asked for; a link that is missing is made."""
    place = await downloads.fetch()
    place.unlink()
    before = len(downloads.fake.ranges)
    assert (await downloads.fetch()).read_bytes() == CONTENT
    assert len(downloads.fake.ranges) == before


@pytest.mark.parametrize("status", [403, 429, 500, 503])
async def test_a_place_that_has_nothing_now(downloads, status):
    """The hub is asked again, as it names a new place each time."""
    downloads.fake.statuses = [status]
    assert (await downloads.fetch()).read_bytes() == CONTENT
    assert f"127.0.0.1, which has the hub's files, answers {status}" in downloads.lost or status >= 429


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_place_that_refuses(downloads, status):
    """No waiting heals that: it is asked once more, at a new address."""
    downloads.fake.statuses = [status] * 9
    with pytest.raises(HubError, match=f"tiny.gguf: 127.0.0.1, which has the hub's files, answers {status}") as raised:
        await downloads.fetch()
    assert not raised.value.may_pass
    assert len(downloads.fake.ranges) == 2


async def test_a_full_disk(downloads, monkeypatch):
    """What was written stays, and the sentence says what to do."""

    def full(kept: fetching._Kept, piece: bytes) -> None:
        if kept.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(kept, piece)

    write = fetching._Kept.write
    with monkeypatch.context() as disk:
        disk.setattr(fetching._Kept, "write", full)
        with pytest.raises(HubError, match="can't be written, No space left on device: make room, and say") as raised:
            await downloads.fetch()
    assert not raised.value.may_pass
    assert (await downloads.cache()).partial(await downloads.file()).stat().st_size
    assert (await downloads.fetch()).read_bytes() == CONTENT
    assert not downloads.fake.ranges[-1].startswith("bytes=0-")


async def test_a_limit_of_sizes(downloads):
    """As ulimit -f sets it: what fits into it is kept."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(HubError, match=f"can't be written, {os.strerror(errno.EFBIG)}"):
            await downloads.fetch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (await downloads.fetch()).read_bytes() == CONTENT


async def test_a_cache_that_cannot_be_written(downloads):
    downloads.folder.write_text("a file")
    with pytest.raises(HubError, match=r"tiny\.gguf: it can't be written"):
        await downloads.fetch()


async def test_two_at_a_time(downloads):
    """The second one says so."""
    cache, file = await downloads.cache(), await downloads.file()
    with cache.locked(file), pytest.raises(HubError, match="another program is downloading it"):
        await downloads.fetch()
    assert (await downloads.fetch()).read_bytes() == CONTENT
