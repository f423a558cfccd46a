"""Keys that are checked but have no effect yet. Using one is not an error; the router says so at its start.

The commit that makes a key work deletes its line here.
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
    """A key, with `*` for any index or name; its values that ask for nothing; and what the router does instead."""

    key: str
    idle: tuple[object, ...]
    message: str


PENDING = (
    Pending("backends.*.launch.load", ("startup",), "models are loaded at the start"),
    Pending("backends.*.launch.unload_after", (math.inf,), "models stay loaded"),
    Pending("backends.*.launch.pinned", (False,), "models stay loaded"),
    Pending("backends.*.launch.memory", (None,), "models are loaded whether or not they fit"),
    Pending("backends.*.launch.warm_up", (False,), "the first client's request comes first"),
    Pending("memory.limit.ram", (None,), "models stay loaded"),
    Pending("memory.limit.gpu", (None,), "models stay loaded"),
    Pending("memory.max_wait", (), "models stay loaded"),
    Pending("state.dir", (), "nothing is remembered"),
)


def problems(config: Config, document: Document) -> Iterator[Problem]:
    """A problem for each pending key that the document sets to a value that is not idle."""
    for pending in PENDING:
        if pending.key.split(".")[0] not in document.data:
            continue
        for path, value in _values(config, tuple(pending.key.split(".")), ()):
            if path in document.places and value not in pending.idle:
                yield document.problem(path, f"has no effect yet: {pending.message}")


def _values(part: Any, keys: tuple[str, ...], path: KeyPath) -> Iterator[tuple[KeyPath, object]]:  # noqa: ANN401
    """Each value that a key with `*` leads to, with its path."""
    if not keys:
        yield path, part
    elif keys[0] == "*":
        for index, item in part.items() if isinstance(part, Mapping) else enumerate(part):
            yield from _values(item, keys[1:], (*path, index))
    elif part is not None:
        yield from _values(getattr(part, keys[0]), keys[1:], (*path, keys[0]))
