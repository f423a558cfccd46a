from router.core.memory.order import ByArrival, ByKey


def test_by_arrival_all_are_equal():
    """Whoever came first goes first: no rank differs."""
    order = ByArrival()
    assert [order.rank(key) for key in "aab"] == [0.0, 0.0, 0.0]
    order.went("a", 0.0)
    assert order.rank("a") == 0.0


def test_a_key_that_asks_for_much_waits_for_itself():
    """Each request of a key is due a turn after the one before it, whatever model it is for."""
    order = ByKey()
    assert [order.rank(key) for key in "aaab"] == [0.0, 1.0, 2.0, 0.0]


def test_a_weight_is_a_share():
    """A key of weight 2 is due twice as often."""
    order = ByKey({"a": 2.0})
    assert [order.rank(key) for key in "aaaabb"] == [0.0, 0.0, 1.0, 1.0, 0.0, 1.0]


def test_neither_patience_nor_haste_is_saved_up():
    """Who comes anew is due now, not at the beginning."""
    order = ByKey()
    for rank in [order.rank("a") for _ in range(5)]:
        order.went("a", rank)
    assert order.rank("b") == 4.0


def test_few_keys_are_remembered():
    """The one that asked longest ago is forgotten."""
    order = ByKey(most=2)
    assert [order.rank(key) for key in "aabbcc"] == [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    assert order.rank("a") == 0.0


def test_weights_may_change():
    """They hold for the requests that come from then on."""
    order = ByKey()
    order.weigh({"a": 2.0})
    assert [order.rank("a") for _ in range(4)] == [0, 0, 1, 1]
    assert [order.rank("b") for _ in range(2)] == [0, 1]
