"""The bench of the policies as people start it, with few requests: what comes of it, not how soon; and its engine."""

import asyncio
import json
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager
from math import inf

import aiohttp
import pytest

from scripts.balance.engine import Service
from scripts.balance.process import ask
from scripts.balance.real_time import RealTimeEngine, described
from scripts.balance.simulation.engine import Outage, Spec
from scripts.balance.simulation.scenarios import SCENARIOS, conversations_of
from tests.running import alive, descendants, eventually, started, words_of

(JOB,) = conversations_of(SCENARIOS["equal"].asked, 1, 1, keep_bodies=True)[0]
PACE = 100.0
NEVER = 1e9


@asynccontextmanager
async def engine(**faults):
    """Run an engine in this loop; give it, and its URL."""
    service = Service(RealTimeEngine(Spec(**faults), PACE))
    await service.listen()
    service.model.speak()
    try:
        yield service, f"http://127.0.0.1:{service.port}"
    finally:
        service.close()


async def asked(session, url, job=JOB):
    """Ask for an answer to a job; give its status, its body, and the tokens that were found in the cache."""
    headers = {"x-job": described(job)} if job else {}
    body = job.body if job else b'{"messages": []}'
    async with session.post(f"{url}/v1/chat/completions", data=body, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers.get("x-cached")


async def test_an_engine_answers_as_its_model_does(session):
    """A stream begins and ends; the same prompt is found in its cache; it knows how late it was."""
    async with engine() as (service, url):
        for cached in (0, JOB.prompt):
            status, body, found = await asked(session, url)
            assert (status, body.endswith(b"data: [DONE]\n\n"), found) == (200, True, str(cached))
            assert body.count(b'"content"') >= 1
        assert float(await ask(url, "GET", "/lateness")) == service.model.lateness() > 0


async def test_an_engine_answers_who_asks_for_a_token(session):
    """As a router does of one that stalled: in one piece, and without being told of a job."""
    async with engine() as (_, url):
        status, body, _ = await asked(session, url, job=None)
    assert (status, "choices" in json.loads(body)) == (200, True)


async def test_an_engine_that_refuses(session):
    """It says 503 to each request, and to a probe that it is well."""
    async with engine(refuses=True) as (_, url):
        assert (await asked(session, url))[0] == 503
        assert await ask(url, "GET", "/health") == b"{}"


async def test_an_engine_that_stalls_says_nothing_until_it_goes_on(session):
    """Its clock begins with /start."""
    async with engine(stalls=Outage(every=NEVER, lasts=0.3 * PACE, first=0.0)) as (service, url):
        await ask(url, "POST", "/start")
        await eventually(lambda: service.model.stalled)
        assert (await asked(session, url))[0] == 200
        assert not service.model.stalled


async def test_an_engine_that_stalls_forgets_who_leaves(session):
    """It will never read what they asked."""
    async with engine(stalls=Outage(every=NEVER, lasts=inf, first=0.0)) as (service, url):
        await ask(url, "POST", "/start")
        await eventually(lambda: service.model.stalled)
        waiting = asyncio.create_task(asked(session, url))
        await eventually(lambda: service.model.waiting)
        waiting.cancel()
        await eventually(lambda: not service.model.waiting)
        assert service.model._engine.wake == inf


async def test_an_engine_that_is_down_refuses_connections(session):
    """And has cut those that there were."""
    async with engine(restarts=Outage(every=NEVER, lasts=NEVER, first=0.1 * PACE)) as (service, url):
        await ask(url, "POST", "/start")
        await eventually(lambda: not service.listens and not service.connections)
        with pytest.raises(aiohttp.ClientConnectorError):
            await asked(session, url)


async def test_an_engine_that_restarts_is_back_without_its_cache(session):
    """At the same port."""
    async with engine(restarts=Outage(every=NEVER, lasts=0.1 * PACE, first=0.1 * PACE)) as (service, url):
        assert (await asked(session, url))[0] == 200
        await ask(url, "POST", "/start")
        before = service._server
        await eventually(lambda: service._server is not before)
        assert (await asked(session, url))[::2] == (200, "0")


def bench(*flags):
    return started(sys.executable, "-m", "scripts.balance.bench", *flags, stderr=asyncio.subprocess.PIPE)


@pytest.mark.long
async def test_two_policies_on_real_processes(tmp_path):
    """All requests are answered, and stand beside the simulated ones."""
    figures = tmp_path / "figures.json"
    async with bench(
        "--scenario", "two-routers", "--policy", "least_latency", "--policy", "random", "--requests", "30",
        "--json", str(figures),
    ) as process:  # fmt: skip
        out, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    runs = json.loads(figures.read_text())
    assert [run["policy"] for run in runs] == ["least_latency", "random"]
    for run in runs:
        assert (run["real"]["requests"], run["real"]["failed"], run["simulated"]["requests"]) == (27, 0, 27)
        assert 0 < run["real"]["p50"] <= run["real"]["p99"]
    assert out.decode().count("| two-routers | 75% |") == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ended_midway_it_leaves_nothing_behind(number):
    """Engines and routers end with it."""
    async with bench("--scenario", "equal", "--policy", "random", "--requests", "500") as process:
        left = descendants(process.pid)

        def complete():  # beside those that simulate
            left[:] = descendants(process.pid)
            modules = Counter(words[2] for each in left if (words := words_of(each))[1:2] == ["-m"])
            return modules == {"scripts.balance.engine": 4, "router": 1}

        await eventually(complete)
        process.send_signal(number)
        _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().endswith("Ended before its time.\n")
    assert not [each for each in left if alive(each)]
