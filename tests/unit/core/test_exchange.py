import pytest

from router.core.catalog import Backend, Candidate
from router.core.errors import BadGatewayError, GatewayTimeoutError, UnavailableError
from router.core.exchange import AGAIN, Attempts, Failure, error_of
from router.core.health import declared


def up(name, in_flight=0):
    return Candidate(Backend(name, {}, health=declared(up=True), in_flight=in_flight), "m")


def down(name, reason="gone"):
    return Candidate(Backend(name, {}, health=declared(up=False, reason=reason)), "m")


def first(_: int) -> int:
    return 0


def test_the_first_attempt_goes_to_the_first_tier_that_can_take_it():
    """A tier with nobody up is passed over."""
    c = up("c")
    assert Attempts(((down("a"),), (down("b"), c)), 2).first("m", first) is c


def test_nobody_up():
    """Each backend's reason is told, and when to come back."""
    with pytest.raises(UnavailableError, match="a: gone; b: loading") as caught:
        Attempts(((down("a"), down("b", "loading")),), 2).first("m", first)
    assert caught.value.retry_after


def test_nobody_there():
    """A route to models that nobody serves now is unavailable too."""
    with pytest.raises(UnavailableError, match="No backend serves 'm'"):
        Attempts((), 2).first("m", first)


def test_retries_go_to_the_untried_tier_by_tier():
    """Never one already tried while another is left; then, and only then, again."""
    a, b, c = up("a"), up("b", 5), up("c")
    attempts = Attempts(((a, b), (c,)), 9)
    assert attempts.first("m", first) is a
    assert attempts.after(Failure.CLOSED, first) is b
    assert attempts.after(Failure.STATUS, first) is c
    assert attempts.after(Failure.CLOSED, first) is c


@pytest.mark.parametrize("failure", sorted(set(Failure) - AGAIN, key=str))
def test_no_second_try_where_it_would_only_be_repeated(failure):
    """An engine that says 503, or nothing for minutes, isn't asked again at once."""
    attempts = Attempts(((up("a"),),), 2)
    attempts.first("m", first)
    assert attempts.after(failure, first) is None
    assert attempts.retries_left == 2


def test_a_broken_connection_is_tried_again_at_the_only_backend():
    """As often as retries allow."""
    a = up("a")
    attempts = Attempts(((a,),), 2)
    attempts.first("m", first)
    assert [attempts.after(Failure.CLOSED, first) for _ in range(3)] == [a, a, None]


def test_a_backend_that_went_down_is_not_tried_again():
    """The supervisor's word reaches exchanges under way."""
    a = up("a")
    attempts = Attempts(((a,),), 2)
    attempts.first("m", first)
    a.backend.health = declared(up=False, reason="exited")
    assert attempts.after(Failure.CLOSED, first) is None


def test_a_stale_connection_costs_no_retry():
    """It says nothing of the backend: the same one again."""
    a, b = up("a"), up("b")
    attempts = Attempts(((a, b),), 0)
    attempts.first("m", first)
    assert attempts.after(Failure.STALE, first) is a
    assert attempts.after(Failure.CLOSED, first) is None


@pytest.mark.parametrize("failure", Failure)
def test_error_of(failure):
    """Time-outs are 504, the router's own want of files is 503, all else 502; the backend is named."""
    error = error_of(failure, "gpu-box")
    late = {Failure.CONNECT_TIMEOUT, Failure.FIRST_BYTE_TIMEOUT, Failure.IDLE_TIMEOUT}
    own = {Failure.NO_FILES}
    expected = GatewayTimeoutError if failure in late else UnavailableError if failure in own else BadGatewayError
    assert type(error) is expected
    assert bool(error.retry_after) is (failure in own)
    assert "'gpu-box'" in error.message
