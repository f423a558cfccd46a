import asyncio
import logging

import pytest

from router.core.errors import UnavailableError
from router.telemetry import feed
from router.telemetry.feed import MOST_FOLLOWERS, Entry, Feed, FeedHandler, Once, kind_of


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(feed, "GATHER", 0.0)
    monkeypatch.setattr(feed, "TURN", 0.0)


async def taken(entries, count):
    found = []
    async with asyncio.timeout(10):
        async for some in entries:
            found += some
            if len(found) >= count:
                return found
    return found


async def added(made, *numbers):
    for number in numbers:
        made.add("k", {"n": number})
    await asyncio.sleep(0)


async def test_one_who_follows_gets_what_comes():
    """Nothing of what was before; each with a number, one more than the last."""
    made = Feed(clock=lambda: 5.0)
    await added(made, 1)
    following = asyncio.create_task(taken(made.follow(), 3))
    await asyncio.sleep(0)
    await added(made, 2, 3)
    await added(made, 4)
    found = await following
    assert [(each.id, each.at, each.data["n"], each.missed) for each in found] == [
        (5001, 5.0, 2, 0), (5002, 5.0, 3, 0), (5003, 5.0, 4, 0)
    ]  # fmt: skip
    assert [each.data["n"] for each in made.latest(2)] == [3, 4]


async def test_one_who_comes_back_misses_nothing_that_is_kept():
    """And is told how many are gone."""
    made = Feed(most=3, clock=lambda: 5.0)
    await added(made, *range(6))
    assert [each.data["n"] for each in await taken(made.follow(5003), 2)] == [4, 5]
    first, *others = await taken(made.follow(5000), 3)
    assert (first.data["n"], first.missed, [each.missed for each in others]) == (3, 2, [0, 0])


async def test_one_of_an_earlier_start():
    """It gets all that is kept of this one."""
    made = Feed(most=3, clock=lambda: 5.0)
    await added(made, *range(5))
    first, *_ = await taken(made.follow(17), 3)
    assert (first.data["n"], first.missed) == (2, 2)


async def test_one_of_a_later_start():
    """The clock went back, or it was another router's: it gets all that is kept of this one."""
    made = Feed(most=3, clock=lambda: 5.0)
    await added(made, *range(5))
    first, *_ = await taken(made.follow(9_999_999_999_999), 3)
    assert (first.data["n"], first.missed) == (2, 2)


async def test_a_sign_of_life(monkeypatch):
    """While nothing happens."""
    monkeypatch.setattr(feed, "QUIET", 0.01)
    async for some in Feed().follow():
        assert not some
        break


async def test_a_burst_is_given_some_at_a_time():
    """So that neither a follower's buffer nor the loop has to take all of it at once."""
    made = Feed(clock=lambda: 5.0)
    await added(made, *range(250))
    sizes = []
    async for some in made.follow(0):
        sizes.append(len(some))
        if sum(sizes) == 250:
            break
    assert sizes == [100, 100, 50]


async def test_what_is_gathered_is_given_at_once(monkeypatch):
    """Whoever asks for that gets nothing between two gatherings, however much happens, and misses nothing."""
    made, pauses = Feed(clock=lambda: 5.0), []
    await added(made, *range(250))

    async def gather(_, seconds):
        pauses.append(seconds)
        await added(made, *range(120))

    monkeypatch.setattr(Feed, "_gather", gather)
    once = Once(lambda entry: entry.id)
    sizes = []
    async for some in once.following(made.follow(0, every=0.25)):
        sizes.append(len(some))
        if len(sizes) == 3:
            break
    assert (sizes, pauses) == ([250, 120, 120], [0.25, 0.25])


async def test_gathering_ends_with_the_feed():
    """A router that stops waits for no follower's next gathering; and none lasts longer than ten seconds."""
    made = Feed()
    following = asyncio.create_task(taken(made.follow(0, every=1e9), 2))
    await asyncio.sleep(0)
    await added(made, 1)
    for _ in range(5):
        await asyncio.sleep(0)
    made.close()
    async with asyncio.timeout(5):
        assert len(await following) == 1


async def test_followers_come_one_after_the_other(monkeypatch):
    """Each has a turn of its own: between two of them, the loop looks after requests."""
    monkeypatch.setattr(feed, "TURN", 1.0)
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    made = Feed()
    following = [asyncio.create_task(taken(made.follow(), 1)) for _ in range(3)]
    await asyncio.sleep(0)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    made.add("k", {"n": 1})
    await asyncio.gather(*following)
    assert sorted(waits) == [0.0, 1.0, 2.0]


def test_an_entry_is_made_into_something_once():
    """For all followers; but what was missed before it is one follower's alone. Only the latest are remembered."""
    made = []

    def make(entry):
        made.append(entry.id)
        return [entry.id]

    once = Once(make, most=2)
    one, two, three = (Entry(number, 0.0, "k", {}) for number in (1, 2, 3))
    assert once.of([one, two]) == [[1], [2]]
    assert once.of([one])[0] is once.of([one])[0]
    assert made == [1, 2]
    once.of([one._replace(missed=4)])
    assert made == [1, 2, 1]
    once.of([three, one])
    assert made == [1, 2, 1, 3, 1]


async def test_the_end():
    """Who follows is let go, and nobody is counted any more."""
    made = Feed()
    following = asyncio.create_task(taken(made.follow(), 1))
    await asyncio.sleep(0)
    assert made.followers == 1
    made.close()
    assert await following == []
    assert made.followers == 0
    made.add("k", {})


async def test_too_many_followers():
    """One more is refused, and told why."""
    made = Feed()
    made.followers = MOST_FOLLOWERS
    with pytest.raises(UnavailableError, match="followers are here already") as caught:
        made.follow()
    assert caught.value.code == "too_many_followers"


async def test_lines_of_the_log_are_followed():
    """Those of the router's own, with their details; not those of libraries, nor of levels below."""
    made = Feed()
    handler = FeedHandler(made)
    said = {"event": "backend is down", "backend": "a", "reason": "x", "level": "warning", "_name": "n", "o": None}
    handler.handle(logging.makeLogRecord({"msg": said, "levelname": "WARNING", "levelno": logging.WARNING}))
    handler.handle(logging.makeLogRecord({"msg": "of a library", "levelno": logging.WARNING}))
    await asyncio.sleep(0)
    assert [(each.kind, each.data) for each in made.latest(9)] == [
        (
            "backend",
            {"level": "warning", "message": "backend is down", "details": {"backend": "a", "reason": "x", "o": "None"}},
        )
    ]


@pytest.mark.parametrize(
    ("message", "fields", "kind"),
    [
        ("admin: drains a", {"by": "ops"}, "admin"),
        ("reload: nothing has changed", {}, "reload"),
        ("router.yaml is not taken over: x", {}, "reload"),
        ("POST /v1/x: failed", {"request_id": "1", "backend": "a"}, "request"),
        ("backend is up", {"backend": "a"}, "backend"),
        ("listening at x", {}, "log"),
    ],
)
def test_what_a_line_is_about(message, fields, kind):
    assert kind_of(message, fields) == kind


def test_a_feed_of_a_loop_that_is_closed():
    """A router that couldn't start may leave its handler: lines that come later are no errors."""
    with asyncio.Runner() as runner:
        made = runner.run(_made())
    FeedHandler(made).handle(logging.makeLogRecord({"msg": {"event": "late"}, "levelno": logging.WARNING}))


async def _made() -> Feed:
    return Feed()
