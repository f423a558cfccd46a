"""What a probe's outcome says of a backend, and when a token is asked for: the answers are the test's."""

import asyncio
import errno
import ssl
import time
from functools import partial
from math import inf
from types import SimpleNamespace

import aiohttp
import pytest

from router.core.catalog import Backend
from router.core.health import WELL, Health, Verdict
from router.proxy.dialling import Address
from router.proxy.watching import probe
from router.proxy.watching.asking import Asker
from router.proxy.watching.probe import Prober, ProbeTiming, Target
from router.proxy.watching.sleepers import Sleepers, Wake
from tests.fakes.wired import Scene
from tests.running import eventually

HERE, ELSEWHERE = Address("127.0.0.1", 1), Address("127.0.0.1", 2)


class Answer:
    """An answer of a status and a body, in one piece; or an error that is raised instead."""

    def __init__(self, outcome, body=b""):
        self.outcome, self.status, self.content, self.body = outcome, outcome, self, body

    async def __aenter__(self):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self

    async def __aexit__(self, *_):
        return None

    async def iter_any(self):
        """Give the body."""
        yield self.body


class Answers(Asker):
    """An asker that is answered by the test: by path, for a token by `token`."""

    def __init__(self):
        self.pages: dict[str, Answer] = {}
        self.token: Exception | None = None
        self.asked: list[str] = []

    def get(self, _, __, path, *___):
        """Answer by the path."""
        self.asked.append(path)
        return self.pages.get(path, Answer(200))

    async def ask_for_token(self, *_):
        """Give one, or the error."""
        self.asked.append("token")
        if self.token is not None:
            raise self.token

    async def close(self):
        """Do nothing."""


class Watched:
    """A prober of one backend, and what it told the plane."""

    def __init__(self, **timing):
        self.scene = Scene("b")
        self.plane = self.scene.plane
        (self.backend,) = self.scene.backends
        self.address = HERE
        assert self.plane.connections.address(self.backend) == HERE
        self.asker = Answers()
        self.prober = Prober(self.plane, ProbeTiming(**timing), lambda: 0.5)
        self.told: list[object] = []
        self.play("succeeded", lambda _: self.told.append("succeeded"))
        self.play("failed", lambda _, why, *, refused: self.told.append((why, refused)))
        self.play("stalled", lambda _, why: self.told.append(why))
        self.play("worked", lambda *_: self.told.append("worked"))
        setattr(self.plane.ledger, "probed", lambda *_, answered: self.told.append(("probed", answered)))  # noqa: B010

    def play(self, name, do):
        """Have the test do what the plane does."""
        setattr(self.plane, name, do)

    async def probe(self, outcome=200, **target):
        """Probe it once."""
        self.asker.pages["/health"] = Answer(outcome)
        return await self.prober._probe(self.asker, Target(self.backend, **target), self.address)


@pytest.fixture
async def watched():
    made = Watched(interval=5.0, timeout=2.0, stall_after=10.0)
    yield made
    made.plane.close()


# What an outcome says


@pytest.mark.parametrize(
    ("outcome", "reached", "told"),
    [
        (200, True, ["succeeded"]),
        (404, True, ["succeeded"]),
        (499, True, ["succeeded"]),
        (500, True, [("answered 500 to a probe", False)]),
        (503, True, [("answered 503 to a probe", False)]),
        (TimeoutError(), True, [("probed", False), ("no answer to a probe in 2 s", False)]),
        (ConnectionRefusedError("no"), False, [("a probe failed: no", True)]),
        (ssl.SSLError(1, "some reason"), False, [("a probe failed: TLS failed: some reason", False)]),
        (aiohttp.ServerDisconnectedError("gone"), False, [("a probe failed: gone", False)]),
        (aiohttp.ClientPayloadError(), False, [("a probe failed: ClientPayloadError", False)]),
        (OSError(errno.EMFILE, "no files"), True, []),
        (OSError(errno.ENFILE, "no files"), True, []),
    ],
)
async def test_what_an_outcome_says_of_a_backend(watched, outcome, reached, told):
    """Any answer below 500 shows life; that the router has no descriptor left says nothing."""
    assert await watched.probe(outcome) is reached
    assert watched.told == told


@pytest.mark.parametrize("in_flight", [1, 5])
async def test_a_probe_that_times_out_excuses_who_has_requests(watched, in_flight):
    """It may be at work on them; the time is noted all the same. No other failure is excused."""
    watched.backend.in_flight = in_flight
    assert await watched.probe(TimeoutError())
    assert watched.told == [("probed", False)]
    assert await watched.probe(503)
    assert not await watched.probe(ConnectionRefusedError("no"))
    assert watched.told[1:] == [("answered 503 to a probe", False), ("a probe failed: no", True)]


class Heard(Sleepers):
    """Notes which backends nobody answered at; they are `asleep`, or not."""

    def __init__(self, *, asleep):
        self.lost: list[Backend] = []
        self.asleep = asleep

    def unreached(self, backend):
        """Note it."""
        self.lost.append(backend)
        return self.asleep


@pytest.mark.parametrize("asleep", [False, True])
async def test_that_nobody_is_there_is_told_to_who_wakes_machines(watched, asleep):
    """Of a server that refuses or is silent nothing. Where its machine sleeps, that is no failure."""
    watched.prober.sleepers = heard = Heard(asleep=asleep)
    for outcome in (ConnectionRefusedError(errno.ECONNREFUSED, "no"), 503, TimeoutError()):
        await watched.probe(outcome)
    watched.told.clear()
    assert heard.lost == []
    await watched.probe(OSError(errno.EHOSTUNREACH, "no route"))
    assert heard.lost == [watched.backend]
    assert len(watched.told) == (0 if asleep else 1)


async def test_requests_in_flight_excuse_no_machine_that_may_sleep(watched):
    """Its system would accept a connection, however busy its server is."""
    watched.backend.in_flight = 1
    await watched.probe(aiohttp.ConnectionTimeoutError(), wake=None)
    assert watched.told == [("probed", False)]
    await watched.probe(TimeoutError(), wake=Wake("00:11:22:33:44:55", 60.0))
    assert watched.told == [("probed", False)] * 2
    await watched.probe(aiohttp.ConnectionTimeoutError(), wake=Wake("00:11:22:33:44:55", 60.0))
    assert watched.told[2:] == [("probed", False), ("no answer to a probe in 2 s", False)]


@pytest.mark.parametrize("outcome", [200, 503, TimeoutError(), ConnectionRefusedError("no")])
async def test_an_outcome_of_a_process_that_is_gone_says_nothing(watched, outcome):
    """It was restarted meanwhile, or has no address any more."""
    watched.address = ELSEWHERE
    assert not await watched.probe(outcome)
    assert [each for each in watched.told if each != ("probed", False)] == []


async def test_who_is_never_probed_is_not_heard_of(watched):
    """It may be tried, and nothing is asked."""
    told: list[bool] = []
    watched.play("succeeded", lambda _, *, heard: told.append(heard))
    assert await watched.probe(path=None)
    assert (told, watched.asker.asked) == ([False], [])


# A token


async def test_any_answer_to_the_question_for_a_token_shows_work(watched):
    await watched.prober._ask_for_token(watched.asker, watched.backend, watched.address)
    assert watched.told == ["worked"]


async def test_no_token_in_time_shows_that_it_has_stalled(watched):
    watched.asker.token = TimeoutError()
    await watched.prober._ask_for_token(watched.asker, watched.backend, watched.address)
    assert watched.told == ["stalled: no token in 10 s"]


@pytest.mark.parametrize("error", [ConnectionResetError(), aiohttp.ServerDisconnectedError()])
async def test_a_connection_that_breaks_says_nothing_of_its_work(watched, error):
    """The probe of its health tells."""
    watched.asker.token = error
    await watched.prober._ask_for_token(watched.asker, watched.backend, watched.address)
    assert watched.told == []


@pytest.mark.parametrize("why", ["answered", "worked", "whole", "stalled", "restarted"])
async def test_who_is_busy_or_gone_has_not_stalled(watched, why):
    """It answers others meanwhile, has whole answers to give, is out already, or is another process."""

    async def ask(*_):
        if why == "answered":
            watched.backend.answered += 1
        elif why == "worked":
            watched.backend.progress.at += 1.0
        raise TimeoutError

    setattr(watched.asker, "ask_for_token", ask)  # noqa: B010
    watched.play("has_whole", lambda _: why == "whole")
    watched.backend.stalled = why == "stalled"
    address = ELSEWHERE if why == "restarted" else watched.address
    await watched.prober._ask_for_token(watched.asker, watched.backend, address)
    assert watched.told == []


async def test_who_may_read_for_longer_is_not_asked(watched):
    """Nor one that serves nothing: no answer would show nothing."""
    watched.backend.size = 10**12
    await watched.prober._ask_for_token(watched.asker, watched.backend, watched.address)
    watched.backend.size = 0
    watched.backend.models = {}
    await watched.prober._ask_for_token(watched.asker, watched.backend, watched.address)
    assert watched.asker.asked == []


@pytest.mark.parametrize(
    ("unanswered", "deaf", "stalled", "told"),
    [
        (probe.UNHEARD, 10.0, False, ["stalled: no answer to a probe for 10 s"]),
        (probe.UNHEARD - 1, 10.0, False, []),
        (probe.UNHEARD, 9.0, False, []),
        (probe.UNHEARD, 10.0, True, []),
    ],
)
async def test_an_idle_engine_that_answers_no_probe_has_stalled(watched, unanswered, deaf, stalled, told):
    """After some probes, and some time."""
    progress = SimpleNamespace(unanswered=unanswered, deaf=lambda _: deaf)
    watched.backend.progress, watched.backend.stalled = progress, stalled
    watched.prober._find_unresponsive(watched.backend)
    assert watched.told == told


# When what is asked


@pytest.mark.parametrize(
    ("launched", "stall_after", "changes", "asked"),
    [
        (True, 0.0, {}, True),
        (True, 0.0, {"health": Verdict.DOWN}, False),
        (False, 0.0, {}, False),
        (True, 60.0, {}, False),
        (False, 60.0, {"unheard": probe.SUSPECT}, True),
        (False, 60.0, {"unheard": probe.SUSPECT - 1}, False),
        (False, inf, {"unheard": probe.SUSPECT}, False),
        (False, 60.0, {"unheard": probe.SUSPECT, "health": Verdict.DOWN}, False),
        (False, 60.0, {"stalled": True, "health": Verdict.DOWN}, True),
    ],
    ids=[
        *["idle", "idle but out", "idle but not ours", "not idle for long"],
        *["suspect", "not suspect yet", "suspect, but nobody asked for it", "suspect but out", "stalled"],
    ],
)
async def test_when_a_token_is_asked_for(monkeypatch, launched, stall_after, changes, asked):
    """Of one that was found stalled; of an idle one of ours, and of one that let others wait, while they are well."""
    watched = Watched(interval=60.0, stall_after=stall_after)
    monkeypatch.setattr(probe, "Asker", lambda _: watched.asker)
    backend = watched.backend
    backend.health = Health(changes["health"], 0, "") if "health" in changes else WELL
    backend.stalled = changes.get("stalled", False)
    backend.estimate.unheard = changes.get("unheard", 0)
    watched.prober.watch(Target(backend, launched=launched, publishes=False))
    await eventually(lambda: backend in watched.prober._pauses)
    assert watched.asker.asked == ["/health", *["token"] * asked]
    await watched.prober.stop()
    watched.plane.close()


async def test_one_that_has_answered_since_the_last_look_is_not_idle(monkeypatch):
    """Nor one that has something to do."""
    watched = Watched(interval=0.001, stall_after=30.0)
    monkeypatch.setattr(probe, "Asker", lambda _: watched.asker)
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    backend = watched.backend

    async def rest(*_):
        if backend.answered < 5:
            now[0] += 20.0
            backend.answered += 1
        elif backend.in_flight < 5:
            now[0] += 20.0
            backend.in_flight += 1
        else:
            await asyncio.Event().wait()

    monkeypatch.setattr(watched.prober, "_pause", rest)
    watched.prober.watch(Target(backend, launched=True, publishes=False))
    await eventually(lambda: backend.in_flight == 5)
    await asyncio.sleep(0)
    assert "token" not in watched.asker.asked
    assert watched.asker.asked.count("/health") >= 10
    await watched.prober.stop()
    watched.plane.close()


async def test_a_request_that_fails_after_the_last_probe_goes_on(monkeypatch):
    """The router stops its probes before it cuts the requests that last for too long; their engines may fail then."""
    watched = Watched(interval=60.0)
    monkeypatch.setattr(probe, "Asker", lambda _: watched.asker)
    watched.prober.watch(Target(watched.backend, publishes=False))
    await eventually(partial(is_at_rest, watched))
    await watched.prober.stop()
    watched.plane.on_doubt(watched.backend)
    watched.plane.close()


async def test_models_are_asked_for_where_they_are_not_told_and_only_of_who_is_there(monkeypatch):
    for discovers, outcome, asked in (
        (True, 200, ["/health", "/v1/models"]),
        (True, ConnectionRefusedError("no"), ["/health"]),
        (False, 200, ["/health"]),
    ):
        watched = Watched(interval=60.0)
        monkeypatch.setattr(probe, "Asker", partial(given, watched.asker))
        watched.asker.pages["/health"] = Answer(outcome)
        watched.prober.watch(Target(watched.backend, discovers=discovers, publishes=False))
        await eventually(partial(is_at_rest, watched))
        assert watched.asker.asked == asked
        await watched.prober.stop()
        watched.plane.close()


async def test_who_is_probed_right_now_is_not_hurried(monkeypatch):
    """The pause before has ended: there is nothing to shorten."""
    watched = Watched(interval=0.001)
    monkeypatch.setattr(probe, "Asker", partial(given, watched.asker))
    goes_on, asked = asyncio.Event(), asyncio.Event()

    class Late(Answer):
        async def __aenter__(self):
            if watched.asker.asked.count("/health") > 1:
                asked.set()
                await goes_on.wait()
            return self

    watched.asker.pages["/health"] = Late(200)
    watched.backend.health = Health(Verdict.DOWN, 0, "")
    watched.prober.watch(Target(watched.backend, publishes=False))
    await asyncio.wait_for(asked.wait(), 20)
    watched.prober._probe_soon(watched.backend)
    assert not is_at_rest(watched)
    goes_on.set()
    await eventually(partial(is_at_rest, watched))
    await watched.prober.stop()
    watched.plane.close()


async def test_pages_of_many_are_read_less_often(watched):
    """All of them together so many a second."""
    given_to: list[tuple[float, float]] = []

    class Listens:
        async def listen(self, until, least):
            given_to.append((until, least))

    for number in range(200):
        watched.prober._tasks[Backend(f"b{number}")] = asyncio.create_task(asyncio.sleep(0))
    await watched.prober._pause(watched.backend, Listens(), 7.0)
    assert given_to == [(7.0, 200 / 50)]
    await watched.prober.stop()


def given(asker, _):
    """Make nothing new."""
    return asker


def is_at_rest(watched):
    """Tell whether its backend is between two probes."""
    return watched.backend in watched.prober._pauses
