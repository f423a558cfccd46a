"""Whether a backend can be sent requests: a table, fed by probes, by requests, and by the supervisor.

            success                             failure
  UNKNOWN   UP                                  a probe: DOWN; requests: DOWN after `unhealthy_after`
  UP        UP                                  SUSPECT
  SUSPECT   UP                                  DOWN after `unhealthy_after` in a row
  DOWN      PROBING after `healthy_after`       DOWN
  PROBING   UP after a request, or              DOWN
            `healthy_after` probes
  any       declared by the supervisor: UP or DOWN, at once

What the table doesn't show:

  1. A new backend may be tried until its first probe decides. From then on it takes several failures in a row to put
     it out, so one lost packet doesn't.
  2. An engine that fails every request may answer every probe. So a request's failure must be cleared by a request: in
     SUSPECT and PROBING, probes don't count while the latest failure was a request's.
  3. A backend that fails often, but never so many times in a row, is put out, too: if the share `error_rate` of the
     last `window` requests failed.
  4. A backend that comes back from DOWN is on trial, with `trial` requests at a time; then its load grows over
     `slow_start`. A failure on trial, or DOWN again before it carries its full load, is a relapse. Each relapse doubles
     the successes needed to be on trial again, up to `2 ** _MOST_RELAPSES` times as many (as Envoy's outlier detection
     lengthens its ejections).
  5. A backend that is out or in doubt is probed soon, then each time a little later (`pause`). So one that comes back
     is found within a tenth of the time it was away, and one that doesn't costs next to nothing.
  6. If all of a model's backends are DOWN, the `least_bad` may be tried, but none that is known to be `absent`.
  7. A server that answered before and now refuses one request's connection is out at once: nothing listens there. It
     may just be restarting, so requests wait for it as for an engine that is `coming`, for `RETURNS_WITHIN` at most.
  8. Of a backend that is never probed, nobody knows whether it is back (not `heard`). A request that is refused there
     again belongs to the same absence, which `RETURNS_WITHIN` bounds.
  9. A backend whose machine is `asleep`, and can be woken, is absent without having failed. It is coming once a request
     has it woken (`router.core.waking`), and is probed all the time then.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, TypeVar

T = TypeVar("T")

_MOST_RELAPSES = 5

SOONEST = 0.1
"""Least seconds until a backend that is out or in doubt is probed again; doubled by each relapse."""

_LATER = 0.1
"""Share of the time it has been out or in doubt that is added to that."""

RETURNS_WITHIN = 5.0
"""Seconds for which requests wait for a server that refuses connections and wasn't launched here: long enough for its
restart, and soon enough for clients to hear that it is gone."""

_LEAST_RAMP = 0.1
"""Share of its load that a backend carries when it is just back; Envoy's slow start begins with a tenth, too."""


class Verdict(Enum):
    """What is believed of a backend."""

    UNKNOWN = "unknown"
    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"
    PROBING = "probing"


# A global name is faster than an attribute, and every request looks at it.
_DOWN = Verdict.DOWN


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What changes the verdict, and how a backend comes back.

    `unhealthy_after` failures in a row put it out; so do failures of the share `error_rate` of the last `window`
    requests. `healthy_after` successes in a row are needed for each step back: on trial, then up. `trial` is how many
    requests it gets at a time on trial, and `slow_start` the seconds until it carries its full load again.
    """

    unhealthy_after: int = 3
    healthy_after: int = 2
    error_rate: float = 0.5
    window: int = 20
    trial: int = 2
    slow_start: float = 5.0


class Health:
    """A backend's verdict, and what led to it. An instance never changes.

    `against` counts the events in a row that spoke for another verdict, and `reason` is the latest for a bad one.
    `by_requests`: the latest failure was a request's, not a probe's. `recent` has one bit for each of the last requests
    since one failed, the latest in the lowest bit, 1 for a failure. `since` is when it came back, in seconds of the
    caller's clock, and `relapses` how often it fell again before it was well.

    `absent`: nothing is there that could answer, because its supervisor says so or because it refuses connections; it
    began to refuse them at `since`. `coming`: it is being started, or soon will be, so requests may wait for it.
    `refused`: it refuses connections, and requests don't wait for it any more; on trial: it wasn't heard of since.
    `asleep`: its machine is; while it is woken, it is expected to answer at `due`, if that is known.
    """

    # Not a frozen dataclass: a storm of failures makes one for each failure, and a dataclass takes four times as long.

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
        asleep: bool = False,
        due: float = inf,
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
        self.asleep: Final = asleep
        self.due: Final = due

    @property
    def usable(self) -> bool:
        """Whether a request may be sent."""
        return self.verdict is not _DOWN

    @property
    def word(self) -> str:
        """What people are told of it in a word: the verdict, unless its machine sleeps."""
        if self.asleep:
            return "waking" if self.coming else "asleep"
        return self.verdict.value

    @property
    def hope(self) -> int:
        """Rank how likely an answer is, to compare backends that all look bad; 0: there can be none."""
        if self.usable:
            return 4
        if self.absent:
            return 0
        # 3: it has answered since. 2: only requests failed, its probes succeed. 1: its probes fail, too.
        if self.against:
            return 3
        return 2 if self.by_requests else 1

    def cap(self, most: float, thresholds: Thresholds) -> float:
        """Give how many requests it may have in flight, of the `most` that it may have when it is well."""
        in_doubt = self.verdict is Verdict.PROBING or self.verdict is _DOWN
        return min(most, thresholds.trial) if in_doubt else most

    def ramp(self, now: float, thresholds: Thresholds) -> float:
        """Give the share of its load that it may carry, above 0 and up to 1; it grows once the backend is back."""
        if self.verdict is Verdict.PROBING:
            return _LEAST_RAMP
        back = now - self.since
        return 1.0 if back >= thresholds.slow_start else max(_LEAST_RAMP, back / thresholds.slow_start)


WELL = Health(Verdict.UP, 0, "")
"""The health of a backend that answers, with nothing against it."""


def succeeded(
    health: Health, thresholds: Thresholds, *, probe: bool = False, now: float = 0.0, heard: bool = True
) -> Health:
    """Give the health after a probe or a request that was answered.

    Not `heard`: a probe would have come, but this backend is never probed, and requests may try it.
    """
    verdict = health.verdict
    if not heard and (health.refused or health.absent):
        since, relapses = health.since, health.relapses
        return Health(Verdict.PROBING, 0, health.reason, by_requests=True, since=since, relapses=relapses, refused=True)
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
    """Count a success. Enough of them lead from DOWN to trial, and from there to UP."""
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
    """Give the health after a probe or a request that failed. `refused`: its connection was refused."""
    verdict, relapses = health.verdict, health.relapses
    if verdict is _DOWN:
        # A machine that refuses a connection is awake: its server isn't there, unless both are on their way.
        awake = refused and health.asleep and not health.coming
        if health.absent and not awake and (health.since == -inf or now < health.since + RETURNS_WITHIN):
            # The supervisor's reason says more; or the server may return.
            return health
        if not refused or health.refused or health.absent:
            return Health(_DOWN, 0, reason, by_requests=not probe, relapses=relapses, refused=refused)
        # It was out, but something listened there until now.
        return _gone(reason, relapses, now)
    again = refused and health.refused
    gone = refused and verdict is not Verdict.UNKNOWN and (not again or now < health.since + RETURNS_WITHIN)
    recent = health.recent if probe else (health.recent << 1 | 1) & _mask(thresholds)
    if (
        health.against + 1 >= thresholds.unhealthy_after
        or (gone and not probe)
        or (recent and recent.bit_count() >= thresholds.error_rate * thresholds.window)
        or verdict is Verdict.PROBING
        or (verdict is Verdict.UNKNOWN and probe)
    ):
        if not again:
            relapses = min(relapses + 1, _MOST_RELAPSES) if health.ramp(now, thresholds) < 1 else 0
        if gone:
            return _gone(reason, relapses, health.since if again else now)
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


def declared(
    *, up: bool, reason: str = "", now: float = -inf, coming: bool = False, due: float | None = None
) -> Health:
    """Give the health that a supervisor declares: the engine is ready (`up`), or its process is gone or stuck.

    With `now`, an engine that is ready starts slowly. `coming`: one that isn't there will soon be. With `due` its
    machine sleeps; that is when it is expected, if it is woken and that is known, else infinity.
    """
    if not up:
        asleep = due is not None
        return Health(
            Verdict.DOWN, 0, reason, absent=True, coming=coming, asleep=asleep, due=inf if due is None else due
        )
    return WELL if now == -inf else Health(Verdict.UP, 0, "", since=now)


def pause(health: Health, interval: float, ill: float) -> float:
    """Give the seconds until a backend is probed again that has been out or in doubt for `ill` seconds.

    `ill` doesn't count once it has answered, as it is on its way back. Relapses don't count while requests may wait
    for it.
    """
    if health.verdict is Verdict.UP:
        return interval
    if health.asleep and health.coming:
        return min(interval, SOONEST)
    answered = health.verdict is Verdict.PROBING or (health.verdict is _DOWN and health.against > 0)
    relapses = 0 if health.coming else health.relapses
    return min(interval, SOONEST * (1 << relapses) + (0.0 if answered else _LATER * ill))


def least_bad(candidates: Iterable[T], health_of: Callable[[T], Health]) -> list[T]:
    """Give those most likely to answer, where none may be usable; none if all are absent."""
    hopes = [(health_of(each).hope, each) for each in candidates]
    most = max((hope for hope, _ in hopes), default=0)
    return [each for hope, each in hopes if hope == most] if most else []
