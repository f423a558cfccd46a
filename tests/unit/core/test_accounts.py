import pytest

from router.core import errors
from router.core.accounts import Account, Accounts
from router.core.keys import Key, Team
from router.core.limits import Limits, Today, duration
from router.core.over_limit import LimitError

TODAY = Today(1, 1, 86_400.0, 30 * 86_400.0)
TOMORROW = Today(2, 1, 2 * 86_400.0, 30 * 86_400.0)

FAMILY = Team("family", Limits(requests_per_minute=3))


def accounts(*keys: Key) -> Accounts:
    made = Accounts()
    made.set_up(keys, 0.0)
    return made


def account_of(found: Accounts, name: str) -> Account:
    account = found.of(name)
    assert account is not None
    return account


def refused(account: Account, tokens: int = 10, now: float = 0.0) -> LimitError:
    with pytest.raises(LimitError) as refusal:
        account.begin(now, TODAY, tokens)
    return refusal.value


def test_only_a_key_with_limits_has_an_account():
    """Its own, or its team's; all others cost nothing."""
    found = accounts(
        Key("free"),
        Key("own", limits=Limits(max_in_flight=1)),
        Key("shared", team=FAMILY),
        Key("loose", team=Team("work")),
    )
    assert found.of("free") is None
    assert found.of("loose") is None
    assert sorted(found.all()) == ["own", "shared"]
    assert found.of("unknown") is None
    assert [book.whose for book in account_of(found, "own").books] == ["key 'own'"]
    assert [book.whose for book in account_of(found, "shared").books] == ["team 'family'"]


def test_a_team_shares_its_limits():
    """What one key has used, the others lack."""
    found = accounts(Key("alice", team=FAMILY), Key("bob", team=FAMILY))
    for name in ("alice", "bob", "alice"):
        account_of(found, name).begin(0.0, TODAY, 10)
    assert "team 'family'" in refused(account_of(found, "bob")).message


def test_a_request_has_to_pass_both():
    """Where the key or the team refuses it, nothing is taken from either."""
    found = accounts(
        Key("alice", limits=Limits(requests_per_minute=2, tokens_per_day=100), team=FAMILY), Key("bob", team=FAMILY)
    )
    alice, bob = account_of(found, "alice"), account_of(found, "bob")
    for _ in range(2):
        alice.begin(0.0, TODAY, 10)
    assert "The key 'alice'" in refused(alice).message
    bob.begin(0.0, TODAY, 10)
    assert "The team 'family'" in refused(bob).message
    own, team = alice.books
    assert (own.in_flight, own.day.sums.requests, own.day.sums.tokens) == (2, 2, 20)
    assert (team.in_flight, team.day.sums.requests, team.day.sums.tokens) == (3, 3, 30)


@pytest.mark.parametrize(
    ("limits", "message", "type_", "code", "seconds"),
    [
        (
            {"requests_per_minute": 1},
            "The key 'a' is at its limit of 1 requests a minute (requests_per_minute). Try again in 1m0s.",
            "requests", "rate_limit_exceeded", 60,
        ),
        (
            {"tokens_per_minute": 60},
            "The key 'a' is at its limit of 60 tokens a minute (tokens_per_minute). Try again in 50s.",
            "tokens", "rate_limit_exceeded", 50,
        ),
        (
            {"max_in_flight": 1},
            "The key 'a' is at its limit of 1 requests in flight (max_in_flight). Try again when one of them has ended.",  # noqa: E501
            "requests", "rate_limit_exceeded", 1,
        ),
        (
            {"requests_per_day": 1},
            "The key 'a' is at its limit of 1 requests a day (requests_per_day). Try again in 24h0m0s.",
            "requests", "rate_limit_exceeded", 86_400,
        ),
        (
            {"tokens_per_month": 50},
            "The key 'a' is at its limit of 50 tokens a month (tokens_per_month). Try again in 720h0m0s.",
            "tokens", "rate_limit_exceeded", 30 * 86_400,
        ),
        (
            {"cost_per_day": 0.25},
            "The key 'a' is at its limit of 0.25 in money a day (cost_per_day). Try again in 24h0m0s.",
            "insufficient_quota", "insufficient_quota", 86_400,
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_which_limit_whose_and_when(limits, message, type_, code, seconds):
    """In the form of each API."""
    account = account_of(accounts(Key("a", limits=Limits(**limits))), "a")
    charge = account.begin(0.0, TODAY, 50)
    if "cost_per_day" in limits:
        charge.settle(50, 0, 0.25, 0.0)
    error = refused(account, 60)
    assert error.message == message
    assert (error.status, error.type, error.code, error.retry_after) == (429, type_, code, seconds)
    assert error.limit == next(iter(limits))
    assert b'"type":"rate_limit_error"' in errors.body(error, "/v1/messages")
    assert f'"code":"{code}"'.encode() in errors.body(error, "/v1/chat/completions")
    assert errors.body(error, "/api/chat").startswith(b'{"error":"The key ')


def test_a_refusal_speaks_of_the_limit_that_lasts_longest():
    """To try again sooner would be in vain."""
    team = Team("family", Limits(tokens_per_month=5))
    account = account_of(accounts(Key("a", limits=Limits(max_in_flight=1, requests_per_minute=1), team=team)), "a")
    account.begin(0.0, TODAY, 5)
    assert refused(account).limit == "tokens_per_month"


def test_a_new_day_begins_with_the_first_request():
    """Of the key and the team."""
    team = Team("family", Limits(requests_per_day=1))
    account = account_of(accounts(Key("a", limits=Limits(requests_per_day=1), team=team)), "a")
    account.begin(0.0, TODAY, 1)
    assert refused(account).limit == "requests_per_day"
    account.begin(86_500.0, TOMORROW, 1)


def test_the_nearest_limit_of_each_kind_is_told():
    """Of the key and the team, of a minute, a day and a month: the one that has the least left."""
    team = Team("family", Limits(requests_per_minute=100, tokens_per_day=900))
    limits = Limits(requests_per_day=50, requests_per_month=80, tokens_per_minute=1000)
    account = account_of(accounts(Key("a", limits=limits, team=team)), "a")
    account.begin(0.0, TODAY, 200)
    requests, tokens = account.nearest(0.0)
    assert requests is not None
    assert tokens is not None
    assert (requests.limit, requests.most, requests.left) == ("requests_per_day", 50, 49)
    assert (tokens.limit, tokens.most, tokens.left) == ("tokens_per_day", 900, 700)


@pytest.mark.parametrize("limits", [{"max_in_flight": 5}, {"cost_per_day": 5.0}])
def test_other_limits_are_not_told_in_heads(limits):
    """Clients know two kinds."""
    assert account_of(accounts(Key("a", limits=Limits(**limits))), "a").nearest(0.0) == (None, None)


def test_a_change_of_router_yaml_keeps_what_was_used():
    """By the names of keys and teams; requests under way end in the books in which they began."""
    found = accounts(
        Key("alice", limits=Limits(requests_per_day=5, max_in_flight=2), team=FAMILY),
        Key("bob", limits=Limits(max_in_flight=1)),
    )
    charge = account_of(found, "alice").begin(0.0, TODAY, 10)
    bobs = account_of(found, "bob").begin(0.0, TODAY, 10)
    team = Team("family", Limits(requests_per_minute=5))
    found.set_up([Key("alice", limits=Limits(requests_per_day=9), team=team)], 0.0)
    own, shared = account_of(found, "alice").books
    assert (own.in_flight, own.day.requests, own.day.sums.requests) == (1, 9, 1)
    assert [each.left for each in shared.left(0.0)] == [4]
    assert found.of("bob") is None
    charge.end()
    bobs.end()
    assert (own.in_flight, shared.in_flight) == (0, 0)


def test_what_was_used_before_the_start_is_added():
    """To the key's books and to its team's; keys without limits have none."""
    team = Team("family", Limits(tokens_per_month=1000))
    found = accounts(Key("alice", limits=Limits(requests_per_day=5), team=team), Key("bob", team=team), Key("free"))
    assert found.lack_the_past
    found.restore(dict.fromkeys(("alice", "bob", "free", "gone"), ((2, 100, 0.5), (4, 300, 1.0))), TODAY)
    assert not found.lack_the_past
    own, shared = found.keys(TODAY)["alice"], found.teams(TODAY)["family"]
    assert list(found.keys(TODAY)) == ["alice"]
    assert (own.day.sums.requests, own.day.sums.tokens, own.day.sums.cost) == (2, 100, 0.5)
    assert (own.month.sums.requests, own.month.sums.tokens, own.month.sums.cost) == (4, 300, 1.0)
    assert (shared.month.sums.requests, shared.month.sums.tokens, shared.month.sums.cost) == (8, 600, 2.0)
    assert found.keys(TOMORROW)["alice"].day.sums.requests == 0


def test_a_limit_that_is_new_learns_of_the_past_too():
    """Books that know it are not told again."""
    found = accounts(Key("alice", limits=Limits(requests_per_day=5)))
    found.restore({"alice": ((1, 10, 0.0), (1, 10, 0.0))}, TODAY)
    keys = [Key("alice", limits=Limits(requests_per_day=6)), Key("bob", limits=Limits(requests_per_day=7))]
    found.set_up(keys, 0.0)
    found.restore(dict.fromkeys(("alice", "bob"), ((3, 30, 0.0), (3, 30, 0.0))), TODAY)
    assert {name: book.day.sums.requests for name, book in found.keys(TODAY).items()} == {"alice": 1, "bob": 3}


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0s"), (0.0171, "17ms"), (1, "1s"), (8.64, "8.64s"), (59.9996, "1m0s"), (90.6, "1m31s"), (360, "6m0s"),
        (3605, "1h0m5s"), (86_400, "24h0m0s"),
    ],
)  # fmt: skip
def test_times_are_written_as_openais_heads_have_them(seconds, written):
    """Go's form, to a millisecond."""
    assert duration(seconds) == written
