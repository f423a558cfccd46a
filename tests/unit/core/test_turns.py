from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.turns import Queue, Ticket

_NUMBERS = count()


def queue(line: str = "", weights: dict[str, float] | None = None) -> Queue[str]:
    """Make a queue in which some wait already, as `joined` has it."""
    made: Queue[str] = Queue(0.0)
    joined(made, line, weights)
    return made


def joined(into: Queue[str], line: str, weights: dict[str, float] | None = None) -> list[Ticket[str]]:
    """Let some wait, as `a1 b1 a2:5`: key a's first, key b's, a's second of priority 5."""
    tickets = []
    for each in line.split():
        name, _, priority = each.partition(":")
        tickets.append(Ticket("demo", name, name[0], int(priority or 0), 1, 0.0))
        into.add(tickets[-1], (weights or {}).get(name[0], 1.0))
    return tickets


def go(out: Queue[str], ageing: int = 99, now: float = 0.0) -> str:
    """Let go whose turn it is."""
    ticket = next(out.in_turn(ageing))
    out.charge(ticket, now)
    out.remove(ticket)
    return ticket.payload


def all_go(out: Queue[str], ageing: int = 99) -> str:
    """Let all go, one by one."""
    return " ".join(go(out, ageing) for _ in range(out.waiting))


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ("", ""),
        ("a1 a2 a3", "a1 a2 a3"),
        ("a1 a2 a3 b1", "a1 b1 a2 a3"),  # whoever asks for little doesn't wait for who asks for much
        ("a1 a2 b1 b2 c1", "a1 b1 c1 a2 b2"),
        ("a1:5 b1:0 c1:-3", "c1 b1 a1"),  # the lower goes first
        ("a1:1 a2:1 b1:1 a3 a4", "a3 a4 a1 b1 a2"),
    ],
)
def test_turns(waiting, expected):
    """The lowest class first; in it keys take turns; of a key the oldest."""
    assert all_go(queue(waiting)) == expected


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"a": 2}, "a1 b1 a2 a3 b2 a4 b3 b4"),
        ({"a": 0.5}, "b1 a1 b2 b3 a2 b4 a3 a4"),
        ({"a": 0.01}, "b1 b2 b3 b4 a1 a2 a3 a4"),
        ({"a": 50, "b": 50}, "a1 b1 a2 b2 a3 b3 a4 b4"),  # beside each other's alone
        ({"someone else": 9}, "a1 b1 a2 b2 a3 b3 a4 b4"),
    ],
)
def test_weights(weights, expected):
    """A key's turns are as many, beside another's, as its weight is beside the other's."""
    assert all_go(queue("a1 b1 a2 b2 a3 b3 a4 b4", weights)) == expected


def test_who_comes_anew_is_due_a_turn_from_now():
    """Asking one at a time, as often as may be, gives no more turns than waiting with many."""
    waiting = queue("a1 a2 a3 b0")
    order = []
    for number in range(1, 4):
        order += [go(waiting), go(waiting)]
        joined(waiting, f"b{number}")
    assert order == ["a1", "b0", "a2", "b1", "a3", "b2"]


def test_who_passes_another_does_not_gain_by_it():
    """While one can't go, those that go instead share what there is: time goes on with them."""
    waiting = queue("h1 a1 a2 a3 a4 b1")
    order = []
    for number in range(2, 5):
        for _ in range(2):
            ticket = next(each for each in waiting.in_turn(99) if each.payload != "h1")
            waiting.charge(ticket, 0.0)
            waiting.remove(ticket)
            order.append(ticket.payload)
        joined(waiting, f"b{number}")
    assert order == ["a1", "b1", "a2", "b2", "a3", "b3"]
    assert go(waiting) == "h1"
    joined(waiting, "c1")  # nor does anybody, once that has gone
    assert all_go(waiting) == "a4 b4 c1"


def test_each_ageing_th_turn_goes_to_the_class_that_waits_longest_for_one():
    """Classes that never have the first turn have one now and then, in turn."""
    waiting = queue(" ".join(f"a{n} b{n}:1 c{n}:2" for n in range(6)))
    order = "".join(name[0] for name in all_go(waiting, ageing=3).split())
    assert order == "aabaacaabbbcbbcccc"


def test_all_are_gone_through():
    """The oldest of each key first, then the others: those may go that fit where the first don't."""
    assert [each.payload for each in queue("a1 a2 b1 c1:1 a3 b2").in_turn(99)] == ["a1", "b1", "a2", "a3", "b2", "c1"]


def test_leaving():
    """Whoever leaves takes its key and its class along, if it is their last."""
    waiting = queue()
    a1, a2, b1 = joined(waiting, "a1 a2 b1:1")
    for ticket in (a1, b1, a2):
        waiting.remove(ticket)
    assert (waiting.waiting, waiting.classes) == (0, {})
    joined(waiting, "b2 a3")
    assert all_go(waiting) == "b2 a3"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 1)), max_size=20),
    st.dictionaries(st.sampled_from("abc"), st.floats(0.1, 5)),
    st.integers(0, 10),
)
def test_order_is_what_happens(waiting, weights, gone):
    """What is told of the order is how they go, from any moment on."""
    line = queue(" ".join(f"{key}{n}:{priority}" for n, (key, priority) in enumerate(waiting)), weights)
    for _ in range(min(gone, line.waiting)):
        go(line)
    assert " ".join(ticket.payload for ticket in line.order()) == all_go(line)


@pytest.mark.parametrize(
    ("gone_at", "now", "seconds"),
    [
        ([], 0.0, 1),
        ([], 0.4, 2),  # four wait, and none has gone in 0.4 s
        ([], 1000.0, 300),
        ([10.0], 10.0, 40),
        ([1.0, 2.0], 2.0, 4),
        ([1.0, 2.0], 4.1, 9),  # slower than it was: what doesn't go counts, too
        ([n / 1000 for n in range(100)], 0.1, 1),
        ([*range(100), *(100 + n / 10 for n in range(33))], 103.2, 1),  # the last 32 count
        ([0.0, *range(100, 133)], 132.0, 4),
        ([n / 10 for n in range(100)] + [10.0 + n for n in range(33)], 42.0, 4),
    ],
)
def test_retry_after_is_what_the_queue_takes_to_drain(gone_at, now, seconds):
    """By the departures of late: whole seconds, from one to five minutes."""
    waiting = queue("a1 a2 a3 a4")
    for at in gone_at:
        go(waiting, now=at)
        joined(waiting, f"a{next(_NUMBERS)}")
    assert waiting.retry_after(now) == seconds


@pytest.mark.parametrize(
    ("gone_at", "now", "seconds"),
    [
        ([], 0.0, 20),  # of a burst: four wait, and one is believed to go each 5 s
        ([1.0], 1.0, 12),  # one of 1 s, one of 5 s
        ([float(n) for n in range(1, 33)], 32.0, 5),
    ],
)
def test_before_any_has_gone_it_is_what_was_believed(gone_at, now, seconds):
    """And that counts ever less."""
    waiting = Queue[str](0.0, 5.0)
    joined(waiting, "a1 a2 a3 a4")
    for at in gone_at:
        go(waiting, now=at)
        joined(waiting, f"a{next(_NUMBERS)}")
    assert waiting.retry_after(now) == seconds


@pytest.mark.parametrize(
    ("waiting", "newcomer", "weakest"),
    [
        ("a1 a2 a3 a4", "a5", None),  # one's own are no worse
        ("a1 a2 a3 a4", "b1", "a4"),  # the newest of who has most
        ("a1 a2 a3 b1", "b2", "a3"),
        ("a1 a2 b1 b2", "b3", None),
        ("a1 a2 b1 b2", "c1", "a2"),
        ("a1 b1 c1 d1", "e1", None),
        ("a1 b1 b2:1 a2:1", "c1", "b2"),  # of a later class, whoever's it is
        ("a1 a2 a3 b1:1", "a4", "b1"),
        ("a1 a2 a3 b1", "c1:1", None),  # of an earlier one none has to go
        ("h1 h2 h3 a1", "a2", None),  # h weighs two
        ("h1 h2 h3 h4", "a1", "h4"),
        ("a1 a2 b1 b2", "h1", "a2"),
    ],
)
def test_the_weakest_claim(waiting, newcomer, weakest):
    """Nobody shuts out others by asking much, nor by asking first for what may wait."""
    weights = {"h": 2.0}
    line = queue(waiting, weights)
    (ticket,) = joined(queue(), newcomer)
    found = line.weakest(ticket, weights.get(newcomer[0], 1.0))
    assert (None if found is None else found.payload) == weakest


@given(weights=st.dictionaries(st.sampled_from("abcd"), st.floats(0.1, 5), min_size=2), turns=st.integers(0, 200))
def test_keys_get_turns_by_their_weights(weights, turns):
    """At any moment, of keys that always have some waiting, none is more than a turn of its own behind another."""
    line = queue(" ".join(f"{key}{n}" for key in weights for n in range(turns + 1)), weights)
    went = Counter(go(line)[0] for _ in range(turns))
    for one, weight in weights.items():
        for other, others in weights.items():
            assert went[one] / weight - went[other] / others <= 1 / others + 1e-6
