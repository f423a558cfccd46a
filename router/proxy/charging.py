"""What limits of keys have to do with an exchange: its charge, the calendar, and the lines of its answer's head.

A request of a key that has limits, or whose team has, is charged (`core.accounts`) when its exchange starts. What it
generates is charged when the clock looks at all exchanges, and at its end. It is settled with its record, in the same
turn of the loop (`router.ended`), so that no later request is judged by an estimate of it. Other requests have no
charge, and nothing of this is done for them.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final

from router.core.accounts import Account, Accounts, Used
from router.core.apis import MESSAGES
from router.core.keys import Key, Keys
from router.core.limits import REQUESTS, Book, Charge, Left, Today, duration
from router.core.progress import Passed
from router.core.prompts import BYTES_A_TOKEN, Rates, generates
from router.core.record import Record, tokens_in
from router.core.usage import Use
from router.proxy.heads import ResponseHead

SHIFT: Final = 1.0
"""Seconds by which the machine's clock may differ from ours before the calendar is looked at again."""

_KINDS = (b"requests", b"tokens")
_WHAT = (b"limit", b"remaining", b"reset")
_OPENAIS = [b"x-ratelimit-%s-%s" % (what, kind) for kind in _KINDS for what in _WHAT]
_ANTHROPICS = [b"anthropic-ratelimit-%s-%s" % (kind, what) for kind in _KINDS for what in _WHAT]
_EXPOSED: Final = tuple(
    [b"access-control-expose-headers: %s\r\n" % b", ".join(names) for names in (_OPENAIS, _OPENAIS + _ANTHROPICS)]
)
"""The line that lets a page of another origin read them: for OpenAI's clients, and for Anthropic's."""

_FORM = b"x-ratelimit-limit-%s: %%d\r\nx-ratelimit-remaining-%s: %%d\r\nx-ratelimit-reset-%s: %%s\r\n"
_REQUESTS: Final[bytes] = _FORM % (b"requests", b"requests", b"requests")
_TOKENS: Final[bytes] = _FORM % (b"tokens", b"tokens", b"tokens")

_ENVELOPE: Final = 256
"""Bytes of an answer in one piece beside its text."""

_THEIRS = re.compile(rb"\r\n(?:x|anthropic)-ratelimit-[^\r\n]*", re.IGNORECASE)


class Charging:
    """The accounts of keys, and what is needed to charge them.

    `clock` is the loop's, in which everything here is told; `wall` gives the Unix time.
    """

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self.accounts: Final = Accounts()
        self.rates: Final = Rates()
        self.known: list[Key] = []
        # The Unix time at the zero of the loop's clock.
        self.offset = 0.0
        self._payers: dict[str, Payer] = {}
        self._clock: Final = clock
        self._wall: Final = wall
        self._today = Today(-1, -1, 0.0, 0.0)

    def today(self, now: float) -> Today:
        """Tell which day it is for the machine."""
        offset = self._wall() - now
        if now >= self._today.day_ends or abs(offset - self.offset) > SHIFT:
            self.offset = offset
            self._today = day_of(now + offset, now)
        return self._today

    def set_up(self, keys: Keys) -> None:
        """Take the keys that there are."""
        self.known = list(keys.known.values())
        self.accounts.set_up(self.known, self._clock())
        self._payers = {name: Payer(account, self) for name, account in self.accounts.all().items()}

    def payer(self, name: str) -> "Payer | None":
        """Find who charges the requests of a key; None: it has no limits."""
        return self._payers.get(name)

    @property
    def now(self) -> float:
        """The time by the loop's clock."""
        return self._clock()

    def books(self) -> tuple[dict[str, Book], dict[str, Book]]:
        """Give the books of keys that have limits of their own, and those of teams, by their names."""
        today = self.today(self._clock())
        return self.accounts.keys(today), self.accounts.teams(today)

    def restore(self, used: Mapping[str, tuple[Used, Used]]) -> None:
        """Tell books that are new what keys have used today and in this month, by the keys' names."""
        self.accounts.restore(used, self.today(self._clock()))

    def settle(self, record: Record, use: Use, money: float) -> None:
        """Put what a request has used in the place of what was estimated while it ran."""
        charge = record.charge
        if charge is None:
            return
        if charge.size and not use.estimated:
            self.rates.learn(record.model, charge.size, use.prompt)
        charge.settle(use.prompt, use.completion, money, self._clock(), sent=record.backend is not None)


class Payer:
    """Charges the requests of one key to its account."""

    def __init__(self, account: Account, charging: Charging) -> None:
        self.account: Final = account
        self._charging: Final = charging

    def begin(self, model: str, size: int, now: float, *, learns: bool) -> Charge:
        """Charge a request that has so many bytes of text; 0: it uses no tokens. Raises LimitError.

        `learns`: its prompt is nothing but text, so its count says what a model's tokens come to in bytes.
        """
        charging = self._charging
        tokens = charging.rates.tokens(model, size) if size else 0
        charge = self.account.begin(now, charging.today(now), tokens)
        charge.size = size if learns else 0
        return charge

    def lines(self, path: str, cors: bytes, now: float) -> bytes:
        """Write the lines of an answer's head that tell what is left, behind those that let a page read it."""
        account, is_anthropics = self.account, path.startswith(MESSAGES)
        account.turn(self._charging.today(now))
        lines = cors
        for each in account.nearest(now):
            if each is not None:
                lines += _openais(each)
                if is_anthropics:
                    lines += _anthropics(each, now + self._charging.offset)
        return lines + _EXPOSED[is_anthropics] if cors else lines


def generated(path: str, passed: Passed) -> int:
    """Tell about how many tokens an answer has brought so far."""
    if passed.streams:
        return tokens_in(path, passed.events)
    return max(0, int((passed.size - _ENVELOPE) / BYTES_A_TOKEN)) if generates(path) else 0


def without_theirs(head: ResponseHead) -> ResponseHead:
    """Leave out of a backend's head what it says of its own limits: they are the router's there, not a client's."""
    lines = head.lines
    return head._replace(lines=_THEIRS.sub(b"", lines)) if b"-ratelimit-" in lines.lower() else head


def day_of(wall: float, now: float) -> Today:
    """Give the day of a Unix time by the machine's calendar; `now` is that time by the clock that ends are told in."""
    at = datetime.fromtimestamp(wall)  # noqa: DTZ006  (the machine's own time)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    tomorrow = midnight + timedelta(days=1)
    first = (midnight.replace(day=1) + timedelta(days=31)).replace(day=1)
    # A day of 23 or 25 hours has these.
    ends, month_ends = (now + each.timestamp() - wall for each in (tomorrow, first))
    return Today(at.toordinal(), at.year * 12 + at.month, ends, month_ends)


def _openais(left: Left) -> bytes:
    form = _REQUESTS if left.kind == REQUESTS else _TOKENS
    return form % (int(left.most), max(0, int(left.left)), duration(left.resets).encode())


def _anthropics(left: Left, at: float) -> bytes:
    """Write them as Anthropic's API has them; `at` is the Unix time."""
    kind, remaining = left.kind.encode(), max(0, int(left.left))
    resets = datetime.fromtimestamp(ceil(at + left.resets), UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    name = b"anthropic-ratelimit-%s" % kind
    return b"%s-limit: %d\r\n%s-remaining: %d\r\n%s-reset: %s\r\n" % (
        name, int(left.most), name, remaining, name, resets
    )  # fmt: skip
