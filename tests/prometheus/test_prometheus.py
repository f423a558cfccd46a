"""What Prometheus makes of the router's metrics: each panel has data, and each fault raises its own alert."""

import asyncio
import json
import math
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import asynccontextmanager

import aiohttp
import psutil
import pytest

from launchers.devices import DeviceFigures
from profiles.parsers import Sensors
from tests.fakes.engine import FakeEngine
from tests.prometheus.conftest import Prometheus, program
from tests.running import REPOSITORY, eventually

FOLDER = REPOSITORY / "dashboards"
RULES = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
CHAT = "/v1/chat/completions"
GPU = DeviceFigures("cuda:0", 80 << 30, 60 << 30, sensors=Sensors(87, 61, 250.5, 400.0))

# As Grafana fills them in; a minute has all that this test's requests did.
FILLED = {"$__rate_interval": "1m", "$model": ".*", "$backend": ".*"}


def panels() -> Iterator[tuple[str, str]]:
    for path in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                expression = target["expr"]
                for name, value in FILLED.items():
                    expression = expression.replace(name, value)
                yield f"{path.name}: {panel['title']}: {expression}", expression


def target(url: str) -> str:
    return url.removeprefix("http://")


def test_the_rules():
    """They are as promtool wants them: it finds nothing wrong with them."""
    said = subprocess.run(
        [program("promtool"), "check", "rules", str(FOLDER / "alerts.yml")], capture_output=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


async def test_promtool_reads_the_page(start, launch):
    """Each metric has a type and a meaning, and its name is as Prometheus wants it."""
    app, _ = await start(backends=[launch("one", load="on_demand")])
    async with aiohttp.ClientSession() as session:
        async with session.post(app.url + CHAT, json={"model": "one", "messages": []}) as answer:
            assert answer.status == 200
        async with session.get(app.url + "/metrics") as answer:
            page = await answer.read()
    said = await asyncio.to_thread(
        subprocess.run, [program("promtool"), "check", "metrics"], input=page, capture_output=True, check=False
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, b"")


@asynccontextmanager
async def busy(app):
    """Have requests of every kind come until this is left."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(key, **body):
            headers = {"authorization": f"Bearer {key}"}
            async with session.post(app.url + CHAT, json={"messages": [], **body}, headers=headers) as answer:
                await answer.read()

        async def each_kind():
            while True:
                slow = {"first_delay": 0.4}
                await asyncio.gather(
                    ask("client", model="demo", stream=True, fake={"delay": 0.01}),
                    ask("client", model="demo"),
                    ask("client", model="demo"),
                    ask("client", model="pair", stream=True, fake=slow),
                    ask("client", model="nothing"),
                    ask("nobody", model="demo"),
                )

        async def loads():
            while True:
                await ask("client", model="loaded")
                await app.fleet.unload("loaded")

        tasks = [asyncio.create_task(each_kind()), asyncio.create_task(loads())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_each_panel_has_data(start, launch, tmp_path):
    """Every query of every panel, while requests come."""
    async with FakeEngine() as one, FakeEngine(models=["pair"]) as two, FakeEngine(models=["pair"]) as three:
        app, _ = await start(
            backends=[
                {"name": "box", "url": f"http://127.0.0.1:{one.port}", "models": ["demo"], "max_in_flight": 1},
                {"name": "left", "url": f"http://127.0.0.1:{two.port}", "models": ["pair"]},
                {"name": "right", "url": f"http://127.0.0.1:{three.port}", "models": ["pair"]},
                launch("loaded", load="on_demand"),
            ],
            balance={"hedge_after": "100ms", "retry_share": 1},
            auth={"keys": [{"key": "client", "name": "alice"}]},
            telemetry={"metrics": "open"},
        )
        app._historian.machine.devices._read = lambda _: ((GPU,), {})
        await app.reloader.reload()
        async with (
            busy(app),
            Prometheus(tmp_path / "prometheus", target(app.url), RULES) as prometheus,
        ):
            # A router of this test speaks no TLS.
            lacking = {where: said for where, said in panels() if "certificate" not in said}
            assert len(lacking) > 60

            async def look():
                for where, expression in list(lacking.items()):
                    if any(map(math.isfinite, await prometheus.ask(expression))):
                        del lacking[where]
                return sorted(lacking)

            await prometheus.until(look, lambda left: not left, within=100)


def soon(rules: str) -> str:
    """Have alerts fire at once, and a storm of swaps be a small one."""
    assert rules.count("[10m])) > 10") == 1
    return re.sub(r"for: \d+m", "for: 5s", rules).replace("[10m])) > 10", "[10m])) > 3")


@pytest.fixture
def ask_all():
    """Give a function that sends requests at once, and gives their statuses."""

    async def asking(app, *bodies):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def one(body):
                async with session.post(app.url + CHAT, json={"messages": [], **body}) as answer:
                    await answer.read()
                    return answer.status

            return await asyncio.gather(*map(one, bodies))

    return asking


OURS = {
    "RouterEngineRestarted",
    "RouterBackendStalled",
    "RouterSwapStorm",
    "RouterQueueFull",
    "RouterBadReload",
    "RouterDown",
}


async def test_each_fault_raises_its_own_alert(start, launch, tmp_path, ask_all):
    """A kill, a stall, a swap storm, a full queue, a bad reload, and the router's end: one after the other."""
    held = tmp_path / "held"
    async with FakeEngine(models=["narrow"]) as narrow:
        app, file = await start(
            backends=[
                {"name": "narrow", "url": f"http://127.0.0.1:{narrow.port}", "models": ["narrow"], "max_in_flight": 1},
                launch("steady", load="startup", pinned=True),
                launch("one", load="on_demand"),
                launch("two", load="on_demand"),
            ],
            memory={"limit": {"ram": "2.5GiB"}},
            health={"stall_after": "2s", "interval": "1s"},
            limits={"max_queue": 1, "retries": 0},
        )
        await eventually(lambda: app.plane.backends["steady"].health.usable)
        async with Prometheus(tmp_path / "prometheus", target(app.url), soon(RULES)) as prometheus:
            await prometheus.until(lambda: prometheus.ask("up"), lambda seen: seen == [1.0])
            assert not await prometheus.firing() & OURS
            fired = set()

            async def fires(alert):
                fired.add(alert)
                seen = await prometheus.until(prometheus.firing, lambda seen: alert in seen)
                assert seen & OURS == fired

            # 1. A process is killed.
            psutil.Process(app.fleet.pids["steady"]).send_signal(signal.SIGKILL)
            await fires("RouterEngineRestarted")
            # 2. One is stopped, and holds a request.
            await eventually(lambda: app.plane.backends["steady"].health.usable)
            psutil.Process(app.fleet.pids["steady"]).suspend()
            asked = asyncio.create_task(ask_all(app, {"model": "steady"}))
            await fires("RouterBackendStalled")
            await asked
            # 3. A request more than there is room for.
            held.touch()
            body = {"model": "narrow", "stream": True, "fake": {"held_by": str(held)}}
            asked = asyncio.create_task(ask_all(app, body, body, body))
            await eventually(lambda: len(app.plane.dispatcher.admission) == 1)
            await fires("RouterQueueFull")
            held.unlink()
            assert sorted(await asked) == [200, 200, 429]
            # 4. Two models that don't fit into memory together.
            for _ in range(4):
                assert await ask_all(app, {"model": "one"}) == [200]
                assert await ask_all(app, {"model": "two"}) == [200]
            await fires("RouterSwapStorm")
            # 5. A mistake in router.yaml.
            good = file.read_text(encoding="utf-8")
            file.write_text(good + "nonsense: 1\n", encoding="utf-8")
            await app.reloader.reload()
            await fires("RouterBadReload")
            file.write_text(good, encoding="utf-8")
            await app.reloader.reload()
            fired.remove("RouterBadReload")
            await prometheus.until(prometheus.firing, lambda seen: "RouterBadReload" not in seen)
            # 6. The router is gone.
            await app.kill()
            seen = await prometheus.until(prometheus.firing, lambda seen: "RouterDown" in seen)
            assert seen & OURS - fired == {"RouterDown"}
