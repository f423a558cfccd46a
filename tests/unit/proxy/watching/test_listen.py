"""When an engine's page is read, and what of it is believed: the pages and the clock are the test's."""

import asyncio
import time

import pytest

from router.core.load import PATH
from router.proxy.watching import listen
from router.proxy.watching.asking import Asker
from router.proxy.watching.listen import EVERY, SKIPPED_PROBES, SLOW_READ_FACTOR, Listener
from tests.fakes.wired import Scene

PAGE = b"vllm:num_requests_running 3\nvllm:num_requests_waiting 2\n"


class Answer:
    """A page in one piece; or an error that is raised instead."""

    def __init__(self, asker):
        self.asker, self.content = asker, self
        self.status = asker.status

    async def __aenter__(self):
        self.asker.at.append(time.monotonic())
        self.asker.clock.now += self.asker.takes
        self.asker.meanwhile()
        if self.asker.error is not None:
            raise self.asker.error
        return self

    async def __aexit__(self, *_):
        return None

    async def iter_any(self):
        """Give the page."""
        yield self.asker.page


class Clock:
    """The time, which passes only while somebody sleeps or an answer is waited for."""

    def __init__(self):
        self.now = 1000.0

    async def sleep(self, seconds):
        """Let it pass."""
        self.now += max(0.0, seconds)


class Pages(Asker):
    """An asker whose pages are the test's."""

    def __init__(self, clock):
        self.clock = clock
        self.at: list[float] = []
        self.page, self.status, self.takes = PAGE, 200, 0.0
        self.error: Exception | None = None
        self.headers: dict[str, str] = {}

    def meanwhile(self):
        """Do nothing."""

    def get(self, backend, address, path, timeout, headers=None):  # noqa: ARG002 -- an asker's
        """Give the page."""
        assert path == PATH
        self.headers = dict(headers or {})
        return Answer(self)


class Listening:
    """A listener to one of two backends of the same model, and what it told."""

    def __init__(self, monkeypatch, clock):
        self.scene = Scene("b", "rival")
        self.plane, self.backend = self.scene.plane, self.scene.backends[0]
        self.pages = Pages(clock)
        self.told: list[tuple[object, int]] = []
        monkeypatch.setattr(self.plane, "published", lambda _, load, ours: self.told.append((load, ours)))
        self.listener = Listener(self.plane, self.backend, self.pages, 2.0)
        self.clock = clock

    async def listen(self, seconds, least=0.0):
        """Listen for so long; give when the page was read, in seconds from the beginning."""
        began = self.clock.now
        self.pages.at.clear()
        await self.listener.listen(began + seconds, least)
        return [round(at - began, 3) for at in self.pages.at]


@pytest.fixture
async def listening(monkeypatch):
    clock = Clock()
    made = Listening(monkeypatch, clock)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    yield made
    made.plane.close()


async def test_a_page_is_read_once_where_no_request_has_come(listening):
    """After each probe; not compressed, which would be the engine's work."""
    assert await listening.listen(5.0) == [0.2]
    ((load, ours),) = listening.told
    assert (load.running, load.waiting, ours) == (3, 2, 0)
    assert listening.pages.headers == {"accept-encoding": "identity"}


async def test_while_requests_come_and_there_is_a_choice_it_is_read_again_and_again(listening):
    """Each second."""

    def ask():
        listening.plane.asked += 1

    listening.pages.meanwhile = ask
    assert await listening.listen(3.5) == pytest.approx([0.2, 1.2, 2.2, 3.2])
    assert pytest.approx(1.0) == EVERY


async def test_without_a_choice_it_is_not_read_again(listening):
    def ask():
        listening.plane.asked += 1

    listening.pages.meanwhile = ask
    listening.plane.retire(listening.scene.backends[1], "was removed")
    listening.plane.directory.rebuild()
    assert await listening.listen(3.5) == [0.2]


async def test_where_there_are_many_each_is_read_less_often(listening):
    """At most each `least` seconds."""

    def ask():
        listening.plane.asked += 1

    listening.pages.meanwhile = ask
    assert await listening.listen(7.0, least=3.0) == pytest.approx([0.2, 3.2, 6.2])


async def test_one_that_is_slow_to_answer_is_left_alone_for_ten_times_as_long(listening):
    """Beyond its next probe, too."""

    def ask():
        listening.plane.asked += 1

    listening.pages.meanwhile, listening.pages.takes = ask, 0.5
    assert await listening.listen(12.0) == pytest.approx([0.2, 5.9, 11.6])
    assert SLOW_READ_FACTOR == 10.0
    assert await listening.listen(2.0) == []


@pytest.mark.parametrize(("page", "status"), [(b"", 404), (b"nothing of it", 200), (PAGE, 500)])
async def test_a_page_that_tells_nothing_is_asked_for_again_after_many_probes(listening, page, status):
    """Or when the backend has been out: another engine may be there."""
    listening.pages.page, listening.pages.status = page, status
    assert await listening.listen(5.0) == [0.2]
    assert listening.told == [(None, 0)]
    for _ in range(3):
        assert await listening.listen(5.0) == []
    assert listening.listener._skip == SKIPPED_PROBES - 3
    listening.plane.ledger.retire(listening.backend, "is out")
    listening.told.clear()
    await listening.listen(5.0)
    assert listening.told == [(None, 0)]


async def test_a_page_that_is_too_long_tells_nothing(listening, monkeypatch):
    monkeypatch.setattr(listen, "_MAX_PAGE", 10)
    await listening.listen(1.0)
    assert listening.told == [(None, 0)]
    assert listening.listener._skip == SKIPPED_PROBES


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError()])
async def test_no_answer_is_no_page_without_words(listening, error):
    """It is read again after the next probe."""
    listening.pages.error = error
    assert await listening.listen(1.0) == [0.2]
    assert listening.told == [(None, 0)]
    listening.clock.now += 5.0
    assert await listening.listen(1.0) == [0.2]


@pytest.mark.parametrize("why", ["no address", "out"])
async def test_who_is_not_there_is_not_asked(listening, why):
    """That nothing is published any more is told."""
    if why == "out":
        listening.plane.ledger.retire(listening.backend, "is out")
    else:
        listening.plane.connections.close(listening.backend)
    assert await listening.listen(1.0) == []
    assert listening.told == [(None, 0)]


async def test_a_page_of_an_engine_that_was_restarted_meanwhile_says_nothing(listening):
    def restart():
        listening.plane.connections._pools.clear()

    listening.pages.meanwhile = restart
    assert await listening.listen(1.0) == [0.2]
    assert listening.told == []


async def test_all_that_were_in_flight_meanwhile_are_ours(listening):
    """Those that have ended since shortly before the look, too."""
    backend = listening.backend
    backend.in_flight, backend.ended = 4, 10

    def end():
        backend.in_flight, backend.ended = 2, 13

    listening.pages.meanwhile = end
    await listening.listen(1.0)
    assert listening.told[0][1] == 2 + 3
    backend.in_flight = 0
