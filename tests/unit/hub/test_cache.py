"""What the cache has of a repository, without the hub."""

import os

import pytest

from router.hub.cache import Cache, cached
from tests.fakes.hub import COMMIT
from tests.unit.hub.conftest import NAME


async def test_what_was_fetched_is_known_without_the_hub(downloads):
    """With its checksums; what isn't whole is none of it."""
    for name in ("tiny.gguf", "sub/b.json"):
        await downloads.fetch(name)
    cache = await downloads.cache()
    cache.is_main()
    cache.partial(await downloads.file("config.json")).write_bytes(b"{")
    told = {*(await downloads.repository()).files}
    asked = len(downloads.fake.asked)
    for written in (NAME, NAME.upper()):
        found = cached(downloads.folder, written)
        assert found is not None
        assert (found.name, found.commit) == (NAME, COMMIT)
        assert [each.name for each in found.files] == ["sub/b.json", "tiny.gguf"]
        assert all(Cache(downloads.folder, found).has(each) for each in found.files)
        assert {*found.files} <= told
    assert len(downloads.fake.asked) == asked


@pytest.mark.parametrize(
    ("main", "commit"), [("b", "b"), ("gone", "new"), ("", "new"), ("../..", "new"), (None, "new"), (b"\xff", "new")]
)
def test_which_commit_is_meant(tmp_path, main, commit):
    """That of `main`, if it is there; else the last."""
    folder = tmp_path / "models--org--name"
    for at, name in enumerate(("a", "new", "b")):
        (folder / "snapshots" / name).mkdir(parents=True)
        os.utime(folder / "snapshots" / name, (0, at if name != "b" else 0))
    if main is not None:
        (folder / "refs").mkdir()
        (folder / "refs/main").write_bytes(main if isinstance(main, bytes) else main.encode())
    found = cached(tmp_path, "org/name")
    assert found is not None
    assert (found.commit, found.files) == (commit, ())


def test_nothing_is_there(tmp_path):
    """No cache, no repository, nothing of it."""
    assert cached(tmp_path / "gone", "org/name") is None
    assert cached(tmp_path, "org/name") is None
    (tmp_path / "models--org--name/snapshots").mkdir(parents=True)
    assert cached(tmp_path, "org/name") is None
