"""What peers are told of the models that are served here: see `router.api.admin.peers`.

Nothing hangs on what requests do: while somebody follows, it is looked four times a second how things are. Each
follower is told what differs from what it was told before, so that none can miss a change.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from math import ceil, inf
from typing import Any, Final, NamedTuple

from launchers.abilities import UNKNOWN, Abilities, common
from router.api.admin.endpoint import Sent, Stream
from router.api.admin.peers import PictureTold, ServedAsked, ServedTold
from router.api.surface import capabilities
from router.core.apis import PARTIAL
from router.core.catalog import Backend
from router.core.gate import Gate
from router.core.hops import ids_of
from router.core.keys import Key
from router.core.scopes import Admin
from router.proxy.plane import Plane
from router.telemetry.feed import QUIET, check_room

LOOK_EVERY: Final = 0.25
"""Seconds between two looks: a model that leaves there gets no more than a few requests of a peer's."""

RESTS: Final = 5.0
"""Seconds to which it is rounded when a failed load is tried again."""

_ORDER: Final = {
    state: rank
    for rank, state in enumerate(
        ("loaded", "loading", "queued", "draining", "unloading", "releasing", "unloaded", "failed", "drained")
    )
}
"""The states, the one first in which a request is answered soonest."""

_OUT: Final = frozenset({"failed", "drained"})
_NOBODY: Final[frozenset[str]] = frozenset()
_NONE: Final[Mapping[str, ServedTold]] = {}


class Seen(NamedTuple):
    """A backend of a model. `told` is what /admin/models tells of it, if it does; `drained_by` an admin, if any has.

    `abilities` are its model's, and `lacks` the paths that it doesn't have. `through` are the routers behind it.
    """

    backend: Backend
    told: Mapping[str, Any] = {}
    drained_by: str = ""
    abilities: Abilities = UNKNOWN
    lacks: frozenset[str] = _NOBODY
    through: frozenset[str] = _NOBODY


class Stage(NamedTuple):
    """How far a backend is."""

    state: str
    seconds: float | None = None
    share: float | None = None
    reason: str = ""
    retry_in: float | None = None


def stage_of(seen: Seen) -> Stage:
    """Tell how far a backend is, in the words of /admin/models; pure."""
    health, told = seen.backend.health, seen.told
    if seen.drained_by:
        return Stage("drained", reason=f"it is drained by {seen.drained_by}")
    state, failure = told.get("state", "loaded"), told.get("failure") or {}
    if state == "failed":
        return Stage(state, reason=failure.get("reason") or health.reason, retry_in=_rounded(failure.get("retry_in")))
    if state == "loaded" and not health.usable:
        return Stage("loading", told.get("seconds")) if health.coming else Stage("failed", reason=health.reason)
    return Stage(state, 0.0 if state == "loaded" else told.get("seconds"), told.get("share"))


def _rounded(seconds: float | None) -> float | None:
    """Round up, so that a time that runs down isn't told again and again."""
    return None if seconds is None else ceil(seconds / RESTS) * RESTS


def served(name: str, targets: tuple[str, ...], backends: Sequence[Seen], waiting: int) -> ServedTold:
    """Describe a model or a route by its backends, of which there is one at least; pure."""
    stages = [stage_of(each) for each in backends]
    at = min(range(len(stages)), key=lambda place: _rank(stages[place]))
    best, stage = backends[at], stages[at]
    there = [each for each, found in zip(backends, stages, strict=True) if found.state not in _OUT] or backends
    most = sum(each.backend.cap.requests for each in there)
    abilities = [each.abilities for each in backends]
    contexts = [each.context for each in abilities if each.context is not None]
    through = frozenset.intersection(*(each.through for each in backends))
    return ServedTold(
        name=name,
        **stage._asdict(),
        waiting=waiting,
        in_flight=sum(int(each.told.get("in_flight", each.backend.in_flight)) for each in backends),
        max_in_flight=None if most == inf else int(most),
        footprint=best.told.get("footprint", {}),
        engine=best.told.get("engine"),
        backends=tuple(each.backend.name for each in backends),
        targets=targets,
        context=max(contexts, default=None),
        capabilities=tuple(capabilities(common(abilities))),
        lacks=tuple(sorted(frozenset.intersection(*(each.lacks for each in backends)))),
        through=tuple(sorted(through)),
    )


def usable(
    found: Mapping[str, ServedTold], gate: Gate, shown: str | None, now: float
) -> tuple[Mapping[str, ServedTold], str]:
    """Give what may be used by who shows this key, as /v1/models lists it; and why that is nothing. Pure.

    None: whoever asks doesn't say what it shows. `now` is a Unix time.
    """
    if shown is None or not gate.has_keys:
        return found, ""
    key = gate.key_of(((b"x-api-key", shown.encode("utf-8", "replace")),), now)
    if key is None:
        return {}, "is none of its keys"
    if key.has_expired(now):
        return {}, "has expired"
    return {name: _for_key(each, key) for name, each in found.items() if key.may_use(name)}, ""


def _for_key(told: ServedTold, key: Key) -> ServedTold:
    """Leave out of a route's models those that the key may not use: without any, the route is all that it has."""
    targets = tuple(filter(key.may_use, told.targets))
    return told if targets == told.targets else told.model_copy(update={"targets": targets})


def _rank(stage: Stage) -> tuple[int, float]:
    return _ORDER.get(stage.state, len(_ORDER)), inf if stage.seconds is None else stage.seconds


class Served:
    """Answers `router.api.admin.peers`.

    `models_told` describes the backends that are launched here or are peers', as /admin/models does; `is_over` tells
    whether the router has ended. `gate` knows the keys of clients.
    """

    def __init__(
        self,
        models_told: Callable[[], Iterable[Mapping[str, object]]],
        plane: Plane,
        is_over: Callable[[], bool],
        gate: Callable[[], Gate],
    ) -> None:
        self._models_told = models_told
        self._gate = gate
        self._plane = plane
        self._is_over = is_over
        self._followers = 0
        # The latest look, and when it was taken: for all who leave out the same backends.
        self._looked: dict[frozenset[Backend], dict[str, ServedTold]] = {}
        self._looked_at = -inf

    async def served(self, asked: ServedAsked, _: Admin) -> Stream[PictureTold]:
        """Tell each model, and what changes from then on. Raises TooManyFollowersError."""
        check_room(self._followers)
        return Stream(self._following(frozenset(ids_of(asked.hops.encode())), asked.key))

    async def _following(
        self, hops: frozenset[str], shown: str | None
    ) -> AsyncGenerator[Sequence[Sent[PictureTold]], None]:
        self._followers += 1
        try:
            loop, known, number, quiet = asyncio.get_running_loop(), _NONE, 0, 0.0
            why, instance = "", self._plane.directory.instance
            while not self._is_over():
                was, (now, why) = why, usable(self._look(hops), self._gate(), shown, time.time())
                changed = tuple(each for name, each in now.items() if known.get(name) != each)
                gone = tuple(name for name in known if name not in now)
                if changed or gone or why != was or not number:
                    number, quiet = number + 1, loop.time()
                    told = PictureTold(instance=instance, whole=number == 1, models=changed, gone=gone, refused=why)
                    yield [Sent(number, "models", told)]
                elif loop.time() >= quiet + QUIET:
                    quiet = loop.time()
                    yield ()
                known = now
                await asyncio.sleep(LOOK_EVERY)
        finally:
            self._followers -= 1

    def _look(self, hops: frozenset[str]) -> dict[str, ServedTold]:
        """Look how things are, for somebody who is reached through these routers."""
        through, now = self._plane.directory.through, self._plane.loop.time()
        back = frozenset(backend for backend, ids in through.items() if ids & hops)
        if now >= self._looked_at + LOOK_EVERY / 2:
            self._looked, self._looked_at = {}, now
        if back not in self._looked:
            self._looked[back] = {each.name: each for each in self._all(back)}
        return self._looked[back]

    def _all(self, back: Collection[Backend]) -> Iterable[ServedTold]:
        plane, catalog = self._plane, self._plane.catalog
        told = {str(each["name"]): each for each in self._models_told()}
        for listing in catalog.listing():
            tiers = catalog.resolve(listing.name).tiers
            there = (each for tier in tiers for each in tier if each.backend not in back)
            seen = [self._seen(backend, model, told) for backend, model in there]
            if seen:
                queue = listing.targets[0] if listing.targets else listing.name
                yield served(listing.name, listing.targets, seen, plane.dispatcher.admission.waiting(queue))

    def _seen(self, backend: Backend, model: str, told: Mapping[str, Mapping[str, Any]]) -> Seen:
        directory, apis = self._plane.directory, backend.apis
        return Seen(
            backend,
            told.get(backend.name, {}),
            self._plane.ledger.held.get(backend, ""),
            directory.abilities.get(backend, {}).get(model, UNKNOWN),
            frozenset(path for path in PARTIAL if apis.has_path(path) is False),
            directory.through.get(backend, _NOBODY),
        )
