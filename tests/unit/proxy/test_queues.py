"""Who waits, and whom an offer of room is made to, without sockets."""

import asyncio

import pytest

from router.core.admission import Cap
from router.core.catalog import Backend
from router.core.health import WELL
from router.proxy.repeating import Repeating
from tests.fakes.wired import EVENT, Scene
from tests.running import eventually


@pytest.fixture
async def scene():
    """One backend, with room for one request."""
    made = Scene("a")
    made.plane.bound(made.backends[0], Cap(1))
    yield made
    made.plane.close()


def answer(wire):
    wire.head()
    wire.body(EVENT)
    wire.end()


async def test_who_waits_goes_when_there_is_room(scene):
    """In the loop's next turn, in the order in which they came, one after the other."""
    scene.ask()
    waiting = [scene.ask() for _ in range(2)]
    assert scene.asked() == [1]
    assert len(scene.plane.dispatcher.admission) == 2
    answer(scene.wire(0))
    await asyncio.sleep(0)
    assert scene.asked() == [2]
    answer(scene.wire(0))
    await asyncio.sleep(0)
    assert scene.asked() == [3]
    answer(scene.wire(0))
    assert [client.ended for _, client in waiting] == ["kept", "kept"]
    assert len(scene.plane.dispatcher.admission) == 0


async def test_who_leaves_leaves_its_place_to_the_next(scene):
    scene.ask()
    (first, _), (_, client) = scene.ask(), scene.ask()
    first.cancel()
    answer(scene.wire(0))
    await eventually(lambda: scene.asked() == [2])
    answer(scene.wire(0))
    assert client.ended == "kept"


async def test_a_backend_that_is_gone_is_offered_to_nobody(scene):
    """Nor one whose name another has now; that one is."""
    scene.ask()
    _, client = scene.ask()
    old = scene.backends[0]
    answer(scene.wire(0))
    new = Backend("a", {"m": "m"}, health=WELL)
    scene.plane.add(new)
    scene.plane.queues._offer(old)
    assert scene.asked() == [1]
    scene.plane.connections._pools[new] = scene.pools[0]
    scene.plane.directory.rebuild()
    await eventually(lambda: scene.asked() == [2])
    assert (old.in_flight, new.in_flight) == (0, 1)
    answer(scene.wire(0))
    assert client.ended == "kept"


async def test_a_retired_backend_is_offered_to_nobody(scene):
    """Though it is still known by its name."""
    scene.ask()
    exchange, _ = scene.ask()
    scene.plane.ledger.retire(scene.backends[0], "was removed")
    scene.backends[0].health = WELL
    scene.backends[0].in_flight = 0
    scene.plane.queues._offer(scene.backends[0])
    assert scene.asked() == [1]
    exchange.cancel()


async def test_a_newcomer_that_waits_has_who_looks_bad_probed(scene):
    """It may be well again."""
    doubted: list[str] = []
    scene.plane.on_doubt = lambda backend: doubted.append(backend.name)
    scene.ask()
    scene.ask()
    assert doubted == []
    scene.plane.withdraw(scene.backends[0], "starts again", due=0.0)
    doubted.clear()
    scene.ask()
    assert doubted == ["a"]


async def test_a_client_that_streams_is_told_its_place_each_five_seconds(scene):
    """The first time five seconds after it came; one that doesn't stream is told nothing."""
    scene.ask()
    (first, client), (second, behind), (whole, silent) = scene.ask(), scene.ask(), scene.ask(stream=False)
    entered = first.queued.ticket.entered
    for now, told in ((entered + 4.9, 0), (entered + 6.0, 1), (entered + 10.9, 1), (entered + 11.1, 2)):
        scene.plane.queues.tell_places(now)
        assert client.got.count(b"queued, 0 before you") == told
        assert behind.got.count(b"queued, 1 before you") == told
    assert silent.got == b""
    assert first.queued.queue == second.queued.queue == whole.queued.queue == "m"
    answer(scene.wire(0))
    await asyncio.sleep(0)
    assert first.queued.queue == ""
    assert not first.queued.due(entered + 1e6)
    assert first.queued.waited > 0
    scene.plane.queues.tell_places(entered + 30.0)
    assert behind.got.count(b"queued, 0 before you") == 1


async def test_what_is_told_of_those_who_wait(scene):
    scene.ask()
    scene.ask()
    (waiting,) = scene.plane.queues.told()["m"]
    assert (waiting["request_id"], waiting["priority"], waiting["bytes"]) == ("id-1", 0, 30)


async def test_an_unknown_name_is_refused_at_once(scene):
    _, client = scene.ask(model="unknown")
    assert client.got.startswith(b"HTTP/1.1 404 ")
    assert scene.records[0].status == 404


async def test_an_unknown_name_waits_for_a_backend_that_is_about_to_say_what_it_serves(scene):
    """And goes there, if that is it."""
    late = Backend("late", health=WELL)
    scene.plane.add(late, discovers=True)
    scene.plane.connections._pools[late] = scene.pools[0]
    _, client = scene.ask(model="unknown")
    assert client.got == b""
    scene.plane.learn_models(late, {"unknown": "unknown"})
    await eventually(lambda: scene.asked() == [1])
    answer(scene.wire(0))
    assert client.ended == "kept"


async def test_a_router_that_stops_says_when_to_come_back(scene):
    """To those who wait, too."""
    clients = [scene.ask()[1] for _ in range(2)]
    scene.plane.close()
    for client in clients:
        assert client.got.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 5\r\n" in client.got


async def test_work_is_repeated_as_long_as_there_are_exchanges():
    """By one timer, however often it is started; a mistake in it ends nothing."""
    exchanges, done = {object()}, []

    def work():
        done.append(asyncio.get_running_loop().time())
        if len(done) == 2:
            raise ValueError("a bug")
        if len(done) == 4:
            exchanges.clear()

    repeating = Repeating("work", work, 0.002, exchanges)  # type: ignore[arg-type]
    assert not repeating.running
    for _ in range(5):
        repeating.start()
    timer = repeating._timer
    repeating.start()
    assert repeating._timer is timer
    await eventually(lambda: not repeating.running)
    assert len(done) == 4
    repeating.start()
    assert repeating.running
    repeating._timer.cancel()
