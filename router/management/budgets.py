"""What keys and teams may use and have used: limits hear of each request's use, and admins are told.

It answers `router.api.admin.keys`. Limits of days and months go on where the router was stopped: what was used before
is read where it is kept (`router.store.tally`).
"""

from datetime import date

from router.core.accounts import Used
from router.management.usage import Usage
from router.proxy.charging import Charging
from router.store.usage import NOTHING, Sums, plus


class Budgets:
    """Limits of keys, and what they share with the usage of keys: each request's use, and prices."""

    def __init__(self, charging: Charging, usage: Usage) -> None:
        self._charging = charging
        self._usage = usage
        usage.on_use = charging.settle
        charging.money = usage.money

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


def _used(sums: Sums) -> Used:
    return sums.requests, sums.prompt + sums.completion, sums.cost
