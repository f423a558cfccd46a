"""What requests have used, summed up until it is written: by day, by key, by model. Pure: time is an argument.

Each request is counted once, after its end, many in a turn of the loop: so what is looked up for it is kept.
"""

from collections.abc import Callable
from typing import Final

from router.core.ending import Ending
from router.core.record import Record
from router.core.usage import Meter, Price, Sum, Use, cost

MOST_NAMES: Final = 4096
"""Pairs of a name and a backend whose model is remembered: clients may make up any number of names for a pattern."""

LONGEST: Final = 900.0
"""Seconds after which the day is looked at again: clocks are set, and time zones change."""

Names = Callable[[str, str], tuple[str, Price]]
"""Gives the model that a name means at a backend, and its price there."""

Calendar = Callable[[float], tuple[str, float]]
"""Gives the day at a Unix time, and until when it surely is that day."""

Place = tuple[str, str, str]
"""A day, a key and a model."""


class Pending:
    """Sums that wait to be written. `begun` is called when there is the first one."""

    def __init__(self, begun: Callable[[], None]) -> None:
        self.sums: dict[Place, Sum] = {}
        self._begun: Final = begun

    def add(self, place: Place, use: Use, money: float) -> None:
        """Add what a request has used."""
        known = self.sums.get(place)
        if known is None:
            known = self.sums[place] = Sum()
            if len(self.sums) == 1:
                self._begun()
        known.add(use, money)

    def take(self) -> None:
        """Begin anew: they are written."""
        self.sums = {}


class Spending:
    """Tells what requests have used, and adds it to `pending`.

    `catalog` gives another object once names mean something else; `forget` says that prices do.
    """

    def __init__(
        self,
        pending: Pending,
        names: Names,
        catalog: Callable[[], object],
        calendar: Calendar,
        most: int = MOST_NAMES,
    ) -> None:
        self._pending: Final = pending
        self._names: Final = names
        self._catalog: Final = catalog
        self._calendar: Final = calendar
        self._most: Final = most
        self._meter: Final = Meter()
        self._known: dict[tuple[str, str], tuple[str, Price]] = {}
        # What names meant when that was found out.
        self._now: object = None
        self._day = ""
        self._until = 0.0

    def count(self, record: Record, backend: str, said: Ending, wall: float) -> tuple[Use, float]:
        """Count a request that `backend` had, at this Unix time. Give what it has used, and of what money."""
        model, price = self._of(record.model, backend)
        use = self._meter.use(model, record, said)
        money = cost(use, price)
        if not self._until - LONGEST <= wall < self._until:
            self._day, self._until = self._calendar(wall)
        self._pending.add((self._day, record.key, model), use, money)
        return use, money

    def _of(self, name: str, backend: str) -> tuple[str, Price]:
        """Give the model that answers at a backend to this name, and its price."""
        catalog = self._catalog()
        if catalog is not self._now or len(self._known) >= self._most:
            self._now = catalog
            self._known.clear()
        known = self._known.get((name, backend))
        if known is None:
            known = self._known[name, backend] = self._names(name, backend)
        return known

    def forget(self) -> None:
        """Look names and prices up again."""
        self._known.clear()
