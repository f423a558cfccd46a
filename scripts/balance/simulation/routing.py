"""A simulated router: it tells the router's ledger what happens to requests and backends, as the data plane does.

It decides nothing. Where a request goes, and whether it is retried, says `choosing`; health, estimates and stalls are
the ledger's. This stands for `router/proxy/plane.py` and `attempts.py` without their sockets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from router.core import health
from router.core.catalog import Backend, Candidate
from router.core.changes import Change
from router.core.estimate.ask import Sent
from router.core.health import Verdict
from router.core.ledger import Ledger
from router.core.retry import NOT_ITS_FAULT, Failure
from router.core.stall import Silence, StallVerdict
from scripts.balance.simulation.choosing import Sender
from scripts.balance.simulation.traffic import Job

PROBE_EVERY = 5.0
"""Seconds; as `health.interval` is by default."""

STALL_AFTER = 60.0
"""Seconds; as `health.stall_after` is by default."""


@dataclass(slots=True, eq=False)
class SimulatedRequest:
    """A job's life in a router. Times are the simulation's; `ttft` is from its arrival, None until it is known.

    `read` counts the tokens of prompts whose reading began, over all attempts, and `cached` those of them that the
    engine had in its cache. `sent` is what the latest attempt's backend estimates of it.
    """

    job: Job
    router: "SimulatedRouter"
    arrived: float
    ttft: float | None = None
    failed: bool = False
    read: int = 0
    cached: int = 0
    sent: Sent | None = None
    tried: list[Candidate] = field(default_factory=list)
    blamed: list[Backend] = field(default_factory=list)

    @property
    def attempts(self) -> int:
        """How many attempts were made."""
        return len(self.tried)

    @property
    def began(self) -> bool:
        """Whether its first token has come: from there on there is no other attempt."""
        return self.ttft is not None

    @property
    def attempt(self) -> tuple[Backend, Sent]:
        """The latest attempt."""
        assert self.sent is not None  # noqa: S101  (it has been sent)
        return self.tried[-1].backend, self.sent


class SimulatedRouter:
    """One router. `send` hands an attempt to the engine of this index, and `finished` hears of each ended request."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        ledger: Ledger,
        sender: Sender,
        send: Callable[[int, SimulatedRequest], None],
        finished: Callable[[SimulatedRequest], None],
    ) -> None:
        self.backends = [candidate.backend for candidate in candidates]
        self.ledger = ledger
        self._sender = sender
        self._send = send
        self._finished = finished
        self._index = {backend.name: index for index, backend in enumerate(self.backends)}
        # In the order of their arrival: a set's order would change from run to run.
        self._under_way: dict[SimulatedRequest, None] = {}
        self._ill: dict[int, float] = {}  # which backends are out or in doubt, and since when
        self.on_doubt: Callable[[int], None] = lambda _: None  # hears of those that are to be probed now

    # A request

    def start(self, request: SimulatedRequest, now: float) -> None:
        """Send a request to its first backend."""
        self._under_way[request] = None
        self._attempt(request, self._sender.first(request.job, now), now)

    def _attempt(self, request: SimulatedRequest, candidate: Candidate, now: float) -> None:
        request.tried.append(candidate)
        request.sent = self.ledger.began(candidate, request.job.ask, now)
        self._send(self._index[candidate.backend.name], request)

    def on_first_token(self, request: SimulatedRequest, now: float) -> None:
        """Take note of an answer's beginning."""
        backend, sent = request.attempt
        request.ttft = now - request.arrived
        if request.job.ask.streams:
            self.ledger.first_token(backend, sent, now)
            self.ledger.read_prompt(backend, sent.size, now - sent.at)
            self.ledger.worked(backend, now)

    def on_end(self, request: SimulatedRequest, now: float) -> None:
        """Take note of a whole answer."""
        backend, sent = request.attempt
        self._follow(backend, self.ledger.answered(backend, 200, sent, now))
        self.ledger.ended(backend, request.job.ask, sent, now)
        self._finish(request)

    def on_failure(self, request: SimulatedRequest, failure: Failure, now: float) -> None:
        """Take note of an attempt that failed, and make another one, if one is allowed."""
        backend, sent = request.attempt
        if failure in NOT_ITS_FAULT:
            self.ledger.excused(backend, sent, now)
        elif backend not in request.blamed:
            request.blamed.append(backend)
            refused = failure is Failure.REFUSED
            self._follow(backend, self.ledger.failed(backend, failure.value, now, sent, refused=refused))
        self.ledger.ended(backend, request.job.ask, sent, now)
        following = None if request.began else self._sender.after(failure, request.tried, request.job, now)
        if following is not None:
            self._attempt(request, following, now)
            return
        request.failed = True
        self._finish(request)

    def _finish(self, request: SimulatedRequest) -> None:
        del self._under_way[request]
        self._finished(request)

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

    def finds_stalled(self, index: int, since: float, now: float) -> list[SimulatedRequest]:
        """Look at a backend that has said nothing since then: where it is found stalled, it is out.

        Gives the requests that are to fail of it.
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
