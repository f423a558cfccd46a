"""Engines that are frozen (SIGSTOP), and engines that work for long: real ones, launched by the router and not.

Frozen, with nothing, a stream, an answer in one piece, both, or requests that wait for their turn in flight, an engine
is found within a bounded time, and its clients get an answer or are told. At long honest work it is left alone, though
`stall_after` is as short as can be.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from launchers.engines import ENGINES
from tests.engines.test_contract import (
    CASES,
    HELLO,
    LONG,
    STARTS_WITHIN,
    installed,
    none_left,
    ports,
    served,
    status,
    working,
)
from tests.running import RunningRouter, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

LAUNCHED = """
server: {port: 0}
health: {stall_after: %s, interval: 1s}
backends:
  - {name: demo, models: [public], launch: {engine: %s, model: "%s", args: %s, env: %s}, max_in_flight: 2}
"""

REMOTE = """
server: {port: 0}
health: {stall_after: 4s, interval: 1s}
backends:
  - {name: demo, url: "http://127.0.0.1:%d", api_key: "%s", models: {public: %s}}
"""

SECONDS = {"llama_server": LONG, "vllm": 300}  # tokens that take some to make; else 1000
FOUND_WITHIN = 20.0  # seconds, of which 4 are stall_after, and the rest is for machines that are slow
IN_FLIGHT = {
    "nothing": (),
    "a stream": (True,),
    "one piece": (False,),
    "both": (True, False),
    "queued ones": (False,) * 5,
}
"""What is in flight: whether each streams. Two may be; more wait."""
IN_EACH_RUN = {"both", "a stream", "one piece"}
EACH = [
    pytest.param(what, marks=pytest.mark.same_with_each if what in IN_EACH_RUN else pytest.mark.long)
    for what in IN_FLIGHT
]


@pytest.fixture(scope="module", params=installed())
def name(request: pytest.FixtureRequest) -> str:
    """Name an engine."""
    return str(request.param)


def launched(name: str, model: Path, stall_after: str) -> str:
    case = CASES[name]
    return LAUNCHED % (stall_after, name, model, case.args, case.env)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ours(tmp_path_factory: pytest.TempPathFactory, model: Path, name: str) -> AsyncIterator[RunningRouter]:
    """Start a router that launches the engine."""
    async with RunningRouter(tmp_path_factory.mktemp(name), launched(name, model, "4s")) as running:
        yield await running.ready(STARTS_WITHIN)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def holder(tmp_path_factory: pytest.TempPathFactory, model: Path, name: str) -> AsyncIterator[RunningRouter]:
    """Start an engine that nobody watches: a router that finds nothing stalled launches it."""
    async with RunningRouter(tmp_path_factory.mktemp(name), launched(name, model, "never")) as running:
        yield await running.ready(STARTS_WITHIN)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def theirs(
    tmp_path_factory: pytest.TempPathFactory, holder: RunningRouter, name: str
) -> AsyncIterator[RunningRouter]:
    """Start a router that knows this engine by its URL alone."""
    config = by_url(name, holder)
    async with RunningRouter(tmp_path_factory.mktemp(name), config) as running:
        yield await running.ready(STARTS_WITHIN)


def by_url(name: str, holder: RunningRouter) -> str:
    """A router.yaml that knows another router's engine by its URL alone, and has the key that it was started with."""
    (listener,) = [each for each in holder.engines if ENGINES[name].key_variable in each.environ() and ports([each])][
        :1
    ]
    known = "default_model" if name == "mlx" else "public"
    return REMOTE % (ports([listener])[0], listener.environ()[ENGINES[name].key_variable], known)


def client_of(router: RunningRouter) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0, timeout=300)


async def ask(client: AsyncOpenAI, tokens: int, *, stream: bool) -> str:
    """Ask for a long answer; tell how it ended: whole, or with an error."""
    try:
        if not stream:
            answer = await client.chat.completions.create(model="public", messages=HELLO, max_tokens=tokens)
            return str(answer.choices[0].finish_reason)
        reason = None
        async for chunk in await working(client):
            reason = chunk.choices[0].finish_reason or reason
    except openai.APIError:
        return "told"
    return str(reason)


async def begin(client: AsyncOpenAI, router: RunningRouter, what: str, tokens: int) -> list["asyncio.Task[str]"]:
    """Have requests in flight; ask again where the engine was done with one before that was seen."""
    kinds = IN_FLIGHT[what]
    asking: list[asyncio.Task[str]] = []
    until = time.monotonic() + 60
    while (await status(router))["in_flight"] < min(2, len(kinds)) or any(each.done() for each in asking):
        assert time.monotonic() < until
        if any(each.done() for each in asking) or not asking:
            await asyncio.gather(*asking)
            asking = [asyncio.create_task(ask(client, tokens, stream=stream)) for stream in kinds]
        await asyncio.sleep(0.02)
    return asking


def largest(processes: list[psutil.Process]) -> psutil.Process:
    return max(processes, key=lambda each: each.memory_info().rss)


@pytest.mark.parametrize("what", EACH)
async def test_a_frozen_engine_of_ours_is_found_and_restarted(ours, name, what):
    """Whatever is in flight there; its clients have an answer of the next one, or are told."""
    async with client_of(ours) as client:
        await served(client)
        before = ours.engines
        asking = await begin(client, ours, what, SECONDS.get(name, 1000))
        said = len(ours.said)
        largest(before).send_signal(signal.SIGSTOP)
        await eventually(lambda: "stalled" in ours.said[said:], within=FOUND_WITHIN)
        await eventually(none_left(before), within=60)
        assert {await each for each in asking} <= {"length", "told"}
        await served(client)


@pytest.mark.long
async def test_it_is_found_by_clients_that_give_up_one_after_the_other(ours):
    """None of them waits for as long as it takes."""
    async with client_of(ours) as client:
        await served(client)
        before, said = ours.engines, len(ours.said)
        largest(before).send_signal(signal.SIGSTOP)
        until = time.monotonic() + FOUND_WITHIN
        while "stalled" not in ours.said[said:]:
            assert time.monotonic() < until
            with suppress(openai.APIError):
                await client.chat.completions.create(model="public", messages=HELLO, max_tokens=LONG, timeout=2)
        await eventually(none_left(before), within=60)
        await served(client)


@pytest.mark.parametrize("what", EACH)
async def test_a_frozen_remote_one_is_out_until_it_goes_on(theirs, holder, name, what):
    """Whatever is in flight there."""
    async with client_of(theirs) as client:
        await served(client)
        asking = await begin(client, theirs, what, SECONDS.get(name, 1000))
        frozen, said = largest(holder.engines), len(theirs.said)
        frozen.send_signal(signal.SIGSTOP)
        if name == "vllm" and not asking:  # its HTTP is a process of its own, and well: the first who asks finds out
            asking = [asyncio.create_task(ask(client, 10, stream=False))]
        try:
            await eventually(lambda: "backend is down" in theirs.said[said:], within=FOUND_WITHIN)
            done, waiting = await asyncio.wait(asking, timeout=10) if asking else (set(), set())
            assert not waiting
            assert {each.result() for each in done} <= {"length", "told"}
        finally:
            frozen.send_signal(signal.SIGCONT)
        await served(client)


def honest(name: str) -> list[dict[str, Any]]:
    """A long prompt, of which vllm is launched with room for a short one, and a long answer."""
    prompt = "the cat sat on the mat " * (150 if name == "vllm" else 600)
    return [
        {"messages": [{"role": "user", "content": prompt}], "max_tokens": 5},
        {"messages": HELLO, "max_tokens": LONG},
    ]


@pytest.mark.long
@pytest.mark.parametrize("remote", [False, True])
async def test_long_honest_work_is_no_stall(tmp_path, model, name, holder, remote):
    """Answers in one piece, one of them long, the others behind it; prompts that take long to be read."""
    config = by_url(name, holder).replace("4s", "1s") if remote else launched(name, model, "1s")
    async with RunningRouter(tmp_path, config) as router, client_of(await router.ready(STARTS_WITHIN)) as client:
        before = holder.engines if remote else router.engines
        asking = [
            client.chat.completions.create(model="public", stream=stream, **what)
            for what in honest(name)
            for stream in (False, True)
        ]
        for answer in await asyncio.gather(*asking):
            if hasattr(answer, "choices"):
                assert answer.choices[0].finish_reason == "length"
            else:
                assert [chunk async for chunk in answer][-1].choices[0].finish_reason == "length"
        assert "stalled" not in router.said
        assert "is down" not in router.said
        assert {each.pid for each in before} == {each.pid for each in (holder if remote else router).engines}
