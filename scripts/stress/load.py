"""The two loads. A closed loop has so many clients, each of which waits for its answer; an open loop has a schedule.

In an open loop no request waits for an answer: a slow target is asked all the same. A request counts from the moment at
which it was due, so the effect of a stall on the requests behind it shows in full (no coordinated omission).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from scripts.instruments.client import ClientPool, LoadTarget
from scripts.stress import units
from scripts.stress.answer import WatchedAnswer
from scripts.stress.distribution import due as arrivals_due
from scripts.stress.meter import Meter
from scripts.stress.results import Check
from scripts.stress.shapes import DrawnRequest, Person, Shape
from scripts.stress.tally import Outcome, Tally, outcome

_PEOPLE = 64
"""How many conversations go on in an open loop."""

_LONGEST_PAUSE = 1.0
"""Seconds that a client pauses at most after failures in a row, from 20 ms doubling, as OpenAI's own clients do."""

_MOST_IN_FLIGHT = 10_000
"""The most requests of an open loop in flight; others wait, and their waiting counts."""


@dataclass(frozen=True)
class Asking:
    """How requests are written, and how long their answers may take (seconds)."""

    model: str
    endpoint: str = "chat/completions"
    extra: Mapping[str, Any] | None = None
    timeout: float = 120.0

    def body(self, ask: DrawnRequest) -> bytes:
        """Write a request's body."""
        return ask.body(self.model, self.endpoint, self.extra or {})


@dataclass(frozen=True)
class Stage:
    """A part of a test: for some seconds a load of so many clients (a closed loop), or of a rate (an open one).

    `rate` is in requests/s. `during` is done in the middle of it, and says what it saw.
    """

    shape: Shape
    seconds: float
    clients: int = 0
    rate: float = 0.0
    arrivals: str = "poisson"
    label: str = ""
    during: Callable[[LoadTarget], Awaitable[Check]] | None = None

    @property
    def name(self) -> str:
        """Its name in reports."""
        if self.label:
            return self.label
        if self.clients:
            return f"{self.clients} client{'s' * (self.clients != 1)}"
        return f"{units.number(self.rate)} requests/s"


class StageLoad:
    """Asks a target, and reports each outcome to the tally, the meter and `told`."""

    def __init__(
        self,
        pool: ClientPool,
        asking: Asking,
        tally: Tally,
        meter: Meter,
        told: Callable[[Outcome], None],
        answers: type[WatchedAnswer] = WatchedAnswer,
    ) -> None:
        self._pool = pool
        self._asking = asking
        self._tally = tally
        self._meter = meter
        self._told = told
        self._answers = answers

    async def run(self, stage: Stage, seed: str) -> None:
        """Load the target as a stage says, and wait for what is under way. The same seed asks the same again."""

        def rng(whose: object) -> Random:
            return Random(f"{seed}/{whose}")  # noqa: S311  (a load, not a secret)

        people = [Person(stage.shape, rng(number)) for number in range(stage.clients or _PEOPLE)]
        if stage.clients:
            await self._closed(people, time.perf_counter() + stage.seconds)
        else:
            await self._open(people, arrivals_due(stage.arrivals, stage.rate, rng("arrivals")), stage.seconds)

    async def _closed(self, people: Sequence[Person], until: float) -> None:
        async with asyncio.TaskGroup() as group:
            for person in people:
                group.create_task(self._keep_asking(person, until))

    async def _open(self, people: Sequence[Person], due: Iterator[float], seconds: float) -> None:
        start, places = time.perf_counter(), asyncio.Semaphore(_MOST_IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            for number, after in enumerate(due):
                await _until(start + min(after, seconds))
                if after >= seconds:
                    break
                ask = people[number % len(people)].ask()
                group.create_task(self._in_place(ask, start + after, places))

    async def _in_place(self, ask: DrawnRequest, due: float, places: asyncio.Semaphore) -> None:
        self._meter.waiting += 1
        try:
            await places.acquire()
        finally:
            self._meter.waiting -= 1
        try:
            await self._one(ask, due)
        finally:
            places.release()

    async def _keep_asking(self, person: Person, until: float) -> None:
        failed = 0
        while (now := time.perf_counter()) < until:
            ask = person.ask()
            one = await self._one(ask, now)
            failed = failed + 1 if one.failed else 0
            pause = ask.think + (min(_LONGEST_PAUSE, 0.01 * 2 ** min(failed, 10)) if failed else 0)
            if pause:
                await asyncio.sleep(min(pause, max(0.0, until - one.ended)))

    async def _one(self, ask: DrawnRequest, due: float) -> Outcome:
        asking, meter = self._asking, self._meter
        request = self._pool.target.request("POST", f"/v1/{asking.endpoint}", asking.body(ask))
        answer = self._answers(due, meter, self._tally.gaps, ask.leave_after)
        interrupted = True
        meter.in_flight += 1
        try:
            await self._pool.ask(request, answer, asking.timeout)
            interrupted = False
        finally:
            meter.in_flight -= 1
            one = outcome(answer, time.perf_counter(), interrupted=interrupted)
            meter.failed += one.failed
            meter.ended += not one.failed
            # Tokens that only `usage` at the end told of.
            meter.tokens += one.tokens - answer.tokens
            self._tally.count(one)
            self._told(one)
        return one


async def _until(moment: float) -> None:
    """Sleep until a moment; let other tasks run in any case."""
    await asyncio.sleep(max(0.0, moment - time.perf_counter()))
    while time.perf_counter() < moment:  # noqa: ASYNC110  (timers are cut to milliseconds: some wake too early)
        await asyncio.sleep(0)
