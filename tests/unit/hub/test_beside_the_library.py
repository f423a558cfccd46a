"""huggingface_hub reads our fake hub, and what we fetch from it: so both are as the real ones."""

import asyncio

import pytest

from router.hub.cache import Cache
from tests.unit.hub.conftest import CONTENT, NAME

library = pytest.importorskip("huggingface_hub", reason="comes with mlx-lm")


async def test_the_library_reads_our_hub(downloads, tmp_path):
    """It lists what is there, and fetches it."""
    api = library.HfApi(endpoint=downloads.fake.url, token="secret")
    info = await asyncio.to_thread(api.model_info, NAME, files_metadata=True)
    ours = {each.name: (each.size, each.digest) for each in (await downloads.repository()).files}
    theirs = {each.rfilename: (each.size, each.lfs.sha256 if each.lfs else each.blob_id) for each in info.siblings}
    assert ours == theirs
    await asyncio.to_thread(api.hf_hub_download, NAME, "tiny.gguf", cache_dir=tmp_path / "theirs")
    # Both have put it at the same place.
    place = (await downloads.fetch()).relative_to(downloads.folder)
    assert (tmp_path / "theirs" / place).read_bytes() == CONTENT


async def test_the_library_finds_what_we_fetch(downloads):
    """Without asking anybody, as engines do."""
    files = [await downloads.fetch(each) for each in ("tiny.gguf", "config.json", "sub/b.json")]
    Cache(downloads.folder, await downloads.repository()).is_main()
    asked = len(downloads.fake.asked)
    found = library.snapshot_download(NAME, cache_dir=downloads.folder, local_files_only=True)
    assert found == str(files[0].parent)
    assert len(downloads.fake.asked) == asked
    (kept,) = library.scan_cache_dir(downloads.folder).repos
    assert (kept.repo_id, kept.size_on_disk, [*kept.refs]) == (NAME, len(CONTENT) + 10, ["main"])
