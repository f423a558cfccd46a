"""/metrics at a running router: what it tells, to whom, and what engines add."""

import asyncio
import re
from contextlib import suppress

import psutil
import pytest
import yaml
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from launchers.devices import DeviceFigures
from launchers.footprints.parts import RAM
from profiles.parsers import Sensors
from router.app import App
from router.config import load
from router.fleet.reload import Reloader
from router.management import engine_metrics
from router.telemetry import access as access_log
from router.telemetry.families import FAMILIES, HISTOGRAM
from tests.fakes.launched import FACTS, LaunchedFake
from tests.running import REPOSITORY, dead_url, eventually

CHAT = "/v1/chat/completions"
KEYS = {"keys": [{"key": "client", "name": "alice"}], "admin_keys": [{"key": "reader", "scopes": ["read"]}]}
GPU = DeviceFigures("cuda:0", 80 << 30, 60 << 30, sensors=Sensors(87, 61, 250.5, 400.0))


class Page:
    """A page of metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        found = list(text_string_to_metric_families(text))
        self.families = {each.name: each for each in found}
        self.samples = [sample for family in found for sample in family.samples]

    def of(self, name: str, **labels: str) -> float:
        """Give the sum of the samples of a name that have these labels."""
        found = [each for each in self.samples if each.name == name and labels.items() <= each.labels.items()]
        assert found, (name, labels)
        return sum(each.value for each in found)

    def has(self, name: str) -> bool:
        """Whether there is any sample of a name."""
        return any(each.name == name for each in self.samples)


@pytest.fixture
def scrape(session):
    """Give a function that reads a router's metrics, until they are as they should be."""

    async def scraping(router, holds=lambda _: True, query="", **headers):
        async with asyncio.timeout(30):
            while True:
                async with session.get(f"{router.url}/metrics{query}", headers=headers) as answer:
                    assert answer.status == 200, await answer.text()
                    assert answer.content_type == "text/plain"
                    page = Page(await answer.text())
                with suppress(AssertionError):
                    if holds(page):
                        return page
                await asyncio.sleep(0.02)

    return scraping


async def test_requests_and_backends(start_router, fake, session, scrape):
    """What ended, by all its labels; what is in flight; backends with their health."""
    router = await start_router(
        [
            {"url": fake.url, "models": ["demo"], "name": "box", "max_in_flight": 4},
            {"url": dead_url(), "models": ["gone"], "name": "dead"},
        ],
        routes={"fast*": {"to": ["gone", "demo"]}},
        auth=KEYS,
    )
    headers = {"authorization": "Bearer client"}
    for model in ("demo", "fast-1", "fast-2", "gone", "made up", "made up, too"):
        body: dict[str, object] = {"model": model, "stream": model.startswith("fast"), "messages": []}
        async with session.post(router.url + CHAT, json=body, headers=headers) as answer:
            await answer.read()
    async with session.get(router.url + "/v1/models") as answer:
        assert answer.status == 401
    page = await scrape(router, lambda page: page.of("router_requests_ended_total") == 6, authorization="Bearer reader")
    total = "router_requests_total"
    assert page.of(total, model="demo", backend="box", route="", api=CHAT, code="200", outcome="answered") == 1
    assert page.of(total, model="demo", backend="box", route="fast*", api=CHAT, code="200", outcome="answered") == 2
    assert page.of(total, model="unknown", backend="", route="", code="404", outcome="model_not_found") == 2
    assert page.of(total, model="gone", outcome="engine_failed") == 1
    assert page.of("router_requests_refused_total", code="401", reason="invalid_api_key") == 1
    assert page.of("router_key_requests_total", key="alice") == 6
    assert page.of("router_time_to_first_token_seconds_count", model="demo", backend="box") == 2
    assert page.of("router_request_duration_seconds_count") == 3
    assert page.of("router_generated_tokens_total", model="demo") > 0
    assert page.of("router_requests_in_flight", backend="box") == 0
    assert page.of("router_backend_max_in_flight") == 4
    assert page.of("router_backend_up", backend="box") == 1
    assert page.of("router_backend_up", backend="dead") == 0
    assert page.of("router_backend_health", backend="dead", health="down") == 1
    assert page.of("router_stalls_total") == 0
    for name in ("access", "audit", "models", "router", "system"):
        assert page.of("router_log_lines_lost_total", log=name) >= 0
    assert page.of("router_build_info", compiled="false") == 1
    assert page.of("process_open_fds") < page.of("process_max_fds")


async def test_what_waits_and_what_is_under_way(start_router, fake, held, session, scrape):
    """Each while it lasts."""
    backend = {"url": fake.url, "models": ["demo"], "name": "box", "max_in_flight": 1}
    router = await start_router([backend])
    body = {"model": "demo", "messages": [], "fake": {"held_by": str(held)}}
    asked = [asyncio.create_task(session.post(router.url + CHAT, json=body)) for _ in range(3)]
    await eventually(lambda: len(router.plane.dispatcher.admission) == 2)
    page = await scrape(router)
    assert page.of("router_requests_in_flight", backend="box") == 1
    assert page.of("router_requests_queued", model="demo") == 2
    held.unlink()
    for each in asked:
        (await each).release()
    page = await scrape(router, lambda page: page.of("router_requests_ended_total") == 3)
    assert page.of("router_requests_queued", model="demo") == 0
    assert page.of("router_request_queue_seconds_count", model="demo") == 2


async def test_what_a_key_may_not(start_router, fake, session, scrape, monkeypatch):
    """A request over a limit of its key has an outcome of its own; a scrape doesn't wait for the access log's turn."""
    monkeypatch.setattr(access_log, "FLUSH_EVERY", 3600.0)
    keys = [{"key": "client", "name": "alice", "requests_per_minute": 1}]
    router = await start_router(
        [{"url": fake.url, "models": ["demo"], "name": "box"}], auth={"keys": keys}, telemetry={"metrics": "open"}
    )
    headers = {"authorization": "Bearer client"}
    for status in (200, 429):
        async with session.post(router.url + CHAT, json={"model": "demo", "messages": []}, headers=headers) as answer:
            assert answer.status == status
    page = await scrape(router, lambda page: page.of("router_requests_ended_total") == 2)
    assert page.of("router_requests_ended_total", outcome="rate_limited") == 1
    assert page.of("router_requests_total", model="demo", backend="", code="429", outcome="rate_limited") == 1
    assert page.of("router_log_lines_lost_total", log="access") >= 0


async def test_devices(start_router, fake, scrape):
    """RAM always; a GPU as it was read last: a scrape wakes none."""
    router = await start_router([{"url": fake.url, "models": ["demo"], "name": "box"}])
    devices = router._historian.machine.devices
    reads = []

    def read(roots):
        reads.append(roots)
        return (GPU,), {}

    devices._read = read
    page = await scrape(router)
    assert page.of("router_device_memory_bytes", device=RAM) > page.of("router_device_memory_free_bytes", device=RAM)
    assert not page.has("router_device_power_watts")
    assert reads == []
    await devices.fresh()
    page = await scrape(router, lambda page: page.has("router_device_power_watts"))
    assert page.of("router_device_memory_free_bytes", device="cuda:0") == 60 << 30
    assert page.of("router_device_utilization_ratio") == pytest.approx(0.87)
    assert page.of("router_device_temperature_celsius") == 61
    assert page.of("router_device_power_watts") == 250.5
    assert page.of("router_device_power_limit_watts") == 400


async def test_as_openmetrics(start_router, fake, session):
    """Where Prometheus asks for it."""
    router = await start_router([{"url": fake.url, "models": ["demo"], "name": "box"}])
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1"
    async with session.get(router.url + "/metrics", headers={"accept": accept}) as answer:
        assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        names = {each.name for each in openmetrics.text_string_to_metric_families(await answer.text())}
    assert "router_backend_up" in names
    async with session.head(router.url + "/metrics") as answer:
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert await answer.read() == b""


@pytest.mark.parametrize("query", ["?engines=maybe", "?nothing=1"])
async def test_a_query_that_is_wrong(start_router, fake, session, query):
    """It is told, as elsewhere."""
    router = await start_router([{"url": fake.url, "models": ["demo"], "name": "box"}])
    async with session.get(router.url + "/metrics" + query) as answer:
        assert answer.status == 400


ELSEWHERE = {"Host": "evil.test", "X-Forwarded-For": "203.0.113.9"}


@pytest.mark.parametrize("auth", [{}, KEYS])
async def test_open_to_everybody(start_router, fake, session, auth):
    """Only if router.yaml says so, only to be read, and nothing else is."""
    backends = [{"url": fake.url, "models": ["demo"], "name": "box"}]
    routers = {}
    for access in ("admin", "open"):
        routers[access] = await start_router(
            backends, auth=auth, telemetry={"metrics": access}, logging={"dir": f"logs-{access}"}
        )

    async def status(access: str, path: str, method: str = "GET") -> int:
        async with session.request(method, routers[access].url + path, headers=ELSEWHERE) as answer:
            return int(answer.status)

    assert await status("admin", "/metrics") == 401
    assert await status("open", "/metrics") == 200
    assert await status("open", "/metrics", "POST") in {401, 403, 404, 405}
    assert await status("open", "/admin/status") == 401
    assert await status("open", "/metrics/x") in {401, 403}


@pytest.fixture
async def launched(tmp_path):
    """Give a function that starts a router of launched fake engines, with a file to reload."""
    (tmp_path / "model").touch()
    apps = []

    async def starting(names, **launch):
        file = tmp_path / "router.yaml"
        launch = {"engine": "llama_cpp", "model": str(tmp_path / "model"), "memory": "1MiB", **launch}
        backends = [{"name": name, "models": [name], "launch": launch} for name in names]
        file.write_text(yaml.safe_dump({"server": {"port": 0}, "health": {"interval": "1h"}, "backends": backends}))
        loaded = load(file, {})
        reloader = Reloader(loaded, lambda: load(file, {}))
        app = App(loaded.config, tmp_path, reloader=reloader, engines={"llama_cpp": LaunchedFake()}, facts=FACTS)
        apps.append(app)
        await app.start()
        return app, file

    yield starting
    for app in apps:
        await app.kill()


async def test_engines_that_are_launched(launched, session, scrape):
    """Their state, CPU time and memory; how often they were loaded, evicted, restarted."""
    router, _ = await launched(["one", "two"], load="on_demand")
    page = await scrape(router)
    assert page.of("router_engine_state", backend="one", engine="llama_cpp", state="stopped") == 1
    assert page.of("router_backend_up", backend="one") == 1
    assert page.of("router_model_loads_total", backend="one") == 0
    async with session.post(router.url + CHAT, json={"model": "one", "messages": []}) as answer:
        assert answer.status == 200
    page = await scrape(router, lambda page: page.of("router_request_load_seconds_count", model="one") == 1)
    assert page.of("router_engine_state", backend="one", state="running") == 1
    assert page.of("router_model_loads_total", backend="one") == 1
    assert page.of("router_model_loads_total", backend="two") == 0
    assert page.of("router_model_load_seconds", backend="one") > 0
    assert page.of("router_evictions_total", backend="one") == 0
    await scrape(router, lambda page: page.of("router_engine_cpu_seconds_total", backend="one") > 0)
    # What it holds was looked at before it started: it is looked at again after a while.
    await scrape(router, lambda page: page.of("router_backend_memory_bytes", backend="one", device=RAM) > 0)
    router.plane.stalled(router.plane.backends["one"], "stalled: no sign of work")
    page = await scrape(router, lambda page: page.of("router_engine_restarts_total", backend="one") == 1)
    assert page.of("router_stalls_total", backend="one") == 1


async def test_reloads(launched, scrape):
    """Those that were applied, those that weren't, and whether the last one was good."""
    router, file = await launched(["one"], load="on_demand")
    page = await scrape(router)
    assert page.of("router_config_last_reload_successful") == 1
    assert page.of("router_config_reloads_total", result="refused") == 0
    assert not page.has("router_config_last_reload_timestamp_seconds")
    good = file.read_text()
    file.write_text(good + "nonsense: 1\n")
    await router.reloader.reload()
    page = await scrape(router)
    assert page.of("router_config_last_reload_successful") == 0
    assert page.of("router_config_reloads_total", result="refused") >= 1
    file.write_text(good)
    await router.reloader.reload()
    page = await scrape(router)
    assert page.of("router_config_last_reload_successful") == 1
    assert page.of("router_config_last_reload_timestamp_seconds") > page.of("process_start_time_seconds")


async def test_engines_own_metrics(launched, scrape, monkeypatch):
    """Each with its backend; one that doesn't answer in time costs nothing but its own."""
    monkeypatch.setattr(engine_metrics, "WITHIN", 1.0)
    router, _ = await launched(["one", "two"], args={"publishes": True})
    await eventually(lambda: all(each.health.usable for each in router.plane.backends.values()))
    page = await scrape(router, query="?engines=1")
    assert page.of("vllm:num_requests_running", backend="one", engine="0") == 0
    assert page.of("vllm:num_requests_running", backend="two", engine="0") == 0
    assert page.of("router_backend_up") == 2
    assert "vllm:" not in (await scrape(router)).text
    pid = router.fleet.pids["one"]
    psutil.Process(pid).suspend()
    try:
        page = await scrape(router, query="?engines=1")
    finally:
        psutil.Process(pid).resume()
    assert {each.labels["backend"] for each in page.samples if each.name == "vllm:num_requests_running"} == {"two"}
    assert page.of("router_backend_up") == 2


async def test_what_is_told_is_what_is_described(launched, session, scrape):
    """Each metric of the page is defined, with these labels, and stands in docs/metrics.md; and the other way round."""
    defined = {each.name: each for each in FAMILIES}
    router, _ = await launched(["one"], load="on_demand")
    async with session.post(router.url + CHAT, json={"model": "one", "messages": []}) as answer:
        assert answer.status == 200
    page = await scrape(router, lambda page: page.of("router_requests_ended_total") == 1)
    for sample in page.samples:
        name = next(name for name in (sample.name, re.sub(r"_(bucket|count|sum)$", "", sample.name)) if name in defined)
        assert set(sample.labels) - {"le"} == set(defined[name].labels)
    docs = (REPOSITORY / "docs/metrics.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `((?:router|process)_\w+)` \| (?:counter|gauge|histogram)", docs, re.MULTILINE)) == set(
        defined
    )
    assert {name for name, each in defined.items() if each.kind == HISTOGRAM} >= {
        name for name, family in page.families.items() if family.type == "histogram"
    }
