"""The trace that a request is a part of, as W3C's trace context tells it (the header `traceparent`). Pure.

A request that is traced has a span, and each of its attempts has one below it, which its backend is told as the parent
of its own. The client says whether its trace is recorded; for a request without one, chance does.
"""

import re
from collections.abc import Callable
from typing import Final

from router.http1.heads import Headers

NAME: Final = b"traceparent"

# That of version 00 has exactly 55 characters; later ones may say more.
_CONTEXT = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_PARENT = re.compile(rb"(?:\A|(?<=\n))traceparent:[^\r\n]*\r\n")
_PARENT_AND_STATE = re.compile(rb"(?:\A|(?<=\n))trace(?:parent|state):[^\r\n]*\r\n")

Draw = Callable[[int], int]
"""Gives so many random bits."""


class Trace:
    """One request's part of a trace: its ids, and those of its attempts, in the order in which these began.

    `parent` is the client's span, 0 without one. `began` is in nanoseconds since the epoch. `ended` gets it at its end.
    """

    def __init__(self, trace: int, parent: int, began: int, draw: Draw, ended: "Ended") -> None:
        self.trace: Final = trace
        self.parent: Final = parent
        self.began: Final = began
        self._draw: Final = draw
        self._ended: Final = ended
        self.span: Final = span_of(draw)
        self.attempts: list[int] = []

    def passed_on(self, lines: bytes) -> bytes:
        """Begin an attempt; give the header lines of a request, serialised, with its span in the client's place.

        `tracestate` belongs to a client's trace: a new one has none.
        """
        span = span_of(self._draw)
        self.attempts.append(span)
        told = _PARENT if self.parent else _PARENT_AND_STATE
        return b"%straceparent: 00-%032x-%016x-01\r\n" % (told.sub(b"", lines), self.trace, span)

    def end(self, record: object) -> None:
        """Note that its request has ended, with this record."""
        self._ended[id(record)] = record, self


Ended = dict[int, tuple[object, Trace]]
"""Records of requests that have ended and are traced, by their identities."""


def span_of(draw: Draw) -> int:
    """Make the id of a span, which is never 0."""
    return draw(64) or 1


def traced(headers: Headers, share: float, began: int, draw: Draw, ended: Ended) -> Trace | None:
    """Give a request's part of a trace; None: it isn't recorded. `share` is that of requests without a trace."""
    values = [value for name, value in headers if name == NAME]
    # Of two, none counts.
    said = _CONTEXT.fullmatch(values[0]) if len(values) == 1 else None
    if said is not None:
        if not int(said[3], 16) & 1:
            return None
        return Trace(int(said[1], 16), int(said[2], 16), began, draw, ended)
    return Trace(draw(128) or 1, 0, began, draw, ended) if draw(32) < share * 2**32 else None
