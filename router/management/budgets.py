"""What keys and teams may use and have used: limits hear of each request's use, and admins are told.

It answers `router.api.admin.keys`. Limits of days and months go on where the router was stopped: what was used before
is read where it is kept (`router.store.tally`).
"""

from datetime import date
from math import floor, inf

from router.api.admin.endpoint import Nothing
from router.api.admin.keys import KeysTold, KeyTold, LimitTold, TeamTold
from router.core.accounts import Used
from router.core.keys import NEVER
from router.core.limits import REQUESTS, TOKENS, Book, Left
from router.core.scopes import Admin
from router.management.usage import Usage
from router.proxy.charging import Charging
from router.store.usage import NOTHING, Sums, plus


class Budgets:
    """Limits of keys, which hear of what each request has used."""

    def __init__(self, charging: Charging, usage: Usage) -> None:
        self._charging = charging
        self._usage = usage
        usage.on_use = charging.settle

    async def remember(self) -> None:
        """Have limits that are new know what was used before they were set, or before the router started."""
        if not self._charging.accounts.lack_the_past:
            return
        today = date.today()  # noqa: DTZ011  (this machine's day)
        by_day = await self._usage.tally.told(("key", "day"), today.replace(day=1).isoformat())
        used: dict[str, tuple[Sums, Sums]] = {}
        for (key, day), sums in by_day.items():
            of_day, of_month = used.get(key, (NOTHING, NOTHING))
            used[key] = plus(of_day, sums) if day == today.isoformat() else of_day, plus(of_month, sums)
        self._charging.restore({key: (_used(day), _used(month)) for key, (day, month) in used.items()})

    async def told(self, _: Nothing, __: Admin) -> KeysTold:
        """Tell of all keys and teams."""
        charging, now = self._charging, self._charging.now
        books, of_teams = charging.books()
        teams: dict[str, list[str]] = {}
        for key in charging.known:
            if key.team is not None:
                teams.setdefault(key.team.name, []).append(key.name)
        return KeysTold(
            keys=tuple(
                KeyTold(
                    name=key.name,
                    team=None if key.team is None else key.team.name,
                    expires=None if key.expires == NEVER else key.expires,
                    limits=_limits(books.get(key.name), now),
                )
                for key in charging.known
            ),
            teams=tuple(
                TeamTold(name=name, keys=tuple(keys), limits=_limits(of_teams.get(name), now))
                for name, keys in teams.items()
            ),
        )


def _limits(book: Book | None, now: float) -> tuple[LimitTold, ...]:
    return () if book is None else tuple(_told(each) for each in book.left(now))


def _told(each: Left) -> LimitTold:
    # Of a minute's tokens the fractions that come back say nothing; money is told as usage tells it.
    left = floor(each.left) if each.kind in {REQUESTS, TOKENS} else round(each.left, 9)
    return LimitTold(
        limit=each.limit,
        most=each.most,
        used=round(each.most - left, 9),
        left=left,
        resets_in=None if each.resets == inf else round(each.resets, 3),
    )


def _used(sums: Sums) -> Used:
    return sums.requests, sums.prompt + sums.completion, sums.cost
