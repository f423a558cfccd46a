"""Takes the samples of the history, and tells them. Requests know nothing of it: it looks at them, once a sample."""

import asyncio
import time
from collections import Counter
from typing import Final

from router.api.admin.history import HistoryAsked, HistoryTold
from router.core.scopes import Admin
from router.management import system
from router.management.machine import Machine
from router.proxy.plane import Plane
from router.telemetry.history import EVERY, History, Moment
from router.telemetry.tasks import for_ever

LOGGED: Final = 12
"""Of so many samples, one is written to system.log: one a minute."""


class Historian:
    """Answers `router.api.admin.history`. Between `start` and `stop` it watches the machine and takes samples."""

    def __init__(self, plane: Plane, machine: Machine) -> None:
        self.history = History()
        self.machine = machine
        self._plane = plane
        self._samples = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Watch from now on."""
        self.machine.lag.start()
        self._task = asyncio.create_task(for_ever("the history", self._watch), name="history")

    def stop(self) -> None:
        """Watch no more."""
        self.machine.lag.stop()
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            await asyncio.sleep(EVERY)
            ends = loop.time()
            now = self.moment()
            self.history.sample(round(time.time(), 3), round(ends - began, 3), now)
            began = ends
            self._samples += 1
            if self._samples % LOGGED == 0:
                system.write(self.machine, now)
            self.machine.devices.watch()

    def moment(self) -> Moment:
        """Look at how things are."""
        plane, machine = self._plane, self.machine
        in_flight, streamed = Counter[str](), Counter[str]()
        for each in plane.exchanges:
            if (backend := each.backend) is not None:
                in_flight[backend.name] += 1
                passed = each.answer.passed
                streamed[backend.name] += passed.events if passed.streams else 0
        return Moment(
            len(plane.exchanges),
            len(plane.dispatcher.admission),
            machine.cpu.percent,
            machine.own_cpu.percent,
            {each.name: (each.total - each.free, each.sensors.utilisation) for each in machine.devices.now()},
            in_flight,
            streamed,
        )

    async def told(self, asked: HistoryAsked, _: Admin) -> HistoryTold:
        """Tell the samples."""
        return HistoryTold(every=EVERY, **self.history.told(asked.since, backends=asked.backends))
