"""Which backends are passed over for a while, and for which requests: they refused what another has answered. Pure.

Not all that a backend refuses speaks against all of it (`scope`): a 404 speaks of this model on this path, a 401 to a
client's own key of requests that show this key; a 429 says that it is busy, and nothing more. What speaks against all
of it is its health's to keep (`router.core.health`).

Once is enough, for `FIRST` seconds; each time again doubles that, up to `LONGEST`. Then the next request is sent there,
and, if it is refused, answered elsewhere: so a key that is renewed, or a model that has been loaded, is found out at no
client's cost. An answer clears it at once.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from router.core.catalog import Backend, Candidate
from router.core.estimate.ask import Ask
from router.core.statuses import OF_THE_KEY

FIRST: Final = 1.0
"""Seconds for which the first refusal counts."""

BUSY: Final = 0.25
"""Seconds for which a first 429 counts that doesn't say for how long: an engine that is full has room again soon."""

LONGEST: Final = 300.0
"""Seconds for which any counts at most. Looking again costs a request that is sent twice, and no more."""

LONGEST_BUSY: Final = 30.0
"""Seconds for which a 429 counts at most, whatever it says."""

MOST: Final = 4096
"""Refusals that are kept: paths and keys are the clients' to make up."""


class Kind(NamedTuple):
    """Requests of which a backend has refused one: all, or those for a model on a path, or those that show a key."""

    backend: Backend
    model: str = ""
    path: str = ""
    key: bytes = b""


def scope(status: int, candidate: Candidate, ask: Ask, *, own_key: bool) -> Kind | None:
    """Tell which requests a refusal speaks of, where it doesn't speak against the backend itself (None).

    `own_key`: the router shows this backend a key of its own, whatever the client shows.
    """
    if status in OF_THE_KEY:
        return None if own_key else Kind(candidate.backend, key=ask.key or b"none")
    if status in {404, 405, 410, 501}:
        return Kind(candidate.backend, candidate.model, ask.path)
    return None


class Aside:
    """Who is passed over. All times are seconds of one clock. `any`: whether anybody is, or was and has to prove it."""

    def __init__(self) -> None:
        self.any = False
        self._kinds: OrderedDict[Kind, tuple[float, float]] = OrderedDict()  # until when, and for how long that was

    def put(self, kind: Kind, now: float, seconds: float = FIRST, longest: float = LONGEST) -> None:
        """Pass a backend over for requests of a kind; for so long at first, then for ever longer."""
        until, lasted = self._kinds.pop(kind, (0.0, 0.0))
        if now < until:  # it was under way already
            self._kinds[kind] = until, lasted
            return
        lasts = min(longest, max(seconds, 2 * lasted))
        self._kinds[kind] = now + lasts, lasts
        if len(self._kinds) > MOST:
            self._kinds.popitem(last=False)
        self.any = True

    def clear(self, candidate: Candidate, ask: Ask) -> None:
        """Note that a backend has answered a request."""
        for kind in _kinds(candidate, ask):
            self._kinds.pop(kind, None)
        self.any = bool(self._kinds)

    def forget(self, backend: Backend) -> None:
        """Forget a backend: it is gone, or another program listens there."""
        for kind in [kind for kind in self._kinds if kind.backend is backend]:
            del self._kinds[kind]
        self.any = bool(self._kinds)

    def has(self, candidate: Candidate, ask: Ask, now: float) -> bool:
        """Tell whether a backend is to be passed over for a request."""
        return any(now < self._kinds.get(kind, (0.0, 0.0))[0] for kind in _kinds(candidate, ask))


def _kinds(candidate: Candidate, ask: Ask) -> tuple[Kind, Kind, Kind]:
    backend = candidate.backend
    return Kind(backend), Kind(backend, candidate.model, ask.path), Kind(backend, key=ask.key or b"none")
