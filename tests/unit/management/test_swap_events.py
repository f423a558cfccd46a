"""What all followers of llama-swap's events have in common."""

import asyncio
import json

import pytest

from router.core.errors import UnavailableError
from router.management import swap_events
from router.management.swap_events import Sources, SwapEvents
from router.telemetry.feed import MOST_FOLLOWERS, Feed
from tests.running import eventually
from tests.unit.management.test_activity import ended

FOLLOWERS = 100


class World:
    """What there is to be told, and how often it was asked for."""

    def __init__(self):
        self.log = Feed()
        self.models = [{"id": "a", "state": "ready"}]
        self.ended = [ended(number) for number in range(1, 4)]
        self.asked = 0
        self.events = SwapEvents(
            Sources(lambda: self.models, self._under_way, self._ended, self.log, lambda each: each.kind)
        )

    async def _under_way(self):
        return {"operation": "snapshot", "total": 0, "requests": []}

    async def _ended(self, after, most):
        self.asked += 1
        await asyncio.sleep(0)
        found = [each for each in self.ended if after is None or each.id > after]
        return self.ended[-1].id, found[-most:]


@pytest.fixture
async def world(monkeypatch):
    monkeypatch.setattr(swap_events, "LOOK_EVERY", 0.02)
    made = World()
    yield made
    made.log.close()


def plain(sent):
    return [(each.told.type, json.loads(each.told.data)) for each in sent]


async def kinds(following, wanted):
    """Read until something of this kind comes; give what it says."""
    async with asyncio.timeout(20):
        async for some in following:
            for kind, data in plain(some):
                if kind == wanted:
                    return data
    raise AssertionError(wanted)


async def test_what_all_get_is_made_once(world):
    """However many come: to describe requests that have ended takes milliseconds."""
    following = await asyncio.gather(*(world.events.follow() for _ in range(FOLLOWERS)))
    first = [await anext(each) for each in following]
    assert all(each is first[0] for each in first)
    assert world.asked <= 3
    assert [kind for kind, _ in plain(first[0])] == ["logData", "modelStatus", "metrics", "inflight"]
    for each in following:
        await each.aclose()


async def test_who_follows_hears_what_changes_once(world):
    """And who comes later begins with how things are then."""
    following = await world.events.follow()
    told = dict(plain(await anext(following)))
    assert [each["id"] for each in told["metrics"]] == [1, 2, 3]
    world.ended.append(ended(4))
    assert [each["id"] for each in await kinds(following, "metrics")] == [4]
    world.models = [{"id": "a", "state": "stopped"}]
    assert await kinds(following, "modelStatus") == world.models
    world.log.add("said", {})
    assert await kinds(following, "logData") == {"source": "proxy", "data": "said\n"}
    later = await world.events.follow()
    told = dict(plain(await anext(later)))
    assert ([each["id"] for each in told["metrics"]], told["modelStatus"]) == ([1, 2, 3, 4], world.models)
    assert told["logData"]["data"] == "said\n"
    await following.aclose()
    await later.aclose()


async def test_who_comes_when_all_have_left_is_told_anew(world):
    """Nothing is looked at while nobody follows."""
    following = await world.events.follow()
    await anext(following)
    await following.aclose()
    await eventually(lambda: world.events._task is None)
    asked = world.asked
    world.ended.append(ended(4))
    following = await world.events.follow()
    told = dict(plain(await anext(following)))
    assert [each["id"] for each in told["metrics"]] == [1, 2, 3, 4]
    assert world.asked > asked
    await following.aclose()


async def test_they_end_with_the_router(world):
    following = await world.events.follow()
    await anext(following)
    world.log.close()
    async with asyncio.timeout(20):
        assert [each async for each in following if each] == []


async def test_too_many(world):
    following = [await world.events.follow() for _ in range(MOST_FOLLOWERS)]
    for each in following:
        await anext(each)
    with pytest.raises(UnavailableError):
        await world.events.follow()
    for each in following:
        await each.aclose()
