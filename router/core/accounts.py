"""What the requests of each key have to pass: its own limits and its team's. Pure.

An account has the books (`core.limits`) of a key and of its team. A request passes all of them or takes nothing from
any. Books are kept by their names, so that a change of router.yaml changes limits, and not what has been used of them.
"""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Final

from router.core.keys import Key
from router.core.limits import PER_MINUTE, REQUESTS, TOKENS, Book, Charge, Left, Limits, Refusal, Today
from router.core.over_limit import error_of

Used = tuple[int, int, float]
"""Requests, tokens and money."""


class Account:
    """The books that a key's requests have to pass."""

    def __init__(self, books: tuple[Book, ...]) -> None:
        self.books: Final = books

    def begin(self, now: float, today: Today, tokens: int) -> Charge:
        """Let a request begin, whose prompt has about so many tokens; 0: it uses none. Raises LimitError.

        Where several limits are in its way, the error speaks of the one that lasts longest.
        """
        self.turn(today)
        for book in self.books:
            if not book.lets_in(tokens, now):
                raise error_of(max([each for book in self.books for each in book.refusals(tokens, now)], key=_wait))
        return Charge(self.books, tokens, now)

    def turn(self, today: Today) -> None:
        """Begin a new day, and a new month, if it is one."""
        for book in self.books:
            book.turn(today)

    def nearest(self, now: float) -> tuple[Left | None, Left | None]:
        """Tell which limit of requests, and which of tokens, has the least left; None: there is none."""
        return self._nearest(now, tokens=False), self._nearest(now, tokens=True)

    def _nearest(self, now: float, *, tokens: bool) -> Left | None:
        # Each answer tells it: nothing is made for limits that aren't told.
        least = most = inf
        resets, name = 0.0, ""
        for book in self.books:
            bucket = book.tokens if tokens else book.requests
            if bucket is not None:
                left = bucket.level(now)
                if left < least:
                    least, most, name = left, bucket.size, PER_MINUTE[tokens]
                    resets = bucket.wait(most, now)
            for span in (book.day, book.month):
                bound = span.tokens if tokens else span.requests
                left = bound - (span.sums.tokens if tokens else span.sums.requests)
                if left < least:
                    least, most, name, resets = left, bound, span.names[tokens], span.ends - now
        return Left(TOKENS if tokens else REQUESTS, name, most, least, resets) if name else None


def _wait(refusal: Refusal) -> float:
    return refusal.wait


class Accounts:
    """The accounts of all keys that have limits, or whose team has."""

    def __init__(self) -> None:
        self._keys: dict[str, Book] = {}
        self._teams: dict[str, Book] = {}
        self._accounts: dict[str, Account] = {}

    def set_up(self, keys: Iterable[Key], now: float) -> None:
        """Take the keys that there are. What was used by those that stay is kept, and so is what is under way."""
        keys, before, teams_before = list(keys), self._keys, self._teams
        self._keys, self._teams, self._accounts = {}, {}, {}
        for key in keys:
            books = []
            if key.limits.any:
                book = self._keys[key.name] = _bounded(before.get(key.name), f"key '{key.name}'", key.limits, now)
                books.append(book)
            team = key.team
            if team is not None and team.limits.any:
                if team.name not in self._teams:
                    self._teams[team.name] = _bounded(
                        teams_before.get(team.name), f"team '{team.name}'", team.limits, now
                    )
                books.append(self._teams[team.name])
            if books:
                self._accounts[key.name] = Account(tuple(books))

    def all(self) -> dict[str, Account]:
        """Give all of them, by the names of keys."""
        return self._accounts

    def of(self, name: str) -> Account | None:
        """Find the account of a key; None: it has no limits."""
        return self._accounts.get(name)

    @property
    def lack_the_past(self) -> bool:
        """Whether there are books that don't know what was used before they were made."""
        return any(book.is_new for book in self._books())

    def restore(self, used: Mapping[str, tuple[Used, Used]], today: Today) -> None:
        """Tell such books what keys have used today and in this month, by the keys' names."""
        for name, (day, month) in used.items():
            account = self._accounts.get(name)
            for book in () if account is None else account.books:
                if book.is_new:
                    book.turn(today)
                    book.day.sums.add(*day)
                    book.month.sums.add(*month)
        for book in self._books():
            book.is_new = False

    def _books(self) -> list[Book]:
        return [*self._keys.values(), *self._teams.values()]

    def keys(self, today: Today) -> dict[str, Book]:
        """Give the books of keys, by their names."""
        return _turned(self._keys, today)

    def teams(self, today: Today) -> dict[str, Book]:
        """Give the books of teams, by their names."""
        return _turned(self._teams, today)


def _bounded(book: Book | None, whose: str, limits: Limits, now: float) -> Book:
    if book is None:
        return Book(whose, limits, now)
    book.bound(limits, now)
    return book


def _turned(books: dict[str, Book], today: Today) -> dict[str, Book]:
    for book in books.values():
        book.turn(today)
    return dict(books)
