from router import settings
from router.config import Config
from router.config.keys.auth import LimitedConfig
from router.core.admission import Bounds
from router.core.health import Thresholds
from router.core.keys import NEVER, Key, digest
from router.proxy.plane import Balancing, ExchangeLimits
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
        {
            "hash": "sha256:" + "AB" * 32, "name": "bob", "models": ["q*"], "paths": ["/v1/*"], "expires": "2027-01-31",
            "requests_per_minute": 21, "tokens_per_minute": 22, "max_in_flight": 23, "requests_per_day": 24,
            "tokens_per_day": 25, "requests_per_month": 26, "tokens_per_month": 27, "cost_per_day": 28,
            "cost_per_month": 29,
        },
    ], "teams": {"family": {"keys": ["alice", "bob"], "tokens_per_day": "5M"}}},
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
    (unnamed,) = found.bounds.weights.keys() - {"alice", "bob"}
    assert found == Balancing(
        policy="round_robin",
        affinity=False,
        retry_share=0.3,
        bounds=Bounds(max_queue=13, queue_timeout=14, weights={"alice": 3, "bob": 1, unnamed: 1}),
        hedge_after=2,
    )


def test_how_often_backends_are_probed():
    """Three times from the section on health."""
    assert settings.probe_timing(CONFIG) == ProbeTiming(interval=7, timeout=3, stall_after=90)


KEYS = settings.keys(CONFIG)


def found(key: Key | None) -> Key:
    assert key is not None
    return key


def test_a_key_without_a_name_is_called_by_its_hash():
    """Two keys have two names; neither shows in it."""
    alice, other = found(KEYS.find(b"the-key-of-alice")), found(KEYS.find(b"a-key-that-has-no-name"))
    assert (alice.name, alice.priority, alice.weight) == ("alice", 2, 3)
    assert other.name == digest(b"a-key-that-has-no-name").hex()[:8]
    assert len(KEYS) == 3


def test_what_a_key_may_do():
    """Whatever the file doesn't bound is unbounded."""
    bob = KEYS.known[bytes.fromhex("ab" * 32)]
    assert (bob.expires, str(bob.models), str(bob.paths)) == (1801440000.0, "q*", "/v1/*")
    assert [getattr(bob.limits, name) for name in LimitedConfig.model_fields] == [*range(21, 30)]
    alice = found(KEYS.find(b"the-key-of-alice"))
    assert (alice.expires, str(alice.models), str(alice.paths)) == (NEVER, "*", "*")
    assert {getattr(alice.limits, name) for name in LimitedConfig.model_fields} == {None}


def test_a_team_has_its_limits_once():
    """Its keys have the same one; a key that is named in none has none."""
    bob, alice = KEYS.known[bytes.fromhex("ab" * 32)], found(KEYS.find(b"the-key-of-alice"))
    assert bob.team is alice.team
    assert bob.team is not None
    assert (bob.team.name, bob.team.limits.tokens_per_day) == ("family", 5_000_000)
    assert found(KEYS.find(b"a-key-that-has-no-name")).team is None
