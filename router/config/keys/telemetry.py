"""`telemetry`: what is told of the router's work."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from router.config.keys.section import Section, setting
from router.config.keys.units import Size, sized
from router.config.keys.values import Number, Url, Whole, absent_if_empty, choice

ACCESS = ("admin", "open")


class CaptureConfig(Section):
    """The last requests with their answers, kept in memory for admins with the scope `manage`; off unless it is set."""

    example: ClassVar[str] = """\
telemetry:
  capture: {requests: 100}     # prompts and answers of everybody: only while a fault is looked for
"""

    requests: Annotated[Whole, Field(ge=0, le=10000)] = setting(0, "How many are kept; 0: none.")
    size: Annotated[Size, sized("1MiB", "16GiB")] = setting(
        "64MiB",
        "The most memory that they take together; of each request and each answer, 1 MiB is kept at most, "
        "and an eighth of this.",
    )


class TracesConfig(Section):
    """Spans of requests, attempts, waits and loads, for OpenTelemetry; `pip install 'llm-engine-router[otel]'`."""

    example: ClassVar[str] = """\
telemetry:
  traces: {endpoint: "http://127.0.0.1:4318/v1/traces", share: 0.05}
"""

    endpoint: Annotated[Url | None, absent_if_empty] = setting(
        None, "Where a collector takes OTLP over HTTP. Without it, there are no traces."
    )
    # A span costs the event loop about as much as passing a request on.
    share: Annotated[Number, Field(ge=0, le=1)] = setting(
        0.1, "Share of the requests that are traced, of those that are no part of a client's trace (`traceparent`)."
    )


class TelemetryConfig(Section):
    """What is told of the router's work, and to whom."""

    example: ClassVar[str] = """\
telemetry:
  metrics: open
"""

    # As /admin: names of models, keys and backends are nobody's business unless router.yaml says so.
    metrics: Annotated[Literal["admin", "open"], choice("a kind of access", *ACCESS)] = setting(
        "admin", "Who may ask for /metrics: admin (who has the scope `read`) or open (everybody who reaches the port)."
    )
    capture: CaptureConfig = Field(default_factory=CaptureConfig, description=CaptureConfig.__doc__)
    traces: TracesConfig = Field(default_factory=TracesConfig, description=TracesConfig.__doc__)
