"""Measures what a choice among backends costs, in microseconds: the best of some rounds.

python -m scripts.bench.pick         as the modules are: compiled (`make fast`), or as they stand
"""

import time
from collections.abc import Callable
from random import Random

from router.core import balance
from router.core.affinity import Prefixes, blocks_of
from router.core.catalog import Backend, Candidate
from router.core.estimate.ask import Ask
from router.core.estimate.estimate import Estimate

_ROUNDS = 7


def micros(work: Callable[[], object], times: int) -> float:
    """Give the microseconds that one call takes, in the best round."""
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, time.perf_counter() - began)
    return best / times * 1e6


def cycle(estimate: Estimate, size: int, now: float) -> None:
    """Tell an estimate of one whole request: sent, begun, ended."""
    sent = estimate.sent(Ask(size), 0, now)
    estimate.first_token(sent, now + 0.1)
    estimate.ended(sent, now + 1.0)


def fleet(number: int, random: Random) -> list[Candidate]:
    """Make backends that have answered sixty requests each, and have six in flight."""
    made = [Candidate(Backend(str(place)), "m") for place in range(number)]
    for backend, _ in made:
        for moment in range(60):
            cycle(backend.estimate, random.randint(300, 20_000), moment * 2.0)
        for place in range(6):
            sent = backend.estimate.sent(Ask(2000), 0, 120.0)
            backend.in_flight += 1
            if place < 4:
                backend.estimate.first_token(sent, 120.1)
    return made


def main() -> None:
    """Print the figures."""
    random, prefixes = Random(1), Prefixes()  # noqa: S311  (repeatable, no secret)
    body = b'{"messages":"' + random.randbytes(4096).hex().encode() + b'"}'
    blocks = blocks_of(body)
    print(balance.__file__)
    for number in (8, 256):
        candidates = fleet(number, random)
        for backend, model in candidates[::3]:
            prefixes.note(backend, model, blocks, 0.0)
        for name in balance.POLICIES:
            policy = balance.policy_of(name, prefixes)
            for found, ask in (("", Ask(len(body))), (", a third has the prefix", Ask(len(body), blocks))):
                cost = micros(lambda: policy.pick(candidates, ask, 120.15, random.randrange), 1 + 8000 // number)  # noqa: B023
                print(f"{cost:8.2f}  {name} among {number}{found}")
    one = Backend("one")
    print(f"{micros(lambda: blocks_of(body), 2000):8.2f}  the blocks of 8 KB")
    print(f"{micros(lambda: prefixes.note(one, 'm', blocks, 0.0), 2000):8.2f}  noting them")
    print(f"{micros(lambda: prefixes.cached(one, 'm', blocks), 2000):8.2f}  finding who has them")
    print(f"{micros(lambda: cycle(one.estimate, 1000, 1.0), 2000):8.2f}  telling an estimate of a request")


if __name__ == "__main__":
    main()
