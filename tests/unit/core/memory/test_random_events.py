"""Random events in random order, as a router with bad luck tells them: what must stay true is checked after each."""

from collections.abc import Callable, Hashable, Sequence
from math import inf
from random import Random

import pytest

from router.core.memory.actions import Action, Cancel, Drain, Load, Offer, Refuse, Resume, Unload
from router.core.memory.devices import Device
from router.core.memory.footprints import Placement
from router.core.memory.order import ByKey
from router.core.memory.residency import Residency
from router.core.memory.resident import Loadable, Policy
from router.core.memory.states import State
from tests.fakes.memory_scene import G

LIMIT = 20 * G


def loadable(name: str, random: Random, *, pinned: bool) -> Loadable:
    """Make a backend that fits alone, with a footprint that was estimated."""
    size = random.randint(2, 14) * G
    return Loadable(
        name,
        (Placement(name, {"gpu0": size}),),
        slots=random.randint(1, 3),
        pinned=pinned,
        unload_after=random.choice([15.0, 1e9]),
        start_timeout=60.0,
        load_seconds=random.uniform(1.0, 20.0),
    )


class Caller:
    """What the router tells and does. `processes` are engines: loading, up, or ending. Names count up."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311
        self.is_measured = seed % 2 == 0
        self.residency = Residency(
            [Device("gpu0", LIMIT, 24 * G if self.is_measured else None)],
            Policy(max_wait=self.random.choice([10.0, 120.0])),
            order=ByKey() if seed % 3 == 0 else None,
        )
        self.names = [f"m{number}" for number in range(self.random.randint(2, 6))]
        for name in self.names:
            self.residency.add(loadable(name, self.random, pinned=self.random.random() < 0.15), 0.0)
        self.now = 0.0
        self.count = 0
        self.waiting: dict[Hashable, str] = {}
        self.attempts: dict[Hashable, str] = {}
        self.processes: dict[str, str] = {}
        self.drains: set[str] = set()
        self.served: set[Hashable] = set()
        self.eagerness = self.random.choice([0.3, 0.9])
        """How often it sends what it is offered at once."""

    # What it is told to do

    def do(self, actions: Sequence[Action]) -> None:
        """Do it, in order."""
        offers = [each.backend for each in actions if isinstance(each, Offer)]
        assert len(offers) == len(set(offers)), "offered twice in one call"
        for action in actions:
            self._do(action)

    def _do(self, action: Action) -> None:
        if isinstance(action, Load):
            assert action.backend not in self.processes, "loaded twice"
            self.processes[action.backend] = "loading"
        elif isinstance(action, Unload):
            assert action.backend not in self.attempts.values(), "a running answer was cut"
            self._end_process(action.backend)
        elif isinstance(action, Cancel):
            self._lose(action.backend)
            self._end_process(action.backend)
        elif isinstance(action, Refuse):
            del self.waiting[action.request]
        elif isinstance(action, Drain):
            assert action.backend not in self.drains
            self.drains.add(action.backend)
        elif isinstance(action, Resume):
            self.drains.remove(action.backend)
        elif isinstance(action, Offer) and self.random.random() < self.eagerness:
            self.pull(action.backend)

    def _end_process(self, name: str) -> None:
        assert self.processes[name] != "ending", "told to end twice"
        self.processes[name] = "ending"
        self.drains.discard(name)

    def _lose(self, name: str) -> None:
        self.attempts = {each: backend for each, backend in self.attempts.items() if backend != name}

    def pull(self, name: str) -> None:
        """Send those who wait there, whoever goes first in a queue that knows no leases."""
        while self.residency.may_go(name):
            there = [each for each, backend in self.waiting.items() if backend == name]
            if not there:
                return
            self.send(self.random.choice(there), name)

    def send(self, waiting: Hashable, name: str) -> None:
        """Begin an attempt; one that an engine can't serve is lost at once."""
        self.count += 1
        request = f"s{self.count}"
        if self.waiting.pop(waiting, None) is not None:
            self.served.add(waiting)
        if self.processes.get(name) in {"loading", "up"}:
            self.attempts[request] = name
        self.do(self.residency.sent(request, name, self.now, waiting=waiting, key=self.random.choice("ab")))

    # What happens

    def happen(self) -> None:
        """Have something happen."""
        events: list[tuple[int, Callable[[], None]]] = [
            (8, self._want),
            (6, self._go),
            (2, self._go_astray),
            (8, self._end),
            (8, self._engine),
            (1, self._crash),
            (3, self._figure),
            (4, self._wait),
            (1, self._person),
            (1, self._configure),
        ]
        weights = [weight for weight, _ in events]
        self.random.choices([event for _, event in events], weights)[0]()
        self.check()

    def _want(self) -> None:
        self.count += 1
        name = self.random.choice(self.names)
        request = f"w{self.count}"
        self.waiting[request] = name
        keep = self.random.choice([None, None, 0.0, 20.0])
        self.do(self.residency.wanted(request, name, self.now, key=self.random.choice("ab"), keep_alive=keep))

    def _go(self) -> None:
        name = self.random.choice(self.names)
        if self.residency.may_go(name):
            candidates: list[Hashable] = [None, "never registered", *self.waiting]
            self.send(self.random.choice(candidates), name)

    def _go_astray(self) -> None:
        self.send(self.random.choice([None, *self.waiting]), self.random.choice([*self.names, "a URL"]))

    def _end(self) -> None:
        if self.attempts and self.random.random() < 0.8:
            request = self.random.choice(list(self.attempts))
            del self.attempts[request]
        elif self.waiting:
            request = self.random.choice(list(self.waiting))
            del self.waiting[request]
        else:
            request = "unknown"
        self.do(self.residency.ended(request, self.now))

    def _engine(self) -> None:
        if not self.processes:
            return
        name = self.random.choice(list(self.processes))
        state = self.processes[name]
        if state == "ending":
            self.exit(name)
        elif state == "loading" and self.random.random() < 0.2:
            self.do(self.residency.progress(name, self.now, self.random.random()))
        elif state == "loading" and self.random.random() < 0.2:
            self.do(self.residency.failed(name, "broken", self.now, oom=self.random.choice([None, "", "gpu0"])))
        elif state == "loading":
            self.load(name)

    def load(self, name: str) -> None:
        """Finish a load; what it takes is not quite what was believed."""
        self.processes[name] = "up"
        takes = int(self.residency.reservations.held(name)["gpu0"] * self.random.uniform(0.8, 0.95))
        grows = int(takes * self.random.uniform(0.0, 0.05))
        self.do(self.residency.loaded(name, self.now, {"gpu0": takes}, {"gpu0": grows}))

    def exit(self, name: str) -> None:
        """Have a process be gone, one that was asked to end after a last measurement."""
        if self.processes[name] == "ending" and self.random.random() < 0.5:
            takes = int(self.residency.reservations.held(name)["gpu0"] * self.random.uniform(0.7, 1.0))
            self.do(self.residency.used(name, {"gpu0": takes}, self.now))
        del self.processes[name]
        self.drains.discard(name)
        self._lose(name)
        self.do(self.residency.exited(name, self.now))

    def _crash(self) -> None:
        up = [name for name, state in self.processes.items() if state != "ending"]
        if up:
            self.exit(self.random.choice(up))

    def _figure(self) -> None:
        held = sum(self.residency.reservations.held(name)["gpu0"] for name in self.processes)
        self.do(self.residency.figures("gpu0", 24 * G - int(held * self.random.uniform(0.5, 1.0)), self.now))

    def _wait(self) -> None:
        self.now += self.random.expovariate(0.2)
        self.do(self.residency.tick(self.now))

    def _person(self) -> None:
        name = self.random.choice(self.names)
        if self.random.random() < 0.5:
            self.do(self.residency.load(name, self.now, evict=self.random.random() < 0.5))
        else:
            self.do(self.residency.unload(name, self.now))

    def _configure(self) -> None:
        name = self.random.choice(self.names)
        state = self.residency.residents()[name].state
        if state in {State.UNLOADED, State.QUEUED, State.FAILED}:
            self.do(self.residency.remove(name, self.now))
            self.residency.add(loadable(name, self.random, pinned=False), self.now)
        else:
            pinned = self.random.random() < 0.2
            self.do(self.residency.change(loadable(name, self.random, pinned=pinned), self.now))

    # What must stay true

    def check(self) -> None:
        """Compare what both sides know, and the memory."""
        residents = self.residency.residents()
        reservations = self.residency.reservations
        assert reservations.reserved("gpu0") <= LIMIT
        assert {each for one in residents.values() for each in one.waiting} == self.waiting.keys()
        assert {each for one in residents.values() for each in one.in_flight} == self.attempts.keys()
        assert {name for name, each in residents.items() if each.state is State.DRAINING} == self.drains
        for name, each in residents.items():
            assert each.holds_memory == (name in reservations.holdings)
            assert each.holds_memory or name not in self.processes, "a process without a reservation"
            assert each.leases.items() <= each.waiting.items()
            assert not (each.leases and not (each.serves or each.state is State.LOADING))
            assert not (each.state is State.QUEUED and each.is_unused and not each.wish.load)
            assert self.residency.may_go(name) <= each.serves
        if self.waiting:
            assert self.residency.wake(self.now) < inf or self.processes, "nothing will happen, though some wait"

    # How it ends

    def settle(self) -> None:
        """Have nothing fail any more and memory come free, until nobody waits. What goes from now on was offered."""
        self.eagerness = 1.0
        for name in self.names:
            self.do(self.residency.change(loadable(name, self.random, pinned=False), self.now))
            self.pull(name)
        for _ in range(1000):
            if not self.waiting and not self.attempts:
                return
            self._go_on()
            self.check()
        raise AssertionError(f"some still wait: {self.waiting}, {list(self.residency.residents().values())}")

    def _go_on(self) -> None:
        for request in list(self.attempts):
            if self.attempts.pop(request, None) is not None:
                self.do(self.residency.ended(request, self.now))
        for name, state in list(self.processes.items()):
            if state == "loading":
                self.load(name)
            elif state == "ending":
                self.exit(name)
        used = sum(self.residency.reservations.held(name)["gpu0"] for name in self.processes)
        self.do(self.residency.figures("gpu0", 24 * G - used, self.now))
        self.now = max(self.now, min(self.now + 10.0, self.residency.wake(self.now)))
        self.do(self.residency.tick(self.now))

    def want_all(self) -> list[Hashable]:
        """Have a request want each backend."""
        requests: list[Hashable] = [f"last {name}" for name in self.names]
        self.waiting.update(zip(requests, self.names, strict=True))
        for request, name in list(self.waiting.items()):
            self.do(self.residency.wanted(request, name, self.now))
        return requests


@pytest.mark.parametrize("seed", range(60))
def test_no_order_of_events_breaks_anything_or_forgets_anybody(seed):
    """No answer is cut, no memory promised twice, no request lost; at the end all that wait are offered and go."""
    caller = Caller(seed)
    for _ in range(400):
        caller.happen()
    caller.settle()
    caller.now += 1000.0  # what failed has rested
    last = caller.want_all()
    caller.settle()
    assert caller.served.issuperset(last)
