"""Traces, for OpenTelemetry: a span a request; below it one for each attempt, each time in the queue, and each load.

Spans are made of a request's record after its end, and sent by a thread of OpenTelemetry's SDK, which drops what it
can't send. Nothing of that is imported before traces are asked for (the extra otel). Names and attributes are those of
OpenTelemetry's conventions for HTTP and GenAI, and `router.*` for what these don't know. What was said is in none.
Spans are grouped by their names, so these have nothing that a client writes.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from router import distribution
from router.core.apis import POSTED, api_of
from router.core.ending import Ending
from router.core.record import ANSWERED, Record
from router.core.timeline import NEVER, SLOWER, Try
from router.core.trace import Ended, Trace, span_of, traced
from router.http1.heads import Headers
from router.telemetry import families
from router.telemetry.metrics import Names, outcome_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from requests import Response, Session

log = structlog.get_logger("router")

END_WITHIN: Final = 2.0
"""Seconds that the end waits, at most, for spans to be sent."""

SEND_WITHIN: Final = 5.0
"""Seconds that the collector may take for a batch."""

MOST_ENDED: Final = 4096
"""Requests that have ended and whose spans aren't made yet: these come a quarter of a second later."""

_OPERATIONS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/api/chat": "chat",
    "/v1/completions": "text_completion",
    "/api/generate": "text_completion",
    "/v1/embeddings": "embeddings",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
}

_WITH_THE_REQUEST: Final = frozenset({
    families.CANCELLED, families.CLIENT_LEFT, families.ENGINE_ERROR, families.ENGINE_TIMEOUT, families.STOPPING,
})  # fmt: skip
"""Outcomes that a request shares with its last attempt."""

_NANO: Final = 10**9

Tracing = Callable[[Headers], Trace | None]


class Span(NamedTuple):
    """A part of a request, in seconds since it came. Its `parent` is 0 where there is none."""

    name: str
    kind: str
    id: int
    parent: int
    begun: float
    ended: float
    error: str
    attributes: Mapping[str, Any]


class Traces:
    """Sends the traces of a share of all requests to a collector, once that is set up."""

    def __init__(self) -> None:
        self._endpoint = ""
        self._share = 0.0
        self._draw = random.Random().getrandbits  # noqa: S311 -- ids keep no secret
        self._exporter: _Exporter | None = None
        self._ended: Ended = {}
        self.names: Names | None = None

    def set_up(self, endpoint: str, share: float) -> Tracing | None:
        """Take settings; give what begins a request's trace, None if there are none. An empty endpoint is none."""
        self._share = share
        if endpoint != self._endpoint:
            self._endpoint = endpoint
            self.close()
            if endpoint:
                try:
                    self._exporter = _Exporter(endpoint)
                except ImportError as error:
                    needed = distribution.install_command(f"pip install '{distribution.NAME}[otel]'")
                    log.warning(f"no traces are sent: install what they need by `{needed}`", why=str(error))
        return None if self._exporter is None else self._begin

    def _begin(self, headers: Headers) -> Trace | None:
        if len(self._ended) > MOST_ENDED:
            # Nobody hears of their ends.
            self._ended.clear()
        return traced(headers, self._share, time.time_ns(), self._draw, self._ended)

    def ended(self, record: Record, said: Ending) -> None:
        """Have the spans of a request sent that was traced."""
        known = self._ended.pop(id(record), None) if self._ended else None
        if known is not None and self._exporter is not None:
            model, route = ("", "") if self.names is None else self.names.meant(record.model, record.backend)
            for span in spans(record, known[1], said, self._draw, route or model):
                self._exporter.send(known[1], span)

    def close(self) -> None:
        """Send what waits, and stop."""
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            exporter.close()


def spans(record: Record, trace: Trace, said: Ending, draw: Callable[[int], int], known: str) -> Iterator[Span]:
    """Give the spans of a request, its own first. `known` is its model or route, as router.yaml has it; empty: none."""
    operation = _OPERATIONS.get(record.path, "")
    name = f"{operation} {known}" if operation else f"POST {record.path if record.path in POSTED else ''}"
    name = name.rstrip()
    whole = outcome_of(record, said)
    failed = "" if record.outcome == ANSWERED and not said.error and record.status < 400 else record.outcome
    yield Span(
        name,
        "SERVER",
        trace.span,
        trace.parent,
        0.0,
        record.duration,
        failed,
        _of_request(record, said, operation, whole),
    )
    for wait in record.waits:
        queued = span_of(draw)
        yield Span("queue", "INTERNAL", queued, trace.span, wait.begun, wait.ended, "", {})
        if wait.loading:
            began, loaded = max(wait.begun, wait.ended - wait.loading), {"router.backend": wait.loaded}
            yield Span(f"load {wait.loaded}", "INTERNAL", span_of(draw), queued, began, wait.ended, "", loaded)
    for each, span in zip(sorted(record.tries, key=lambda one: one.begun), trace.attempts, strict=False):
        outcome = _outcome_of(each, whole if each is record.tries[-1] else "")
        attributes: dict[str, Any] = {"router.backend": each.backend, "router.outcome": outcome}
        if each.status:
            attributes["http.response.status_code"] = each.status
        if each.first_byte != NEVER:
            attributes["router.first_byte"] = round(each.first_byte - each.begun, 6)
        why = "" if each.outcome == ANSWERED else each.outcome
        ended = record.duration if each.ended == NEVER else each.ended
        yield Span(f"attempt {each.backend}", "CLIENT", span, trace.span, each.begun, ended, why, attributes)


def _outcome_of(each: Try, whole: str) -> str:
    """Tell how an attempt ended, in the words for requests; `whole` is its request's outcome if it is the last one."""
    if each.outcome == SLOWER:
        return "slower"
    if whole in _WITH_THE_REQUEST:
        return whole
    if each.status >= 400:
        return families.ENGINE_ERROR
    return families.ANSWERED if each.outcome == ANSWERED else families.ENGINE_FAILED


def _of_request(record: Record, said: Ending, operation: str, outcome: str) -> dict[str, Any]:
    """Give the attributes of a request's span; what isn't known is left out."""
    found: dict[str, Any] = {
        "http.request.method": "POST",
        "url.path": record.path,
        "http.response.status_code": record.status,
        "client.address": record.client or None,
        "gen_ai.operation.name": operation or None,
        "gen_ai.request.model": record.model,
        "gen_ai.usage.input_tokens": said.prompt_tokens,
        "gen_ai.usage.output_tokens": said.completion_tokens,
        "gen_ai.response.finish_reasons": [said.finish_reason] if said.finish_reason else None,
        "router.api": api_of(record.path),
        "router.request_id": record.id,
        "router.key": record.key or None,
        "router.backend": record.backend,
        "router.attempts": record.attempts,
        "router.outcome": outcome,
        "router.ttft": record.ttft,
        "router.queued": record.waited or None,
    }
    return {name: value for name, value in found.items() if value is not None}


class _Said(logging.Handler):
    """Has the log say what OpenTelemetry's library says: in our words, with its own behind them, once a minute."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record. Its words differ each time, so they aren't what tells two warnings apart."""
        why = record.exc_info[1] if record.exc_info else None
        said = record.getMessage() + (f" ({why})" if why is not None else "")
        log.warning(
            "spans can't be sent to telemetry.traces.endpoint as they should: some may be lost", opentelemetry=said
        )


_SAID: Final = _Said(logging.WARNING)


def session() -> "Session":
    """Give what sends spans: a redirection is an error, as requests would be sent to where nobody said they may."""
    from requests import Session  # noqa: PLC0415  (a part of the extra otel)

    made = Session()
    made.hooks["response"].append(_not_redirected)
    return made


def _not_redirected(answer: "Response", *_: object, **_known: object) -> None:
    from requests import TooManyRedirects  # noqa: PLC0415

    if 300 <= answer.status_code < 400:
        raise TooManyRedirects(f"it answers {answer.status_code}, and redirections aren't followed: name its own URL")


class _Exporter:
    """OpenTelemetry's SDK, as far as it is needed. Raises ImportError where it isn't installed."""

    def __init__(self, endpoint: str) -> None:
        from opentelemetry import trace as api  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        logging.getLogger("opentelemetry").propagate = False
        logging.getLogger("opentelemetry").addHandler(_SAID)
        self._api = api
        self._make = ReadableSpan
        self._resource = Resource.create({"service.name": "router", "service.version": distribution.VERSION})
        self._processor: SpanProcessor = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=endpoint, timeout=SEND_WITHIN, session=session()), schedule_delay_millis=1000
        )

    def send(self, trace: Trace, span: Span) -> None:
        """Have a span sent."""
        api = self._api
        status = api.StatusCode.ERROR if span.error else api.StatusCode.UNSET
        self._processor.on_end(
            self._make(
                name=span.name,
                context=self._context(trace, span.id, is_remote=False),
                parent=self._context(trace, span.parent, is_remote=span.parent == trace.parent)
                if span.parent
                else None,
                resource=self._resource,
                attributes=span.attributes,
                kind=api.SpanKind[span.kind],
                status=api.Status(status, span.error or None),
                start_time=trace.began + int(span.begun * _NANO),
                end_time=trace.began + int(span.ended * _NANO),
            )
        )

    def _context(self, trace: Trace, span: int, *, is_remote: bool) -> Any:  # noqa: ANN401 -- its type needs an import
        return self._api.SpanContext(trace.trace, span, is_remote, self._api.TraceFlags(self._api.TraceFlags.SAMPLED))

    def close(self) -> None:
        """Send what waits, at most for `END_WITHIN`."""
        ending = threading.Thread(target=self._processor.shutdown, name="end of traces", daemon=True)
        ending.start()
        ending.join(END_WITHIN)
