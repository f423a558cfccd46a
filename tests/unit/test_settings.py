from router import settings
from router.config import Config
from router.core.admission import Bounds
from router.core.health import Thresholds
from router.proxy.plane import Balancing, ExchangeLimits
from router.proxy.requests import Caller
from router.proxy.watching.probe import ProbeTiming

CONFIG = Config.model_validate({
    "backends": [{"url": "http://127.0.0.1:1", "models": ["m"]}],
    "balance": {"policy": "round_robin", "affinity": False, "retry_share": 0.3, "hedge_after": "2s"},
    "health": {
        "interval": "7s", "timeout": "3s", "unhealthy_after": 4, "healthy_after": 5, "error_rate": 0.6, "trial": 6,
        "ramp": "8s", "stall_after": "90s",
    },
    "limits": {
        "retries": 1, "connect_timeout": "9s", "first_byte_timeout": "11s", "idle_timeout": "12s", "max_queue": 13,
        "queue_timeout": "14s",
    },
    "auth": {"keys": [
        {"key": "the-key-of-alice", "name": "alice", "weight": 3, "priority": 2},
        "a-key-that-has-no-name",
    ]},
})  # fmt: skip
"""Each value is one that no other setting has, so that none can stand in another's place."""


def test_what_bounds_an_exchange():
    """Retries and four times, from two sections."""
    assert settings.exchange_limits(CONFIG) == ExchangeLimits(
        retries=1, connect_timeout=9, first_byte_timeout=11, idle_timeout=12, stall_after=90
    )


def test_when_a_backend_is_out():
    """The `window` isn't the user's to set."""
    assert settings.thresholds(CONFIG) == Thresholds(
        unhealthy_after=4, healthy_after=5, error_rate=0.6, window=Thresholds().window, trial=6, slow_start=8
    )


def test_how_a_backend_is_chosen_and_who_waits_how_long():
    """A key's weight goes by its caller's name."""
    found = settings.balancing(CONFIG)
    (unnamed,) = found.bounds.weights.keys() - {"alice"}
    assert found == Balancing(
        policy="round_robin",
        affinity=False,
        retry_share=0.3,
        bounds=Bounds(max_queue=13, queue_timeout=14, weights={"alice": 3, unnamed: 1}),
        hedge_after=2,
    )


def test_how_often_backends_are_probed():
    """Three times from the section on health."""
    assert settings.probe_timing(CONFIG) == ProbeTiming(interval=7, timeout=3, stall_after=90)


def test_a_caller_without_a_name_is_called_by_a_digest():
    """Two keys have two; neither shows in it."""
    alice, other = settings.callers(CONFIG).values()
    assert alice == Caller("alice", 2)
    assert len(other.name) == 8
    assert other.name not in "a-key-that-has-no-name"
    assert list(settings.callers(CONFIG)) == ["the-key-of-alice", "a-key-that-has-no-name"]
