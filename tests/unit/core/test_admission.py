from collections import Counter
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.core.admission import CLASSES, Admission, Bounds, Cap
from router.core.errors import QueueFullError, QueueTimeoutError, body
from router.core.turns import Ticket

MODEL = "demo"
BACKEND = "gpu-box"


def queue(line: str = "", max_queue: int = 512, **bounds) -> Admission[str]:
    """Make an admission to one model, for which some wait already, as `joined` has it."""
    admission: Admission[str] = Admission(Bounds(max_queue, **bounds))
    joined(admission, line)
    return admission


def joined(admission: Admission[str], line: str) -> None:
    """Let some wait, as `a1 b1 a2:5`: key a's first, key b's, a's second of priority 5."""
    for each in line.split():
        name, _, priority = each.partition(":")
        join(admission, name, key=name[0], priority=int(priority or 0))


def join(
    admission: Admission[str], name: str, key: str = "", priority: int = 0, size: int = 1, now: float = 0.0
) -> Ticket[str]:
    """Let one wait."""
    return admission.enter(MODEL, name, key, priority, size, now)[0]


def anybody(_: Ticket[Any]) -> bool:
    """Let all go anywhere."""
    return True


def go(admission: Admission[str], now: float = 0.0, room: float = inf, backend: str = BACKEND) -> str | None:
    """Take the next that fits into so many bytes."""
    ticket = admission.take(backend, {MODEL}, room, now, anybody)
    return None if ticket is None else ticket.payload


def all_go(admission: Admission[str]) -> str:
    """Take all, one by one."""
    return " ".join(str(go(admission)) for _ in range(len(admission)))


def check(admission: Admission[Any]) -> None:
    """See that every container holds what waits, and no more."""
    waiting = [*admission._waiting, *admission._untimed]
    assert [ticket.since for ticket in admission._waiting] == sorted(ticket.since for ticket in admission._waiting)
    assert all((ticket.since == inf) is (ticket in admission._untimed) for ticket in waiting)
    assert admission.size == sum(ticket.size for ticket in waiting)
    assert {ticket.kept_at: ticket for ticket in waiting if ticket.kept_at} == admission._kept
    held: list[Ticket[Any]] = []
    for model, each in admission._queues.items():
        assert each.waiting == admission.waiting(model) > 0
        assert each.wide == sum(ticket.wide for ticket in waiting if ticket.model == model)
        assert len(each._departures) <= 33
        for priority, level in each.classes.items():
            assert level.lines
            assert level._dues == sorted(line.due for line in level.lines.values())
            for key, line in level.lines.items():
                assert line.tickets
                assert {(t.model, t.priority, t.key) for t in line.tickets} == {(model, priority, key)}
                held += line.tickets
        assert sorted(map(id, admission.order(model))) == sorted(id(t) for t in waiting if t.model == model)
    assert sorted(map(id, held)) == sorted(map(id, waiting))


# Room


@pytest.mark.parametrize(
    ("cap", "in_flight", "size", "room"),
    [
        (Cap(), 10**6, 10**12, inf),
        (Cap(requests=2), 1, 0, inf),
        (Cap(requests=2), 2, 0, -1),
        (Cap(requests=2), 3, 0, -1),  # it was more, until just now
        (Cap(size=100), 1, 60, 40),
        (Cap(size=100), 1, 101, -1),  # one larger than the cap is alone there
        (Cap(size=100), 0, 0, inf),  # alone, any may go: else it would never
        (Cap(requests=0), 0, 0, -1),
    ],
)
def test_cap(cap, in_flight, size, room):
    """So many requests, and so many bytes of theirs, but one of any size where nothing is in flight."""
    assert cap.room(in_flight, size) == room


def test_without_room_nobody_goes():
    """Not even the smallest, and nobody takes offence."""
    admission = queue()
    join(admission, "empty", size=0)
    assert [go(admission, room=-1) for _ in range(20)] == [None] * 20
    assert not admission.keeps(BACKEND)
    assert go(admission, room=0) == "empty"


# Who goes (whose turn it is: test_turns.py)


def test_order_is_by_class_and_key():
    """What is told of the order is how they go."""
    admission = queue("a1 a2 b1 c1:-1 h1 h2", weights={"h": 2}, ageing=99)
    assert [ticket.payload for ticket in admission.order(MODEL)] == ["c1", "h1", "a1", "b1", "h2", "a2"]
    assert all_go(admission) == "c1 h1 a1 b1 h2 a2"
    assert admission.order(MODEL) == []


def test_priorities_beyond_ten_are_one_class():
    """So there are few classes, whatever clients say."""
    assert all_go(queue("a1:99 a2:10 b1:-99 b2:-10 c1:9")) == "b1 b2 c1 a1 a2"


def test_no_weight_starves_a_key():
    """The least that a weight can be is a hundredth."""
    admission = queue("a1 b1", weights={"a": 0})
    order = []
    for number in range(2, 200):
        order.append(go(admission))
        joined(admission, f"b{number}")
    assert order.index("a1") == 99


def test_models_have_queues_of_their_own():
    """What waits for one doesn't fill another's queue; at a backend that serves several, they take turns."""
    admission: Admission[str] = Admission(Bounds(max_queue=2))
    for number, model in enumerate("xxyyz"):
        admission.enter(model, f"{model}{number}", "", 0, 1, 0.0)
    assert admission.models() == ("x", "y", "z")
    assert [admission.waiting(model) for model in ("x", "y", "z", "none")] == [2, 2, 1, 0]
    took = [admission.take(BACKEND, models, inf, 0.0, anybody) for models in ("xy", "xy", "z", "z", "xy")]
    assert [None if ticket is None else ticket.payload for ticket in took] == ["x0", "y2", "z4", None, "x1"]
    assert admission.is_empty("x")
    assert not admission.is_empty("y")
    assert len(admission) == 1


def test_who_may_not_go_there_is_passed():
    """A request that was tried there already waits for another backend, and holds up nobody."""
    admission = queue("a1 a2 b1")
    took = [admission.take(BACKEND, {MODEL}, inf, 0.0, lambda ticket: ticket.payload != "a1") for _ in range(3)]
    assert [None if ticket is None else ticket.payload for ticket in took] == ["b1", "a2", None]
    assert not admission.keeps(BACKEND)
    assert go(admission) == "a1"


# What doesn't fit


def test_of_another_models_queue_only_those_go_whose_route_leads_elsewhere():
    """However many are before them that wait for that model alone."""
    admission = queue()
    for number in range(100):
        join(admission, f"direct {number}")
    assert not admission.is_wide(MODEL)
    assert admission.take(BACKEND, {"another"}, inf, 0.0, anybody) is None
    admission.enter(MODEL, "by a route", "", 0, 1, 0.0, wide=True)
    assert admission.is_wide(MODEL)
    check(admission)
    assert admission.take(BACKEND, {"another"}, 0, 0.0, anybody) is None
    ticket = admission.take(BACKEND, {"another"}, inf, 0.0, anybody)
    assert ticket is not None
    assert ticket.payload == "by a route"
    assert not admission.is_wide(MODEL)
    assert not admission.is_wide("another")
    check(admission)


@pytest.mark.parametrize("key", ["a", "b"])  # of the others: the same as the huge one's, or another
def test_small_ones_pass_a_huge_one_but_not_for_ever(key):
    """After eight offers of too little room, the backend that made the last is kept for it."""
    admission = queue()
    huge = join(admission, "huge", key="a", size=100)
    for number in range(20):
        join(admission, f"small {number}", key=key)
    assert [go(admission, room=10) for _ in range(9)] == [f"small {n}" for n in range(7)] + [None, None]
    assert (admission.keeps(BACKEND), huge.kept_at) == (True, BACKEND)
    assert [go(admission, room=10, backend="another") for _ in range(9)] == [f"small {n}" for n in range(7, 16)]
    assert not admission.keeps("another")
    assert go(admission, room=100) == "huge"
    assert not admission.keeps(BACKEND)
    assert go(admission, room=10) == "small 16"
    check(admission)


def test_a_backend_is_kept_for_one():
    """Of two that are too large, the one whose turn it is; the other is offered room after that."""
    admission = queue()
    first, second = join(admission, "huge", key="a", size=100), join(admission, "vast", key="b", size=200)
    for _ in range(8):
        assert go(admission, room=10) is None
    assert [first.kept_at, second.kept_at] == [BACKEND, ""]
    for _ in range(8):
        assert go(admission, room=10, backend="another") is None
    assert not admission.keeps("another")  # while the first waits, it's not the second's turn
    assert [go(admission, room=100), go(admission, room=200)] == ["huge", "vast"]


def test_another_backend_may_have_room_first():
    """The one that was kept is free again."""
    admission = queue()
    ticket = join(admission, "huge", size=100)
    for _ in range(8):
        assert go(admission, room=10) is None
    assert admission.keeps(BACKEND)
    assert go(admission, room=100, backend="another") == "huge"
    assert not admission.keeps(BACKEND)
    assert ticket.kept_at == BACKEND  # which may now be offered to others


def test_a_backend_is_kept_from_other_models_too():
    """What is asked of one model doesn't starve what is asked of another at the same backend."""
    admission = queue()
    join(admission, "huge", size=100)
    served = 0
    while not admission.keeps(BACKEND):
        admission.enter("other", "small", "", 0, 1, 0.0)
        served += admission.take(BACKEND, {MODEL, "other"}, 10, 0.0, anybody) is not None
    assert served == 7
    assert go(admission, room=100) == "huge"


def test_a_backend_that_is_down_keeps_nothing():
    """The huge one is kept another."""
    admission = queue()
    huge = join(admission, "huge", size=100)
    for _ in range(8):
        go(admission, room=10)
    admission.forget(BACKEND)
    admission.forget("none")
    assert huge.kept_at == ""
    assert not admission.keeps(BACKEND)
    assert go(admission, room=10, backend="another") is None
    assert admission.keeps("another")
    check(admission)


def test_a_huge_one_of_a_later_class_is_offered_room_in_its_turn():
    """The others' turns are none of its business."""
    admission = queue(ageing=2)
    join(admission, "huge", priority=1, size=100)
    for number in range(99):
        join(admission, str(number))
    went = 0
    while go(admission, room=10) is not None:
        went += 1
    assert went == 15  # seven turns of its, and eight of those before them
    assert go(admission, room=100) == "huge"


def test_few_are_looked_at():
    """Where nobody may go, that costs no look at all that wait."""
    admission = queue(" ".join(f"a{n} b{n}" for n in range(100)))
    asked = []

    def nobody(ticket: Ticket[str]) -> bool:
        asked.append(ticket.payload)
        return False

    assert admission.take(BACKEND, {MODEL}, inf, 0.0, nobody) is None
    assert asked[:4] == ["a0", "b0", "a1", "a2"]
    assert len(asked) == 32


# What is bounded


def test_a_full_queue_says_when_to_come_again():
    """By the speed at which it drains."""
    admission = queue("a1 a2 a3 a4", 4)
    for at in (1.0, 2.0):
        go(admission, at)
        join(admission, "next", key="a", now=at)
    with pytest.raises(QueueFullError) as full:
        join(admission, "one more", key="a", now=4.1)
    assert full.value.retry_after == 9
    assert full.value.status == 429
    assert full.value.message == "Too many requests wait for 'demo'. Try again in 9 s."
    assert b'"rate_limit_error"' in body(full.value, "/v1/messages")


def test_no_queue_at_all():
    """With room for none, none waits."""
    with pytest.raises(QueueFullError) as full:
        join(queue(max_queue=0), "a")
    assert full.value.retry_after == 1


def test_bytes_are_bounded():
    """Of all that wait, for any model; one alone may be larger."""
    admission = queue(max_queue_bytes=100)
    large = join(admission, "large", size=1000)
    with pytest.raises(QueueFullError):
        admission.enter("another model", "", "", 0, 1, 0.0)
    admission.leave(large)
    join(admission, "half", size=50)
    with pytest.raises(QueueFullError):
        join(admission, "more", size=51)
    join(admission, "the other half", size=50)
    check(admission)


def test_a_better_claim_displaces():
    """The one with the weakest claim is told so (who that is: test_turns.py)."""
    admission = queue("h1 a1 h2 a2", 4, weights={"h": 2})
    with pytest.raises(QueueFullError):
        join(admission, "a3", key="a")
    ticket, refused = admission.enter(MODEL, "c1", "c", 0, 1, 0.0)
    assert refused is not None
    assert refused[0].payload == "a2"
    assert isinstance(refused[1], QueueFullError)
    assert ticket in admission._waiting
    assert admission.waiting(MODEL) == 4
    check(admission)


def test_who_would_not_make_enough_room_stays():
    """Nobody is put out for nothing."""
    admission = queue("a1 a2", 3, max_queue_bytes=100)
    with pytest.raises(QueueFullError):
        join(admission, "b1", key="b", size=100)
    assert len(admission) == 2
    join(admission, "b1", key="b", size=98)
    check(admission)


def test_the_last_one_may_be_displaced():
    """The queue begins anew, then."""
    admission = queue("a1:1", 1)
    joined(admission, "b1:0")
    assert all_go(admission) == "b1"


# Who waits no longer


def test_deadlines():
    """Whoever has waited for long enough is let go, the oldest first, and told when to come again."""
    admission = queue(queue_timeout=60)
    for at in (0.0, 10.0, 20.0):
        join(admission, f"at {at:g}", now=at)
    assert admission.expired(59.9) == []
    assert go(admission, 60.0) == "at 0"  # better late than never
    join(admission, "at 60", now=60.0)
    (ticket, error), (other, _) = admission.expired(80.5)
    assert (ticket.payload, other.payload) == ("at 10", "at 20")
    assert isinstance(error, QueueTimeoutError)
    assert (error.status, error.retry_after) == (503, 242)  # three wait, and one has gone in 80.5 s
    assert error.message == "No backend of 'demo' had room within 60 s. Try again in 242 s."
    assert [refused.payload for refused, _ in admission.expired(120.0)] == ["at 60"]
    assert admission.expired(1e9) == []
    check(admission)


def test_a_clock_that_stands_lets_nobody_expire():
    """It begins anew from the whole time, behind those whose clocks ran meanwhile; what it stood is known."""
    admission = queue(queue_timeout=60)
    first, second = join(admission, "first"), join(admission, "second", now=1.0)
    for now in (10.0, 12.0):  # once is enough
        admission.stop_clock(first, now)
    assert (len(admission), first.uncounted(40.0)) == (2, 30.0)
    check(admission)
    assert [ticket for ticket, _ in admission.expired(1000.0)] == [second]
    for now in (1000.0, 1010.0):
        admission.start_clock(first, now)
    check(admission)
    assert first.uncounted(1050.0) == 990.0
    assert admission.expired(1059.0) == []
    ((ticket, error),) = admission.expired(1060.0)
    assert ticket is first
    assert "within 60 s" in error.message
    admission.stop_clock(first, 1070.0)
    admission.start_clock(first, 1070.0)
    assert len(admission) == 0


def test_who_leaves_while_its_clock_stands_leaves_no_trace():
    admission = queue("a1 a2")
    for ticket in admission.order(MODEL):
        admission.stop_clock(ticket, 1.0)
    check(admission)
    assert go(admission) == "a1"
    (ticket,) = admission.order(MODEL)
    admission.leave(ticket)
    admission.leave(ticket)
    assert (admission._queues, admission._untimed, admission.size) == ({}, set(), 0)


def test_leaving_leaves_no_trace():
    """Neither the client that left, nor its key, class, model or backend; and it can't leave twice."""
    admission = queue("a1 a2 b1:1")
    huge = admission.enter("another", "huge", "", 0, 100, 0.0)[0]
    for _ in range(8):
        admission.take(BACKEND, {"another"}, 10, 0.0, anybody)
    assert admission.keeps(BACKEND)
    a1, _, b1, _ = admission._waiting
    for ticket in (a1, a1, huge, huge):
        admission.leave(ticket)
    assert len(admission) == 2
    check(admission)
    assert go(admission) == "a2"
    admission.leave(b1)
    assert (admission._queues, admission._waiting, admission._kept, admission.size) == ({}, {}, {}, 0)


def test_bounds_may_change_while_requests_wait():
    """What is new is for those, too, who wait already."""
    admission = queue("a1", 1)
    admission.bounds = Bounds(max_queue=2, queue_timeout=10)
    joined(admission, "a2")
    assert [ticket.payload for ticket, _ in admission.expired(10.0)] == ["a1", "a2"]


# Whatever happens

KEYS = st.sampled_from("abcd")
MODELS = st.sampled_from("xyz")
PRIORITIES = st.integers(-2, 2)
SIZES = st.integers(0, 60)
CAPS = {"one": Cap(1), "few": Cap(3, 100), "small": Cap(size=50)}
SERVES = {"one": "x", "few": "xyz", "small": "yz"}


class AnyStory(RuleBasedStateMachine):
    """Backends that are sent what they may take, as the data plane does it, through any sequence of events."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.asked = 0
        self.waiting: dict[int, Ticket[int]] = {}
        self.in_flight: dict[str, dict[int, int]] = {name: {} for name in CAPS}  # of each, its requests' sizes
        self.down: set[str] = set()
        self.admission: Admission[int] = Admission(
            Bounds(max_queue=5, max_queue_bytes=200, queue_timeout=30, ageing=2, weights={"a": 2})
        )

    def room(self, backend: str) -> float:
        """Tell what a backend can take."""
        sizes = self.in_flight[backend].values()
        return -1 if backend in self.down else CAPS[backend].room(len(sizes), sum(sizes))

    def offer(self, backend: str) -> None:
        """Fill a backend with those whose turn it is."""
        while ticket := self.admission.take(backend, SERVES[backend], self.room(backend), self.now, anybody):
            assert self.waiting.pop(ticket.payload) is ticket
            self.send(backend, ticket.payload, ticket.size)
            self.let_go(ticket, backend)

    def send(self, backend: str, request: int, size: int) -> None:
        """Put a request in flight, which must never be too much."""
        self.in_flight[backend][request] = size
        sizes = self.in_flight[backend].values()
        assert len(sizes) <= CAPS[backend].requests
        assert sum(sizes) <= CAPS[backend].size or len(sizes) == 1

    def let_go(self, ticket: Ticket[int], backend: str = "") -> None:
        """Offer what was kept for one who doesn't wait any more."""
        if ticket.kept_at not in {"", backend}:
            self.offer(ticket.kept_at)

    @rule(model=MODELS, key=KEYS, priority=PRIORITIES, size=SIZES)
    def arrive(self, model, key, priority, size):
        """Another asks: it goes at once, it waits, or it is refused because all is full."""
        self.asked += 1
        admission, request = self.admission, self.asked
        serving = [name for name, models in SERVES.items() if model in models]
        if admission.is_empty(model):
            for backend in serving:
                if size <= self.room(backend) and not admission.keeps(backend):
                    self.send(backend, request, size)
                    return
        full = admission.waiting(model) == 5 or 0 < admission.size > 200 - size
        try:
            self.waiting[request], refused = admission.enter(model, request, key, priority, size, self.now)
        except QueueFullError:
            assert full
            return
        if refused is not None:
            assert full
            del self.waiting[refused[0].payload]
            self.let_go(refused[0])
        for backend in serving:
            self.offer(backend)

    @precondition(lambda self: any(self.in_flight.values()))
    @rule(which=st.integers(0, 99))
    def end(self, which):
        """An attempt ends."""
        flying = [(backend, request) for backend, requests in self.in_flight.items() for request in requests]
        backend, request = flying[which % len(flying)]
        del self.in_flight[backend][request]
        self.offer(backend)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 99))
    def leave(self, which):
        """A client leaves the queue."""
        ticket = self.waiting.pop([*self.waiting][which % len(self.waiting)])
        self.admission.leave(ticket)
        self.let_go(ticket)

    @rule(backend=st.sampled_from([*CAPS]))
    def turn(self, backend):
        """A backend goes down, or comes back."""
        self.down ^= {backend}
        if backend in self.down:
            self.admission.forget(backend)
        self.offer(backend)

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds):
        """Deadlines pass."""
        self.now += seconds
        for ticket, _ in self.admission.expired(self.now):
            assert self.waiting.pop(ticket.payload).entered <= self.now - 30 + 1e-6
            self.let_go(ticket)

    @invariant()
    def all_are_accounted_for(self):
        """Nobody is lost, there are no more than may be, and nobody waits for what is free."""
        assert self.admission._waiting.keys() == set(self.waiting.values())
        assert max(self.admission.waiting(model) for model in "xyz") <= 5
        assert self.admission.size <= 200
        check(self.admission)
        for ticket in self.waiting.values():
            for backend, models in SERVES.items():
                kept = self.admission._kept.get(backend)
                assert ticket.model not in models or ticket.size > self.room(backend) or kept not in {None, ticket}

    def teardown(self):
        """Once the backends are up, and nobody comes, all go, and nothing is left."""
        for backend in [*self.down]:
            self.turn(backend)
        while any(self.in_flight.values()):
            self.end(0)
        assert not self.waiting
        assert (self.admission._queues, self.admission._kept, self.admission.size) == ({}, {}, 0)


TestAnyStory = AnyStory.TestCase


@given(
    waiting=st.lists(st.tuples(KEYS, PRIORITIES), min_size=1, max_size=30),
    arrivals=st.lists(st.tuples(st.text("abcdefgh", min_size=1, max_size=2), st.integers(-CLASSES, 2)), min_size=1),
    ageing=st.integers(1, 5),
)
def test_nothing_starves(waiting, arrivals, ageing):
    """Whatever goes on coming, of any class and of any key: all that waited have gone within bounded turns."""
    admission = queue(max_queue=10**6, ageing=ageing)
    first = {join(admission, f"first {n}", key, priority) for n, (key, priority) in enumerate(waiting)}
    classes = len({priority for _, priority in [*waiting, *arrivals]})
    lines = len({key for key, _ in [*waiting, *arrivals]})
    for turn in range(ageing * classes * lines * len(waiting)):
        join(admission, "later", *arrivals[turn % len(arrivals)])
        go(admission)
    assert not first & admission._waiting.keys()


@given(key=KEYS, priority=PRIORITIES, ageing=st.integers(1, 5), arrivals=st.lists(st.integers(-CLASSES, 2), min_size=1))
def test_new_keys_without_end_starve_nobody(key, priority, ageing, arrivals):
    """A key that was never seen before has no right of way."""
    admission = queue(max_queue=10**6, ageing=ageing)
    ticket = join(admission, "first", key, priority)
    for turn in range(ageing * (len(set(arrivals)) + 1)):
        join(admission, "later", f"new {turn}", arrivals[turn % len(arrivals)])
        go(admission)
    assert ticket not in admission._waiting


@given(
    huge=st.integers(0, 20), priority=PRIORITIES, ageing=st.integers(1, 5), arrivals=st.lists(PRIORITIES, min_size=1)
)
def test_small_ones_without_end_starve_no_huge_one(huge, priority, ageing, arrivals):
    """A backend is kept for it within bounded turns: from then on nobody goes there before it."""
    admission = queue(max_queue=10**6, ageing=ageing)
    for number in range(huge):
        join(admission, f"before {number}")
    ticket = join(admission, "huge", priority=priority, size=100)
    turns = ageing * (len({priority, 0, *arrivals})) * (huge + len(arrivals) + 20)
    went = Counter[str | None]()
    while went.total() <= turns and not admission.keeps(BACKEND):
        went[go(admission, room=10)] += 1
        join(admission, "small", priority=arrivals[went.total() % len(arrivals)])
    assert went.total() <= turns
    assert go(admission, room=100) == "huge"
    assert ticket not in admission._waiting
