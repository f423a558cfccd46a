"""Where a request goes: which of its candidates have room, and which of these the policy picks. Pure.

  1. The request goes to the first tier that has a usable backend with room; there, to the one that the policy picks.
  2. If all candidates are full, it waits (`router.core.admission`) and goes to the first one that has room.
  3. If all candidates look bad, the least bad is tried rather than none: it might work.

A backend has room up to its cap; on trial, up to the few requests of a trial (`router.core.health`). One that drains,
because other models need its memory, has room for those alone that hold a lease on it, and these wait. One that isn't
loaded yet is waited for: it is surer than backends that look bad. A peer's that has yet to be loaded there takes
requests, which wait at the peer; where they would be sent sooner elsewhere, by all that is known, they wait here.
"""

from collections.abc import Callable, Collection, Container, Sequence
from math import inf
from typing import Generic, TypeVar

from router.core.admission import Admission, Bounds
from router.core.balance import Draw, Policy, policy_of
from router.core.catalog import Backend, Candidate, Tier, Way
from router.core.decision import (
    HELD,
    JUST_REFUSED,
    MAKES_ROOM,
    MOST_KEPT,
    NO_ROOM,
    TRIED,
    Decision,
    Other,
    why_not,
)
from router.core.estimate.ask import Ask
from router.core.health import Health, least_bad
from router.core.ledger import Ledger
from router.core.turns import Ticket

T = TypeVar("T")


class _Any:
    """Contains every model: each ticket knows where it may go."""

    def __contains__(self, _: object) -> bool:
        return True


_ANY_MODEL = _Any()


class Dispatcher(Generic[T]):
    """Chooses backends, and queues requests that none has room for. `T` is what the caller keeps for each of these."""

    def __init__(self, ledger: Ledger, draw: Draw) -> None:
        self.admission: Admission[T] = Admission(Bounds())
        self.affinity = True
        self.ledger = ledger
        # What was compared by the latest choice that found a backend; None: there was one candidate alone.
        self.decision: Decision | None = None
        self._draw = draw
        self._policy = ""
        self._policies: dict[str, Policy] = {}
        # Whether a backend that loads and unloads by itself may be sent one more request now (`Residency.may_go`).
        self.may_go: Callable[[Backend], bool] = _always
        # In how many seconds it would be; infinity: never.
        self.loads_in: Callable[[Backend], float] = _never

    def set_up(self, policy: str, bounds: Bounds, *, affinity: bool) -> None:
        """Replace the settings for the next requests. `policy` is for routes that name none."""
        self._policy = policy
        self.admission.bounds = bounds
        self.affinity = affinity

    def policy(self, way: Way) -> Policy:
        """Give the policy for requests that go this way."""
        name = way.route.policy or self._policy
        policy = self._policies.get(name)
        if policy is None:
            policy = self._policies[name] = policy_of(name, self.ledger.prefixes)
        return policy

    def choose(
        self, way: Way, tried: Sequence[Candidate], ask: Ask, now: float, *, full: bool = False
    ) -> Candidate | None:
        """Choose a candidate that wasn't tried yet; None if none has room. `full`: room doesn't matter.

        `decision` says what was compared.
        """
        self.decision = None
        tiers = way.tiers
        for tier in tiers:
            able = [each for each in tier if each.backend.health.usable and each not in tried]
            if self.ledger.draining:
                able = [each for each in able if each.backend not in self.ledger.draining]
            if self.ledger.aside.any:
                able = self._not_aside(able, ask, now)
            if able and not full:
                able = self._with_room(able, ask, now)
                if self.ledger.unloaded:
                    able = self._worth_loading(able, way, now)
            if able:
                are_all = len(able) == len(tier) and tier is tiers[0]
                return self._pick(way, able, tried, ask, now, are_all=are_all)
        everybody = [each for tier in tiers for each in tier if each.backend not in self.ledger.held]
        if any(each.backend.health.usable for each in everybody) or (way.loads and _loads(everybody)):
            return None
        able = least_bad((each for each in everybody if each not in tried), _health_of)
        if not full:
            able = self._with_room(able, ask, now)
        if not able:
            return None
        return self._pick(way, able, tried, ask, now, are_all=len(able) == sum(map(len, tiers)))

    def _pick(
        self, way: Way, able: list[Candidate], tried: Sequence[Candidate], ask: Ask, now: float, *, are_all: bool
    ) -> Candidate:
        """Pick one of those that are able, and note what was compared. `are_all`: no other candidate went before."""
        policy = self.policy(way)
        taken = policy.pick(able, ask, now, self._draw)
        if len(able) > 1:
            self.decision = policy.decision
        elif not are_all:
            self.decision = Decision(policy.name, able)
        if not are_all and self.decision is not None:
            self._note_others(self.decision, way.tiers, able, tried, ask, now)
        return taken

    def _note_others(
        self,
        decision: Decision,
        tiers: Sequence[Tier],
        able: Sequence[Candidate],
        tried: Sequence[Candidate],
        ask: Ask,
        now: float,
    ) -> None:
        """Note the candidates that went before these or stand beside them, and why none of them is one of these.

        `able` has the order that they have in the tiers.
        """
        others: list[Other] = []
        left, place = decision.left_out, 0
        for number, tier in enumerate(tiers):
            if place == len(able):
                break
            for each in tier:
                if place < len(able) and each is able[place]:
                    decision.tier = number
                    place += 1
                elif len(others) < MOST_KEPT:
                    others.append(Other(number, each, self._why_not(each, tried, ask, now)))
                else:
                    left += 1
        decision.others, decision.left_out = others, left

    def _why_not(self, candidate: Candidate, tried: Sequence[Candidate], ask: Ask, now: float) -> Health | str:
        """Say why a candidate can't take a request now: its health if that is why, else in words."""
        backend, ledger = candidate.backend, self.ledger
        if backend in ledger.draining:
            return f"{HELD} by {ledger.held[backend]}" if backend in ledger.held else MAKES_ROOM
        if not backend.health.usable:
            return backend.health
        if candidate in tried:
            return TRIED
        refused = ledger.aside.has(candidate, ask, now) and self._with_room((candidate,), ask, now)
        return JUST_REFUSED if refused else NO_ROOM

    def _not_aside(self, able: list[Candidate], ask: Ask, now: float) -> list[Candidate]:
        """Leave out candidates that just refused such requests, unless that leaves none."""
        aside = self.ledger.aside
        return [each for each in able if not aside.has(each, ask, now)] or able

    def _with_room(self, able: Sequence[Candidate], ask: Ask, now: float) -> list[Candidate]:
        admission, ledger = self.admission, self.ledger
        free = [
            each
            for each in able
            if ledger.room(each.backend, now) >= ask.size and not admission.keeps(each.backend.name)
        ]
        # While nobody waits, nobody waits for memory either.
        if len(admission):
            return [each for each in free if not each.backend.loadable or self.may_go(each.backend)]
        return free

    def _worth_loading(self, able: list[Candidate], way: Way, now: float) -> list[Candidate]:
        """Leave out all, if each has yet to load its model at its peer, and the request is sent sooner if it waits."""
        if any(each.backend not in self.ledger.unloaded for each in able):
            return able
        return [each for each in able if self._is_worth(each.backend, way, now)]

    def _is_worth(self, backend: Backend, way: Way, now: float) -> bool:
        """Tell whether a request would wait longer for room elsewhere, or for a load here, than for a peer's load."""
        load, stands = backend.estimate.queue(now), inf
        for tier in way.tiers:
            for each, _ in tier:
                if self.serves(each):
                    if each not in self.ledger.unloaded:
                        stands = min(stands, each.estimate.stands(now))
                elif each.loadable and each.health.coming and self.loads_in(each) < load:
                    return False
        ahead = sum([self.admission.waiting(model) for model in backend.models])
        # Where no answer has ended yet, how long the next one takes is known by how long none has.
        return max(stands, self.pace(way) * (ahead + 1)) > load

    def serves(self, backend: Backend) -> bool:
        """Tell whether a backend takes new requests, if it has room."""
        return backend.health.usable and backend not in self.ledger.draining

    def may_wait(self, way: Way, against: Collection[Backend] = ()) -> bool:
        """Tell whether any candidate may come to have room: it is there, or soon will be; not those `against`."""
        backends = (backend for tier in way.tiers for backend, _ in tier)
        return any((each.health.hope or each.health.coming) and each not in against for each in backends)

    def awaits(self, way: Way) -> bool:
        """Tell whether any candidate is not there, but will soon be.

        That includes a launched engine that looks bad: either its process is gone, and its supervisor will soon report
        that, or it works. One that drains comes back in its turn.
        """
        return any(
            backend.health.coming
            or (backend.supervised and not backend.health.usable and not backend.health.absent)
            or backend in self.ledger.draining
            for tier in way.tiers
            for backend, _ in tier
        )

    def pace(self, way: Way) -> float:
        """Estimate the seconds between two completions at all candidates together; 0 if unknown.

        By Little's law, as many attempts as are in flight end within the time that each of them takes.
        """
        ends = 0.0
        for tier in way.tiers:
            for backend, _ in tier:
                takes = backend.estimate.response + backend.estimate.hold
                if takes > 0:
                    ends += backend.in_flight / takes
        return 1 / ends if ends else 0.0

    def candidate_for(self, way: Way, backend: Backend, ask: Ask, now: float) -> Candidate | None:
        """Give the candidate by which a request that waits may go to a backend.

        None: the backend isn't a candidate, or it looks bad or just refused such a request, while others don't. Or it
        has yet to load its model, and it is sooner to wait for others.
        """
        if backend in self.ledger.unloaded and not self._is_worth(backend, way, now):
            return None
        found, others = None, False
        aside = self.ledger.aside
        for tier in way.tiers:
            for each in tier:
                if each.backend is backend:
                    found = each
                elif each.backend.health.usable:
                    if not backend.health.usable:
                        return None
                    others = others or (aside.any and not aside.has(each, ask, now))
        return None if found is not None and others and aside.has(found, ask, now) else found

    def next_for(
        self, backend: Backend, now: float, may: Callable[[Ticket[T]], bool], *, everybody: bool = True
    ) -> Ticket[T] | None:
        """Take the next ticket that may now be sent to this backend; None if none can go there.

        Without `everybody`, only the queues of its own models are looked at, and those whose tickets may go to others:
        there may be hundreds for models that aren't loaded. What a name means may have changed since a ticket was made,
        so `everybody` is to be asked after a reload, and now and then.

        A request isn't sent to a backend that looks bad while it may hope for another: `may` has to check that, as
        `candidate_for` does.
        """
        if not backend.health.hope or backend in self.ledger.held or (backend.loadable and not self.may_go(backend)):
            return None
        models: Container[str] = _ANY_MODEL if everybody else backend.models
        return self.admission.take(backend.name, models, self.ledger.room(backend, now), now, may)

    def explain(self, way: Way, ask: Ask, now: float) -> list[dict[str, object]]:
        """Describe each candidate, and why it would be picked or passed over."""
        policy, found = self.policy(way), []
        chosen = False
        for number, tier in enumerate(way.tiers):
            usable = [each for each in tier if each.backend.health.usable and each.backend not in self.ledger.draining]
            able = self._with_room(self._not_aside(usable, ask, now), ask, now)
            figures = policy.explain(able, ask, now) if able else []
            for each in figures:
                told: dict[str, object] = {"tier": number, "policy": policy.name}
                over = each.passed_over or ("an earlier model of the route can take it" if chosen else "")
                found.append(each._asdict() | told | {"passed_over": over})
            chosen = chosen or bool(able)
            for candidate in tier:
                if candidate not in able:
                    why = why_not(candidate, self._why_not(candidate, (), ask, now))
                    name = candidate.backend.name
                    found.append({"backend": name, "tier": number, "policy": policy.name, "passed_over": why})
        return found


def _always(_: Backend) -> bool:
    return True


def _never(_: Backend) -> float:
    return inf


def _loads(candidates: Sequence[Candidate]) -> bool:
    """Tell whether any candidate can be loaded, or is loading."""
    return any(backend.loadable and backend.health.coming for backend, _ in candidates)


def _health_of(candidate: Candidate) -> Health:
    return candidate.backend.health
