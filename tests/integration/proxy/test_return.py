"""A backend that was away is soon back: it is probed soon and often, and a first good answer is enough."""

import asyncio
from typing import Any

import pytest

from router.core.health import RETURNS_WITHIN, Health, Verdict
from tests.fakes.engine import FakeEngine, expected_body
from tests.running import eventually

CHAT = "/v1/chat/completions"
SELDOM = {"interval": "1h"}  # so that nothing is found by the ordinary probes


@pytest.fixture
def session(session):
    """Ask in one lane: what is tested is the same in both."""
    return session


def chat(**fake: object) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "fake": fake}


def backend(fake: FakeEngine, name: str, **keys: object) -> dict[str, object]:
    return {"url": fake.url, "models": ["demo"], "name": name, **keys}


async def asked(session, router, **fake: object) -> tuple[int, str | None]:
    async with session.post(router.url + CHAT, json=chat(**fake)) as answer:
        await answer.read()
        return answer.status, answer.headers.get("x-router-backend")


async def fails(session, router, name: str) -> None:
    """Ask until a backend that is away is known to be."""
    while router.plane.backends[name].health.usable:
        assert (await asked(session, router))[0] == 200


async def test_one_that_comes_back_is_soon_found(start_router, session):
    """Whatever `health.interval` is; and it gets requests, without anybody being failed."""
    async with FakeEngine() as other:
        async with FakeEngine() as first:
            router = await start_router([backend(first, "back"), backend(other, "other")], health=SELDOM)
            await eventually(lambda: router.plane.backends["back"].health.usable and first.stats.gets)
        await fails(session, router, "back")
        async with FakeEngine(port=first.port) as again:
            await eventually(lambda: router.plane.backends["back"].health.usable)
            while not again.stats.ended:
                assert (await asked(session, router))[0] == 200


async def test_who_waits_has_it_probed_at_once(start_router, session):
    """However long it was away: the other one has no room."""
    async with FakeEngine() as other:
        async with FakeEngine() as first:
            backends = [backend(first, "back"), backend(other, "other", max_in_flight=1)]
            router = await start_router(backends, health=SELDOM)
            await eventually(lambda: router.plane.backends["back"].health.usable and first.stats.gets)
        await fails(session, router, "back")
        prober, back, now = router._prober, router.plane.backends["back"], router.plane.loop.time()
        prober._ill[back] = now - 1e6  # from its next probe on it is looked at each hour
        await eventually(lambda: back in prober._pauses and prober._pauses[back][0] > now)
        async with FakeEngine(port=first.port):
            hung = asyncio.create_task(asked(session, router, fault="hang", fault_after=0))
            await eventually(lambda: other.stats.in_flight == 1)
            async with asyncio.timeout(20):
                assert await asked(session, router) == (200, "back")
            hung.cancel()
            await asyncio.gather(hung, return_exceptions=True)


async def test_a_first_token_is_enough_on_trial(start_router, session):
    """The trial's few don't hold up others until a long answer has ended."""
    async with FakeEngine() as fake:
        router = await start_router([backend(fake, "only")], health={**SELDOM, "trial": 1})
        only = router.plane.backends["only"]
        await eventually(lambda: fake.stats.gets and only.health.usable)
        only.health = Health(Verdict.PROBING, by_requests=True)
        body = {**chat(events=1000, delay=0.05), "stream": True}
        async with session.post(router.url + CHAT, json=body) as long:
            await long.content.readany()
            assert (await asked(session, router))[0] == 200
            assert only.in_flight == 1


async def test_one_that_fails_its_trials_costs_nobody_an_answer(start_router, session):
    """It answers its probes, and nothing else: it is asked ever more seldom, and all is answered elsewhere."""
    async with FakeEngine(fault="close_before") as broken, FakeEngine() as other:
        router = await start_router(
            [backend(broken, "broken"), backend(other, "other")], balance={"policy": "round_robin"}, health=SELDOM
        )
        bad = router.plane.backends["broken"]
        async with asyncio.timeout(60):
            while bad.health.relapses < 2:
                async with session.post(router.url + CHAT, json=chat()) as answer:
                    assert await answer.read() == expected_body(0, 8)
                await asyncio.sleep(0.005)
        assert broken.stats.begun < 12


# All are away at once


async def test_servers_that_are_restarted_are_waited_for(start_router, session):
    """Nobody launches them here: what they had and what comes meanwhile waits for the first that is back."""
    async with FakeEngine() as first, FakeEngine() as second:
        router = await start_router([backend(first, "one"), backend(second, "two")], health=SELDOM)
        await eventually(lambda: first.stats.gets and second.stats.gets)
    asking = [asyncio.create_task(asked(session, router)) for _ in range(20)]
    await eventually(lambda: len(router.plane.dispatcher.admission) == len(asking))
    async with FakeEngine(port=second.port), asyncio.timeout(20):
        assert await asyncio.gather(*asking) == [(200, "two")] * len(asking)


async def test_a_server_that_does_not_return_is_soon_told_of(start_router, session):
    """Who waited hears so, and from then on nobody waits any more."""
    async with FakeEngine() as only:
        router = await start_router([backend(only, "only")], health=SELDOM)
        await eventually(lambda: router.plane.backends["only"].health.usable and only.stats.gets)
    asking = asyncio.create_task(asked(session, router))
    await eventually(lambda: len(router.plane.dispatcher.admission))
    gone = router.plane.backends["only"].health
    long_ago = gone.since - RETURNS_WITHIN
    router.plane.backends["only"].health = Health(
        gone.verdict, 0, gone.reason, since=long_ago, absent=gone.absent, coming=gone.coming
    )
    async with asyncio.timeout(20):
        assert (await asking)[0] == 502
    assert not router.plane.backends["only"].health.coming
    assert (await asked(session, router))[0] == 502
