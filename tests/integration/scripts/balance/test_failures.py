"""The engines and requests of `scripts.balance.failures`: what it measures is there."""

from scripts.balance.failing_engine import engines
from scripts.balance.failures import FailureCount, ask, client
from scripts.balance.process import ask as ask_process


async def test_engines_answer_refuse_and_are_killed():
    """Each as it was told; one that was killed comes back at the same port."""
    count = FailureCount()
    async with engines(0, 401) as (well, refuses), client(well.url) as pool, client(refuses.url) as refused:
        await ask(pool, count)
        await ask(refused, count)
        await well.kill()
        await ask(pool, count)
        await well.start()
        await ask(pool, count)
        assert b'"demo"' in await ask_process(well.url, "GET", "/health")
    assert len(count.ttfts) == 2
    assert min(count.ttfts) >= 0.25
    assert count.failed == {"401": 1, "no connection": 1}
    assert str(count).startswith("2 answered, 2 failed (1 x 401, 1 x no connection); TTFT p50 ")
