"""Which backends are passed over for a while, and for which requests, after refusing what another answered. Pure.

A refusal doesn't speak against the whole backend (`scope`): a 404 concerns this model on this path, a 401 to a client's
own key concerns requests with this key, and a 429 only means that it is busy. What speaks against the whole backend is
kept in its health (`router.core.health`).

One refusal counts for `FIRST` seconds; each further one doubles that, up to `LONGEST`. After that, the next request is
sent there again and, if it is refused, answered elsewhere. So a renewed key or a model that was loaded is noticed at no
client's cost. An answer clears the refusal at once.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from router.core.catalog import Backend, Candidate
from router.core.estimate.ask import Ask
from router.core.statuses import OF_THE_KEY

FIRST: Final = 1.0
"""Seconds for which the first refusal counts."""

BUSY: Final = 0.25
"""Seconds for which a first 429 counts if it doesn't say for how long: a full engine has room again soon."""

LONGEST: Final = 300.0
"""Most seconds for which a refusal counts. Trying again costs only one request that is sent twice."""

LONGEST_BUSY: Final = 30.0
"""Most seconds for which a 429 counts, whatever it says."""

MOST: Final = 4096
"""Most refusals that are kept: clients can make up paths and keys."""


class Kind(NamedTuple):
    """The requests that a refusal concerns: all, or those for a model on a path, or those with a key."""

    backend: Backend
    model: str = ""
    path: str = ""
    key: bytes = b""


def scope(status: int, candidate: Candidate, ask: Ask, *, own_key: bool) -> Kind | None:
    """Give the requests that a refusal concerns; None: it speaks against the backend itself.

    `own_key`: the router shows this backend a key of its own, not the client's.
    """
    if status in OF_THE_KEY:
        return None if own_key else Kind(candidate.backend, key=ask.key or b"none")
    if status in {404, 405, 410, 501}:
        return Kind(candidate.backend, candidate.model, ask.path)
    return None


class Aside:
    """The backends that are passed over. Times are seconds of one clock. `any`: there is a refusal, maybe expired."""

    def __init__(self) -> None:
        self.any = False
        # Until when each refusal counts, and for how many seconds in all.
        self._kinds: OrderedDict[Kind, tuple[float, float]] = OrderedDict()

    def put(self, kind: Kind, now: float, seconds: float = FIRST, longest: float = LONGEST) -> None:
        """Pass a backend over for requests of a kind: for `seconds` at first, then twice as long each time."""
        until, lasted = self._kinds.pop(kind, (0.0, 0.0))
        # A request that was under way already is no further sign.
        if now < until:
            self._kinds[kind] = until, lasted
            return
        lasts = min(longest, max(seconds, 2 * lasted))
        self._kinds[kind] = now + lasts, lasts
        if len(self._kinds) > MOST:
            self._kinds.popitem(last=False)
        self.any = True

    def clear(self, candidate: Candidate, ask: Ask) -> None:
        """Clear the refusals that concern a request which the backend has answered."""
        for kind in _kinds(candidate, ask):
            self._kinds.pop(kind, None)
        self.any = bool(self._kinds)

    def forget(self, backend: Backend) -> None:
        """Forget a backend that is gone, or whose address another program may have."""
        for kind in [kind for kind in self._kinds if kind.backend is backend]:
            del self._kinds[kind]
        self.any = bool(self._kinds)

    def has(self, candidate: Candidate, ask: Ask, now: float) -> bool:
        """Tell whether a backend is passed over for a request."""
        return any(now < self._kinds.get(kind, (0.0, 0.0))[0] for kind in _kinds(candidate, ask))


def _kinds(candidate: Candidate, ask: Ask) -> tuple[Kind, Kind, Kind]:
    backend = candidate.backend
    return Kind(backend), Kind(backend, candidate.model, ask.path), Kind(backend, key=ask.key or b"none")
