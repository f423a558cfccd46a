"""The engines and requests of `scripts.balance.failures`: what it measures is there."""

import aiohttp

from scripts.balance.failures import Outcomes, ask, client, engines


async def test_engines_answer_refuse_and_are_killed():
    """Each as it was told; one that was killed comes back at the same port."""
    outcomes = Outcomes()
    async with engines(0, 401) as (well, refuses), client() as session:
        await ask(session, well.url, outcomes)
        await ask(session, refuses.url, outcomes)
        await well.kill()
        await ask(session, well.url, outcomes)
        await well.start()
        await ask(session, well.url, outcomes)
        async with session.get(f"{well.url}/health", timeout=aiohttp.ClientTimeout(10)) as answer:
            assert answer.status == 200
    assert len(outcomes.ttfts) == 2
    assert outcomes.failed == {"401": 1, "ClientConnectorError": 1}
    assert outcomes.said().startswith("2 answered, 2 failed (1 x 401, 1 x ClientConnectorError); TTFT p50 ")
