"""/admin/openapi.json, by a program that tries what it says."""

import pytest

from tests.described import a_router, found


@pytest.mark.long
async def test_every_answer_is_one_that_is_described(fake, tmp_path):
    """Of right requests and of wrong ones: no status, type or field that the description lacks, and no 500."""
    async with a_router(tmp_path, fake.url) as router:
        code, said = await found(router.url, tmp_path, "--max-examples", "3", "--generation-deterministic")
    assert code == 0, said
