from router.api.admin.keys import KeysTold, KeyTold, LimitTold, TeamTold
from router.cli.keys import lines

DAY = LimitTold(limit="tokens_per_day", most=2_000_000, used=1500, left=1_998_500, resets_in=3600.0)
NOW = LimitTold(limit="max_in_flight", most=4, used=0, left=4, resets_in=None)
MONEY = LimitTold(limit="cost_per_month", most=2.5, used=0.25, left=2.25, resets_in=86_400.0)
UNUSED = LimitTold(limit="requests_per_minute", most=60, used=0, left=60, resets_in=0.0)


def test_a_row_for_each_limit():
    """The name stands in its first one; a key without limits has a row, too."""
    told = KeysTold(
        keys=(
            KeyTold(name="alice", team="family", expires=None, limits=(NOW, DAY)),
            KeyTold(name="bob", team=None, expires=None, limits=()),
        ),
        teams=(TeamTold(name="family", keys=("alice",), limits=(MONEY, UNUSED)),),
    )
    said = [line.split() for line in lines(told)]
    assert said[0] == ["NAME", "TEAM", "LIMIT", "MOST", "USED", "LEFT", "RESETS", "IN"]
    assert said[1] == ["alice", "family", "max_in_flight", "4", "0", "4"]
    assert said[2][:4] == ["tokens_per_day", "2000000", "1500", "1998500"]
    assert said[3] == ["bob", "none"]
    assert said[4][:6] == ["team", "family", "cost_per_month", "2.5", "0.25", "2.25"]
    assert said[5] == ["requests_per_minute", "60", "0", "60"]


def test_no_keys():
    """Say so, and not nothing."""
    assert lines(KeysTold(keys=(), teams=())) == ["router.yaml has no keys: programs on this machine need none."]
