"""/admin/openapi.json, by a program that tries what it says, for minutes (`make test-endurance`)."""

import os

import pytest

from tests.described import a_router, found
from tests.fakes.engine import FakeEngine


@pytest.mark.timeout(3000)
async def test_every_answer_is_one_that_is_described(tmp_path):
    """Each endpoint with hundreds of requests, others each time; it prints the seed, with which they are the same."""
    examples = os.environ.get("EXAMPLES", "300")
    async with FakeEngine() as fake, a_router(tmp_path, fake.url) as router:
        code, said = await found(router.url, tmp_path, "--max-examples", examples)
    print(said)  # noqa: T201
    assert code == 0, said
