"""`balance`: which of several backends gets a request."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from router.config.keys.section import Section, setting
from router.config.keys.units import HedgeAfter, lasting
from router.config.keys.values import Number, Switch, choice, words
from router.core.balance import POLICIES

PolicyName = Annotated[str, choice("a policy", *POLICIES), words(*POLICIES)]


class BalanceConfig(Section):
    """Which of several backends gets a request."""

    example: ClassVar[str] = """\
balance:
  policy: round_robin
  hedge_after: p95
"""

    policy: PolicyName = setting("least_latency", "How to choose among the backends that can take a request.")
    affinity: Switch = setting(
        default=True, meaning="Whether a conversation goes back to the backend that has its beginning cached."
    )
    hedge_after: Annotated[HedgeAfter, lasting("1ms", "1h")] = setting(
        "never",
        "Silence after which the request is sent to a second backend, too, and the first answer is taken; p95 is the "
        "time within which 95 of 100 answers began.",
    )
    retry_share: Annotated[Number, Field(ge=0, le=1)] = setting(
        0.2,
        "Largest share of the recent requests that may be retries, so that they can't overload the other backends. "
        "Retries of requests that no working engine has read don't count.",
    )
