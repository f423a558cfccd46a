"""Which of several backends gets a request: a pure choice over their loads, ties broken by a draw."""

from collections.abc import Callable, Sequence

from router.core.catalog import Candidate

Draw = Callable[[int], int]
"""A random whole number from 0 to below its argument, such as `random.randrange`."""


def least_in_flight(candidates: Sequence[Candidate], draw: Draw) -> Candidate:
    """Take the candidate with the fewest attempts in flight for its weight; among equals, any.

    Ties are drawn, not taken in order: else every quiet moment's request goes to the first of the list.
    """
    if len(candidates) == 1:
        return candidates[0]
    least = min(candidate.backend.load for candidate in candidates)
    equals = [candidate for candidate in candidates if candidate.backend.load == least]
    return equals[draw(len(equals))]
