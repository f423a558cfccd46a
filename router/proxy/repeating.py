"""Work that is repeated as long as exchanges are under way: one timer for all of them, instead of one for each."""

import asyncio
from collections.abc import Callable

from router.proxy.roles import UnderWay
from router.telemetry.tasks import unharmed


class Repeating:
    """Calls `work` every `every` seconds while there are `exchanges`. A mistake in it is logged, and ends nothing."""

    def __init__(self, name: str, work: Callable[[], None], every: float, exchanges: set[UnderWay]) -> None:
        self.every = every
        self._name = name
        self._work = work
        self._exchanges = exchanges
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether the next call is planned."""
        return self._timer is not None

    def start(self) -> None:
        """Plan the next call, if none is."""
        if self._timer is None:
            self._timer = self._loop.call_later(self.every, self._repeat)

    def _repeat(self) -> None:
        unharmed(self._name, self._work)
        self._timer = self._loop.call_later(self.every, self._repeat) if self._exchanges else None
