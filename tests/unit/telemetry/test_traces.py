import io
import logging
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from router.core.ending import Ending
from router.core.record import Record
from router.core.timeline import NEVER, Try, Wait
from router.core.trace import Trace
from router.telemetry import traces
from router.telemetry.repeats import Repeats
from router.telemetry.traces import Span, Traces, spans

requests = pytest.importorskip("requests")
OTLPSpanExporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter
SpanExportResult = pytest.importorskip("opentelemetry.sdk.trace.export").SpanExportResult

SAID = Ending(12, 40, "stop", error=False)


def record(**changed: Any) -> Record:
    known: dict[str, Any] = {
        "id": "one", "path": "/v1/messages", "model": "demo", "backend": "a", "status": 200, "outcome": "answered",
        "attempts": 1, "ttft": 0.5, "duration": 2.0, "sent": 10, "events": 3, "tail": b"",
    }  # fmt: skip
    return Record(**{**known, **changed})


def trace(attempts: int = 0) -> Trace:
    numbers = count(100)
    each = Trace(7, 0, 5, lambda _: next(numbers), {})
    for _ in range(attempts):
        each.passed_on(b"")
    return each


def made(said: Ending = SAID, attempts: int = 0, known: str = "demo", **changed: Any) -> list[Span]:
    numbers = count(1)
    return list(spans(record(**changed), trace(attempts), said, lambda _: next(numbers), known))


def test_a_load_is_a_part_of_the_time_in_the_queue():
    """The last part of it."""
    queued = (Wait(0.1, 1.0, 0.0, ""), Wait(1.0, 5.0, 3.0, "qwen"), Wait(5.0, 6.0, 9.0, "other"))
    _, first, second, load, third, longer = made(waits=queued)
    assert [(each.name, each.parent, each.begun, each.ended) for each in (first, second, third)] == [
        ("queue", 100, 0.1, 1.0), ("queue", 100, 1.0, 5.0), ("queue", 100, 5.0, 6.0),
    ]  # fmt: skip
    assert (load.name, load.parent, load.begun, load.ended) == ("load qwen", second.id, 2.0, 5.0)
    assert (longer.parent, longer.begun) == (third.id, 5.0)
    assert len({each.id for each in (first, second, load, third, longer)}) == 5


def test_attempts_have_the_spans_that_their_backends_know():
    """In the order in which they began, whichever ended first; one that hasn't ended ends with the request."""
    tries = (
        Try("b", None, 0.5, 0.6, 0.7, NEVER, 0, ""),
        Try("a", None, 0.1, NEVER, NEVER, 0.4, 503, "refused"),
    )
    _, first, second = made(attempts=2, tries=tries)
    assert (first.name, first.id, first.begun, first.ended, first.error) == ("attempt a", 101, 0.1, 0.4, "refused")
    assert first.attributes["http.response.status_code"] == 503
    assert "router.first_byte" not in first.attributes
    assert (second.name, second.id, second.ended) == ("attempt b", 102, 2.0)
    assert second.attributes["router.first_byte"] == pytest.approx(0.2)
    assert "http.response.status_code" not in second.attributes


@pytest.mark.parametrize(
    ("changed", "said", "error"),
    [
        ({}, SAID, ""),
        ({"outcome": "the client left"}, SAID, "the client left"),
        ({"status": 404, "outcome": "answered"}, SAID, "answered"),
        ({}, Ending(1, 2, None, error=True), "answered"),
    ],
)
def test_what_failed_is_an_error(changed, said, error):
    """By its outcome, its status, or what its end says."""
    assert made(said, **changed)[0].error == error


@pytest.mark.parametrize(
    ("path", "model", "known", "name"),
    [
        ("/v1/chat/completions", "demo", "demo", "chat demo"),
        ("/v1/chat/completions", "fast-12345", "fast*", "chat fast*"),
        ("/v1/chat/completions", "x" * 500, "", "chat"),
        ("/v1/embeddings", "anything", "", "embeddings"),
        ("/v1/rerank", "demo", "demo", "POST /v1/rerank"),
        ("/v1/made/up", "demo", "demo", "POST"),
    ],
)
def test_what_clients_write_is_no_name(path, model, known, name):
    """Spans are grouped by their names: a model or a path that nobody knows is in none."""
    (span,) = made(path=path, model=model, known=known)
    assert (span.name, span.attributes["gen_ai.request.model"]) == (name, model)


def test_models_are_known_by_the_catalog():
    """By the route, where there is one; without a catalog, by none."""

    class Names:
        now = None

        def meant(self, asked: str, backend: str | None) -> tuple[str, str]:
            assert backend == "a"
            return {"demo": ("demo", ""), "fast-1": ("demo", "fast*")}.get(asked, ("", ""))

    class Exporter:
        def __init__(self) -> None:
            self.names: list[str] = []

        def send(self, _: Trace, span: Span) -> None:
            self.names.append(span.name)

    exporter, each = Exporter(), Traces()
    each._exporter, each._share = exporter, 1.0  # type: ignore[assignment]
    for names, model in ((None, "demo"), (Names(), "demo"), (Names(), "fast-1"), (Names(), "none")):
        each.names = names
        part, ended = each._begin(()), record(model=model)
        assert part is not None
        part.end(ended)
        each.ended(ended, SAID)
    assert exporter.names == ["chat", "chat demo", "chat fast*", "chat"]


@pytest.mark.parametrize(
    ("request_", "said", "attempt", "outcomes"),
    [
        ({}, SAID, ("answered", 200), ("answered", "answered")),
        ({"status": 404}, SAID, ("answered", 404), ("engine_error", "engine_error")),
        ({}, Ending(1, 2, None, error=True), ("answered", 200), ("engine_error", "engine_error")),
        ({"outcome": "the client left", "status": 499}, SAID, ("the client left", 0), ("client_left", "client_left")),
        ({"outcome": "x refused it", "status": 502, "error": "bad_gateway"}, SAID, ("refused (http://a:1)", 0),
         ("engine_failed", "engine_failed")),
        ({"outcome": "no", "status": 502, "error": "bad_gateway"}, SAID, ("503", 503),
         ("engine_failed", "engine_error")),
        ({}, SAID, ("another backend was sooner", 200), ("answered", "slower")),
        ({"outcome": "No model 'x'.", "status": 404, "error": "model_not_found"}, SAID, None, ("model_not_found",)),
    ],
)  # fmt: skip
def test_outcomes_are_in_the_words_of_metrics(request_, said, attempt, outcomes):
    """So that they can be grouped; why it failed is the status's description."""
    tries = () if attempt is None else (Try("a", None, 0.1, NEVER, NEVER, 0.4, attempt[1], attempt[0]),)
    found = made(said, attempts=1, tries=tries, **request_)
    assert tuple(each.attributes["router.outcome"] for each in found) == outcomes


def test_only_the_last_attempt_shares_its_requests_outcome():
    """Those before it failed by themselves."""
    tries = (
        Try("a", None, 0.1, NEVER, NEVER, 0.4, 0, "refused"),
        Try("b", None, 0.5, 0.6, 0.7, NEVER, 0, "the client left"),
    )
    _, first, second = made(attempts=2, tries=tries, outcome="the client left", status=499)
    assert (first.error, first.attributes["router.outcome"]) == ("refused", "engine_failed")
    assert second.attributes["router.outcome"] == "client_left"


class Redirects:
    """A collector that is elsewhere, or takes what it gets."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked: list[str | None] = []

    def send(self, request: Any, *_: Any, **_known: Any) -> Any:
        """Answer."""
        self.asked.append(request.url)
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = self.status, request, str(request.url)
        answer.headers["location"] = "http://elsewhere.test/v1/traces"
        answer._content = b""
        answer.raw = io.BytesIO()
        return answer

    def close(self) -> None:
        """Close nothing."""


@pytest.mark.parametrize("status", [200, 301, 302, 307, 308])
def test_a_collector_that_redirects_is_told_of(status):
    """Nothing is sent to where nobody said it may; that spans are lost is a line of ours."""
    made_: Any = traces.session()
    collector = Redirects(status)
    made_.mount("http://", collector)
    exporter = traces._Exporter("http://127.0.0.1:9/v1/traces")
    try:
        with capture_logs() as said:
            found = OTLPSpanExporter(endpoint="http://collector.test/v1/traces", session=made_).export([])
    finally:
        exporter.close()
    assert (found is SpanExportResult.SUCCESS) is (status == 200)
    assert set(collector.asked) == {"http://collector.test/v1/traces"}
    assert bool(said) is (status != 200)
    for line in said:
        assert "telemetry.traces.endpoint" in line["event"]
        assert f"it answers {status}" in line["opentelemetry"]


def test_what_the_library_says_is_a_repeat():
    """However its words differ."""
    repeats, said = Repeats(lambda _, _do: None), []
    with capture_logs() as lines:
        for words in ("Transient error, retrying in 0.88s.", "Transient error, retrying in 0.91s.", "Failed"):
            traces._SAID.handle(logging.makeLogRecord({"msg": words, "levelno": logging.WARNING}))
        known = ValueError, ValueError("why"), None
        traces._SAID.handle(logging.makeLogRecord({"msg": "Exception", "exc_info": known, "levelno": logging.ERROR}))
    for line in lines:
        level = line.pop("log_level")
        with suppress(structlog.DropEvent):
            said.append(repeats(None, level, line)["opentelemetry"])
    assert said == ["Transient error, retrying in 0.88s."]
    assert lines[-1]["opentelemetry"] == "Exception (why)"


def test_another_path():
    """What isn't known of a request is left out."""
    (span,) = made(Ending(None, None, None, error=False), path="/v1/other", backend=None, ttft=None)
    assert not any(name.startswith("gen_ai.usage") for name in span.attributes)
    assert None not in span.attributes.values()


def test_records_that_nobody_asks_for_are_forgotten(monkeypatch):
    """What waits is bounded."""
    monkeypatch.setattr(traces, "MOST_ENDED", 3)
    each = Traces()
    each._share = 1.0
    for _ in range(10):
        part = each._begin(())
        assert part is not None
        part.end(record())
        assert len(each._ended) <= 4
    each.ended(record(), SAID)
    each.close()
