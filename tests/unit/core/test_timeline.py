"""What an exchange remembers of its way: plain values, as they were given."""

from router.core.timeline import NEVER, Try, Wait


def test_an_attempt_and_a_wait():
    """What has not happened has a time that no moment has."""
    each = Try("a", None, 0.5, 0.75, NEVER, 1.5, 503, "answered that it can't take the request")
    assert (each.backend, each.why, each.begun, each.head, each.ended) == ("a", None, 0.5, 0.75, 1.5)
    assert each.first_byte < 0
    assert (each.status, each.outcome) == (503, "answered that it can't take the request")
    wait = Wait(0.0, 0.5, 0.25, "a")
    assert (wait.begun, wait.ended, wait.loading, wait.loaded) == (0.0, 0.5, 0.25, "a")
