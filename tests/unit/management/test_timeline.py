"""A request's way in words: why each attempt was made where it was made."""

from router.core.catalog import Backend, Candidate
from router.core.decision import Decision
from router.core.timeline import NEVER, Try, Wait
from router.management.timeline import attempts


def tried(backend, begun, ended=NEVER, why=None, outcome="") -> Try:
    return Try(backend, why, begun, NEVER, NEVER, ended, 0, outcome)


def whys(*tries, waits=()) -> list[tuple[str, str, bool]]:
    return [(each.backend, each.why, each.beside) for each in attempts(tries, waits)]


def test_what_was_compared_is_told():
    """In a line, and each candidate with its figures."""
    two = [Candidate(Backend("a", in_flight=2), "m"), Candidate(Backend("b"), "m")]
    decision = Decision("least_latency", two, [0.5, 0.25], 0.3, " s")
    (told,) = attempts([tried("b", 0.1234567, 1.0, decision, "answered")], ())
    assert (told.begun, told.ended, told.head, told.status) == (0.123, 1.0, None, None)
    assert told.why == "least_latency: 0.25 s; next is a with 0.5 s"
    assert [(each.backend, each.score, each.in_flight, each.passed_over) for each in told.candidates] == [
        ("a", 0.5, 2, "0.5 s, and another has 0.25 s"),
        ("b", 0.25, 0, ""),
    ]


def test_where_there_was_nothing_to_compare():
    """What came before says why: a failure, a time in the queue, a race."""
    only, first = "the only one that can serve it", "the first that had room for it after its time in the queue"
    assert whys(tried("a", 0.0)) == [("a", only, False)]
    assert whys(tried("a", 0.0, 1.0), tried("a", 1.0)) == [("a", only, False), ("a", "tried once more", False)]
    assert whys(tried("a", 0.0, 1.0), tried("b", 1.0))[1] == ("b", "the next one that serves it", False)
    # The one that ended first is given first.
    assert whys(tried("b", 0.5, 1.0), tried("a", 0.0, 2.0))[1] == ("b", "another one that serves it", True)
    assert whys(tried("a", 0.0), tried("b", 0.5))[1] == ("b", "another one that serves it", True)
    assert whys(tried("a", 1.0), waits=[Wait(0.0, 1.0, 0.0, "")]) == [("a", first, False)]
    again = whys(tried("a", 0.0, 1.0), tried("b", 2.0), waits=[Wait(1.0, 2.0, 0.5, "b")])
    assert [why for _, why, _ in again] == [only, first]
