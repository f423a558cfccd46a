"""A model of an engine that reads up to `parallel` prompts side by side, each as fast as if it were alone.

It stands for a server with more than one engine behind it, and for programs that don't batch. Requests are taken in
first come, first served. An answer is one token, which comes with the end of the prompt: what counts here is which
prompts are read where. A prompt is in the cache once it has been read, so of two that are read at the same time neither
spares the other anything.
"""

from collections import deque
from collections.abc import Collection
from heapq import heapify, heappop, heappush
from math import inf

from router.core.load import Load
from scripts.balance.simulation.cache import Foreseen, LastPrompts
from scripts.balance.simulation.engine import ModelEngine, Spec
from scripts.balance.simulation.traffic import Job


class ReadersEngine(ModelEngine):
    """One engine at work, as `ModelEngine` is."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.cache = LastPrompts(spec.keeps)
        self._ends: list[tuple[float, int, Job]] = []  # a heap, by when each prompt will have been read

    def offer(self, job: Job, now: float) -> None:
        """Take in a request."""
        self._waiting.append(job)
        if self.stalled_at is None:
            self._plan(now)

    def thaw(self, now: float) -> None:
        """Go on where it stopped."""
        assert self.stalled_at is not None  # noqa: S101  (it was stalled before)
        self._ends = [(at + now - self.stalled_at, number, job) for at, number, job in self._ends]
        self.stalled_at = None
        self._plan(now)

    def forget(self, jobs: Collection[Job]) -> None:
        """Drop jobs whose clients have left, while it is stalled."""
        self._waiting = deque(job for job in self._waiting if job not in jobs)
        self._ends = [each for each in self._ends if each[2] not in jobs]
        heapify(self._ends)
        self.wake = inf

    def end(self) -> list[Job]:
        """End its process; give the jobs that it held."""
        reading = [job for _, _, job in sorted(self._ends)]
        self._ends = []
        return [*reading, *super().end()]

    def advance(self) -> tuple[list[Job], list[Job]]:
        """Go to `wake`: give the one whose only token has come, as begun and as ended."""
        now, _, job = heappop(self._ends)
        self._spoke = now
        self.cache.keep(job.path)
        self._plan(now)
        return [job], [job]

    def _plan(self, now: float) -> None:
        """Begin to read what waits."""
        while self._waiting and len(self._ends) < self.spec.parallel:
            job = self._waiting.popleft()
            cached = self.cache.hit(job.path)
            self.on_read(job, cached)
            heappush(self._ends, (now + max(1, job.prompt - cached) / self.spec.reading, job.number, job))
        self.load = Load(len(self._ends), len(self._waiting))
        self.wake = self._ends[0][0] if self._ends else inf

    def spoke(self, _: float) -> float:
        """Give when a token was last written to any client; -inf: never."""
        return self._spoke

    def first_token(self, job: Job, now: float, before: float) -> float:
        """Foresee when a job's first token would come, if it were sent now and nothing after it."""
        copy = ReadersEngine(self.spec)
        copy.cache = Foreseen(self.cache)
        copy._waiting, copy._ends = self._waiting.copy(), self._ends.copy()
        copy.offer(job, now)
        while (at := copy.wake) < before:
            if job in copy.advance()[0]:
                return at
        return inf


def engine_of(spec: Spec) -> ModelEngine:
    """Make the engine that this describes."""
    return ReadersEngine(spec) if spec.keeps else ModelEngine(spec)
