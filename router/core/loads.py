"""Which model is loaded for a request that no loaded one can take, and when another one is loaded beside. Pure.

Backends that load and unload by themselves (`Backend.loadable`) are known to `router.core.memory`, which decides when
each has its turn in memory. Here is what a request asks of it:

  1. Where a candidate serves, but has no room, the request waits as ever. If one of those is loadable, memory knows of
     it there, so that the demand keeps that backend loaded.
  2. Where none serves, or only peers that have yet to load it, the request asks for one that can be loaded: of the
     first tier that has any, the one from which its first token comes soonest, with the time until it is loaded.
  3. Another candidate may be worth loading beside those that serve, if there is free memory (`beside`): one of an
     earlier tier, as its model is preferred; or one that is loaded sooner than the request is answered without it.
"""

from collections.abc import Callable, Collection, Container
from math import inf
from typing import TypeVar

from router.core.catalog import Backend, Candidate, Way
from router.core.dispatch import Dispatcher
from router.core.estimate.ask import Ask
from router.core.memory.resident import Place
from router.core.memory.states import State

T = TypeVar("T")

Seconds = Callable[[Backend], float]
"""In how many seconds a request would be sent to a loadable backend: 0 if it is loaded, infinity if it can't be."""


def where(
    way: Way, against: Collection[Backend], ask: Ask, dispatcher: Dispatcher[T], seconds: Seconds, now: float
) -> Backend | None:
    """Choose the backend whose loading a request waits for, or that it keeps loaded; None: none of them.

    Those `against` don't count: they can't be loaded, or have failed the request. Nor do those that an admin holds.
    """
    held, unloaded = dispatcher.ledger.held, dispatcher.ledger.unloaded
    against = (*against, *held) if held else against
    backends = [backend for tier in way.tiers for backend, _ in tier if backend not in against]
    serves = any(dispatcher.serves(each) and each not in unloaded for each in backends)
    for tier in way.tiers:
        able = [each.backend for each in tier if each.backend.loadable and each.backend not in against]
        able = [each for each in able if _may_serve(each, dispatcher, serves=serves)]
        if len(able) == 1:
            return able[0]
        if able:
            return min(able, key=lambda each: seconds(each) + each.estimate.expected(ask, 0, now))
    return None


def _may_serve(backend: Backend, dispatcher: Dispatcher[T], *, serves: bool) -> bool:
    """Tell whether a request may wait for a backend, where any candidate `serves`, or none does."""
    if serves:
        return dispatcher.serves(backend)
    return bool(backend.health.coming or backend.health.hope)


def beside(
    way: Way, chosen: Backend | None, wait: float, dispatcher: Dispatcher[T], seconds: Seconds
) -> Backend | None:
    """Choose a backend to be loaded into free memory, beside those that serve; None: none is worth it.

    `chosen` is where the request goes; None: it waits. `wait` is in how many seconds it expects its first token.
    """
    serving = [any(_takes(each.backend, chosen, dispatcher) for each in tier) for tier in way.tiers]
    if not any(serving):
        return None
    first = serving.index(True)
    for number, tier in enumerate(way.tiers[: first + 1] if chosen else way.tiers):
        able = [each.backend for each in tier if each.backend.loadable and _is_asleep(each.backend, dispatcher)]
        soonest = min(able, key=seconds, default=None)
        if soonest is not None and seconds(soonest) < (inf if number < first else wait):
            return soonest
    return None


def _is_asleep(backend: Backend, dispatcher: Dispatcher[T]) -> bool:
    """Tell whether a backend doesn't serve, and would once it is loaded."""
    return not dispatcher.serves(backend) and backend not in dispatcher.ledger.held


def _takes(backend: Backend, chosen: Backend | None, dispatcher: Dispatcher[T]) -> bool:
    """Tell whether a request goes to a backend, or may go there while it waits."""
    return dispatcher.serves(backend) if chosen is None else backend is chosen


def has_another(way: Way, tried: Collection[Candidate], held: Container[Backend]) -> bool:
    """Tell whether a model that wasn't tried yet can be loaded for a request: none that an admin holds."""
    candidates = [each for tier in way.tiers for each in tier if each not in tried and each.backend not in held]
    return any(backend.loadable and backend.health.coming for backend, _ in candidates)


# What those are told that wait for it


def comment(backend: str, place: Place) -> bytes:
    """Write how far the load of a model is, for a comment in a stream that waits for it."""
    # One that is due, or overdue, isn't told to take a second more again and again.
    seconds = f", about {place.seconds:.0f} s" if place.seconds >= 1 else ""
    if place.stage is State.LOADING:
        share = f": {place.share:.0%}" if place.share else ""
        return f"loading {backend}{share}{seconds}".encode()
    if place.stage is State.QUEUED:
        models = place.models_ahead
        behind = f" behind {models} other model{'s' if models > 1 else ''}" if models else ""
        return f"{backend} waits for memory{behind}{seconds}".encode()
    return f"{backend} makes room for other models and is loaded again in its turn{seconds}".encode()


def described(backend: str, place: Place) -> dict[str, object]:
    """Describe the same as plain data; `seconds` until the request is sent."""
    return {
        "backend": backend,
        "stage": place.stage.value,
        "share": round(place.share, 3),
        "seconds": round(place.seconds, 1),
        "reason": place.reason,
    }
