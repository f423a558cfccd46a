"""What something costs the requests beside it: their p99 without it, with it, and without it again, in turns."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from statistics import median


def beside(
    what: str, pairs: int, p99: Callable[[], tuple[float, int]], with_it: Callable[[], AbstractContextManager[None]]
) -> str:
    """Measure so many pairs, and say what was found.

    `p99` gives that of some requests, in milliseconds, and how many were lost; `what` names what is there in the block
    of `with_it`. What it costs is to be compared with the largest difference between the two without.
    """
    rows, lost = [], 0
    for number in range(pairs):
        before, lost_before = p99()
        with with_it():
            watched, lost_with = p99()
        after, lost_after = p99()
        lost += lost_before + lost_with + lost_after
        rows.append((before, watched, after))
        print(f"pair {number + 1}: {before:.2f}, with {what} {watched:.2f}, {after:.2f} ms", file=sys.stderr)
    between = max(abs(before - after) for before, _, after in rows)
    more = median(watched - (before + after) / 2 for before, watched, after in rows)
    listed = "; ".join(f"{before:.2f} / {watched:.2f} / {after:.2f}" for before, watched, after in rows)
    return (
        f"  p99 in ms without / with / without: {listed}\n"
        f"  with them {more:+.2f} ms (median); the largest difference without them {between:.2f} ms; {lost} lost"
    )
