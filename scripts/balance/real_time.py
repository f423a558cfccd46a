"""The simulator's model of an engine (scripts/balance/simulation/engine.py), driven by the real clock.

All times are the model's, unless a name says otherwise: one of its seconds lasts 1 / `pace` of a real one.
"""

import asyncio
import time
from collections.abc import Callable
from math import inf
from typing import NamedTuple, Protocol

import msgspec

from router.core.estimate.ask import Ask
from scripts.balance.simulation.cache import Path
from scripts.balance.simulation.engine import Outage, Spec
from scripts.balance.simulation.readers import engine_of
from scripts.balance.simulation.traffic import Job
from scripts.instruments.statistics import percentile

SPEAK_EVERY = 0.02
"""Real seconds between two events, of all streams together: few events cost little, and are enough to show whether an
engine is silent. The streams take turns; while the model writes no token, no stream gets an event."""


class TokenReceiver(Protocol):
    """A client that has asked for an answer, and is told of its tokens."""

    def begin(self, cached: int) -> None:
        """Take the first token; `cached` tokens of the prompt were in the cache."""

    def go_on(self) -> None:
        """Take some more tokens."""

    def end(self) -> None:
        """Take the last token."""


class _Told(NamedTuple):
    """A job as an engine is told of it, in tokens and keys of prefixes; `kept` is what its answer adds to the cache."""

    answer: int
    path: Path
    kept: tuple[int, int]


def described(job: Job) -> str:
    """Write the header value that describes a job to an engine."""
    return msgspec.json.encode(_Told(job.answer, job.path, job.kept[-1])).decode()


def job_of(description: str, number: int, size: int) -> Job:
    """Read what `described` wrote. An empty description is a job of one token whose prompt no other job shares."""
    said = msgspec.json.decode(description, type=_Told) if description else _Told(1, ((-number, 1),), (-number, 1))
    prompt = sum(tokens for _, tokens in said.path)
    return Job(number, Ask(size), prompt, said.answer, said.path, (*said.path, said.kept))


class RealTimeEngine:
    """The model, driven by the clock: takes requests in, and tells their clients of their tokens."""

    def __init__(self, spec: Spec, pace: float) -> None:
        self.spec = spec
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._began = time.perf_counter()
        self._engine = engine_of(spec)
        self._engine.on_read = self._on_read
        self._asked: dict[Job, TokenReceiver] = {}
        # Those whose first token is out; the first of them gets the next event.
        self._begun: dict[Job, TokenReceiver] = {}
        self._spoke = -inf
        self._numbers = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._late: list[float] = []
        # Cached tokens of the prompts that are being read.
        self._cached: dict[Job, int] = {}

    @property
    def now(self) -> float:
        """The model's time."""
        return (time.perf_counter() - self._began) * self._pace

    @property
    def stalled(self) -> bool:
        """Whether it is stalled now."""
        return self._engine.stalled_at is not None

    @property
    def waiting(self) -> int:
        """How many requests it holds whose clients are still connected."""
        return len(self._asked)

    def start(self) -> None:
        """Set the clock to 0. The model must hold no request."""
        self._began, self._spoke = time.perf_counter(), -inf
        if self.spec.stalls is not None:
            self._at(self.spec.stalls.first, self._stall, self.spec.stalls)

    def until(self, when: float) -> float:
        """Give the real seconds until a moment of the model; 0 if it is past."""
        return max(0.0, (when - self.now) / self._pace)

    def _at(self, when: float, action: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
        return self._loop.call_later(self.until(when), action, *arguments)

    def lateness(self) -> float:
        """Give the 99th percentile of how late first tokens were written."""
        return percentile(self._late, 0.99)

    # Requests

    def take(self, listener: TokenReceiver, description: str, size: int) -> Job:
        """Take in a request."""
        self._numbers += 1
        job = job_of(description, self._numbers, size)
        self._asked[job] = listener
        self._catch_up()
        self._engine.offer(job, self.now)
        self._arm()
        return job

    def leave(self, job: Job) -> None:
        """Drop a request whose client has left. An engine that works finishes it all the same, as real ones may."""
        self._asked.pop(job, None)
        self._begun.pop(job, None)
        if self.stalled:
            self._engine.forget({job})
            self._cached.pop(job, None)

    def _on_read(self, job: Job, cached: int) -> None:
        self._cached[job] = cached

    def _catch_up(self) -> None:
        """Make all steps that are due by now, each at its own time, so that a process that is woken late catches up."""
        while (at := self._engine.wake) <= self.now:
            begun, ended = self._engine.advance()
            self._late += [self.now - at] * len(begun)
            for job in begun:
                cached = self._cached.pop(job)
                if (listener := self._asked.get(job)) is not None:
                    self._begun[job] = listener
                    listener.begin(cached)
            for job in ended:
                self._begun.pop(job, None)
                if (listener := self._asked.pop(job, None)) is not None:
                    listener.end()

    def _ring(self) -> None:
        self._catch_up()
        self._arm()

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._at(self._engine.wake, self._ring) if self._engine.wake < inf else None

    def speak(self) -> None:
        """Write an event to a stream, if the model has written tokens since the last call; repeats by itself."""
        self._loop.call_later(SPEAK_EVERY, self.speak)
        if (at := self._engine.spoke(self.now)) > self._spoke and self._begun:
            self._spoke = at
            job = next(iter(self._begun))
            self._begun[job] = listener = self._begun.pop(job)
            listener.go_on()

    # Faults

    def _stall(self, outage: Outage) -> None:
        self._catch_up()
        self._engine.stall(self.now)
        self._arm()
        if outage.lasts < inf:
            self._at(self.now + outage.lasts, self._thaw)
            self._at(self.now + outage.every, self._stall, outage)

    def _thaw(self) -> None:
        self._engine.thaw(self.now)
        self._arm()

    def die(self) -> None:
        """Lose all requests and the cache; the caller cuts the connections."""
        self._engine.end()
        self._asked.clear()
        self._begun.clear()
        self._cached.clear()
        self._arm()

    def revive(self) -> None:
        """Be there again."""
        self._engine.begin()
