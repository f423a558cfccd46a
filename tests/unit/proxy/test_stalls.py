"""Whose silence is judged, by what, and what follows from each verdict."""

from math import inf

import pytest

from router.core.catalog import Backend
from router.core.ledger import Ledger
from router.core.stall import Silence, StallVerdict
from router.proxy.stalls import StallWatch

NOW = 100.0


class Judged(Ledger):
    """A ledger that gives the test's verdict, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.verdict = StallVerdict.WORKS
        self.judged: list[tuple[str, list[float], float, int, float]] = []

    def judge(self, backend, silences, now, stall_after, *, held_up=0, token=0.0):
        """Keep it."""
        self.judged.append((backend.name, [each.seconds for each in silences], stall_after, held_up, token))
        assert now == NOW
        return self.verdict


class Watched:
    """A watch over exchanges, and what it told."""

    def __init__(self, *exchanges):
        self.ledger = Judged()
        self.stalled: list[tuple[str, str]] = []
        self.quiet: list[str] = []
        self.watch = StallWatch(
            self.ledger,
            set(exchanges),
            lambda backend, why: self.stalled.append((backend.name, why)),
            lambda backend: self.quiet.append(backend.name),
        )
        self.watch.stall_after = 20.0


class Held:
    """An exchange whose attempt at a backend has been silent for so long; None: its client holds it up."""

    def __init__(self, backend, seconds=None):
        self.backend = backend
        self.left: list[float] = []
        self._silence = None if seconds is None else Silence(seconds, begun=False, streams=True, size=1)

    def silence(self, now):
        """See router.proxy.roles."""
        assert now == NOW
        return self._silence

    def leave(self, now):
        """Note when."""
        self.left.append(now)


def test_each_backend_that_holds_requests_is_judged_by_all_of_them():
    """Those that their clients hold up are counted apart; who waits in the queue is nowhere."""
    one, other = Backend("one"), Backend("other")
    watched = Watched(Held(one, 3), Held(one, 5), Held(one), Held(other, 7), Held(None, 9))
    watched.watch.look(NOW)
    found = sorted((name, sorted(seconds), *rest) for name, seconds, *rest in watched.ledger.judged)
    assert found == [("one", [3, 5], 20.0, 1, 0.0), ("other", [7], 20.0, 0, 0.0)]
    assert (watched.stalled, watched.quiet) == ([], [])


def test_nobody_is_judged_where_nobody_asked_for_it():
    watched = Watched(Held(Backend("b"), 3))
    watched.watch.stall_after = inf
    watched.watch.look(NOW)
    assert watched.ledger.judged == []


def test_a_token_that_is_owed_counts():
    """Of a backend that holds nothing, too."""
    busy, idle = Backend("busy"), Backend("idle")
    watched = Watched(Held(busy, 3))
    assert watched.watch.judge(busy, NOW, 6.0) is StallVerdict.WORKS
    assert watched.watch.judge(idle, NOW, 7.0) is StallVerdict.WORKS
    assert watched.ledger.judged == [("busy", [3], 20.0, 0, 6.0), ("idle", [], 20.0, 0, 7.0)]


@pytest.mark.parametrize(
    ("verdict", "stalled", "left", "quiet"),
    [
        (StallVerdict.WORKS, False, False, False),
        (StallVerdict.QUIET, False, False, True),
        (StallVerdict.SILENT, False, True, True),
        (StallVerdict.STALLED, True, False, True),
    ],
)
def test_what_follows_from_a_verdict(verdict, stalled, left, quiet):
    """A silent one is looked into, and may lose its requests to others; a stalled one is taken out."""
    backend = Backend("b")
    held = Held(backend, 30)
    watched = Watched(held)
    watched.ledger.verdict = verdict
    watched.watch.look(NOW)
    assert bool(watched.stalled) is stalled
    assert held.left == ([NOW] if left else [])
    assert watched.quiet == (["b"] if quiet else [])
    if stalled:
        (name, why), *_ = watched.stalled
        assert name == "b"
        assert why.startswith("stalled: ")
        assert why.endswith(" with requests in flight")


def test_one_that_is_out_already_is_not_taken_out_again():
    """Nor looked into: it is asked for a token."""
    backend = Backend("b", stalled=True)
    watched = Watched(Held(backend, 30))
    watched.ledger.verdict = StallVerdict.STALLED
    assert watched.watch.judge(backend, NOW, 0.0) is StallVerdict.STALLED
    assert (watched.stalled, watched.quiet) == ([], [])
