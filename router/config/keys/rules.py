"""Rules between entries that are each correct by themselves: names are unique, and every route leads to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from router.config.problems import Fault, did_you_mean, either, repeated
from router.core.access import is_wide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

NO_NAME = "a name here must be printable text, and not empty"

_MOST_LISTED = 20


class Backend(Protocol):
    """The part of a backend's configuration that these rules look at."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def models(self) -> Iterable[str]:
        """The names of its models."""


def is_name(key: object) -> bool:
    """Whether a key of a mapping can be a name."""
    return isinstance(key, str) and bool(key.strip()) and key.isprintable()


def faults(backends: Sequence[Backend], routes: Mapping[str, tuple[str, ...]]) -> Iterator[Fault]:
    """All broken rules. Of a backend with mistakes of its own, the name or the models may be empty: unknown."""
    yield from _names(backends)
    models = dict.fromkeys(name for backend in backends for name in backend.models)
    for name in routes:
        if not is_name(name):
            yield Fault(("routes", name), NO_NAME)
        elif name in models:
            yield Fault(("routes", name), "is a backend's model, too: a name can mean one thing only")
    # A backend without configured models is asked for them later.
    complete = all(backend.models for backend in backends)
    for name, targets in routes.items():
        for index, target in enumerate(targets):
            if target in routes and target not in models:
                yield Fault(("routes", name, "to", index), "{got} is a route itself: name the models it leads to")
            elif complete and target not in models:
                yield Fault(
                    ("routes", name, "to", index), f"{{got}} is no backend's model{_hint(target, list(models))}"
                )


def open_doors(host: str, cors: Sequence[str], *, is_open: bool) -> Iterator[Fault]:
    """Settings that let in clients without a key although nobody allowed it. For a configuration without keys."""
    if is_wide(host) and not is_open:
        yield Fault(
            ("server", "host"),
            "{got} lets other machines in, and nothing says who of them may ask: set auth.keys, or auth.open: true "
            "if all of them may",
        )
    for index, origin in enumerate(cors):
        if origin in {"*", "null"}:
            yield Fault(("server", "cors", index), "{got} lets every web page in: set auth.keys, or name its origin")


def _names(backends: Sequence[Backend]) -> Iterator[Fault]:
    """Names must differ in more than case: log files have these names, and some file systems ignore case."""
    names = [backend.name.casefold() or index for index, backend in enumerate(backends)]
    for index, first in repeated(names):
        message = "{other} has this name already: give each a `name` of its own"
        yield Fault(("backends", index, "name"), message, ("backends", first))


def _hint(target: str, models: list[str]) -> str:
    if near := did_you_mean(target, models):
        return f"; did you mean {near!r}?"
    more = f", and {len(models) - _MOST_LISTED} more" if len(models) > _MOST_LISTED else ""
    return f"; there is {either([repr(name) for name in models[:_MOST_LISTED]])}{more}"
