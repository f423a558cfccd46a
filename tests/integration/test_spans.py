"""Traces, as a collector gets them from a router at work."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from router.telemetry import traces
from tests.fakes.engine import FakeEngine
from tests.integration.raw import ASK
from tests.running import dead_url, eventually

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

CHAT = "/v1/chat/completions"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes OTLP over HTTP, as a collector does."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Any] = []
        self.resources: list[Any] = []

    async def take(self, request: web.Request) -> web.Response:
        """Take spans."""
        said = trace_service.ExportTraceServiceRequest.FromString(await request.read())
        for each in said.resource_spans:
            self.resources.append(each.resource)
            self.spans += [span for scope in each.scope_spans for span in scope.spans]
        answer = trace_service.ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    async def named(self, begin: str, count: int = 1) -> list[Any]:
        """Wait for so many spans whose names begin so."""
        await eventually(lambda: len([each for each in self.spans if each.name.startswith(begin)]) >= count)
        return [each for each in self.spans if each.name.startswith(begin)]


def attributes(span: Any) -> dict[str, Any]:
    """Give a span's attributes."""
    found: dict[str, Any] = {}
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        found[each.key] = [one.string_value for one in value.values] if kind == "array_value" else value
    return found


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Give a collector that listens."""
    each = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", each.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    each.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    yield each
    await runner.cleanup()


@pytest.fixture
async def traced(start_router, fake, collector):
    """Give a router all of whose requests are traced."""
    backends = [{"url": fake.url, "models": ["demo"], "name": "a"}]
    return await start_router(backends, telemetry={"traces": {"endpoint": collector.url, "share": 1}})


async def test_a_request_is_a_span_and_its_attempt_one_below_it(traced, asking, fake, collector):
    """With the attributes of GenAI and of the router; what was said is in none."""
    body = {**ASK, "messages": [{"role": "user", "content": "a secret"}]}
    async with asking.post(traced.url + CHAT, json=body, headers={"x-request-id": "one"}) as answer:
        assert answer.status == 200
    (request,), (attempt,) = await collector.named("chat demo"), await collector.named("attempt a")
    said = attributes(request)
    assert {name: said[name] for name in said if not name.startswith(("gen_ai.usage", "router.ttft"))} == {
        "http.request.method": "POST",
        "url.path": CHAT,
        "http.response.status_code": 200,
        "client.address": "127.0.0.1",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "demo",
        "gen_ai.response.finish_reasons": ["length"],
        "router.api": "openai",
        "router.request_id": "one",
        "router.backend": "a",
        "router.attempts": 1,
        "router.outcome": "answered",
    }
    assert said["gen_ai.usage.input_tokens"] > 0
    assert request.parent_span_id == b""
    assert (request.kind, attempt.kind) == (2, 3)
    assert (attempt.trace_id, attempt.parent_span_id) == (request.trace_id, request.span_id)
    assert request.start_time_unix_nano <= attempt.start_time_unix_nano
    assert attempt.end_time_unix_nano <= request.end_time_unix_nano
    assert attributes(attempt)["http.response.status_code"] == 200
    told = dict(fake.stats.last.headers)["traceparent"]
    assert told == f"00-{request.trace_id.hex()}-{attempt.span_id.hex()}-01"
    assert "a secret" not in str(collector.spans)
    assert {each.key: each.value.string_value for each in collector.resources[0].attributes}["service.name"] == "router"


async def test_a_clients_trace_goes_on(traced, asking, fake, collector):
    """Its span is the parent, and the backend's is the attempt's; one that the client doesn't record isn't."""
    for flags in ("00", "01"):
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-{flags}", "tracestate": "a=1"}
        async with asking.post(traced.url + CHAT, json=ASK, headers=headers) as answer:
            assert answer.status == 200
        told = dict(fake.stats.last.headers)
        assert told["tracestate"] == "a=1"
        assert (told["traceparent"] == headers["traceparent"]) is (flags == "00")
    (request,) = await collector.named("chat demo")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, SPAN)
    assert told["traceparent"].startswith(f"00-{TRACE}-")


async def test_each_attempt_and_each_wait_is_a_span(start_router, session, collector):
    """Of one that failed, its status is an error's."""
    async with FakeEngine() as fake:
        router = await start_router(
            [
                {"url": dead_url(), "models": ["demo"], "name": "dead"},
                {"url": fake.url, "models": ["demo"], "name": "a", "max_in_flight": 1},
            ],
            telemetry={"traces": {"endpoint": collector.url, "share": 1}},
        )
        body = {**ASK, "stream": True, "fake": {"events": 10, "delay": 0.05}}

        async def ask() -> None:
            async with session.post(router.url + CHAT, json=body) as answer:
                await answer.read()

        await asyncio.gather(ask(), ask(), ask())
        requests = await collector.named("chat demo", 3)
        waits = await collector.named("queue")
        attempts = await collector.named("attempt", 3)
        assert {each.parent_span_id for each in (*waits, *attempts)} == {each.span_id for each in requests}
        failed = [each for each in attempts if each.name == "attempt dead"]
        assert all(each.status.code == 2 for each in failed)
        async with session.post(router.url + CHAT, json={**ASK, "model": "none"}) as answer:
            assert answer.status == 404
        (refused,) = [each for each in await collector.named("chat", 4) if each.name == "chat"]
        assert (refused.status.code, attributes(refused)["http.response.status_code"]) == (2, 404)
        assert attributes(refused)["router.outcome"] == "model_not_found"


async def test_a_reload_ends_and_begins_traces(traced, asking, fake, collector):
    """Without an endpoint, requests pass as they came."""
    config = traced.plan.config
    off = config.telemetry.model_copy(update={"traces": config.telemetry.traces.model_copy(update={"endpoint": None})})
    await traced.reload(config.model_copy(update={"telemetry": off}))
    async with asking.post(traced.url + CHAT, json=ASK) as answer:
        assert answer.status == 200
    assert "traceparent" not in dict(fake.stats.last.headers)
    assert traced.rules.tracing is None
    await traced.reload(config)
    async with asking.post(traced.url + CHAT, json=ASK) as answer:
        assert answer.status == 200
    await collector.named("chat demo")


async def test_what_waits_is_sent_at_the_end(traced, session, collector):
    """Within a bound."""
    async with session.post(traced.url + CHAT, json=ASK) as answer:
        assert answer.status == 200
    await traced.stop()
    await collector.named("chat demo")


async def test_a_collector_that_is_gone_costs_nothing(start_router, fake, session, monkeypatch):
    """Requests are answered, and the end waits no longer than it may."""
    monkeypatch.setattr(traces, "END_WITHIN", 0.1)
    router = await start_router(
        [{"url": fake.url, "models": ["demo"], "name": "a"}],
        telemetry={"traces": {"endpoint": f"{dead_url()}/v1/traces", "share": 1}},
    )
    for _ in range(5):
        async with session.post(router.url + CHAT, json=ASK) as answer:
            assert answer.status == 200
    async with asyncio.timeout(30):
        await router.stop()


async def test_without_the_sdk_it_is_said_and_all_else_works(start_router, fake, session, monkeypatch):
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with capture_logs() as logged:
        router = await start_router(
            [{"url": fake.url, "models": ["demo"], "name": "a"}],
            telemetry={"traces": {"endpoint": "http://127.0.0.1:4318/v1/traces", "share": 1}},
        )
    assert [each for each in logged if "pip install 'llm-engine-router[otel]'" in each["event"]]
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status == 200
    assert "traceparent" not in dict(fake.stats.last.headers)


async def test_without_traces_nothing_of_it_is_imported():
    """It would take a second, and 20 MB."""
    code = "import sys, router.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said == b"[]\n"
