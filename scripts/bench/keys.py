"""Measures what a client's key costs a request, in microseconds: its look-up, and its limits.

    python -m scripts.bench.keys              as the modules are: compiled (`make fast`), or as they stand
    python -m scripts.bench.keys --rounds 20  a trial

Each round measures all cases in turns, so that what else the machine does meets all of them alike; the figures are
medians of what a case costs more than the same requests without any key in the same round. "again" is that measured
twice: what is less than its spread is nothing. A request has eight headers, of which Host and Origin are looked at
first, as ever. Its limits are all that there are, its own and its team's: it begins, has generated, ends, is settled.

Where each request shows another one of many keys, in no order, nothing that belongs to a key is in the processor's
cache: that is the worst case. In the other one, 100 of them are in use. On a kept connection a request like the one
before isn't looked up again; what it costs then is a question about its expiry.
"""

import argparse
import gc
import random
import time
from collections.abc import Callable
from itertools import cycle
from statistics import median

from router.core import keys as module
from router.core.access import Access, asked_of
from router.core.gate import Gate
from router.core.keys import Key, Keys, Team, digest
from router.core.limits import UNLIMITED, Limits
from router.core.prompts import text_size
from router.core.usage import Use
from router.http1.heads import Headers
from router.proxy.charging import Charging
from scripts.instruments.statistics import percentile

CALLS = 2000
MANY = 10_000
PATH = "/v1/chat/completions"

WIDE = 10**9
LIMITS = Limits(
    requests_per_minute=WIDE, tokens_per_minute=WIDE, max_in_flight=WIDE, requests_per_day=WIDE, tokens_per_day=WIDE,
    requests_per_month=WIDE, tokens_per_month=WIDE, cost_per_day=1e9, cost_per_month=1e9,
)  # fmt: skip
SIZE = 1200
"""Bytes of a request's text."""

Work = Callable[[], object]


def headers_of(key: str) -> Headers:
    """Give the headers of an ordinary client of OpenAI's API."""
    return (
        (b"host", b"127.0.0.1:8001"),
        (b"accept", b"application/json"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"OpenAI/Python 1.59.7"),
        (b"authorization", b"Bearer " + key.encode()),
        (b"x-stainless-lang", b"python"),
        (b"x-stainless-async", b"false"),
        (b"content-length", b"1234"),
    )


class Case:
    """One of so many keys is looked up, of which so many are in use; `limited`: and their limits are kept."""

    def __init__(self, count: int, used: int, *, limited: bool = False) -> None:
        chance = random.Random(count)  # noqa: S311  (repeatable, no secret)
        shown = [f"sk-router-{chance.getrandbits(256):064x}" for _ in range(count)]
        team = Team("all", LIMITS if limited else UNLIMITED)
        limits = LIMITS if limited else UNLIMITED
        known = [Key(f"key {number}", limits=limits, team=team) for number in range(count)]
        keys = Keys({digest(key.encode()): each for key, each in zip(shown, known, strict=True)})
        self._gate = Gate(keys, {}, Access())
        self._open = Gate(Keys(), {}, Access())
        self._charging = Charging(lambda: 1.0)
        self._charging.set_up(keys)
        self._use = Use(290, 0, 110, estimated=False)
        self._turns = cycle([headers_of(key) for key in chance.sample(shown, used)])
        self.work: Work = self._look_up_and_charge if limited else self._look_up

    def base(self) -> None:
        """Let in the same requests, where there are no keys."""
        headers = next(self._turns)
        self._open.client(headers, asked_of(headers), PATH, 1.0)

    def _look_up(self) -> None:
        headers = next(self._turns)
        self._gate.client(headers, asked_of(headers), PATH, 1.0)

    def _look_up_and_charge(self) -> None:
        headers = next(self._turns)
        key = self._gate.client(headers, asked_of(headers), PATH, 1.0)
        payer = None if key is None else self._charging.payer(key.name)
        if payer is not None:
            charge = payer.begin("m", SIZE, 1.0, learns=True)
            charge.generated(100, 1.0)
            charge.end()
            charge.settle(290, 110, 0.0, 1.0, sent=True)


def heads() -> Work:
    """Give what tells a client what is left."""
    charging = Charging(lambda: 1.0)
    charging.set_up(Keys({b"": Key("alice", limits=LIMITS, team=Team("all", LIMITS))}))
    payer = charging.payer("alice")
    assert payer is not None  # noqa: S101  (it has limits)
    return lambda: payer.lines(PATH, b"", 1.0)


def sizes() -> Work:
    """Give what tells a text of 8 KB from images."""
    body = b'{"messages": [{"content": "%s"}]}' % (b"The quick brown fox jumps over the lazy dog. " * 180)
    return lambda: text_size(body)


def kept() -> Work:
    """Give what is asked of the key of a kept connection."""
    key = Key("alice", expires=2.0)
    return lambda: key.has_expired(1.0)


def micros(work: Work) -> float:
    """Give the microseconds that one call takes, of this thread's own time: what else runs here doesn't count."""
    began = time.thread_time()
    for _ in range(CALLS):
        work()
    return (time.thread_time() - began) / CALLS * 1e6


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="default: 200")
    rounds = parser.parse_args().rounds
    cases = {
        f"keys: {count}, {used} of them in use{', with limits' * limited}": Case(count, used, limited=limited)
        for limited in (False, True)
        for count, used in ((1, 1), (MANY, 100), (MANY, MANY))
    }
    found: dict[str, list[float]] = {"no keys, again": [], **{name: [] for name in cases}}
    bases: list[float] = []
    others: dict[str, tuple[Work, list[float]]] = {
        "to ask for the expiry of a kept connection's key": (kept(), []),
        "to tell how much of 8 KB is text, of a key with limits": (sizes(), []),
        "to write the lines of the answer's head that tell what is left": (heads(), []),
    }
    gc.disable()
    for _ in range(rounds):
        for name, case in cases.items():
            bases.append(micros(case.base))
            found["no keys, again"].append(micros(case.base) - bases[-1])
            found[name].append(micros(case.work) - bases[-1])
        for work, figures in others.values():
            figures.append(micros(work))
    print(module.__file__)
    print(f"{median(bases):7.2f} µs  no keys; each below is what it costs more, by median and from p10 to p90")
    for name, costs in found.items():
        low, high = percentile(costs, 0.1), percentile(costs, 0.9)
        print(f"{median(costs):+7.2f} µs  {low:+6.2f} … {high:+6.2f}  {name}")
    for name, (_, figures) in others.items():
        print(f"{median(figures):7.2f} µs  {name}")


if __name__ == "__main__":
    main()
