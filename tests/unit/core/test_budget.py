import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.budget import RetryBudget


def granted(budget: RetryBudget, wanted: int, now: float) -> int:
    return sum(budget.withdraw(now) for _ in range(wanted))


@pytest.mark.parametrize(
    ("requests", "quiet", "expected"),
    [
        (0, 0.0, 10),  # the reserve
        (4, 0.0, 11),  # a quarter of the requests, on top
        (100, 0.0, 35),
        (10_000, 0.0, 100),  # a quiet day doesn't pay for a storm
        (0, 1000.0, 10),  # time fills up the reserve, and no more
    ],
)
def test_what_can_be_afforded(requests, quiet, expected):
    """Retries are a share of the requests of late, and a few that are always there."""
    budget = RetryBudget(0.25)
    for _ in range(requests):
        budget.deposit()
    assert budget.tokens == pytest.approx(expected)
    assert granted(budget, 1000, quiet) == expected


def test_the_reserve_comes_back_with_time():
    """Where there is little traffic, a retry now and then is affordable."""
    budget = RetryBudget(reserve=2, per_second=0.5)
    assert granted(budget, 10, 100.0) == 2
    assert granted(budget, 10, 101.0) == 0
    assert granted(budget, 10, 102.0) == 1
    assert granted(budget, 10, 1000.0) == 2


def test_what_traffic_has_paid_in_does_not_go_with_time():
    """Time adds to a low balance alone, and takes nothing."""
    budget = RetryBudget(share=1.0, reserve=0)
    for _ in range(3):
        budget.deposit()
    assert granted(budget, 10, 50.0) == 3
    assert granted(budget, 10, 100.0) == 0  # there is no reserve


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 50), st.integers(0, 50)), max_size=50),
    st.floats(0, 1),
    st.floats(0, 50),
    st.floats(0, 10),
    st.floats(0, 200),
)
def test_retries_never_exceed_what_was_paid_for(steps, share, reserve, per_second, most):
    """Of any requests in a row: the bound that the module states, and never below nothing."""
    budget = RetryBudget(share, reserve=reserve, per_second=per_second, most=most)
    now, requests, retries = 0.0, 0, 0
    for pause, asked, failing in steps:
        now += pause
        for _ in range(asked):
            budget.deposit()
        requests += asked
        retries += granted(budget, failing, now)
        assert 0 <= budget.tokens <= max(most, reserve)
        assert retries <= max(most, reserve) + share * requests + per_second * now + 1e-6


def test_a_retry_that_proved_something_is_given_back():
    """Up to the most that there can be."""
    budget = RetryBudget(0, reserve=2, per_second=0, most=3)
    assert budget.withdraw(0.0)
    budget.refund()
    assert budget.tokens == 2
    budget.refund()
    budget.refund()
    assert budget.tokens == 3
