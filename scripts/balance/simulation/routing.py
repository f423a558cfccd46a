"""A simulated router: its own view of the backends, fed as the data plane feeds it, and its retries.

What decides is the router's own code: the ledger, the policies, and which failures are retried. This is
`router/proxy/plane.py` and `relay.py` without their sockets. Where no backend is believed to be up, the least bad is
tried; one that is on trial gets no more at a time than it may have, as long as there is another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from router.core import health
from router.core.catalog import Backend, Candidate
from router.core.estimate.ask import Sent
from router.core.exchange import AGAIN, NOT_ITS_FAULT, Failure
from router.core.health import Health, Verdict
from router.core.ledger import Change, Ledger
from router.core.stall import Silence, StallVerdict
from scripts.balance.simulation.choosing import Chooser
from scripts.balance.simulation.traffic import MODEL, Job

RETRIES = 2
PROBE_EVERY = 5.0
"""Seconds; as `health.interval` is by default."""

STALL_AFTER = 60.0
"""Seconds; as `health.stall_after` is by default."""


def _health_of(candidate: Candidate) -> Health:
    return candidate.backend.health


@dataclass(slots=True, eq=False)
class Exchange:
    """A job's life in a router. Times are the simulation's; `ttft` is from its arrival, None until it is known."""

    job: Job
    router: "Router"
    arrived: float
    ttft: float | None = None
    failed: bool = False
    attempts: int = 0
    read: int = 0  # tokens of prompts whose reading began, over all attempts
    cached: int = 0  # of them, those that the engine had in its cache
    # Of the attempt under way
    candidate: Candidate | None = None
    sent: Sent | None = None  # what its backend's estimate knows of it
    tried: list[Candidate] = field(default_factory=list)
    blamed: list[Backend] = field(default_factory=list)

    @property
    def began(self) -> bool:
        """Whether its first token has come: from there on there is no other attempt."""
        return self.ttft is not None

    @property
    def attempt(self) -> tuple[Backend, Sent]:
        """The attempt under way."""
        assert self.candidate is not None  # noqa: S101  (it has been sent)
        assert self.sent is not None  # noqa: S101
        return self.candidate.backend, self.sent


class Router:
    """One router. `send` hands an attempt to the engine of this index, and `finished` hears of each ended exchange."""

    def __init__(
        self,
        backends: Sequence[Backend],
        ledger: Ledger,
        chooser: Chooser,
        send: Callable[[int, Exchange], None],
        finished: Callable[[Exchange], None],
    ) -> None:
        self.backends = backends
        self.ledger = ledger
        self._chooser = chooser
        self._send = send
        self._finished = finished
        self._candidates = [Candidate(backend, MODEL) for backend in backends]
        self._index = {backend.name: index for index, backend in enumerate(backends)}
        self._under_way: set[Exchange] = set()
        self._ill: dict[int, float] = {}  # which backends are out or in doubt, and since when
        self.on_doubt: Callable[[int], None] = lambda _: None  # hears of those that are to be probed now

    # An exchange

    def start(self, exchange: Exchange, now: float) -> None:
        """Send a request where it will be answered."""
        self._under_way.add(exchange)
        candidates = self._untried(exchange, now) or health.least_bad(self._candidates, _health_of) or self._candidates
        self._attempt(exchange, self._choose(candidates, exchange, now), now)

    def _untried(self, exchange: Exchange, now: float) -> list[Candidate]:
        """Give those that may be sent it: up, or on trial and with room for another, and not tried yet."""
        room = {backend: self.ledger.room(backend, now) for backend in self.backends}
        if self._chooser.sees_all:
            return [each for each in self._candidates if each not in exchange.tried]
        usable = [each for each in self._candidates if each.backend.health.usable and each not in exchange.tried]
        return [each for each in usable if room[each.backend] >= 0] or usable

    def _choose(self, candidates: Sequence[Candidate], exchange: Exchange, now: float) -> Candidate:
        return candidates[0] if len(candidates) == 1 else self._chooser.choose(candidates, exchange.job, now)

    def _attempt(self, exchange: Exchange, candidate: Candidate, now: float) -> None:
        exchange.candidate = candidate
        exchange.attempts += 1
        exchange.tried.append(candidate)
        exchange.sent = self.ledger.began(candidate, exchange.job.ask, now)
        self._send(self._index[candidate.backend.name], exchange)

    def on_first_token(self, exchange: Exchange, now: float) -> None:
        """Take note of an answer's beginning."""
        backend, sent = exchange.attempt
        exchange.ttft = now - exchange.arrived
        if exchange.job.ask.streams:
            self.ledger.first_token(backend, sent, now)
            self.ledger.read_prompt(backend, sent.size, now - sent.at)
            self.ledger.worked(backend, now)

    def on_end(self, exchange: Exchange, now: float) -> None:
        """Take note of a whole answer."""
        backend, sent = exchange.attempt
        self._follow(backend, self.ledger.answered(backend, 200, sent, now))
        self.ledger.ended(backend, exchange.job.ask, sent, now)
        self._finish(exchange)

    def on_failure(self, exchange: Exchange, failure: Failure, now: float) -> None:
        """Take note of an attempt that failed, and make another one, if one is allowed."""
        backend, sent = exchange.attempt
        if failure in NOT_ITS_FAULT:
            self.ledger.excused(backend, sent, now)
        elif backend not in exchange.blamed:
            exchange.blamed.append(backend)
            refused = failure is Failure.REFUSED
            self._follow(backend, self.ledger.failed(backend, failure.value, now, sent, refused=refused))
        self.ledger.ended(backend, exchange.job.ask, sent, now)
        again = None if exchange.began or exchange.attempts > RETRIES else self._again(exchange, failure, now)
        if again is not None:
            self._attempt(exchange, again, now)
            return
        exchange.failed = True
        self._finish(exchange)

    def _again(self, exchange: Exchange, failure: Failure, now: float) -> Candidate | None:
        untried = self._untried(exchange, now)
        if untried:
            return self._choose(untried, exchange, now)
        usable = (each for each in reversed(exchange.tried) if each.backend.health.usable)
        return next(usable, None) if failure in AGAIN else None

    def _finish(self, exchange: Exchange) -> None:
        self._under_way.discard(exchange)
        self._finished(exchange)

    # What it is told of a backend, by its index

    def probed(self, index: int, now: float, *, answered: bool, works: bool) -> None:
        """Take note of a probe: whether it was answered, and, of a stalled backend, whether it gave a token."""
        backend = self.backends[index]
        if not answered:
            self._follow(backend, self.ledger.failed(backend, "a probe failed", now))
            return
        if backend.stalled and works:
            self._follow(backend, self.ledger.worked(backend, now))
        self._follow(backend, self.ledger.succeeded(backend, now, probe=True))

    def pause(self, index: int, now: float) -> float:
        """Tell in how many seconds a backend is probed again."""
        found = self.backends[index].health
        if found.verdict is Verdict.UP:
            self._ill.pop(index, None)
            return PROBE_EVERY
        return health.pause(found, PROBE_EVERY, now - self._ill.setdefault(index, now))

    def _follow(self, backend: Backend, change: Change | None) -> None:
        if change is not None and change.probe:
            self.on_doubt(self._index[backend.name])

    def declared(self, index: int, now: float, *, up: bool) -> None:
        """Take the supervisor's word: the engine's process is gone, or a new one is ready."""
        backend = self.backends[index]
        if up:
            self.ledger.ready(backend, now)
        else:
            self.ledger.take_out(backend, "restarts", coming=True)

    def finds_stalled(self, index: int, since: float, now: float) -> list[Exchange]:
        """Look at a backend that has said nothing since then: where it is found stalled, it is out.

        Gives the exchanges that are to fail of it.
        """
        backend = self.backends[index]
        waiting = [each for each in self._under_way if each.attempt[0] is backend]
        if backend.stalled or not waiting:
            return []
        silences = [
            Silence(
                now - (since if each.began else each.attempt[1].at), each.began, streams=True, size=each.job.ask.size
            )
            for each in waiting
        ]
        if backend.progress.at < since:  # until then its engine said something all the time
            self.ledger.worked(backend, since)
        if self.ledger.judge(backend, silences, now, STALL_AFTER) is not StallVerdict.STALLED:
            return []
        self._follow(backend, self.ledger.stalled(backend, "stalled", now))
        return waiting
