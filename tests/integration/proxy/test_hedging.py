"""A second backend is asked while the first is silent; who has the first byte answers, the other is let go of."""

import asyncio
from typing import Any

import aiohttp
import pytest

from router.core.budget import RetryBudget
from router.core.estimate.ask import Ask
from router.proxy.hedge import MOST_HELD
from tests.fakes.engine import FakeEngine, expected_stream
from tests.integration.raw import ASK, CHAT, nothing_left
from tests.running import eventually

STREAM = {**ASK, "stream": True}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
NOTHING = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CLOSE = b""


def error(status: int) -> bytes:
    return b"HTTP/1.1 %d No\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}" % status


class Held:
    """An engine that says what it is told to, when it is told to; CLOSE closes the connection."""

    def __init__(self, name, begun):
        self.name = name
        self.left = 0  # by the router, before it had said all
        self.says: asyncio.Queue[bytes] = asyncio.Queue()
        self.begun = begun

    async def play(self, reader, writer):
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"POST"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        self.begun.append(self)
        leaves = asyncio.ensure_future(reader.read(1))
        while True:
            says = asyncio.ensure_future(self.says.get())
            await asyncio.wait({leaves, says}, return_when=asyncio.FIRST_COMPLETED)
            if not says.done():
                says.cancel()
                self.left += 1
                return
            if says.result() == CLOSE:
                leaves.cancel()
                return
            writer.write(says.result())


class Race:
    """A router before two such engines, and a request that both have."""

    def __init__(self, router, session, begun):
        self.router, self.session, self.begun = router, session, begun
        self.records: list[Any] = []

    async def run(self, body=STREAM):
        """Ask, and wait until the second engine has been asked; give the client's task, and the engines in order."""
        self.asking = asyncio.create_task(self.ask(body))
        await eventually(lambda: len(self.begun) == 2 or self.asking.done())
        return self.asking, *self.begun

    async def ask(self, body=STREAM):
        """Ask, and give the answer's status, who gave it, and its body."""
        async with self.session.post(self.router.url + CHAT.decode(), json=body) as answer:
            return answer.status, answer.headers.get("x-router-backend"), await answer.read()

    def in_flight(self, engine):
        """Tell what the router thinks that an engine has."""
        return self.router.plane.backends[engine.name].in_flight

    def estimate(self, engine):
        """Give what the router has learned of an engine."""
        return self.router.plane.backends[engine.name].estimate

    def knows(self, **seconds):
        """Have the router believe that the engines of these names take so long to begin."""
        began = self.router.plane.loop.time() - 20
        for name, takes in seconds.items():
            estimate = self.router.plane.backends[name].estimate
            for number in range(10):
                sent = estimate.sent(Ask(100), 0, began + number)
                estimate.first_token(sent, began + number + takes)
                estimate.ended(sent, began + number + takes)

    async def over(self):
        """Wait until nothing is under way, and give the one record."""
        await eventually(lambda: nothing_left(self.router) and self.records)
        assert all(each._attempts.hedge is None for each in self.router.plane.exchanges)
        (record,) = self.records
        return record


@pytest.fixture
async def race(start_router, engine, session, monkeypatch):
    """Give a function that starts the engines and the router."""

    async def start(hedge_after="20ms", **sections):
        begun: list[Held] = []
        engines = [Held("a", begun), Held("b", begun)]
        backends = [{"url": await engine(each.play), "name": each.name, "models": ["demo"]} for each in engines]
        made = Race(await start_router(backends, balance={"hedge_after": hedge_after}, **sections), session, begun)
        monkeypatch.setattr(made.router.plane, "_on_record", made.records.append)
        return made

    return start


async def test_the_second_wins(race):
    """Its answer is the client's; the first one's connection is closed."""
    ran = await race()
    asking, first, second = await ran.run()
    second.says.put_nowait(HEAD)
    second.says.put_nowait(b"7\r\ndata: x\r\n")
    await eventually(lambda: first.left == 1)
    assert ran.in_flight(first) == 0
    assert ran.in_flight(second) == 1
    second.says.put_nowait(b"2\r\n\n\n\r\n" + DONE)
    assert await asking == (200, second.name, b"data: x\n\ndata: [DONE]\n\n")
    record = await ran.over()
    assert (record.status, record.backend, record.attempts, record.hedge) == (200, second.name, 2, "won")
    assert second.left == 0


async def test_the_first_wins(race):
    """Though the second was asked, which is let go of."""
    ran = await race()
    asking, first, second = await ran.run()
    second.says.put_nowait(HEAD)  # no byte of a body
    first.says.put_nowait(HEAD + DONE)
    assert await asking == (200, first.name, b"data: [DONE]\n\n")
    await eventually(lambda: second.left == 1)
    record = await ran.over()
    assert (record.backend, record.attempts, record.hedge) == (first.name, 2, "lost")
    assert first.left == 0


async def test_an_answer_in_one_piece(race):
    """Is raced for, too."""
    ran = await race()
    asking, first, second = await ran.run(ASK)
    second.says.put_nowait(OK)
    assert await asking == (200, second.name, b"{}")
    await eventually(lambda: first.left == 1)
    assert (await ran.over()).backend == second.name


async def test_an_answer_of_no_bytes(race):
    """Is none: the first attempt goes on."""
    ran = await race()
    asking, first, second = await ran.run(ASK)
    second.says.put_nowait(NOTHING)
    await eventually(lambda: ran.router.plane.backends[second.name].in_flight == 0)
    first.says.put_nowait(OK)
    assert await asking == (200, first.name, b"{}")
    assert (await ran.over()).hedge == "lost"


@pytest.mark.parametrize("failure", [CLOSE, b"garbage\r\n\r\n", error(503), error(429)])
async def test_the_first_fails(race, failure):
    """The second is its retry, and no third is asked."""
    ran = await race()
    asking, first, second = await ran.run()
    first.says.put_nowait(failure)
    await eventually(lambda: ran.in_flight(first) == 0)
    second.says.put_nowait(HEAD + DONE)
    assert (await asking)[:2] == (200, second.name)
    assert (await ran.over()).attempts == 2


async def test_the_first_fails_behind_the_seconds_head(race):
    """The head is not lost."""
    ran = await race()
    asking, first, second = await ran.run()
    second.says.put_nowait(HEAD)
    (exchange,) = ran.router.plane.exchanges
    await eventually(lambda: exchange._attempts.second_attempt.head)
    first.says.put_nowait(CLOSE)
    await eventually(lambda: ran.in_flight(first) == 0)
    second.says.put_nowait(DONE)
    assert (await asking)[:2] == (200, second.name)


@pytest.mark.parametrize("failure", [CLOSE, b"garbage\r\n\r\n", error(503), error(400), error(500)])
async def test_the_second_fails(race, failure):
    """It is let go of, whatever it said, and the first one's answer counts."""
    ran = await race()
    asking, first, second = await ran.run()
    second.says.put_nowait(failure)
    await eventually(lambda: ran.in_flight(second) == 0)
    first.says.put_nowait(HEAD + DONE)
    assert (await asking)[:2] == (200, first.name)
    assert (await ran.over()).attempts == 2


async def test_both_fail(race):
    """The last failure is told."""
    ran = await race(limits={"retries": 0})
    asking, first, second = await ran.run()
    first.says.put_nowait(CLOSE)
    await eventually(lambda: ran.in_flight(first) == 0)
    second.says.put_nowait(CLOSE)
    assert (await asking)[0] == 502
    record = await ran.over()
    assert (record.status, record.backend, record.attempts) == (502, second.name, 2)


async def test_the_client_leaves(race):
    """Both engines are free at once."""
    ran = await race()
    asking, first, second = await ran.run()
    asking.cancel()
    await eventually(lambda: first.left == second.left == 1)
    assert (await ran.over()).status == 499


@pytest.mark.parametrize("end", ["stalled", "drop"])
async def test_the_seconds_backend_goes(race, end):
    """The first goes on alone."""
    ran = await race()
    asking, first, second = await ran.run()
    plane = ran.router.plane
    backend = plane.backends[second.name]
    if end == "drop":
        plane.retire(backend, "was removed")
    getattr(plane, end)(backend, "was removed")
    await eventually(lambda: second.left == 1)
    first.says.put_nowait(HEAD + DONE)
    assert (await asking)[:2] == (200, first.name)


async def test_the_second_is_being_connected_to(start_router, engine, session):
    """When the first fails, it goes on being connected to."""
    begun: list[Held] = []
    quick = Held("quick", begun)
    hello, ends = asyncio.Event(), asyncio.Event()

    async def no_tls(reader, _):
        await reader.read(1)
        hello.set()
        await ends.wait()

    router = await start_router(
        [{"url": await engine(quick.play), "name": "quick", "models": ["demo"], "weight": 1000}],
        balance={"hedge_after": "1h"},
        limits={"retries": 0, "connect_timeout": "60s"},
    )
    asking = asyncio.create_task(Race(router, session, begun).ask())
    await eventually(lambda: begun)
    (exchange,) = router.plane.exchanges
    backends = [{"url": (await engine(no_tls)).replace("http:", "https:"), "name": "tls", "models": ["demo"]}]
    other = await start_router(backends)  # it knows how to make one
    backend = other.plane.backends["tls"]
    router.plane.add(backend, other.plane.connections.address(backend))
    router.plane.directory.rebuild()
    exchange._attempts.way = router.plane.catalog.resolve("demo")
    exchange._attempts.hedge._begin()
    await hello.wait()
    quick.says.put_nowait(CLOSE)
    await eventually(lambda: exchange.backend is backend)
    ends.set()
    status, _, said = await asking
    assert status == 502
    assert b"'tls' failed in its TLS handshake" in said


async def test_nobody_is_asked_twice_unless_told_to(race):
    """By default nothing waits for the silence's end."""
    ran = await race("never")
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: ran.begun)
    (exchange,) = ran.router.plane.exchanges
    assert exchange._attempts.hedge is None
    (first,) = ran.begun
    first.says.put_nowait(HEAD + DONE)
    assert (await asking)[0] == 200
    assert (await ran.over()).attempts == 1


async def test_nobody_is_asked_twice_where_the_budget_is_spent(race):
    """So that hedging doesn't double a load that is the reason for the silence."""
    ran = await race("1h")
    ran.router.plane.ledger.budget = RetryBudget(0, reserve=0)
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: ran.begun)
    (exchange,) = ran.router.plane.exchanges
    exchange._attempts.hedge._begin()  # the hour is over
    assert exchange._attempts.hedge is None
    (first,) = ran.begun
    first.says.put_nowait(HEAD + DONE)
    assert (await asking)[0] == 200
    assert (await ran.over()).attempts == 1


async def test_p95_is_measured(race):
    """From answers; then it is waited for as long as those."""
    ran = await race("p95")
    patience = ran.router.plane.patience
    for _ in range(20):
        patience.note("demo", 0.02, stream=True)
    asking, first, _ = await ran.run()
    first.says.put_nowait(HEAD + DONE)
    assert (await asking)[0] == 200


async def test_a_second_attempt_is_told_of(race, capsys):
    """Which request, and who is asked beside whom."""
    ran = await race()
    asking, first, second = await ran.run()
    first.says.put_nowait(HEAD + DONE)
    await asking
    (said,) = (line for line in capsys.readouterr().out.splitlines() if "asked a second backend" in line)
    assert f"backend={first.name}" in said
    assert f"second={second.name}" in said
    assert "request_id=" in said


async def test_a_kept_connection_that_was_closed_is_no_answer(start_router, engine, session):
    """The second is sent once more, on a fresh one, as a first attempt is."""
    begun: list[Held] = []
    first, second = Held("a", begun), Held("b", begun)
    answered = False

    async def keeps(reader, writer):
        """Answer once, keep the connection, and close it when more is asked on it."""
        nonlocal answered
        if answered:
            await second.play(reader, writer)
            return
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"POST"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        answered = True
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")

    router = await start_router(
        [{"url": await engine(keeps), "name": "b", "models": ["demo"]}], balance={"hedge_after": "1h"}
    )
    ran = Race(router, session, begun)
    assert (await ran.ask(ASK))[0] == 200
    other = await start_router([{"url": await engine(first.play), "name": "a", "models": ["demo"], "weight": 1000}])
    router.plane.add(other.plane.backends["a"], other.plane.connections.address(other.plane.backends["a"]))
    router.plane.directory.rebuild()
    router.plane.backends["b"].in_flight += 1000
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: begun == [first])
    (exchange,) = router.plane.exchanges
    router.plane.backends["b"].in_flight -= 1000
    tokens = router.plane.ledger.budget.tokens
    exchange._attempts.hedge._begin()
    assert not exchange._attempts.second_attempt._connecting  # it is sent on the connection that was kept
    await eventually(lambda: begun == [first, second])
    assert router.plane.ledger.budget.tokens <= tokens - 1 + 0.01  # once
    assert router.plane.backends["b"].in_flight == 1
    second.says.put_nowait(HEAD + DONE)
    assert (await asking)[:2] == (200, "b")
    await eventually(lambda: nothing_left(router))


async def test_answers_are_measured(start_router, fake, session):
    """Each kind apart; errors say nothing."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], balance={"hedge_after": "p95"})
    for fault in ["none"] * 20 + ["status:400"] * 20:
        body = {**STREAM, "stream": fault == "none", "fake": {"events": 1, "size": 8, "fault": fault}}
        async with session.post(router.url + CHAT.decode(), json=body) as answer:
            await answer.read()
    assert router.plane.patience.seconds("demo", stream=True) < 60
    assert router.plane.patience.seconds("demo", stream=False) > 1e9


async def test_many_at_once(start_router, session):
    """Whoever wins, every answer is whole, and nothing is left."""
    async with FakeEngine(delay=0.001) as one, FakeEngine(delay=0.001) as other:
        backends = [{"url": each.url, "models": ["demo"], "name": name} for name, each in (("a", one), ("b", other))]
        router = await start_router(backends, balance={"hedge_after": "5ms", "retry_share": 1})

        async def ask(number):
            wishes = {"events": 4, "size": 8, "first_delay": 0.005 * (number % 3)}
            async with session.post(router.url + CHAT.decode(), json={**STREAM, "fake": wishes}) as answer:
                assert await answer.read() == expected_stream(0, 4, 8)

        for _ in range(5):
            await asyncio.gather(*(ask(number) for number in range(20)))
        await eventually(lambda: nothing_left(router))
        await eventually(lambda: one.stats.in_flight == other.stats.in_flight == 0)
        assert one.stats.begun + other.stats.begun > 100


async def test_who_won_may_break_off(race):
    """Then it is over: the client has had a byte."""
    ran = await race()
    asking, first, second = await ran.run()
    second.says.put_nowait(HEAD + b"7\r\ndata: x\r\n")
    await eventually(lambda: first.left == 1)
    second.says.put_nowait(CLOSE)
    with pytest.raises(aiohttp.ClientError):
        await asking
    assert "broke off" in (await ran.over()).outcome


# What is learned of who is let go of


async def test_one_that_hangs_is_not_asked_again_at_once(race):
    """The first that loses is remembered: the next request goes to the other, and nobody is asked twice for it."""
    ran = await race("500ms")
    ran.knows(a=0.01, b=0.1)
    asking, first, second = await ran.run()
    assert first.name == "a"
    second.says.put_nowait(HEAD + DONE)
    assert (await asking)[:2] == (200, second.name)
    await ran.over()
    assert ran.estimate(first).unheard == 1
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: len(ran.begun) == 3)
    assert ran.begun[2] is second
    second.says.put_nowait(HEAD + DONE)
    assert (await asking)[:2] == (200, second.name)


async def test_a_client_that_gives_up_leaves_knowledge_behind(race):
    """One that hangs costs the next client nothing."""
    ran = await race("never")
    ran.knows(a=0.01, b=0.1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await ran.ask()
    await ran.over()
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: len(ran.begun) == 2)
    assert [each.name for each in ran.begun] == ["a", "b"]
    ran.begun[1].says.put_nowait(HEAD + DONE)
    assert (await asking)[0] == 200


async def late(ran):
    """Ask one backend alone, until its silence isn't to be expected any more; give the client's task, and it."""
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: ran.begun)
    (exchange,) = ran.router.plane.exchanges
    await eventually(lambda: ran.router.plane.loop.time() > exchange._attempts.current.sent.late)
    return asking, *ran.begun


async def test_an_error_that_took_its_time_is_no_silence(race):
    """It is the client's, say."""
    ran = await race("never")
    asking, first = await late(ran)
    first.says.put_nowait(error(400))
    assert (await asking)[0] == 400
    await ran.over()
    assert ran.estimate(first).unheard == 0
    assert ran.estimate(first).cost(ran.router.plane.loop.time()) == 0


async def test_an_error_of_the_second_is_no_silence(race):
    """It is as good as over, though nobody has looked at it for long."""
    ran = await race()
    asking, first, second = await ran.run()
    now = ran.router.plane.loop.time
    began = now()
    await eventually(lambda: now() > began + 0.01)
    second.says.put_nowait(error(400))
    await eventually(lambda: ran.in_flight(second) == 0)
    assert ran.estimate(second).unheard == 0
    first.says.put_nowait(HEAD + DONE)
    assert (await asking)[:2] == (200, first.name)


# Pings

PING = b"8\r\n: ping\n\n\r\n"


async def held(ran, what=PING):
    """Wait until the exchange under way, or its second attempt, holds so many bytes back; give it."""
    (exchange,) = ran.router.plane.exchanges
    attempts = exchange._attempts
    await eventually(
        lambda: what in [each.held for each in (attempts.current, attempts.second_attempt) if each is not None]
    )
    return exchange


async def test_a_ping_of_the_first_does_not_win(race):
    """Who has the first event wins; of the other's pings the client sees none."""
    ran = await race()
    asking, first, second = await ran.run()
    first.says.put_nowait(HEAD + PING)
    await held(ran)
    second.says.put_nowait(HEAD + PING)
    second.says.put_nowait(PING)
    second.says.put_nowait(DONE)
    assert await asking == (200, second.name, b": ping\n\n" * 2 + b"data: [DONE]\n\n")
    await eventually(lambda: first.left == 1)
    assert (await ran.over()).hedge == "won"


async def test_a_ping_of_the_second_does_not_win(race):
    """Nor does its failure behind it cost anything."""
    ran = await race()
    asking, first, second = await ran.run()
    second.says.put_nowait(HEAD + PING)
    await held(ran)
    second.says.put_nowait(CLOSE)
    await eventually(lambda: ran.in_flight(second) == 0)
    first.says.put_nowait(HEAD + DONE)
    assert await asking == (200, first.name, b"data: [DONE]\n\n")
    assert (await ran.over()).hedge == "lost"


async def test_pings_before_the_second_is_asked(race):
    """Don't keep it from being asked; and when it fails, the client gets them."""
    ran = await race("1h")
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: ran.begun)
    (first,) = ran.begun
    first.says.put_nowait(HEAD + PING)
    exchange = await held(ran)
    assert exchange.answer.first_byte_at is None
    exchange._attempts.hedge._begin()
    await eventually(lambda: len(ran.begun) == 2)
    ran.begun[1].says.put_nowait(error(503))
    await eventually(lambda: exchange.answer.passed.size == len(PING))
    first.says.put_nowait(DONE)
    assert await asking == (200, first.name, b": ping\n\ndata: [DONE]\n\n")


async def test_nobody_else_can_be_asked(race):
    """Then the client gets the pings that were held back, and those that come."""
    ran = await race("1h")
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: ran.begun)
    (first,) = ran.begun
    first.says.put_nowait(HEAD + PING)
    exchange = await held(ran)
    ran.router.plane.ledger.budget = RetryBudget(0, reserve=0)
    exchange._attempts.hedge._begin()
    assert exchange.answer.passed.size == len(PING)
    first.says.put_nowait(PING)
    await eventually(lambda: exchange.answer.passed.size == 2 * len(PING))
    first.says.put_nowait(DONE)
    assert (await asking)[2] == b": ping\n\n" * 2 + b"data: [DONE]\n\n"


@pytest.mark.parametrize("end", [CLOSE, b"garbage\r\n"])
async def test_the_first_fails_behind_its_pings(race, end):
    """The second has the field to itself, and the client sees its pings at once."""
    ran = await race()
    asking, first, second = await ran.run()
    first.says.put_nowait(HEAD + PING)
    exchange = await held(ran)
    second.says.put_nowait(HEAD + PING)
    await eventually(lambda: exchange._attempts.second_attempt.held)
    first.says.put_nowait(end)
    await eventually(lambda: exchange.answer.passed.size == len(PING))
    second.says.put_nowait(DONE)
    assert await asking == (200, second.name, b": ping\n\ndata: [DONE]\n\n")


async def test_a_retry_behind_pings(race):
    """Nothing has reached the client."""
    ran = await race("1h")
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: ran.begun)
    (first,) = ran.begun
    first.says.put_nowait(HEAD + PING)
    await held(ran)
    first.says.put_nowait(CLOSE)
    await eventually(lambda: len(ran.begun) == 2)
    ran.begun[1].says.put_nowait(HEAD + DONE)
    assert await asking == (200, ran.begun[1].name, b"data: [DONE]\n\n")


@pytest.mark.parametrize("who", [0, 1])
async def test_many_pings_win(race, who):
    """What is held back is bounded."""
    ran = await race()
    asking, *engines = await ran.run()
    winner = engines[who]
    many = MOST_HELD // len(PING) + 1
    winner.says.put_nowait(HEAD + PING * many)
    await eventually(lambda: engines[1 - who].left == 1)
    winner.says.put_nowait(DONE)
    assert await asking == (200, winner.name, b": ping\n\n" * many + b"data: [DONE]\n\n")


async def test_a_stream_of_nothing_but_pings(race):
    """Is passed on when it ends."""
    ran = await race()
    asking, first, _ = await ran.run()
    first.says.put_nowait(HEAD + PING + b"0\r\n\r\n")
    assert await asking == (200, first.name, b": ping\n\n")
    assert (await ran.over()).ttft is None


async def test_progress_behind_held_pings_is_work(race):
    """An engine that says how far it has come in a prompt isn't taken to be stuck meanwhile."""
    ran = await race("1h")
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: ran.begun)
    (first,) = ran.begun
    said = b": keepalive 7/40\n\n"
    piece = b"%x\r\n%s\r\n" % (len(said), said)
    first.says.put_nowait(HEAD + piece)
    exchange = await held(ran, piece)
    worked = ran.router.plane.loop.time() + 1
    exchange.look(worked)
    assert ran.router.plane.backends[first.name].worked_at == worked
    first.says.put_nowait(DONE)
    assert (await asking)[0] == 200


async def test_a_ping_is_no_first_token(race):
    """The client has it at once; what is learned of the backend, and told of the answer, waits for an event."""
    ran = await race("never")
    asking, first = await late(ran)
    (exchange,) = ran.router.plane.exchanges
    first.says.put_nowait(HEAD + PING)
    await eventually(lambda: exchange.answer.passed.size)
    assert not ran.estimate(first).measured
    pinged = exchange.answer.first_byte_at - exchange.began
    now = ran.router.plane.loop.time
    await eventually(lambda: now() > exchange.answer.first_byte_at + 0.01)
    first.says.put_nowait(DONE)
    assert await asking == (200, first.name, b": ping\n\ndata: [DONE]\n\n")
    record = await ran.over()
    assert record.ttft > pinged + 0.005
    assert ran.estimate(first).response > pinged + 0.005


async def test_patience_waits_for_an_event(race):
    """The 95th percentile is of answers, not of pings."""
    ran = await race("p95")
    asking, first = await late(ran)
    (exchange,) = ran.router.plane.exchanges
    noted = ran.router.plane.patience._recent
    first.says.put_nowait(HEAD + PING)
    await eventually(lambda: exchange.answer.passed.size)
    assert not noted
    first.says.put_nowait(DONE)
    await asking
    assert len(noted["demo", True].times) == 1


# Slow clients, and mistakes


async def test_while_the_client_is_slow_nobody_else_is_asked(race):
    """The first may have answered long ago: nobody listens to it, and its backend isn't to blame."""
    ran = await race("1h")
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: ran.begun)
    (first,) = ran.begun
    (exchange,) = ran.router.plane.exchanges
    exchange.pause()
    exchange._attempts.hedge._begin()
    exchange._attempts.current.sent.late = 0.0
    asking.cancel()
    assert (await ran.over()).hedge == ""
    assert len(ran.begun) == 1
    assert ran.estimate(first).unheard == 0
    assert ran.estimate(first).cost(ran.router.plane.loop.time()) == 0


async def test_a_connection_goes_to_its_pool_as_it_is_to_be_read(race):
    """The answer that it brought had ended when the second attempt won with it, of a client that was slow by then."""
    ran = await race()
    asking, _, second = await ran.run()
    (exchange,) = ran.router.plane.exchanges
    exchange.pause()
    second.says.put_nowait(OK)
    assert await asking == (200, second.name, b"{}")
    await ran.over()
    connection = ran.router.plane.pool(ran.router.plane.backends[second.name]).take()
    assert connection is not None
    assert not connection._paused


async def test_progress_is_an_attempts_own(race):
    """How far another backend had come in the prompt says nothing of this one, which has to begin anew."""
    ran = await race("1h")

    async def works(engine, read):
        """Have an engine say how much it has read, and tell whether that is taken for work."""
        said = b": keepalive %b/40\n\n" % read
        piece = b"%x\r\n%s\r\n" % (len(said), said)
        engine.says.put_nowait(HEAD + piece)
        exchange = await held(ran, piece)
        worked = ran.router.plane.loop.time() + 1
        exchange.look(worked)
        return ran.router.plane.backends[engine.name].worked_at == worked

    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: ran.begun)
    assert await works(ran.begun[0], b"9")
    ran.begun[0].says.put_nowait(CLOSE)
    await eventually(lambda: len(ran.begun) == 2)
    assert await works(ran.begun[1], b"2")
    ran.begun[1].says.put_nowait(DONE)
    assert (await asking)[0] == 200


async def test_a_mistake_with_the_second_leaves_the_first_alone(race):
    """It is told of, and nothing of the second is left."""
    ran = await race("1h")
    asking = asyncio.create_task(ran.ask())
    await eventually(lambda: ran.begun)
    (first,) = ran.begun
    (other,) = (each for each in ran.router.plane.backends.values() if each.name != first.name)

    def mistaken(path, body):
        raise ValueError(path, body)

    other.put_right = mistaken
    (exchange,) = ran.router.plane.exchanges
    exchange._attempts.hedge._begin()
    await eventually(lambda: exchange._attempts.hedge is None)
    assert other.in_flight == 0
    first.says.put_nowait(HEAD + DONE)
    assert await asking == (200, first.name, b"data: [DONE]\n\n")
    assert (await ran.over()).hedge == "lost"
