"""All attempts of one exchange: the one under way, a second one beside it, and whether there is another.

What decides is pure (`core.retry`); this keeps what it needs to know, asks it, and does what it says. `tried` has the
candidates of all attempts in order. The last is that of the attempt under way, or of the answer.
"""

from math import inf
from typing import TYPE_CHECKING

import structlog

from router.core import errors, retry, stall
from router.core.catalog import DIRECT, NOWHERE, narrowed
from router.core.contexts import said_in, tell_longest
from router.core.health import WELL
from router.core.retry import NOT_ITS_FAULT, Failure
from router.core.timeline import NEVER, SLOWER, Try
from router.proxy.attempt import Attempt
from router.proxy.hedge import Hedge, HedgeOwner
from router.proxy.recording import try_of
from router.proxy.speaking import estimated, spoken, tidy, unloading, written_form
from router.proxy.usage import asks_usage
from router.proxy.writing import written

if TYPE_CHECKING:
    from router.core.catalog import Backend, Candidate, Way
    from router.core.decision import Decision
    from router.proxy.plane import Plane
    from router.proxy.pool import Pool
    from router.proxy.roles import UnderWay
    from router.proxy.speaking import Told

log = structlog.get_logger("router")


class Attempts(HedgeOwner):
    """The attempts of one exchange.

    `way` is where it may go; `raced` says how a second attempt ended: won, lost. `body` is the request's, for as long
    as there may be another attempt. `tries` are those that have ended.
    """

    # For mypyc: the attributes that may be deleted.
    __deletable__ = ("_exchange",)

    tried: "tuple[Candidate, ...]" = ()
    tries: tuple[Try, ...] = ()
    current: Attempt | None = None
    hedge: Hedge | None = None
    raced = ""
    # Backends whose context the prompt exceeds.
    too_short: "tuple[Backend, ...]" = ()
    # Each backend is blamed once a request: a bad request must not take a backend out alone.
    _blamed: "tuple[Backend, ...]" = ()

    def __init__(self, exchange: "UnderWay", plane: "Plane", body: bytes) -> None:
        self._exchange = exchange
        self._plane = plane
        self.body = body

    @property
    def second_attempt(self) -> Attempt | None:
        """The one beside the one under way."""
        return None if self.hedge is None else self.hedge.attempt

    def make(self, candidate: "Candidate", why: "Decision | None" = None, *, fresh: bool = False) -> None:
        """Make an attempt. `fresh`: on a new connection, in the place of one that turned out to be closed.

        `why` is what was compared when its backend was chosen. Raises RouterError if the engine can't be told the
        request.
        """
        plane, exchange, way, now = self._plane, self._exchange, self.way, self._plane.loop.time()
        if not fresh:
            self.tried = (*self.tried, candidate)
        assert way is not None  # noqa: S101  (the candidate is of it)
        sent = plane.began(candidate, way, exchange, now)
        attempt = self.current = Attempt(exchange, candidate, sent, why)
        attempt.paused = exchange.paused
        if plane.hedges:
            self._watch()
        pool = plane.pool(candidate.backend)
        if pool is None:
            exchange.on_failure(attempt, Failure.REFUSED, "it has no address")
        else:
            self.send(attempt, pool, fresh=fresh)

    def send(self, attempt: Attempt, pool: "Pool", *, fresh: bool = False) -> None:
        """Send the request to the attempt's backend, unless the router itself answers in its place.

        Raises RouterError if its engine can't be told the request.
        """
        request = self._exchange.request
        if not (request.counts and estimated(attempt, request, self.body)):
            attempt.connect(pool, self._plane.loop, fresh=fresh)

    def resolve(self, began: float) -> "Way":
        """Find what the model's name means. Raises ForbiddenError where its key may not use it.

        And ModelNotFoundError, but not while that may soon change.
        """
        plane, request = self._plane, self._exchange.request
        try:
            return plane.catalog.resolve(request.model, request.caller.key)
        except errors.ModelNotFoundError as error:
            if plane.may_learn(began):
                return NOWHERE
            raise plane.directory.unknown(error) from error

    def elect(self, way: "Way") -> "Way":
        """Find where the request may go: leave out backends that lack its API, or whose context it surely exceeds.

        What differs each time is taken out of its body. Raises ApiMissingError if no backend has the API.
        """
        request, contexts = self._exchange.request, self._plane.directory.contexts
        if request.elective:
            if request.head.translatable:
                self.body = tidy(request, self.body, way.route)
            way = self._plane.directory.able(way, request.head.path, request.caller.key, request.head.hops)
        self.way = way
        if way.chooses and len(self.body) > contexts.enough:
            self._leave_out(contexts.fitting(way, request.head.path, self.body, self._plane.loop.time()))
            return self.way
        return way

    def _leave_out(self, way: "Way") -> None:
        """Go on with a part of the way: the contexts of the others are too short."""
        before, self.way = self.way, way
        stays = {each.backend for tier in way.tiers for each in tier}
        if before is not None and before is not way:
            gone = {each.backend for tier in before.tiers for each in tier} - stays
            self.too_short = (*self.too_short, *gone)

    def resume(self, way: "Way") -> None:
        """Go on after a time in the queue, with what the request's name means now."""
        self.way = narrowed(way, lambda each: each.backend not in self.too_short) if self.too_short else way

    def unload(self, way: "Way") -> "Told | None":
        """Unload the model if that is all that is asked for, and give the answer; None: it isn't.

        Raises BadRequestError.
        """
        request = self._exchange.request
        told = None if request.stay is None else unloading(request, self.body, way, self._plane)
        if told is not None:
            self.tried = (way.tiers[0][0],)
        return told

    def written(self, attempt: Attempt, pool: "Pool") -> bytes:
        """The request as the attempt's backend is to have it. Raises RouterError if its engine can't be told it."""
        request = self._exchange.request
        attempt.texts = request.texts
        route = DIRECT if self.way is None else self.way.route
        if request.elective:
            if request.head.boundary:
                return written_form(attempt, request, self.body, pool)
            if request.head.translatable:
                return spoken(attempt, self, request, self.body, route, pool, self._plane)
        asks = attempt.backend.apis.asks_usage and asks_usage(
            attempt, self._exchange, self.body, self._plane, lambda: self.again(attempt, pool)
        )
        return written(request, self.body, attempt.candidate, route.reshape, pool, asks=asks)

    def forget_body(self) -> None:
        """Free the body: there is no other attempt any more."""
        self.body = b""
        texts = self._exchange.request.texts
        if texts is not None:
            texts.forget()

    def waited(self, now: float) -> float:
        """Tell for how many seconds the request has waited before it is sent."""
        return now - self._exchange.began

    def again(self, attempt: Attempt, pool: "Pool", body: bytes | None = None) -> None:
        """Make the same attempt again: its backend has to have the request translated, or with another body."""
        if body is not None:
            self.body = body
        try:
            self.send(attempt, pool)
        except Exception as error:  # noqa: BLE001  (whatever it is, the client gets an answer)
            attempt.on_mistake(error)

    def end(self, outcome: str) -> None:
        """Let go of everything: the engine is free in the same turn of the loop. `outcome` is how the attempt ended."""
        if self.hedge is not None:
            self.end_hedge(outcome)
        attempt, self.current = self.current, None
        if attempt is not None:
            self._release(attempt, outcome)

    def close(self, outcome: str) -> None:
        """End for good. What refers to each other would be let go of by the garbage collector alone."""
        self.end(outcome)
        del self._exchange

    def _release(self, attempt: Attempt, outcome: str) -> None:
        """End an attempt, and have its room offered to others."""
        plane, exchange = self._plane, self._exchange
        if attempt.paused:
            # Its answer may have begun long ago, but nothing was read.
            plane.excused(attempt.backend, attempt.sent)
        now = plane.loop.time()
        ended = try_of(attempt, exchange, now, outcome)
        self.tries = (*self.tries, ended) if self.tries else (ended,)
        plane.ended(attempt.backend, exchange.ask, attempt.sent, now)
        attempt.end()

    def so_far(self) -> tuple[Try, ...]:
        """Give all attempts so far, those under way last."""
        under_way = [each for each in (self.current, self.second_attempt) if each is not None]
        return (*self.tries, *[try_of(each, self._exchange, NEVER, "") for each in under_way])

    # Another attempt

    def retry(self, failure: Failure, detail: str) -> bool:
        """Make another attempt, if one is allowed; a second one that is under way takes its place."""
        plane, exchange, way = self._plane, self._exchange, self.way
        why = f"{failure.value} ({detail})"
        if self.second_attempt is not None:
            self.take_over(why)
            return True
        assert way is not None  # noqa: S101  (an attempt was made of it)
        now, retries = plane.loop.time(), plane.limits.retries
        candidate = retry.after(failure, way, self.tried, retries, exchange.ask, plane.dispatcher, now)
        if candidate is None:
            return self._wait(failure, why, way, now)
        if not retry.is_free(failure, self.tried[-1].backend) and not plane.ledger.budget.withdraw(now):
            return False
        stale = failure is Failure.STALE
        if not stale:
            self._warn("trying again", why)
        decision = self.current.why if stale and self.current is not None else plane.dispatcher.decision
        self._go_on(candidate, decision, why, fresh=stale)
        return True

    def _wait(self, failure: Failure, why: str, way: "Way", now: float) -> bool:
        """Wait for an engine that is about to be there, or for another model to be loaded; tell if there is one."""
        plane, exchange, retries = self._plane, self._exchange, self._plane.limits.retries
        queued = exchange.queued
        age = now - exchange.began - (0.0 if queued is None else queued.uncounted)
        unfit: tuple[Backend, ...] = ()
        if failure in retry.UNREACHED:
            plane.revive(way, self.tried[-1].backend)
        if not retry.may_wait(failure, way, self.tried, retries, age, plane.dispatcher):
            unfit = retry.unfit(failure, way, self.tried, retries, plane.ledger.held) if way.loads else ()
            if not unfit:
                return False
            if not retry.is_free(failure, self.tried[-1].backend) and not plane.ledger.budget.withdraw(now):
                return False
        self._warn("waits for an engine", why)
        self.end(why)
        exchange.wait_again(way, unfit)
        return True

    def leave(self, now: float, why: str) -> None:
        """Go to another backend that has room: this one is silent, or `why`, and nothing of the answer has come."""
        plane, tried, way = self._plane, self.tried, self.way
        if way is None or self.second_attempt is not None or len(tried) > plane.limits.retries:
            return
        long = stall.SILENT * plane.limits.stall_after
        silent = tuple(each for tier in way.tiers for each in tier if each.backend.progress.silence(now) >= long)
        candidate = retry.second(way, (*silent, *tried), self._exchange.ask, plane.dispatcher, now)
        if candidate is None or not (why or plane.ledger.budget.withdraw(now)):
            return
        decision = plane.dispatcher.decision
        self._warn("goes elsewhere", why or "it is silent")
        self._go_on(candidate, decision, why or "it was silent")

    def _go_on(self, candidate: "Candidate", decision: "Decision | None", why: str, *, fresh: bool = False) -> None:
        """Make another attempt in the place of the one under way, which ends because of `why`."""
        loading = self._plane.loading
        if loading is not None:
            loading.hold()
        self.end(why)
        try:
            self.make(candidate, decision, fresh=fresh)
        except Exception as error:  # noqa: BLE001  (whatever it is, the client gets an answer)
            self._exchange.go_wrong(error)
        finally:
            if loading is not None:
                loading.let_go()

    def _warn(self, event: str, why: str) -> None:
        log.warning(event, request_id=self._exchange.request.id, backend=self.tried[-1].backend.name, why=why)

    def has_rival(self, *, full: bool) -> bool:
        """Whether another backend may show whose fault an error is; with `full`, even one that has no room."""
        plane, ask, way = self._plane, self._exchange.ask, self.way
        if way is None:
            return False
        return retry.rival(way, self.tried, ask, plane.dispatcher, plane.loop.time(), full=full) is not None

    def go_beyond(self, attempt: Attempt, refusal: errors.RouterError) -> bool:
        """Ask a backend with a longer context, and tell whether one is asked; else the refusal tells the longest."""
        plane, way, now = self._plane, self.way, self._plane.loop.time()
        if way is None:
            return False
        contexts, candidate = plane.directory.contexts, attempt.candidate
        contexts.learn(candidate, said_in(refusal.message), now)
        # The engine is right, and works.
        plane.ledger.confirmed(candidate.backend)
        longest = contexts.longest(way, now)
        larger = contexts.beyond(way, candidate, now)
        if larger.tiers:
            self._leave_out(larger)
            if self.retry(Failure.TOO_LONG, f"{contexts.of(candidate, now) or 'unknown'} tokens"):
                return True
        tell_longest(refusal, self._exchange.request.model, longest)
        return False

    def blame(self, failure: Failure, attempt: Attempt) -> None:
        """Note that an attempt failed."""
        plane, backend = self._plane, attempt.backend
        if failure in NOT_ITS_FAULT:
            plane.excused(backend, attempt.sent)
        elif backend not in self._blamed or failure is Failure.REFUSED:  # which no request can bring about
            self._blamed += (backend,)
            plane.failed(backend, failure.value, attempt.sent, refused=failure is Failure.REFUSED)
        if failure is Failure.REFUSED and backend.supervised:
            plane.vanished(backend, attempt.sent)

    # What attempts show of their backends

    def note_beginning(self, attempt: Attempt, now: float) -> None:
        """Note that an answer has begun; an error says nothing of its backend."""
        if attempt.status:
            return
        plane, backend, exchange = self._plane, attempt.backend, self._exchange
        if backend.health is not WELL:
            plane.begun(backend)
        if exchange.answer.passed.streams:
            plane.ledger.first_token(backend, attempt.sent, now)
        if plane.hedges:
            request, queued = exchange.request, exchange.queued
            seconds = now - exchange.began - (0.0 if queued is None else queued.waited)
            plane.patience.note(request.model, seconds, stream=request.stream)

    def note_first_content(self, attempt: Attempt, now: float) -> None:
        """Note how long the first content took, which no ping is."""
        self._plane.ledger.read_prompt(
            attempt.backend, self._exchange.ask.size, now - self._exchange.owed_since(attempt)
        )

    def note_work(self, attempt: Attempt, now: float) -> None:
        """Note that a backend works on a request."""
        attempt.worked_at = now
        self._plane.worked(attempt.backend, now)

    # A second attempt beside the first (hedge.HedgeOwner)

    def _watch(self) -> None:
        """Have a second backend asked if the first one is silent for long."""
        request = self._exchange.request
        after = self._plane.patience.seconds(request.model, stream=request.stream)
        if after < inf:
            self.hedge = Hedge(self._exchange, self, self._plane, after)

    def second(self, now: float) -> "Candidate | None":
        """Choose a second backend; None while nobody listens to the first one."""
        if self.way is None or self._exchange.paused or self._exchange.uploads:
            return None
        return retry.second(self.way, self.tried, self._exchange.ask, self._plane.dispatcher, now)

    def take_over(self, why: str = SLOWER) -> None:
        """Go on with the second attempt, and end the first, because of `why`."""
        hedge, self.hedge = self.hedge, None
        attempt = None if hedge is None else hedge.stop()
        assert attempt is not None  # noqa: S101  (it has been sent)
        self.end(why)
        attempt.hand_over(self._exchange)
        self.current, self.raced = attempt, "won"
        self.tried = (*self.tried, attempt.candidate)
        if self._exchange.paused:
            attempt.pause()
        self._pass_on_held(attempt)

    def go_alone(self, why: str = SLOWER) -> None:
        """End the second attempt, or have none, and pass on what was held back because of it."""
        self.end_hedge(why)
        if self.current is not None:
            self._pass_on_held(self.current)

    def _pass_on_held(self, attempt: Attempt) -> None:
        held, attempt.held = attempt.held, b""
        if held:
            self._exchange.on_body(attempt, held)

    def lose_at(self, backend: "Backend") -> None:
        """End the second attempt if it is at this backend, which is out."""
        second = self.second_attempt
        if second is not None and second.backend is backend:
            self.go_alone("its backend is out")

    def end_hedge(self, why: str = SLOWER) -> None:
        """End the second attempt, because of `why`, or have none."""
        hedge, self.hedge = self.hedge, None
        lost = None if hedge is None else hedge.stop()
        if lost is not None:
            self._release(lost, why)
            self.tried, self.raced = (*self.tried[:-1], lost.candidate, self.tried[-1]), "lost"
