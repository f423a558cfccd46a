"""Usage over many requests, and over a router that is killed at random moments (`make test-endurance`)."""

import time

import pytest

from tests.used import check, load


@pytest.mark.timeout(900)
async def test_ten_thousand_requests(tmp_path):
    """Whole answers count to the token, the others within a tenth."""
    seed = time.time_ns()
    truth, told = await load(10_000, 0.02, tmp_path, seed)
    off = check(truth, told)
    print(f"\nseed {seed}: {told}; estimates are off by {off}")  # noqa: T201
