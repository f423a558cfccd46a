"""The live state of all backends: requests in flight, health, speed and load of each. Pure.

The ledger is the one writer of every `Backend`. Exchanges, probes and supervisors report events to it, with the time.
If an event changes the state of a backend in a way that needs action, the ledger returns a `Change` with what the
caller has to do: probe the backend, offer its room to requests that wait, write to the log. The data plane, the
simulator and the unit tests all drive this same object.

The state of one backend is in its `Backend`. State that concerns several is beside it: which backend has which prompt
prefixes in its cache, which backends refused which requests, and the budget that pays for retries.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

from router.core import health, stall
from router.core.admission import Cap
from router.core.affinity import Prefixes
from router.core.apis import Apis
from router.core.aside import BUSY, LONGEST_BUSY, Aside, Kind, scope
from router.core.budget import RetryBudget
from router.core.catalog import DOUBT, Backend, Candidate
from router.core.changes import RELEASE, Change, News
from router.core.estimate.ask import Ask, Sent
from router.core.health import WELL, Health, Thresholds, Verdict
from router.core.load import Load
from router.core.stall import Silence, StallVerdict
from router.core.statuses import LIES, OF_THE_REQUEST, TOO_MANY, UNWELL_STATUSES


class Ledger:
    """Keeps the state of backends. All times are seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self.prefixes = Prefixes()
        self.aside = Aside()
        self.budget = RetryBudget()
        self.thresholds = Thresholds()
        # Backends that get no new requests: those that make room for other models, which still get what was promised to
        # them, and those that an admin holds, with that admin's name.
        self.draining: set[Backend] = set()
        self.held: dict[Backend, str] = {}
        # Peers' backends that have yet to load their models.
        self.unloaded: set[Backend] = set()
        self._leaving: set[Backend] = set()
        self._retired: set[Backend] = set()

    # Backends

    def retire(self, backend: Backend, reason: str) -> Change:
        """Take a backend out for good; its requests in flight go on until `forget`."""
        self._retired.add(backend)
        return self.take_out(backend, reason)

    def forget(self, backend: Backend) -> None:
        """Forget a retired backend."""
        self._retired.discard(backend)
        self.unloaded.discard(backend)
        self.held.pop(backend, None)
        self.resume(backend)

    def drain(self, backend: Backend) -> None:
        """Send a backend no new requests: it is to be unloaded. Those that hold a lease still go there."""
        self._leaving.add(backend)
        self.draining = self._leaving.union(self.held)

    def resume(self, backend: Backend) -> None:
        """Let a backend have new requests again, unless it is held."""
        self._leaving.discard(backend)
        self.draining = self._leaving.union(self.held)

    def hold(self, held: dict[Backend, str]) -> None:
        """Send these backends nothing more, each with the admin's name who wants it so; all others have requests."""
        self.held = held
        self.draining = self._leaving.union(self.held)

    def is_retired(self, backend: Backend) -> bool:
        """Whether a backend is retired and not yet forgotten."""
        return backend in self._retired

    def bound(self, backend: Backend, cap: Cap) -> None:
        """Change the cap of what a backend may have in flight."""
        backend.cap = cap

    def weigh(self, backend: Backend, weight: float) -> None:
        """Change a backend's weight."""
        backend.weight = weight

    def learn_models(self, backend: Backend, models: Mapping[str, str]) -> bool:
        """Note what a backend serves; tell whether that is new."""
        is_new = backend.models != models
        backend.models = models
        return is_new

    def learn_api(self, backend: Backend, path: str, *, speaks: bool) -> None:
        """Note whether a backend has the API of this path."""
        backend.apis = backend.apis.taught(path, speaks=speaks)

    def learn_apis(self, backend: Backend, apis: Apis) -> None:
        """Note what else is known of a backend's APIs, such as what its answers lack."""
        backend.apis = apis

    def room(self, backend: Backend, now: float) -> float:
        """Give the bytes of a request that a backend has room for; below 0: not even for an empty one.

        A backend that has come back takes on its load step by step, so its ramp is brought up to date here.
        """
        cap, found = backend.cap, backend.health
        if found is not WELL:
            backend.ramp = found.ramp(now, self.thresholds)
            if backend.in_flight >= found.cap(cap.requests, self.thresholds):
                return -1.0
        return cap.room(backend.in_flight, backend.size)

    # Attempts

    def began(self, candidate: Candidate, ask: Ask, now: float) -> Sent:
        """Count an attempt that is sent now, and take its room."""
        backend = candidate.backend
        backend.in_flight += 1
        backend.progress.began(now)
        backend.size += ask.size
        cached = self.prefixes.cached(backend, candidate.model, ask.blocks) if ask.blocks else 0
        sent = backend.estimate.sent(ask, cached, now)
        sent.model, sent.blocks = candidate.model, ask.blocks
        if backend.estimate.readers.count == 1:  # what is sent there next is read after it
            self.prefixes.was_read(backend, sent, now)
        return sent

    def ended(self, backend: Backend, ask: Ask, sent: Sent, now: float) -> None:
        """Release an attempt's room. With no outcome recorded before, it counts as abandoned."""
        backend.in_flight -= 1
        backend.progress.ended(now)
        backend.ended += 1
        backend.size -= ask.size
        backend.estimate.lost(sent, now)

    def first_token(self, backend: Backend, sent: Sent, now: float) -> None:
        """Note the first token of a stream."""
        self.prefixes.was_read(backend, sent, now)
        backend.estimate.first_token(sent, now)

    def read_prompt(self, backend: Backend, size: int, seconds: float) -> None:
        """Note how many seconds the first content took, for a request of `size` bytes."""
        backend.estimate.first_content(size, seconds)

    def spoke(self, backend: Backend) -> None:
        """Note that an answer has brought content; `hear` reports it to the estimate."""
        backend.spoke = True

    def hear(self, backends: Iterable[Backend], now: float) -> None:
        """Report to the estimates which backends' answers have brought content since the last call."""
        for backend in backends:
            if backend.spoke:
                backend.spoke = False
                backend.estimate.spoke(now)

    def muted(self, backend: Backend, sent: Sent, now: float, *, muted: bool) -> None:
        """Note that an answer isn't read now because its client is slow, or that it is read again."""
        backend.estimate.muted(sent, now, muted=muted)

    def begun(self, backend: Backend, now: float) -> Change | None:
        """Note that an answer has begun. On a backend's first trial, that is enough for it to be up."""
        if backend.health.verdict is Verdict.PROBING and not backend.health.relapses:
            return self.succeeded(backend, now, probe=False)
        return None

    def answered(self, backend: Backend, status: int, sent: Sent | None, now: float) -> Change | None:
        """Note a whole answer, which may be an error. The latency of an error isn't measured."""
        backend.answered += 1
        if status < 400:
            backend.errors = 0
            if sent is not None:
                self.prefixes.was_read(backend, sent, now)
                backend.estimate.ended(sent, now)
        believed = status < 400 or (status in OF_THE_REQUEST and backend.errors < DOUBT)
        if backend.health is WELL or not believed:
            return None
        return self.succeeded(backend, now, probe=False)

    def refused(self, backend: Backend, status: int, sent: Sent | None, now: float) -> Change | None:
        """Note an error's status. Its latency isn't measured; its status may count against the backend's health."""
        backend.errors += 1
        if status in UNWELL_STATUSES:
            return self.failed(backend, f"answered {status}", now, sent)
        if sent is not None and status == TOO_MANY:
            backend.estimate.failed(sent, now)
        elif sent is not None:
            backend.estimate.left(sent, now)
        return None

    def excused(self, backend: Backend, sent: Sent, now: float) -> None:
        """Note that an attempt is as good as over, and that its latency says nothing about its backend."""
        backend.estimate.left(sent, now)

    def busy(self, candidate: Candidate, ask: Ask, seconds: float, now: float, *, own_key: bool) -> None:
        """Note a 429: the backend has no room for `seconds`; 0: it didn't say for how long.

        It holds for all requests if the router shows the backend a key of its own (`own_key`), else for this client's.
        """
        kind = Kind(candidate.backend, key=b"" if own_key else ask.key)
        self.aside.put(kind, now, seconds or BUSY, LONGEST_BUSY)

    def disproved(
        self, candidate: Candidate, ask: Ask, status: int, sent: Sent | None, now: float, *, own_key: bool
    ) -> Change | None:
        """Note that another backend of the same model has answered what this one refused: this one was at fault."""
        backend = candidate.backend
        if backend in self._retired:
            return None
        if status >= LIES:
            self.budget.refund()
        if (kind := scope(status, candidate, ask, own_key=own_key)) is not None:
            self.aside.put(kind, now)
            return None
        if sent is not None:
            backend.estimate.disproved(sent, now)
        reason = f"answered {status} to what another backend answers"
        return self._believe(backend, health.failed(backend.health, self.thresholds, reason, probe=False, now=now), now)

    def confirmed(self, backend: Backend) -> None:
        """Note that another backend refuses the same request: the error wasn't this one's fault."""
        backend.errors = 0

    # Health

    def succeeded(self, backend: Backend, now: float, *, probe: bool, heard: bool = True) -> Change | None:
        """Note that a backend answered a probe or a request, or isn't `heard` of; nothing for a stalled one."""
        if backend.stalled:
            return None
        if probe:
            backend.progress.probed(now, answered=True)
        found = health.succeeded(backend.health, self.thresholds, probe=probe, now=now, heard=heard)
        return self._believe(backend, found, now)

    def failed(
        self, backend: Backend, reason: str, now: float, sent: Sent | None = None, *, refused: bool = False
    ) -> Change | None:
        """Note that a backend failed an attempt that was `sent`, or without one, a probe.

        `refused`: it refused the connection. For a launched engine that means nothing more: its supervisor reports
        whether its process is gone.
        """
        if sent is not None:
            backend.estimate.failed(sent, now)
        gone, probe = refused and not backend.supervised, sent is None
        if gone:
            self.prefixes.forget(backend)
        found = health.failed(backend.health, self.thresholds, reason, probe=probe, now=now, refused=gone)
        return self._believe(backend, found, now)

    def ready(self, backend: Backend, now: float) -> Change | None:
        """Note that a launched engine is ready. A retired one gets no requests all the same."""
        if backend in self._retired:
            return None
        backend.health, backend.stalled = health.declared(up=True, now=now), False
        backend.estimate.restarted(now)
        backend.progress.back(now)
        return Change(offer=True)

    def take_out(self, backend: Backend, reason: str, *, coming: bool = False, due: float | None = None) -> Change:
        """Note that a backend is gone, and its cache with it. `coming`: it will soon be back. `due`: see `declared`."""
        backend.health = health.declared(up=False, reason=reason, coming=coming, due=due)
        self.prefixes.forget(backend)
        self.aside.forget(backend)
        return RELEASE

    def loads(self, backend: Backend, seconds: float, now: float, *, runs: bool = False) -> None:
        """Note that a peer has yet to load its model, in about so many `seconds`, or that it is loaded (0).

        `runs`: it is being loaded.
        """
        if seconds:
            self.unloaded.add(backend)
            backend.estimate.loads(seconds, now, runs=runs)
        elif backend in self.unloaded:
            self.unloaded.discard(backend)
            backend.estimate.loaded(now)

    def vanished(self, backend: Backend, sent: Sent | None, reason: str) -> Change | None:
        """Note that nobody listens where an attempt was sent; the engine's supervisor is about to report it, too.

        An attempt that was sent to an earlier process says nothing of this one.
        """
        found = backend.health
        if found.absent or backend in self._retired or (sent is not None and sent.at < found.since):
            return None
        return self.take_out(backend, reason, coming=True)

    def _believe(self, backend: Backend, found: Health, now: float) -> Change | None:
        if backend in self._retired:
            return None
        was, backend.health = backend.health, found
        probe = found.coming or (found.by_requests and found.verdict is not Verdict.UNKNOWN)
        if found is WELL:
            backend.ramp = 1.0
        verdict = found.verdict
        if verdict is was.verdict:
            # Requests that wait for it may try it, or are told that it is gone.
            offer = was.absent and not found.absent
            return Change(probe=probe, offer=offer) if probe or offer else None
        news = News.NONE
        if verdict is Verdict.DOWN:
            news = News.DOWN
        elif verdict is Verdict.PROBING:
            backend.estimate.restarted(now)
            news = News.TRIAL
        elif verdict is Verdict.UP and was.verdict is not Verdict.SUSPECT:
            news = News.UP
        return Change(news, probe=probe, release=news is News.DOWN, offer=True, reason=found.reason)

    # Progress

    def worked(self, backend: Backend, now: float) -> Change | None:
        """Note that a backend has sent content; a stalled one works again."""
        backend.estimate.unheard = 0
        if not backend.stalled:
            backend.progress.moved(now)
            return None
        backend.progress.back(now)
        backend.stalled = False
        return Change(News.WORKS)

    def asked(self, backend: Backend, now: float) -> None:
        """Note that a probe asks a backend for a token: that is no client's request, but the backend owes an answer."""
        backend.progress.began(now)

    def unasked(self, backend: Backend, now: float) -> None:
        """Note that the request of `asked` is over."""
        backend.progress.ended(now)

    def probed(self, backend: Backend, sent: float, *, answered: bool) -> None:
        """Note whether a probe, sent at `sent`, was answered. By itself that says nothing about health."""
        backend.progress.probed(sent, answered=answered)

    def read_cpu(self, backend: Backend, seconds: float, now: float, *, stopped: bool, tells: bool) -> None:
        """Note the CPU time that an engine's processes have used; see Progress.cpu."""
        backend.progress.cpu(seconds, now, stopped=stopped, tells=tells)

    def read_counter(self, backend: Backend, count: float, now: float, *, tells: bool) -> None:
        """Note the work that an engine counts itself; see Progress.counted."""
        backend.progress.counted(count, now, tells=tells)

    def published(self, backend: Backend, load: Load | None, ours: int, now: float) -> None:
        """Note the load that an engine publishes, of which at most `ours` came from here; None: it publishes none."""
        backend.estimate.published(load, ours, now)

    def judge(
        self,
        backend: Backend,
        silences: Sequence[Silence],
        now: float,
        stall_after: float,
        *,
        held_up: int = 0,
        token: float = 0.0,
    ) -> StallVerdict:
        """Judge the silence of a backend's answers; changes nothing that requests see.

        `held_up` counts answers that are silent because their client is slow. `token` is for how many seconds the
        backend has owed a token that a probe asked for.
        """
        progress = backend.progress
        if backend.answered != backend.progress.answered:
            backend.progress.answered = backend.answered
            progress.moved(now)
        # Slow clients may keep it from working.
        if held_up and (not silences or held_up >= backend.cap.requests):
            progress.moved(now)
        if backend.stalled:
            return StallVerdict.STALLED
        room = backend.in_flight < backend.cap.requests < inf
        return stall.judge(progress, silences, now, stall_after, backend.estimate.slowest, token, room=room)

    def stalled(self, backend: Backend, reason: str, now: float) -> Change | None:
        """Take out a backend that has stopped working, whatever its probes say."""
        backend.stalled = True
        return self._believe(backend, health.declared(up=False, reason=reason, coming=backend.supervised), now)
