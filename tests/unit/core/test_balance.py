from router.core.balance import least_in_flight
from router.core.catalog import Backend, Candidate


def candidates(*loads, weights=None):
    weights = weights or [1.0] * len(loads)
    return [
        Candidate(Backend(str(i), {}, weight=weight, in_flight=load), "m")
        for i, (load, weight) in enumerate(zip(loads, weights, strict=True))
    ]


def never(_: int) -> int:
    raise AssertionError("nothing to draw")


def test_one_candidate_is_not_drawn():
    """With no choice there is no chance."""
    (only,) = candidates(7)
    assert least_in_flight([only], never) is only


def test_the_least_loaded_is_taken():
    """Fewest in flight wins."""
    three = candidates(3, 1, 2)
    assert least_in_flight(three, lambda n: n - 1) is three[1]


def test_weight_counts():
    """Three in flight on four times the weight is less than one."""
    two = candidates(1, 3, weights=[1.0, 4.0])
    assert least_in_flight(two, lambda _: 0) is two[1]


def test_ties_are_drawn_among_the_equal():
    """Every one of the equals can be taken, and none of the others."""
    four = candidates(0, 1, 0, 0)
    draws = iter(range(3))
    taken = [least_in_flight(four, lambda _: next(draws)).backend.name for _ in range(3)]
    assert taken == ["0", "2", "3"]
