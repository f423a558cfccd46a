"""Whether a backend can be sent requests: a table, fed by probes, by requests, and by the supervisor.

            answered                            came to nothing
  UNKNOWN   UP                                  a probe: DOWN; requests: DOWN after `unhealthy_after`
  UP        UP                                  SUSPECT
  SUSPECT   UP                                  DOWN after `unhealthy_after` in a row
  DOWN      PROBING after `healthy_after`       DOWN
  PROBING   UP after a request, or              DOWN
            `healthy_after` probes
  any       declared by the supervisor: UP or DOWN, at once

What the table doesn't say:

  1. A backend that nothing is known of may be tried, until its first probe decides. From there on it takes several
     in a row to put it out, so that one lost packet doesn't.
  2. An engine that fails every request may tell every probe that it is well. So what a request held against it, a
     request must clear: in SUSPECT and PROBING probes don't count while the latest failure was a request's.
  3. One that fails often, though never so many in a row, is put out too: `error_rate` of the last `window`
     requests.
  4. Back from DOWN it is on trial, with `trial` requests at a time; then its load grows over `slow_start`. A failure on
     trial, or DOWN again before it carries its full load, is a relapse: each doubles the successes that it takes to be
     on trial again, up to `2 ** _MOST_RELAPSES` times as many (as Envoy's outlier detection lengthens its ejections).
  5. Who is out or in doubt is probed soon, then each time a little later (`pause`): what comes back is found within a
     tenth of the time that it was away, and what doesn't costs next to nothing.
  6. Where all of a model's backends are DOWN, the `least_bad` may be tried: any but those known to be `absent`.
  7. A server that answered before, and now refuses the connection of one request, is out at once: nobody is there. As
     it may just be restarted, requests wait for it as for an engine that is `coming`, for `RETURNS_WITHIN` at most.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, TypeVar

T = TypeVar("T")

_MOST_RELAPSES = 5

SOONEST = 0.1
"""Seconds until a backend is probed again that is out or in doubt, at the least; doubled by each relapse."""

_LATER = 0.1
"""Of the time that it has been so, that each probe of it comes later."""

RETURNS_WITHIN = 5.0
"""Seconds for which a server is waited for that nobody launches here, once it refuses connections: time enough for it
to be restarted, and soon enough to be told that it is gone."""

_LEAST_RAMP = 0.1
"""What a backend carries at once when it is back; Envoy's slow start begins with a tenth, too."""


class Verdict(Enum):
    """What is believed of a backend."""

    UNKNOWN = "unknown"
    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"
    PROBING = "probing"


_DOWN = Verdict.DOWN  # at hand: it is asked for by every request


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What changes the verdict, and how a backend comes back."""

    unhealthy_after: int = 3  # failures in a row that put it out
    healthy_after: int = 2  # successes in a row for each step back: on trial, then up
    error_rate: float = 0.5  # failures among the last `window` requests that put it out too, as a share of `window`
    window: int = 20  # requests
    trial: int = 2  # requests at a time while it is on trial
    slow_start: float = 5.0  # seconds until it carries its full load again


class Health:
    """The verdict, how many in a row spoke for another, and the latest reason for a bad one. It never changes.

    `by_requests`: the latest failure was a request's, not a probe's. `recent` is one bit for each of the last requests
    since one failed, the latest lowest, 1 for a failure. `since` is when it came back, in seconds of the caller's
    clock, and `relapses` how often it fell again before it was well. `absent`: nobody is there who could answer, as the
    supervisor knows, or as it refuses connections, which it began to do at `since`. `coming`: but it is started, or
    will soon be, so that requests may wait for it. `refused`: it refuses connections, and nobody waits for it any more.
    """

    # Not a frozen dataclass: a storm of failures makes one of these for each, and a dataclass takes four times as long.

    def __init__(
        self,
        verdict: Verdict = Verdict.UNKNOWN,
        against: int = 0,
        reason: str = "not heard of yet",
        *,
        by_requests: bool = False,
        recent: int = 0,
        since: float = -inf,
        relapses: int = 0,
        absent: bool = False,
        coming: bool = False,
        refused: bool = False,
    ) -> None:
        self.verdict: Final = verdict
        self.against: Final = against
        self.reason: Final = reason
        self.by_requests: Final = by_requests
        self.recent: Final = recent
        self.since: Final = since
        self.relapses: Final = relapses
        self.absent: Final = absent
        self.coming: Final = coming
        self.refused: Final = refused

    @property
    def usable(self) -> bool:
        """Whether a request may be sent."""
        return self.verdict is not _DOWN

    @property
    def hope(self) -> int:
        """How likely an answer is, to be compared where all look bad; 0: there can be none."""
        if self.usable:
            return 4
        if self.absent:
            return 0
        if self.against:
            return 3  # it has answered since
        return 2 if self.by_requests else 1  # its probes do well, or fail too

    def cap(self, most: float, thresholds: Thresholds) -> float:
        """Tell how many requests it may have in flight, of the `most` that it may have when it is well."""
        in_doubt = self.verdict is Verdict.PROBING or self.verdict is _DOWN
        return min(most, thresholds.trial) if in_doubt else most

    def ramp(self, now: float, thresholds: Thresholds) -> float:
        """Tell which part of its load it may carry, above 0 and up to 1: more from second to second once it is back."""
        if self.verdict is Verdict.PROBING:
            return _LEAST_RAMP
        back = now - self.since
        return 1.0 if back >= thresholds.slow_start else max(_LEAST_RAMP, back / thresholds.slow_start)


WELL = Health(Verdict.UP, 0, "")
"""What is believed of a backend that answers, and has nothing against it."""


def succeeded(health: Health, thresholds: Thresholds, *, probe: bool = False, now: float = 0.0) -> Health:
    """Take note of a probe or a request that was answered."""
    verdict = health.verdict
    if health is WELL or verdict is Verdict.UNKNOWN:
        return WELL
    if verdict is not _DOWN and probe and health.by_requests:
        return health
    if verdict is _DOWN or verdict is Verdict.PROBING:
        return _on_the_way_back(health, thresholds, now, probe=probe)
    recent = health.recent if probe else (health.recent << 1) & _mask(thresholds)
    if not recent and health.ramp(now, thresholds) >= 1:
        return WELL
    return Health(Verdict.UP, 0, "", recent=recent, since=health.since, relapses=health.relapses)


def _on_the_way_back(health: Health, thresholds: Thresholds, now: float, *, probe: bool) -> Health:
    """Count a success, or go on to what so many lead to: from DOWN on trial, and from there up."""
    down, by, relapses = health.verdict is _DOWN, health.by_requests, health.relapses
    needed = thresholds.healthy_after << relapses if down else thresholds.healthy_after if probe else 1
    if health.against + 1 < needed:
        return Health(health.verdict, health.against + 1, health.reason, by_requests=by, relapses=relapses)
    if down:
        return Health(Verdict.PROBING, 0, health.reason, by_requests=by, relapses=relapses)
    return Health(Verdict.UP, 0, "", since=now, relapses=relapses)


def failed(
    health: Health, thresholds: Thresholds, reason: str, *, probe: bool, now: float = 0.0, refused: bool = False
) -> Health:
    """Take note of a probe, or of a request, that came to nothing. `refused`: nobody took its connection."""
    verdict, relapses = health.verdict, health.relapses
    if verdict is _DOWN:
        if health.absent and (health.since == -inf or now < health.since + RETURNS_WITHIN):
            return health  # of who isn't there, the supervisor's reason says more; or it may return
        if not refused or health.refused or health.absent:
            return Health(_DOWN, 0, reason, by_requests=not probe, relapses=relapses, refused=refused)
        return _gone(reason, relapses, now)  # somebody was there, though it was out
    gone = refused and verdict is not Verdict.UNKNOWN
    recent = health.recent if probe else (health.recent << 1 | 1) & _mask(thresholds)
    if (
        health.against + 1 >= thresholds.unhealthy_after
        or (gone and not probe)
        or (recent and recent.bit_count() >= thresholds.error_rate * thresholds.window)
        or verdict is Verdict.PROBING
        or (verdict is Verdict.UNKNOWN and probe)
    ):
        relapses = min(relapses + 1, _MOST_RELAPSES) if health.ramp(now, thresholds) < 1 else 0
        if gone:
            return _gone(reason, relapses, now)
        return Health(_DOWN, 0, reason, by_requests=not probe, relapses=relapses, refused=refused)
    return Health(
        verdict if verdict is Verdict.UNKNOWN else Verdict.SUSPECT,
        health.against + 1,
        reason,
        by_requests=not probe,
        recent=recent,
        since=health.since,
        relapses=relapses,
    )


def _gone(reason: str, relapses: int, now: float) -> Health:
    return Health(_DOWN, 0, reason, since=now, relapses=relapses, absent=True, coming=True)


def _mask(thresholds: Thresholds) -> int:
    return (1 << thresholds.window) - 1


def declared(*, up: bool, reason: str = "", now: float = -inf, coming: bool = False) -> Health:
    """Take the supervisor's word: the engine has become ready, or its process is gone or does nothing.

    With `now`, one that has become ready begins slowly. `coming`: one that is not there is about to be.
    """
    if not up:
        return Health(Verdict.DOWN, 0, reason, absent=True, coming=coming)
    return WELL if now == -inf else Health(Verdict.UP, 0, "", since=now)


def pause(health: Health, interval: float, ill: float) -> float:
    """Tell in how many seconds a backend is to be probed again, that has been out or in doubt for `ill` seconds.

    Once it has answered, that doesn't count: it is on its way back. Nor do the relapses of who may be waited for.
    """
    if health.verdict is Verdict.UP:
        return interval
    answered = health.verdict is Verdict.PROBING or (health.verdict is _DOWN and health.against > 0)
    relapses = 0 if health.coming else health.relapses
    return min(interval, SOONEST * (1 << relapses) + (0.0 if answered else _LATER * ill))


def least_bad(candidates: Iterable[T], health_of: Callable[[T], Health]) -> list[T]:
    """Give those of whom an answer is likeliest, where none may be usable; none, if nobody is there."""
    hopes = [(health_of(each).hope, each) for each in candidates]
    most = max((hope for hope, _ in hopes), default=0)
    return [each for hope, each in hopes if hope == most] if most else []
