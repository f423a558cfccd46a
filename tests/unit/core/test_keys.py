import pytest

from router.core.keys import NEVER, Key, Keys, Team, digest
from router.core.limits import UNLIMITED, Limits

ALICE = Key("alice")
KEYS = Keys({digest(b"sesame"): ALICE, digest(b""): Key("nobody")})


def test_a_key_is_found_by_its_hash():
    """Whole, as it is."""
    assert KEYS.find(b"sesame") is ALICE
    assert len(KEYS) == 2


@pytest.mark.parametrize(
    "shown", [b"", b"sesam", b"sesamE", b"sesame ", digest(b"sesame"), digest(b"sesame").hex().encode()]
)
def test_what_is_no_key(shown):
    """Its own hash isn't, nor is nothing at all, even where the hash of nothing is configured."""
    assert KEYS.find(shown) is None


def test_a_key_that_says_nothing_may_do_everything_for_ever():
    assert ALICE.may_use("any")
    assert ALICE.may_ask("/v1/any")
    assert not ALICE.has_expired(1e12)
    assert ALICE.expires == NEVER
    assert ALICE.limits is UNLIMITED
    assert ALICE.team is None
    assert repr(ALICE) == "<Key alice>"


def test_a_key_may_do_what_its_patterns_say():
    bob = Key("bob", models=["qwen*", "llama"], paths=["/v1/*"])
    assert [name for name in ("qwen3", "llama", "llama2", "gpt") if bob.may_use(name)] == ["qwen3", "llama"]
    assert [path for path in ("/v1/messages", "/v1", "/api/chat") if bob.may_ask(path)] == ["/v1/messages"]


def test_a_team_has_limits_beside_its_keys():
    family = Team("family", Limits(tokens_per_day=5))
    bob = Key("bob", team=family)
    assert bob.team is family
    assert (family.limits.tokens_per_day, bob.limits.tokens_per_day) == (5, None)
    assert Team("work").limits is UNLIMITED


def test_a_key_is_over_at_the_moment_it_expires():
    bob = Key("bob", expires=100.0)
    assert [bob.has_expired(now) for now in (99.9, 100.0, 100.1)] == [False, True, True]
