import pytest

from router.core.aside import BUSY, FIRST, LONGEST, LONGEST_BUSY, MOST, Aside, Kind, scope
from router.core.catalog import Backend, Candidate
from router.core.estimate.ask import Ask

A, B = Candidate(Backend("a"), "m"), Candidate(Backend("b"), "m")
ASK = Ask(10, path="/v1/chat/completions", key=b"k")


@pytest.mark.parametrize(
    ("status", "own_key", "expected"),
    [
        (401, True, None),  # the router's own key: whoever asks
        (403, False, Kind(A.backend, key=b"k")),
        (404, True, Kind(A.backend, "m", "/v1/chat/completions")),
        (405, False, Kind(A.backend, "m", "/v1/chat/completions")),
        (500, False, None),
        (400, False, None),
    ],
)
def test_what_a_refusal_speaks_of(status, own_key, expected):
    """Of a model on a path, of a client's key, or of the backend itself."""
    assert scope(status, A, ASK, own_key=own_key) == expected


def test_no_key_is_a_key_too():
    """Who shows none is told from who shows one."""
    assert scope(401, A, Ask(10), own_key=False) == Kind(A.backend, key=b"none")


@pytest.mark.parametrize("kind", [Kind(A.backend), Kind(A.backend, "m", ASK.path), Kind(A.backend, key=b"k")])
def test_requests_of_a_kind_pass_a_backend_over(kind):
    """For some time; others don't, unless it is for all."""
    aside = Aside()
    assert not aside.any
    aside.put(kind, 10.0)
    assert aside.any
    assert aside.has(A, ASK, 10.0 + 0.9 * FIRST)
    assert not aside.has(A, ASK, 10.0 + FIRST)
    assert not aside.has(B, ASK, 10.0)
    other = Ask(10, path="/v1/embeddings", key=b"other")
    assert aside.has(Candidate(A.backend, "n"), other, 10.0) is (kind == Kind(A.backend))


def test_each_time_it_is_for_longer():
    """Up to a bound; what was under way already doesn't count."""
    aside, now, lasted = Aside(), 0.0, []
    for _ in range(12):
        aside.put(Kind(A.backend), now)
        aside.put(Kind(A.backend), now)
        until = now
        while aside.has(A, ASK, until):
            until += 0.5
        lasted.append(until - now)
        now = until
    assert lasted[:4] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert lasted[-1] == LONGEST
    aside.put(Kind(B.backend), now, 1e6, LONGEST_BUSY)
    assert not aside.has(B, ASK, now + LONGEST_BUSY)


def test_an_answer_clears_it():
    """From then on a refusal is a first one again."""
    aside = Aside()
    aside.put(Kind(A.backend), 0.0, BUSY)
    aside.put(Kind(A.backend), 1.0, BUSY)
    aside.clear(A, ASK)
    assert not aside.any
    aside.put(Kind(A.backend), 2.0, BUSY)
    assert not aside.has(A, ASK, 2.0 + BUSY)


def test_a_backend_is_forgotten():
    """Others are not."""
    aside = Aside()
    aside.put(Kind(A.backend), 0.0)
    aside.put(Kind(B.backend), 0.0)
    aside.forget(A.backend)
    assert (aside.has(A, ASK, 0.0), aside.has(B, ASK, 0.0), aside.any) == (False, True, True)
    aside.forget(B.backend)
    assert not aside.any


def test_it_is_bounded():
    """The oldest go."""
    aside = Aside()
    for number in range(MOST + 1):
        aside.put(Kind(A.backend, key=b"%d" % number), 0.0)
    assert not aside.has(A, Ask(100, key=b"0"), 0.0)
    assert aside.has(A, Ask(100, key=b"1"), 0.0)
