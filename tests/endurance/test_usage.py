"""Usage over many requests, and over a router that is killed at random moments (`make test-endurance`)."""

import time

import pytest

from tests.used import check, kills, load


@pytest.mark.timeout(900)
async def test_ten_thousand_requests(tmp_path):
    """Whole answers count to the token, the others within a tenth."""
    seed = time.time_ns()
    truth, told = await load(10_000, 0.02, tmp_path, seed)
    off = check(truth, told)
    print(f"\nseed {seed}: {told}; estimates are off by {off}")  # noqa: T201


@pytest.mark.timeout(900)
async def test_kills_at_fifty_random_moments(tmp_path):
    """The file is whole after each, and has all but the last second."""
    seed = time.time_ns()
    lost = await kills(50, tmp_path, seed)
    print(f"\nseed {seed}: requests lost of those of the last second: {lost}")  # noqa: T201
