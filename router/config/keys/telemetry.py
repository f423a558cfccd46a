"""`telemetry`: what is told of the router's work."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from router.config.keys.section import Section, setting
from router.config.keys.values import choice

ACCESS = ("admin", "open")


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
