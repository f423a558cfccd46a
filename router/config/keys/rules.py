"""What must hold between entries that are each right on their own: names are unique, and routes lead somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from router.config.problems import Fault, did_you_mean, either, repeated
from router.core.access import is_wide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_MOST_LISTED = 20


class Backend(Protocol):
    """A configured backend, as far as these rules look at it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def models(self) -> Iterable[str]:
        """The names of its models."""


def faults(backends: Sequence[Backend | None], routes: Mapping[str, tuple[str, ...]]) -> Iterator[Fault]:
    """All that is wrong. A backend that is wrong itself is None: nothing is known of its name and models."""
    yield from _names(backends)
    models = dict.fromkeys(name for backend in backends if backend for name in backend.models)
    for name in routes:
        if name in models:
            yield Fault(("routes", name), "is a backend's model, too: a name can mean one thing only")
    complete = all(backend and backend.models for backend in backends)  # else more may be found later
    for name, targets in routes.items():
        for index, target in enumerate(targets):
            if target in routes and target not in models:
                yield Fault(("routes", name, "to", index), "{got} is a route itself: name the models it leads to")
            elif complete and target not in models:
                yield Fault(
                    ("routes", name, "to", index), f"{{got}} is no backend's model{_hint(target, list(models))}"
                )


def open_doors(host: str, cors: Sequence[str], *, is_open: bool) -> Iterator[Fault]:
    """What would let in whom nobody has said may ask, where there are no keys.

    It is looked for once every value by itself is right.
    """
    if is_wide(host) and not is_open:
        yield Fault(
            ("server", "host"),
            "{got} lets other machines in, and nothing says who of them may ask: set auth.keys, or auth.open: true "
            "if all of them may",
        )
    for index, origin in enumerate(cors):
        if origin in {"*", "null"}:
            yield Fault(("server", "cors", index), "{got} lets every web page in: set auth.keys, or name its origin")


def _names(backends: Sequence[Backend | None]) -> Iterator[Fault]:
    """Letters of either case count as the same: some file systems can't tell them apart, nor can some readers."""
    names = [backend.name.casefold() if backend else index for index, backend in enumerate(backends)]
    for index, first in repeated(names):
        message = "{other} has this name already: give each a `name` of its own"
        yield Fault(("backends", index, "name"), message, ("backends", first))


def _hint(target: str, models: list[str]) -> str:
    if near := did_you_mean(target, models):
        return f"; did you mean {near!r}?"
    more = f", and {len(models) - _MOST_LISTED} more" if len(models) > _MOST_LISTED else ""
    return f"; there is {either([repr(name) for name in models[:_MOST_LISTED]])}{more}"
