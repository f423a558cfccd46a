"""A model of an engine, exact to the step: one queue, steps that read prompts and write a token for each stream.

Continuous batching is modelled as vLLM does it (V1's scheduler, chunked prefill): up to `parallel` requests are taken
in, first come, first served; each step of the engine reads up to `chunk` tokens of their prompts, in that order, and
writes one token for each stream whose prompt has been read. A step lasts as long as both together:

    chunk read / reading  +  (1 + slowing · (streams - 1)) / writing         the latter where there are streams

so that long prompts slow down all streams, and many streams slow down the reading. With `parallel` of 1 this is a
serial engine: the next request waits for the end of the one before. The first token comes with the step that reads the
end of the prompt. What the cache of prefixes holds when a prompt's turn comes is not read again.

Steps of a kind are not simulated one by one: an `ModelEngine` knows when anything will next change (`wake`), and
`advance` takes it there. So a request costs about three events, however many tokens it has, and nothing is rounded.
"""

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from router.core.load import Load
from scripts.balance.simulation.cache import Cache, Foreseen
from scripts.balance.simulation.traffic import Job


class Outage(NamedTuple):
    """A fault that comes again and again: first at `first`, then each `every`, for `lasts`; all in seconds."""

    every: float
    lasts: float
    first: float

    @property
    def share(self) -> float:
        """How much of the time it takes, in the long run."""
        return min(1.0, self.lasts / self.every)


@dataclass(frozen=True, slots=True)
class Spec:
    """What an engine is. The figures that stand here are those of an 8B model on one middling GPU.

    `stalls`: it takes requests and says nothing, then goes on as if nothing had been. `restarts`: its process ends,
    with all that it had in hand and in its cache, and connections are refused meanwhile. `refuses`: it answers 503, at
    once.
    """

    parallel: int = 32  # requests at once
    reading: float = 6000.0  # tokens of prompts a second
    writing: float = 50.0  # tokens a second, of a stream alone
    slowing: float = 0.02  # more time a step for each further stream, as a share of a step's time for one
    chunk: int = 2048  # tokens of prompts a step
    cache: int = 250_000  # tokens of prefixes kept
    keeps: int = 0  # prompts kept instead, of an engine that reads them side by side (`readers`); 0: it doesn't
    stalls: Outage | None = None
    restarts: Outage | None = None
    refuses: bool = False
    told: bool = False  # whether the router knows `parallel`, as of an engine that it launched
    publishes: bool = False  # whether it says how many requests it works on, and how many wait in it

    def step(self, streams: int) -> float:
        """Tell how long a step takes that writes for so many streams, and reads nothing; in seconds."""
        return (1 + self.slowing * (streams - 1)) / self.writing if streams else 0.0

    def capacity(self, prompt: float, answer: float) -> float:
        """Tell how many requests a second it can do at most, of these mean tokens to read and to write.

        That many leave as come when all of `parallel` streams are always busy; faults take their share of the time.
        """
        up = 0.0 if self.refuses else 1.0
        for outage in (self.stalls, self.restarts):
            up *= 1.0 - outage.share if outage else 1.0
        return up / (prompt / self.reading + answer * self.step(self.parallel) / self.parallel)


class ModelEngine:
    """One engine at work. Times are the simulation's, in seconds; each method is told the present one.

    `wake` is when something will change by itself; inf, where nothing will.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.up = True
        self.stalled_at: float | None = None
        self.cache = Cache(spec.cache)
        self.wake = inf
        self.load = Load(0, 0)  # what it publishes: it counts between two runs of steps
        self._waiting: deque[Job] = deque()
        self._reading: deque[tuple[Job, int]] = deque()  # with what is left to read; the first one's turn it is
        self._writing: list[tuple[int, int, Job]] = []  # a heap, by the step that writes the last token
        self._steps = 0  # done before the present run of steps
        # The present run: steps that are alike, and what each of them does
        self._began = 0.0
        self._pace = 0.0
        self._count = 0
        self._left = inf  # of a run that a stall has stopped, in seconds
        self._portion = 0  # tokens that each step reads of the first prompt; 0: `_read` says what the only step reads
        self._read: list[Job] = []  # prompts whose ends the run's only step reads
        self._spoke = -inf  # when the last token was written, before the present run
        self._filled = 0  # their tokens: what is left of the step's portion goes to the next prompt
        self.on_read: Callable[[Job, int], None] = lambda _job, _cached: None

    # What happens to it

    def offer(self, job: Job, now: float) -> None:
        """Take in a request."""
        self._waiting.append(job)
        if self.stalled_at is not None:
            return
        if self.wake == inf:
            self._plan(now)
        else:
            self._cut_short(now)

    def _cut_short(self, now: float) -> None:
        """End a run that only writes with the present step; in any other run, waiting jobs have to wait."""
        if not self._reading and len(self._writing) < self.spec.parallel:
            steps = min(self._count, int((now - self._began) / self._pace) + 1)
            self._count, self.wake = steps, self._began + steps * self._pace

    def stall(self, now: float) -> None:
        """Stop in the middle of whatever it does."""
        self.stalled_at = now
        self._left = self.wake - now
        self.wake = inf

    def thaw(self, now: float) -> None:
        """Go on where it stopped."""
        assert self.stalled_at is not None  # noqa: S101  (it was stalled before)
        self._began += now - self.stalled_at
        self.stalled_at = None
        self.wake = now + self._left
        if self.wake == inf:
            self._plan(now)
        elif self._waiting:
            self._cut_short(now)

    def forget(self, jobs: Collection[Job]) -> None:
        """Drop jobs whose clients have left, while it is stalled. The present step is lost."""
        self._waiting = deque(job for job in self._waiting if job not in jobs)
        self._reading = deque((job, left) for job, left in self._reading if job not in jobs)
        self._writing = sorted(each for each in self._writing if each[2] not in jobs)
        self._read, self._portion, self._count = [], 0, 0
        self.wake = self._left = inf

    def end(self) -> list[Job]:
        """End its process; give the jobs that it held."""
        lost = [*self._waiting, *(job for job, _ in self._reading), *(job for *_, job in self._writing)]
        self.forget(lost)
        self.cache.clear()
        self.up = False
        return lost

    def begin(self) -> None:
        """Start again, with no job and an empty cache."""
        self.up = True

    # What it does

    def advance(self) -> tuple[list[Job], list[Job]]:
        """Go to `wake`: give those whose first token has come, and those whose last has."""
        now, spec = self.wake, self.spec
        self._steps += self._count
        if self._writing or self._read:
            self._spoke = now
        begun, ended = self._read, []
        if self._portion:
            job, left = self._reading[0]
            self._reading[0] = (job, left - self._portion * self._count)
        for job in begun:
            self._reading.popleft()
            self.cache.keep(job.path)
            heappush(self._writing, (self._steps + job.answer - 1, job.number, job))
        if begun and self._reading:  # the step's last tokens went to the next prompt
            job, left = self._reading[0]
            self._reading[0] = (job, left - (spec.chunk - self._filled))
        while self._writing and self._writing[0][0] <= self._steps:
            job = heappop(self._writing)[2]
            self.cache.keep(job.kept)
            ended.append(job)
        self._plan(now)
        return begun, ended

    def _plan(self, now: float) -> None:
        """Take in what waits, and begin the next run of steps that are alike."""
        spec, reading, writing = self.spec, self._reading, self._writing
        while self._waiting and len(reading) + len(writing) < spec.parallel:
            job = self._waiting.popleft()
            cached = self.cache.hit(job.path)
            self.on_read(job, cached)
            reading.append((job, max(1, job.prompt - cached)))  # the last token is always read: it gives the next
        self.load = Load(len(reading) + len(writing), len(self._waiting))
        self._began, self._read, self._portion = now, [], 0
        self._pace = spec.step(len(writing))
        if reading:
            self._plan_reading()
        elif writing:
            self._count = writing[0][0] - self._steps
        else:
            self.wake = inf
            return
        self.wake = now + self._count * self._pace

    def _plan_reading(self) -> None:
        spec, left = self.spec, self._reading[0][1]
        if left > spec.chunk:
            self._count, self._portion = (left - 1) // spec.chunk, spec.chunk
            if self._writing:
                self._count = min(self._count, self._writing[0][0] - self._steps)
            self._pace += spec.chunk / spec.reading
            return
        self._count, filled = 1, 0
        for job, left in self._reading:
            if filled + left > spec.chunk:
                break
            filled += left
            self._read.append(job)
        self._filled = filled
        whole = len(self._read) == len(self._reading)
        self._pace += (filled if whole else spec.chunk) / spec.reading

    def spoke(self, now: float) -> float:
        """Give when a token was last written to any client; -inf: never."""
        at = now if self.stalled_at is None else self.stalled_at
        steps = int((at - self._began) / self._pace) if self._writing else 0
        return self._began + min(steps, self._count) * self._pace if steps else self._spoke

    # What an oracle may ask

    @property
    def well(self) -> bool:
        """Whether it would begin a request that is sent now."""
        return self.up and self.stalled_at is None and not self.spec.refuses

    def first_token(self, job: Job, now: float, before: float) -> float:
        """Foresee when a job's first token would come, if it were sent now and nothing after it; inf: after `before`.

        What is in hand, with the lengths that its answers will have, and the cache are known; faults to come are not.
        """
        copy = ModelEngine.__new__(ModelEngine)
        copy.__dict__.update(self.__dict__)
        copy.on_read = lambda _job, _cached: None
        copy.cache = Foreseen(self.cache)
        copy._waiting, copy._reading = self._waiting.copy(), self._reading.copy()  # noqa: SLF001  (its own class)
        copy._writing = self._writing.copy()  # noqa: SLF001
        copy.offer(job, now)
        while (at := copy.wake) < before:
            if job in copy.advance()[0]:
                return at
        return inf
