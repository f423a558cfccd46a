"""How much a key may ask, or a team's keys together, and what each of their requests takes of it. Pure.

    begin → a Charge: its prompt is taken, as estimated, and what it generates as it comes → end → settle

1. A minute's requests and tokens are token buckets: they hold one minute's amount, and fill up continuously. Those of a
   day and a month begin anew with the day and the month, as the machine's calendar has them.
2. A request begins while something is left of each limit, of a minute's tokens as many as its prompt has. It is never
   cut: what it generates may overdraw a limit, and then the next one waits. So a limit is overrun by what the requests
   in flight use, and by no more. The tokens that a request may generate (max_tokens) aren't reserved: clients ask for
   tens of thousands, and get some hundreds, so a key could have one request in flight.
3. When a request has ended, its place among those in flight is free at once. In the same turn of the loop it is
   settled, once: what it has used takes the place of what was estimated. What it has used belongs to the day and the
   month in which it began.
4. A request that no backend was sent is given back to the day and the month, but not to the minute: a client that asks
   for what isn't there, again and again, is to be slowed down.
"""

from math import ceil, inf
from typing import Final

MINUTE: Final = 60.0

REQUESTS: Final = "requests"
TOKENS: Final = "tokens"
COST: Final = "cost"
"""Kinds of limits."""

IN_FLIGHT: Final = "max_in_flight"
PER_MINUTE: Final = ("requests_per_minute", "tokens_per_minute")
"""Names of limits, as router.yaml has them; those of a day and a month are made by `Span`."""


class Limits:
    """All limits of one key or one team; None: unbounded. Money is in the unit of the models' prices."""

    def __init__(
        self,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        max_in_flight: int | None = None,
        requests_per_day: int | None = None,
        tokens_per_day: int | None = None,
        requests_per_month: int | None = None,
        tokens_per_month: int | None = None,
        cost_per_day: float | None = None,
        cost_per_month: float | None = None,
    ) -> None:
        self.requests_per_minute: Final = requests_per_minute
        self.tokens_per_minute: Final = tokens_per_minute
        self.max_in_flight: Final = max_in_flight
        self.requests_per_day: Final = requests_per_day
        self.tokens_per_day: Final = tokens_per_day
        self.requests_per_month: Final = requests_per_month
        self.tokens_per_month: Final = tokens_per_month
        self.cost_per_day: Final = cost_per_day
        self.cost_per_month: Final = cost_per_month

    @property
    def any(self) -> bool:
        """Whether anything is bounded."""
        return not all(
            each is None
            for each in (
                self.requests_per_minute,
                self.tokens_per_minute,
                self.max_in_flight,
                self.requests_per_day,
                self.tokens_per_day,
                self.requests_per_month,
                self.tokens_per_month,
                self.cost_per_day,
                self.cost_per_month,
            )
        )


UNLIMITED: Final = Limits()


class Today:
    """A day, and its month, by numbers that no other day and month have.

    They end at `day_ends` and `month_ends`, of the clock that gives `now` everywhere here, in seconds.
    """

    def __init__(self, day: int, month: int, day_ends: float, month_ends: float) -> None:
        self.day: Final = day
        self.month: Final = month
        self.day_ends: Final = day_ends
        self.month_ends: Final = month_ends


class Left:
    """What is left of a limit of this `kind`. Without requests it is whole after `resets` seconds; inf: unknown."""

    def __init__(self, kind: str, limit: str, most: float, left: float, resets: float) -> None:
        self.kind: Final = kind
        self.limit: Final = limit
        self.most: Final = most
        self.left: Final = left
        self.resets: Final = resets


class Refusal:
    """Why a request can't begin: `whose` limit is reached, which one, and for how many seconds it surely lasts."""

    def __init__(self, whose: str, limit: str, most: float, wait: float) -> None:
        self.whose: Final = whose
        self.limit: Final = limit
        self.most: Final = most
        self.wait: Final = wait


class Bucket:
    """One minute's amount, at most, which fills up continuously. Below nothing, it has been overdrawn."""

    def __init__(self, size: float) -> None:
        self.size = size
        self._level = size
        self._at = 0.0

    def level(self, now: float) -> float:
        """Tell how much there is."""
        return min(self.size, self._level + (now - self._at) * self.size / MINUTE)

    def take(self, amount: float, now: float) -> None:
        """Take this much, whether it is there or not; less than nothing is given back."""
        self._level = min(self.size, self.level(now) - amount)
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Tell in how many seconds this much is there; it is all that there may be, if it is more than that."""
        return max(0.0, min(amount, self.size) - self.level(now)) * MINUTE / self.size

    def resize(self, size: float, now: float) -> None:
        """Hold another amount from now on; what has been taken of it stays so."""
        taken = self.size - self.level(now)
        self.size = size
        self._level = size - taken
        self._at = now


class Sums:
    """What has been used in one day or month."""

    def __init__(self, number: int = -1) -> None:
        self.number: Final = number
        self.requests = 0
        self.tokens = 0
        self.cost = 0.0

    def add(self, requests: int, tokens: int, cost: float) -> None:
        """Add to it; or take away."""
        self.requests += requests
        self.tokens += tokens
        self.cost += cost


class Span:
    """The limits of one `unit` of the calendar, and what has been used of them. It ends at `ends`."""

    def __init__(self, unit: str) -> None:
        self.names: Final = (f"requests_per_{unit}", f"tokens_per_{unit}", f"cost_per_{unit}")
        self.requests = inf
        self.tokens = inf
        self.cost = inf
        self.sums = Sums()
        self.ends = 0.0

    def bound(self, requests: int | None, tokens: int | None, cost: float | None) -> None:
        """Take other limits."""
        self.requests = inf if requests is None else float(requests)
        self.tokens = inf if tokens is None else float(tokens)
        self.cost = inf if cost is None else cost

    def turn(self, number: int, ends: float) -> None:
        """Begin anew, if this is another day or month. What requests under way use is of the one before."""
        self.ends = ends
        if self.sums.number != number:
            self.sums = Sums(number)

    def left(self, now: float) -> list[Left]:
        """Tell what is left of each limit."""
        sums, resets, (requests, tokens, cost) = self.sums, self.ends - now, self.names
        found = []
        if self.requests < inf:
            found.append(Left(REQUESTS, requests, self.requests, self.requests - sums.requests, resets))
        if self.tokens < inf:
            found.append(Left(TOKENS, tokens, self.tokens, self.tokens - sums.tokens, resets))
        if self.cost < inf:
            found.append(Left(COST, cost, self.cost, self.cost - sums.cost, resets))
        return found

    def is_spent(self, *, reads: bool) -> bool:
        """Tell whether a request has to wait for the next one; without `reads`, one that uses no tokens."""
        sums = self.sums
        return sums.requests >= self.requests or (reads and (sums.tokens >= self.tokens or sums.cost >= self.cost))


class Book:
    """What one key, or one team, may use and has used. `whose` says which: "key 'alice'".

    While it `is_new`, it has nothing of what was used today before it was made.
    """

    def __init__(self, whose: str, limits: Limits, now: float) -> None:
        self.whose: Final = whose
        self.is_new = True
        self.in_flight = 0
        self.most_in_flight = inf
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.day: Final = Span("day")
        self.month: Final = Span("month")
        self.bound(limits, now)

    def bound(self, limits: Limits, now: float) -> None:
        """Take other limits; what has been used stays so."""
        self.most_in_flight = inf if limits.max_in_flight is None else float(limits.max_in_flight)
        self.requests = _bucket(self.requests, limits.requests_per_minute, now)
        self.tokens = _bucket(self.tokens, limits.tokens_per_minute, now)
        self.day.bound(limits.requests_per_day, limits.tokens_per_day, limits.cost_per_day)
        self.month.bound(limits.requests_per_month, limits.tokens_per_month, limits.cost_per_month)

    def turn(self, today: Today) -> None:
        """Begin a new day, and a new month, if it is one."""
        self.day.turn(today.day, today.day_ends)
        self.month.turn(today.month, today.month_ends)

    def lets_in(self, tokens: int, now: float) -> bool:
        """Tell whether a request may begin whose prompt has so many tokens; 0: it uses none."""
        reads = tokens > 0
        return not (
            self.in_flight >= self.most_in_flight
            or (self.requests is not None and self.requests.wait(1, now) > 0)
            or (reads and self.tokens is not None and self.tokens.wait(tokens, now) > 0)
            or self.day.is_spent(reads=reads)
            or self.month.is_spent(reads=reads)
        )

    def refusals(self, tokens: int, now: float) -> list[Refusal]:
        """Tell why such a request may not begin: each limit that is in its way."""
        found = []
        if self.in_flight >= self.most_in_flight:
            found.append(Refusal(self.whose, IN_FLIGHT, self.most_in_flight, 0.0))
        for bucket, limit, amount in ((self.requests, PER_MINUTE[0], 1), (self.tokens, PER_MINUTE[1], tokens)):
            wait = 0.0 if bucket is None or not amount else bucket.wait(amount, now)
            if bucket is not None and wait > 0:
                found.append(Refusal(self.whose, limit, bucket.size, wait))
        return found + [
            Refusal(self.whose, each.limit, each.most, each.resets)
            for each in self.day.left(now) + self.month.left(now)
            if each.left <= 0 and (tokens or each.kind == REQUESTS)
        ]

    def take(self, tokens: int, now: float) -> None:
        """Take what a request takes when it begins."""
        self.in_flight += 1
        if self.requests is not None:
            self.requests.take(1, now)
        if self.tokens is not None and tokens:
            self.tokens.take(tokens, now)

    def left(self, now: float) -> list[Left]:
        """Tell what is left of each limit."""
        found = []
        if self.most_in_flight < inf:
            left = self.most_in_flight - self.in_flight
            found.append(Left(IN_FLIGHT, IN_FLIGHT, self.most_in_flight, left, inf))
        bucket = self.requests
        if bucket is not None:
            found.append(Left(REQUESTS, PER_MINUTE[0], bucket.size, bucket.level(now), bucket.wait(bucket.size, now)))
        bucket = self.tokens
        if bucket is not None:
            found.append(Left(TOKENS, PER_MINUTE[1], bucket.size, bucket.level(now), bucket.wait(bucket.size, now)))
        return found + self.day.left(now) + self.month.left(now)


def _bucket(before: Bucket | None, size: int | None, now: float) -> Bucket | None:
    if size is None:
        return None
    if before is None:
        return Bucket(float(size))
    if before.size != size:
        before.resize(float(size), now)
    return before


class Charge:
    """What one request takes from the books of its key and its team.

    `prompt` and `completion` are the tokens that it is charged now. `size` is the bytes of its request, if all of them
    are text, by which its prompt's tokens were estimated; else 0.
    """

    def __init__(self, books: tuple[Book, ...], tokens: int, now: float) -> None:
        self.prompt = tokens
        self.completion = 0
        self.cost = 0.0
        self.size = 0
        self._books: Final = books
        self._sums: Final[list[Sums]] = []
        self._in_flight = True
        self._settled = False
        for book in books:
            book.take(tokens, now)
            day, month = book.day.sums, book.month.sums
            day.add(1, tokens, 0.0)
            month.add(1, tokens, 0.0)
            self._sums.append(day)
            self._sums.append(month)

    def generated(self, tokens: int, now: float) -> None:
        """Take what it has generated by now, in all."""
        if tokens > self.completion and not self._settled:
            self._take(tokens - self.completion, 0.0, now)
            self.completion = tokens

    def end(self) -> None:
        """Free its place among those in flight, now that it is over."""
        if not self._in_flight:
            return
        self._in_flight = False
        for book in self._books:
            book.in_flight -= 1

    def settle(self, prompt: int, completion: int, cost: float, now: float, *, sent: bool = True) -> None:
        """Put what it has used in the place of what was estimated. `sent`: to a backend; else it was nothing."""
        if self._settled:
            return
        self._settled = True
        self._take(prompt + completion - self.prompt - self.completion, cost, now)
        self.prompt, self.completion, self.cost = prompt, completion, cost
        if not sent:
            for each in self._sums:
                each.add(-1, 0, 0.0)

    def _take(self, tokens: int, cost: float, now: float) -> None:
        if tokens:
            for book in self._books:
                if book.tokens is not None:
                    book.tokens.take(tokens, now)
        for each in self._sums:
            each.add(0, tokens, cost)


def seconds_of(refusal: Refusal) -> int:
    """Give the whole seconds after which it may be tried again."""
    return max(1, ceil(refusal.wait))


def duration(seconds: float) -> str:
    """Write a time as OpenAI's heads do: 17ms, 8.64s, 6m0s, 1h0m5s."""
    ms = round(seconds * 1000)
    if ms < 1000:
        return f"{ms}ms" if ms else "0s"
    if ms < 60_000:
        return f"{ms / 1000:g}s"
    whole = (ms + 500) // 1000
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes}m{whole % 60}s"
    return f"{minutes // 60}h{minutes % 60}m{whole % 60}s"
