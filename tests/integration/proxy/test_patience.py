"""Who is waited for, for how long, and who is blamed for what the clock says.

Time is not waited for: where a limit is of minutes, its clock is set back, and what it would say is asked.
"""

import asyncio

import pytest

from router.proxy import downstream
from router.proxy import lane as lane_module
from tests.fakes.engine import expected_body, expected_stream
from tests.integration.raw import ASK, lane_of_connections, nothing_left, post, small_send_buffers
from tests.running import eventually

AN_HOUR = 3600.0
MUCH = {**ASK, "stream": True, "fake": {"events": 400, "size": 100_000}}  # 40 MB
MUCH_WHOLE = expected_stream(0, 400, 100_000)
MIDDLING = {**ASK, "fake": {"events": 15_000}}  # 110 KB: more than the kernel takes here, less than is read at once
MIDDLING_WHOLE = expected_body(0, 15_000)


@pytest.fixture
async def router(start_router, fake):
    backend = {"url": fake.url, "name": "b", "models": ["demo"]}
    router = await start_router([backend], limits={"idle_timeout": "1h"})
    small_send_buffers(router)
    return router


async def until_paused(router):
    """Wait until the one exchange under way is held back by its client; give it."""
    await eventually(lambda: [each for each in router.plane.exchanges if each.paused])
    (exchange,) = router.plane.exchanges
    return exchange


async def until_its_next_request(fake, lane) -> None:
    """Wait until a client that pipelined two, and takes nothing, has as much of them under way as it will have.

    The fast lane asks the second while the client takes the first; the slow one waits for the client.
    """
    await eventually(lambda: fake.stats.begun == 2 if lane == "fast" else fake.stats.ended == 1)


def look_in_an_hour(exchange) -> None:
    """Let the exchange look at a clock by which nothing has come for an hour."""
    exchange.look(exchange._progress.moved_at + AN_HOUR)


async def test_a_slow_client_that_takes_some_is_not_cut(router, raw, lane):
    """It may take its time, as long as it takes; once it takes nothing from one look to the next, it is cut."""
    client = await raw(router, receive_buffer=4096)
    client.send(post(MUCH, lane=lane))
    exchange = await until_paused(router)
    for _ in range(3):
        exchange.look(router.plane.loop.time())
        before = exchange.answer.unsent
        while exchange.answer.unsent == before:
            await client.reader.read(1024)
        look_in_an_hour(exchange)
        assert not nothing_left(router)
    await until_paused(router)
    exchange.look(router.plane.loop.time())
    assert not nothing_left(router)
    look_in_an_hour(exchange)
    assert nothing_left(router)
    assert router.plane.backends["b"].health.against == 0


async def test_an_engine_that_was_held_back_is_not_blamed_for_the_pause(router, raw, lane):
    """When the client reads on after an hour, the engine's own time begins anew."""
    client = await raw(router, receive_buffer=4096)
    client.send(post(MUCH, lane=lane))
    exchange = await until_paused(router)
    exchange.look(router.plane.loop.time())
    exchange._progress.moved_at = long_ago = router.plane.loop.time() - 2 * AN_HOUR
    while exchange._progress.moved_at == long_ago:
        await client.reader.read(4096)
    exchange.look(router.plane.loop.time())
    assert not nothing_left(router)
    assert router.plane.backends["b"].health.against == 0


async def test_an_engine_that_was_held_back_does_not_look_silent(router, raw, lane):
    """However long its client takes nothing, the next request is expected to be answered as soon as ever."""
    client = await raw(router, receive_buffer=4096)
    client.send(post(MUCH, lane=lane))
    await until_paused(router)
    estimate, clock = router.plane.backends["b"].estimate, router.plane.loop.time
    assert estimate.queue(clock() + 30) < 1
    assert (await client.answer()).body == MUCH_WHOLE
    await eventually(lambda: estimate.in_flight == 0)
    assert estimate.queue(clock() + 30) < 1


async def test_a_client_that_catches_up_between_two_answers(router, fake, raw, lane):
    """It took the last of the first answer while the engine was thinking about the second: both are whole."""
    client = await raw(router, receive_buffer=4096)
    thinking = {**ASK, "fake": {"first_delay": 0.5}}
    client.send(post(MIDDLING, lane=lane) + post(thinking, lane=lane))
    await until_its_next_request(fake, lane)
    assert (await client.answer()).body == MIDDLING_WHOLE
    second = await client.answer()
    assert (second.status, second.body) == (200, expected_body(0, 8))


async def test_the_next_answer_waits_for_the_client_too(router, fake, raw, lane):
    """A client that pipelines and takes nothing gets no more of a second answer into memory than of a first."""
    client = await raw(router, receive_buffer=4096)
    client.send(post(MIDDLING, lane=lane) + post(MUCH, lane=lane))
    await until_its_next_request(fake, lane)
    if lane == "fast":
        await until_paused(router)
    assert (await client.answer()).body == MIDDLING_WHOLE
    await until_paused(router)
    assert (await client.answer()).body == MUCH_WHOLE


async def test_a_connection_handed_over_while_its_client_is_slow(router, fake, raw):
    """The slow lane knows that the client hasn't caught up: its answer waits as well, and nothing raises."""
    troubles: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    client = await raw(router, receive_buffer=4096)
    client.send(post(MIDDLING, lane="fast") + post(MUCH, lane="slow"))
    await eventually(lambda: fake.stats.begun == 2)
    await until_paused(router)
    assert (await client.answer()).body == MIDDLING_WHOLE
    assert (await client.answer()).body == MUCH_WHOLE
    assert troubles == []


# After the engine's part


@pytest.fixture
def impatient(monkeypatch):
    """Cut what stands still soon."""
    monkeypatch.setattr(downstream, "IDLE_TIMEOUT", 0.1)
    monkeypatch.setattr(downstream, "LINGER_TIMEOUT", 0.1)
    monkeypatch.setattr(lane_module, "SWEEP_EVERY", 0.02)


LAST_WORDS = {"whole": {"events": 15_000}, "broken off": {"events": 15_000, "fault": "die"}}


@pytest.mark.parametrize("answer", LAST_WORDS.values(), ids=LAST_WORDS)
@pytest.mark.parametrize("headers", [b"", b"connection: close\r\n"], ids=["keep", "close"])
@pytest.mark.usefixtures("impatient")
async def test_a_client_that_takes_nothing_after_the_engines_end_is_cut(router, raw, answer, headers):
    """It may not hold the router's memory and its connection for ever."""
    client = await raw(router, receive_buffer=4096)
    client.send(post({**ASK, "fake": answer}, headers=headers))
    await client.reader.readexactly(100)
    await eventually(lambda: nothing_left(router))
    await eventually(lambda: lane_of_connections(router) == (0, 0))


async def test_a_client_that_takes_some_after_the_engines_end_is_not_cut(router, raw):
    """Its last bytes wait as long as it goes on taking."""
    client = await raw(router, receive_buffer=4096)
    client.send(post({**ASK, "fake": {"events": 15_000}}))
    await client.reader.readexactly(100)
    await eventually(lambda: nothing_left(router))
    (connection,) = router.listener._lane.connections
    assert not connection.overdue(connection._since)
    for _ in range(3):
        before = connection.unsent()
        while connection.unsent() == before:
            await client.reader.read(1024)
        assert not connection.overdue(connection._since + downstream.IDLE_TIMEOUT + 1)
    assert connection.overdue(connection._since + downstream.IDLE_TIMEOUT + 1)


# Who leaves is noticed


@pytest.mark.parametrize(("lane", "more"), [("fast", 1_000), ("fast", 1_000_000), ("slow", 1_000)])
async def test_a_client_that_leaves_after_it_pipelined_is_noticed(router, fake, raw, lane, more):
    """However much it sent behind its request: the engine is freed."""
    client = await raw(router)
    client.send(post({**ASK, "fake": {"fault": "hang", "fault_after": 0}}, lane=lane))
    await eventually(lambda: fake.stats.in_flight == 1)
    client.send(post({**ASK, "x": "y" * more}, lane=lane))
    if more < 100_000:
        await client.sent()
    client.leave()
    await eventually(lambda: fake.stats.aborted == 1)
    assert nothing_left(router)
    assert fake.stats.begun == 1


async def test_a_slow_client_that_leaves_is_noticed(router, fake, raw, lane):
    """Also while it holds the engine back."""
    client = await raw(router, receive_buffer=4096)
    client.send(post(MUCH, lane=lane))
    await until_paused(router)
    client.leave()
    await eventually(lambda: fake.stats.aborted == 1)
    assert nothing_left(router)
