"""Keys that are understood, but change nothing yet. Using one is no error; whoever does is told so at the start.

A line here is to be deleted with the commit that makes its key work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.config.keys.config import Config
    from router.config.problems import KeyPath, Problem
    from router.config.reading.document import Document


class Pending(NamedTuple):
    """A key, with `*` for any index or name; the values of it that ask for nothing; what isn't done yet."""

    key: str
    idle: tuple[object, ...]
    message: str


PENDING = (
    Pending("backends.*.launch.load", ("startup",), "models are loaded at the start"),
    Pending("backends.*.launch.unload_after", (math.inf,), "models stay loaded"),
)


def problems(config: Config, document: Document) -> Iterator[Problem]:
    """A problem for each key that the document sets, to a value that asks for something that isn't there yet."""
    for pending in PENDING:
        if pending.key.split(".")[0] not in document.data:
            continue
        for path, value in _values(config, tuple(pending.key.split(".")), ()):
            if path in document.places and value not in pending.idle:
                yield document.problem(path, f"has no effect yet: {pending.message}")


def _values(part: Any, keys: tuple[str, ...], path: KeyPath) -> Iterator[tuple[KeyPath, object]]:  # noqa: ANN401
    """Each value that a key with `*` in it leads to, with its path."""
    if not keys:
        yield path, part
    elif keys[0] == "*":
        for index, item in part.items() if isinstance(part, Mapping) else enumerate(part):
            yield from _values(item, keys[1:], (*path, index))
    elif part is not None:
        yield from _values(getattr(part, keys[0]), keys[1:], (*path, keys[0]))
