"""Whether a backend can be sent requests: a table, fed by probes, by requests, and by the supervisor.

            succeeded          a probe failed          a request failed        declared (by the supervisor)
  UNKNOWN   UP                 DOWN                    DOWN after              UP or DOWN, at once
                                                       `unhealthy_after`
  UP        UP                 DOWN after              DOWN after
                               `unhealthy_after`       `unhealthy_after`
  DOWN      UP after           DOWN                    DOWN
            `healthy_after`

A backend that nothing is known of may be tried, until its first probe decides. From there on it takes several in a
row to change the verdict, so that one lost packet doesn't take a backend out.
"""

from dataclasses import dataclass, replace
from enum import Enum


class Verdict(Enum):
    """What is believed of a backend."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


_DOWN = Verdict.DOWN  # at hand: it is asked for by every request


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many in a row change the verdict."""

    unhealthy_after: int = 3
    healthy_after: int = 2


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict, how many in a row spoke against it, and the latest reason for a bad one."""

    verdict: Verdict = Verdict.UNKNOWN
    against: int = 0
    reason: str = "not heard of yet"

    @property
    def usable(self) -> bool:
        """Whether a request may be sent."""
        return self.verdict is not _DOWN


WELL = Health(Verdict.UP, 0, "")
"""What is believed of a backend that answers, and has nothing against it."""


def succeeded(health: Health, thresholds: Thresholds) -> Health:
    """Take note of a probe or a request that was answered."""
    if health.verdict is Verdict.DOWN and health.against + 1 < thresholds.healthy_after:
        return replace(health, against=health.against + 1)
    return WELL


def failed(health: Health, thresholds: Thresholds, reason: str, *, probe: bool) -> Health:
    """Take note of a probe, or of a request, that came to nothing."""
    in_doubt = health.verdict is Verdict.UP or (health.verdict is Verdict.UNKNOWN and not probe)
    if in_doubt and health.against + 1 < thresholds.unhealthy_after:
        return replace(health, against=health.against + 1, reason=reason)
    return Health(Verdict.DOWN, 0, reason)


def declared(*, up: bool, reason: str = "") -> Health:
    """Take the supervisor's word: the engine has become ready, or its process is gone."""
    return WELL if up else Health(Verdict.DOWN, 0, reason)
