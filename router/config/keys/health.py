"""`health`: how backends are watched."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from router.config.keys.section import Section, setting
from router.config.keys.units import Duration, DurationOrNever, lasting
from router.config.keys.values import Number, Whole


class HealthConfig(Section):
    """How backends are watched."""

    example: ClassVar[str] = """\
health:
  interval: 1s
  unhealthy_after: 5
  stall_after: 3m        # long silences are usual here
"""

    interval: Annotated[Duration, lasting("100ms", "1h")] = setting(
        "5s",
        "Time between two probes of a healthy backend. One that is out or in doubt is probed after 0.1 s, then after "
        "pauses that grow by a tenth of the time it has been so, up to this; and at once when a request waits for it.",
    )
    timeout: Annotated[Duration, lasting("10ms", "10m")] = setting("2s", "How long a probe's answer may take.")
    unhealthy_after: Annotated[Whole, Field(ge=1, le=100)] = setting(
        3, "Failures in a row until a backend gets no more requests."
    )
    healthy_after: Annotated[Whole, Field(ge=1, le=100)] = setting(2, "Successes in a row until it gets them again.")
    stall_after: Annotated[DurationOrNever, lasting("1s", "24h")] = setting(
        "60s", "Time with requests in flight and no sign of work on any, after which a backend counts as stuck."
    )
    trial: Annotated[Whole, Field(ge=1, le=1000)] = setting(
        2, "Requests at a time that a backend gets when it comes back, until one has succeeded."
    )
    ramp: Annotated[Duration, lasting("0", "1h")] = setting(
        "5s",
        "Time over which a backend that came back rises to its full share. It is short because the backend has shown "
        "that it answers, and requests queue at the others meanwhile. Going down again within it is a relapse: after "
        "each one, the backend must prove itself for twice as long.",
    )
    error_rate: Annotated[Number, Field(gt=0, le=1)] = setting(
        0.5, "Share of failures among the recent requests at which a backend gets no more."
    )
