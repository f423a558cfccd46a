import asyncio
from dataclasses import replace
from itertools import islice

import pytest

from launchers import readiness
from launchers.engines.command import AnyCommand
from launchers.probe import TIMEOUT, TIMEOUT_OF_A_REQUEST
from launchers.readiness import Asked, Readiness, pauses
from tests.fakes.launched import LaunchedFake
from tests.running import eventually

ASKED = Asked(pid=7, port=20000, key="secret")


@pytest.fixture
def questions(monkeypatch):
    """All that was asked; every question is answered with yes, by the engine itself."""
    found: list[tuple[object, ...]] = []

    async def ask(*question):
        found.append(question)
        return True

    def owns(*question):
        found.append(question)
        return True

    monkeypatch.setattr(readiness, "is_ready", ask)
    monkeypatch.setattr(readiness, "owns_port", owns)
    return found


def test_pauses_grow_up_to_the_longest():
    first = list(islice(pauses(), 6))
    assert first[0] == readiness.FIRST_PAUSE
    assert first == sorted(first)
    assert first[1] == pytest.approx(readiness.FIRST_PAUSE * readiness.FACTOR)
    assert first[-1] == readiness.LONGEST_PAUSE


async def test_a_get_is_enough_where_it_can_tell(questions):
    """Shown the key, and asked of the engine's own process."""
    called: list[bool] = []
    asking = Readiness(LaunchedFake(), lambda: called.append(asking.ready))
    assert not asking.ready
    asking.begin(ASKED)
    assert not asking.ready
    await eventually(lambda: called)
    assert called == [True]
    assert questions == [(20000, "/health", b"", TIMEOUT, "secret"), (7, 20000)]
    await asking.stop()
    assert not asking.ready


async def test_the_server_of_a_command_may_be_no_child_of_it(questions):
    """A container's isn't."""
    asking = Readiness(AnyCommand("/alive"), lambda: None)
    asking.begin(ASKED)
    await eventually(lambda: asking.ready)
    assert questions == [(20000, "/alive", b"", TIMEOUT, "secret")]


async def test_a_request_comes_after_the_get_where_the_engine_has_one(questions):
    """It may wait for the model."""
    engine = replace(LaunchedFake(), ready_request=("/v1/completions", b"{}"))
    asking = Readiness(engine, lambda: None)
    asking.begin(ASKED)
    await eventually(lambda: asking.ready)
    assert questions[0][1] == "/health"
    assert questions[2] == (20000, "/v1/completions", b"{}", TIMEOUT_OF_A_REQUEST, "secret")


async def test_a_mistake_in_the_asking_is_raised(monkeypatch):
    """Where its supervisor looks next."""

    async def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(readiness, "is_ready", broken)
    called: list[bool] = []
    asking = Readiness(LaunchedFake(), lambda: called.append(True))
    asking.begin(ASKED)
    await eventually(lambda: called)
    with pytest.raises(ZeroDivisionError):
        _ = asking.ready


async def test_a_stop_ends_the_asking(monkeypatch):
    """And waits until it has ended; a second one has nothing to end."""
    ended: list[bool] = []

    async def slow(*_):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    monkeypatch.setattr(readiness, "is_ready", slow)
    asking = Readiness(LaunchedFake(), lambda: None)
    asking.begin(ASKED)
    await asyncio.sleep(0)
    await asking.stop()
    assert ended == [True]
    await asking.stop()
