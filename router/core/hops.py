"""The routers that a request has passed, as it says in a header: by that, loops between routers are found. Pure.

Each router has an id of its own from its start to its end. It adds it to what it sends to another router, and sends
nothing to one that a request has passed already.
"""

import re
from typing import Final

from router.core.errors import RouterError
from router.http1.heads import Headers

NAME: Final = b"x-router-hops"

MOST: Final = 8
"""Routers that a request passes at most. Nobody has so many in a row: it is a loop through some that tell no id."""

_ID: Final = re.compile(rb"[0-9a-f]{16}")


class LoopError(RouterError):
    """The request goes round in a circle of routers."""

    status = 508
    code = "loop_detected"


def hops_of(headers: Headers) -> bytes:
    """Give the ids that a request says, as one value; empty: it comes from no router."""
    return b",".join([value for name, value in headers if name == NAME])


def ids_of(said: bytes) -> list[str]:
    """Read the ids in a value, in the order of the way; what is none is passed over."""
    return [each.decode("ascii") for each in _ID.findall(said)]


def passed(said: bytes, own: str) -> frozenset[str]:
    """Give the routers that a request has passed before this one, whose id is `own`. Raises LoopError."""
    found = ids_of(said)
    if own in found:
        raise LoopError(
            "The request has come back to this router: its peers send to each other in a circle. "
            "Take one of them out of the other's router.yaml."
        )
    if len(found) >= MOST:
        raise LoopError(f"The request has passed {len(found)} routers, and {MOST} are the most.")
    return frozenset(found)


def line(said: bytes, own: bytes) -> bytes:
    """Write the header line for the next router."""
    ids = b",".join([*_ID.findall(said), own])
    return b"%s: %s\r\n" % (NAME, ids)
