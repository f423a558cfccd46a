import asyncio
import threading

import pytest

from launchers.gpus import Claim
from launchers.turns import Turn, Turns
from profiles.parsers import Gpu

GIB = 1 << 30
HALF = Claim(("NVIDIA 0",), 0.45)


@pytest.fixture
def free():
    """GiB that are free."""
    return [79.5]


@pytest.fixture
def turns(free):
    """Turns on one GPU."""
    return Turns(lambda: (Gpu("NVIDIA", "NVIDIA H100", 80 * GIB, free_bytes=int(free[0] * GIB)),))


async def test_who_waits_is_called_when_another_has_started_or_is_gone(turns):
    called: list[str] = []
    assert (await turns.ask("a", HALF, lambda: called.append("a"))).share == 0.45
    assert "until a has started" in (await turns.ask("b", HALF, lambda: called.append("b"))).why
    turns.started("a")
    assert called == ["b"]
    assert (await turns.ask("b", HALF, lambda: called.append("b"))).share == 0.45
    await turns.ask("c", HALF, lambda: called.append("c"))
    turns.gone("b")
    assert called == ["b", "c"]


async def test_who_waits_no_longer_is_not_called(turns):
    called: list[str] = []
    for name in "abc":
        await turns.ask(name, HALF, lambda name=name: called.append(name))
    turns.gone("b")
    turns.adopted("c", HALF)
    called.clear()
    turns.started("a")
    assert called == []


async def test_one_that_lacks_memory_calls_those_behind_it(turns, free):
    free[0] = 2
    called: list[str] = []
    large = asyncio.create_task(turns.ask("large", Claim(("NVIDIA 0",), 0.9, least=40 * GIB), lambda: None))
    await asyncio.sleep(0)  # it looks
    assert "until large has started" in (await turns.ask("small", HALF, lambda: called.append("small"))).why
    assert (await large).lacks
    assert called == ["small"]


async def test_the_gpus_are_looked_at_in_a_thread_and_not_for_those_without_a_share():
    looked: list[bool] = []

    def look() -> tuple[Gpu, ...]:
        looked.append(threading.current_thread() is threading.main_thread())
        return ()

    turns = Turns(look)
    assert (await turns.ask("llama", Claim(("NVIDIA 0",)), lambda: None)).why == ""
    assert looked == []
    turns.started("llama")
    assert (await turns.ask("vllm", HALF, lambda: None)).share == 0.45
    assert looked == [False]


async def test_what_was_taken_over_has_its_memory(turns, free):
    free[0] = 2
    turns.adopted("kept", Claim(("NVIDIA 0",), 0.9))
    verdict = await turns.ask("b", Claim(("NVIDIA 0",), 0.45, least=40 * GIB), lambda: None)
    assert "kept has 0.9" in verdict.why


async def test_a_turn_is_needed_by_a_claim_where_turns_are_taken(turns):
    assert Turn(turns, "a", lambda: None).is_needed(HALF)
    assert not Turn(turns, "a", lambda: None).is_needed(None)
    assert not Turn(None, "a", lambda: None).is_needed(HALF)


async def test_a_turn_that_is_not_here_yet_is_asked_for_again_when_it_may_be(turns):
    """Who is called wakes up; the call counts until it asks again."""
    woken: list[bool] = []
    one, two = Turn(turns, "one", lambda: None), Turn(turns, "two", lambda: woken.append(True))
    assert await one.ask(HALF, has_memory=False)
    assert one.verdict.share == 0.45
    assert not await two.ask(HALF, has_memory=False)
    assert "until one has started" in two.verdict.why
    assert (two.called, woken) == (False, [])
    one.started()
    assert (two.called, woken) == (True, [True])
    assert await two.ask(HALF, has_memory=False)
    assert not two.called
    two.gone()


async def test_who_has_its_memory_already_waits_for_nobody(turns):
    """It was taken over from an earlier router."""
    one, two = Turn(turns, "one", lambda: None), Turn(turns, "two", lambda: None)
    assert await one.ask(HALF, has_memory=False)
    assert await two.ask(HALF, has_memory=True)
    assert two.verdict.share == 0.45
