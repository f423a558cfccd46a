"""What `python -m scripts.residency_load` does to real engines for minutes, on fakes in seconds."""

import pytest

from scripts.residency_load import loads

pytestmark = pytest.mark.timeout(300)


async def test_many_requests_at_once_for_one_model_start_it_once(router, fakes):
    async with router(1) as running:
        result = await loads.burst(running, 200)
        assert result.problems == []
        assert len(fakes.starts("m0")) == 1


async def test_many_models_at_once_are_each_loaded_once(router, fakes):
    """Where three of ten fit, each has its turn, and no turn is cut into two."""
    async with router(10, 3) as running:
        result = await loads.crowd(running, each=3)
        assert result.problems == []
        assert [len(fakes.starts(f"m{index}")) for index in range(10)] == [1] * 10


async def test_models_come_and_go_within_the_limit(router):
    """By Zipf's law: no request fails, no answer is cut, and memory that is really held stays below its limit."""
    async with router(5, 3, hold=40) as running:
        result = await loads.zipf(running, requests=60, clients=6, seed=1)
        assert result.problems == []
        assert sum(running.starts().values()) > 5


async def test_two_agents_whose_models_do_not_fit_together_take_turns(router):
    async with router(2, 1) as running:
        result = await loads.agents(running, requests=100, swaps=2)
        assert result.problems == []


async def test_loads_and_unloads_leave_nothing_behind(router):
    async with router(1) as running:
        result = await loads.churn(running, rounds=6)
        assert result.problems == []
