"""Counts what requests have used, and tells it. It hears of them once they have ended (`router.ended`)."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path

from router.api.admin.usage import UsageAsked, UsageRow, UsageTold, first_day, told_apart
from router.config import BackendConfig
from router.config.keys.prices import PriceConfig
from router.core.ending import Ending
from router.core.record import Record
from router.core.scopes import Admin
from router.core.spending import LONGEST, Spending
from router.core.usage import FREE, NONE, Price, Use
from router.management.metrics import CatalogNames
from router.proxy.charging import day_of
from router.proxy.plane import Plane
from router.store.tally import Tally
from router.store.usage import NOTHING, Group, Sums, plus


class Usage:
    """Answers `router.api.admin.usage`. `configured` gives a backend's entry in router.yaml by the backend's name.

    What is counted is bounded: by the keys that router.yaml has and the models that backends have, whatever is asked
    for. A request that was sent to no backend has used nothing.
    """

    def __init__(self, plane: Plane, folder: Path, configured: Callable[[str], BackendConfig | None]) -> None:
        self.tally = Tally(folder)
        names, directory = CatalogNames(plane), plane.directory

        def meant(name: str, backend: str) -> tuple[str, Price]:
            # The backend's own name, if what was asked for has left meanwhile.
            model = names.meant(name, backend)[0] or backend
            return model, price_of(configured(backend), model)

        self._spending = Spending(self.tally.pending, meant, lambda: directory.catalog, day_at)
        # Hears what each request has used, and of what money: limits of keys.
        self.on_use: Callable[[Record, Use, float], None] = lambda _record, _use, _money: None

    def set_up(self) -> None:
        """Look at the prices again: they may have changed."""
        self._spending.forget()

    def count(self, record: Record, said: Ending) -> None:
        """Count a request that has ended."""
        use, money = NONE, 0.0
        if record.backend is not None:
            use, money = self._spending.count(record, record.backend, said, time.time())
        if record.charge is not None:
            self.on_use(record, use, money)

    async def told(self, asked: UsageAsked, _: Admin) -> UsageTold:
        """Tell the sums."""
        by, since = told_apart(asked.by), first_day(asked.since, date.today())  # noqa: DTZ011  (this machine's day)
        return usage_told(by, since, await self.tally.told(by, since))


def day_at(now: float) -> tuple[str, float]:
    """Give the day at a Unix time, and until when it surely is that day."""
    today = day_of(now, now)
    return date.fromordinal(today.day).isoformat(), min(now + LONGEST, today.day_ends)


def price_of(configured: BackendConfig | None, model: str) -> Price:
    """Give the price of a model at a backend."""
    if configured is None:
        return FREE
    said = configured.prices.get(model, configured.price)
    return FREE if said is None else _price(said)


@lru_cache(maxsize=1024)
def _price(said: PriceConfig) -> Price:
    return Price(said.input, said.output, said.input if said.cached is None else said.cached)


def usage_told(by: Sequence[str], since: str, found: Mapping[Group, Sums]) -> UsageTold:
    """Tell sums, in the order of what is told apart."""
    total = NOTHING
    for each in found.values():
        total = plus(total, each)
    rows = tuple(_row(dict(zip(by, group, strict=True)), found[group]) for group in sorted(found))
    return UsageTold(by=tuple(by), since=since or None, rows=rows, total=_row({}, total))


def _row(group: Mapping[str, str], sums: Sums) -> UsageRow:
    return UsageRow(
        **group,
        requests=sums.requests,
        estimated=sums.estimated,
        prompt_tokens=sums.prompt,
        cached_tokens=sums.cached,
        completion_tokens=sums.completion,
        cost=round(sums.cost, 9),
    )
