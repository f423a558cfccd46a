import pytest

from router.core.memory.devices import RELEASE_TIMEOUT, Device, Reservations

G = 2**30


def gpu(limit: int = 24, total: int | None = 24) -> Reservations:
    """One GPU, in GiB."""
    return Reservations([Device("gpu0", limit * G, None if total is None else total * G)])


def loaded(made: Reservations, **sizes: int) -> Reservations:
    """Load backends of these sizes in GiB."""
    for name, size in sizes.items():
        made.reserve(name, {"gpu0": size * G})
        made.settle(name, {"gpu0": size * G})
    return made


def leave(made: Reservations, name: str, now: float) -> None:
    """End a backend."""
    made.unsettle(name)
    assert not made.gone(name, now)


def test_two_loads_cannot_count_the_same_bytes():
    """The second reservation finds what the first one left, though nothing is in use yet."""
    made = gpu()
    made.measured("gpu0", 24 * G)
    made.reserve("a", {"gpu0": 16 * G})
    assert made.room("gpu0") == 8 * G
    with pytest.raises(ValueError, match="b needs"):
        made.reserve("b", {"gpu0": 9 * G})
    assert made.held("b") == {}
    assert made.room("gpu0") == 8 * G
    with pytest.raises(ValueError, match="a has a reservation"):
        made.reserve("a", {"gpu0": 1 * G})


def test_devices_are_never_added_up():
    """What is free in all isn't free on one."""
    made = Reservations([Device("gpu0", 8 * G), Device("gpu1", 8 * G)])
    with pytest.raises(ValueError, match="of gpu0"):
        made.reserve("a", {"gpu0": 12 * G})
    made.reserve("a", {"gpu0": 8 * G, "gpu1": 4 * G})
    assert (made.room("gpu0"), made.room("gpu1")) == (0, 4 * G)


def test_a_device_that_is_not_there_has_no_room():
    """A footprint on an unknown device never fits."""
    made = gpu()
    assert (made.limit("gpu9"), made.ceiling("gpu9"), made.others("gpu9")) == (0, 0, 0)
    with pytest.raises(ValueError, match="of gpu9"):
        made.reserve("a", {"gpu9": 1})
    assert made.measured("gpu9", 1) == []


def test_what_others_hold_is_not_ours():
    """Used memory beyond ours lowers what ours may hold, below the limit too."""
    made = gpu(limit=20)
    made.measured("gpu0", 14 * G)
    assert made.others("gpu0") == 10 * G
    assert made.ceiling("gpu0") == 14 * G
    loaded(made, a=6)
    made.measured("gpu0", 16 * G)
    assert made.others("gpu0") == 2 * G
    assert made.ceiling("gpu0") == 20 * G


def test_a_load_under_way_is_not_taken_for_others():
    """While a load grows, the figure gives bounds, and what is believed of others moves only where they push it."""
    made = gpu()
    made.measured("gpu0", 24 * G)
    made.reserve("a", {"gpu0": 10 * G})
    made.measured("gpu0", 18 * G)
    assert made.others("gpu0") == 0
    made.measured("gpu0", 11 * G)
    assert made.others("gpu0") == 3 * G
    made.settle("a", {"gpu0": 10 * G})
    made.measured("gpu0", 13 * G)
    assert made.others("gpu0") == 1 * G


def test_what_a_load_took_beyond_its_reservation_counts():
    """A footprint that was measured takes the place of the one reserved; too much leaves less than no room."""
    made = gpu(limit=10)
    made.reserve("a", {"gpu0": 4 * G, "ram": 0})
    made.settle("a", {"gpu0": 12 * G})
    assert made.held("a") == {"gpu0": 12 * G, "ram": 0}
    assert made.room("gpu0") == -2 * G


def test_release_takes_exit_and_figure():
    """Neither a figure before the exit nor the exit alone frees a reservation; both together do."""
    made = loaded(gpu(), a=10, b=4)
    made.measured("gpu0", 10 * G)
    made.unsettle("a")
    assert made.measured("gpu0", 20 * G) == []
    assert not made.gone("a", 1.0)
    assert made.measured("gpu0", 10 * G) == []
    assert made.room("gpu0") == 10 * G
    assert made.measured("gpu0", 20 * G) == ["a"]
    assert made.room("gpu0") == 20 * G


def test_a_fall_by_most_of_it_frees_beside_a_load():
    """What loads meanwhile takes some of what is freed: a fall by three quarters is proof enough."""
    made = loaded(gpu(), a=10)
    made.measured("gpu0", 14 * G)
    made.reserve("b", {"gpu0": 14 * G})
    leave(made, "a", 1.0)
    assert made.measured("gpu0", 12 * G) == []
    assert made.measured("gpu0", 19 * G) == []
    assert made.measured("gpu0", 20 * G) == ["a"]


def test_one_fall_does_not_free_two():
    """The bytes that one backend gave back are no proof for another."""
    made = loaded(gpu(), a=10, b=10)
    made.measured("gpu0", 4 * G)
    made.reserve("c", {"gpu0": 4 * G})
    leave(made, "a", 1.0)
    leave(made, "b", 1.0)
    made.measured("gpu0", 1 * G)
    assert made.measured("gpu0", 11 * G) == ["a"]
    assert made.measured("gpu0", 20 * G) == ["b"]


def test_others_that_free_memory_do_not_make_ours_free():
    """A fall that was another program's may end a reservation, but what may be ours still counts as others'."""
    made = gpu()
    made.measured("gpu0", 14 * G)
    loaded(made, a=10)
    made.measured("gpu0", 4 * G)
    leave(made, "a", 1.0)
    assert made.measured("gpu0", 14 * G) == ["a"]
    assert made.room("gpu0") == 14 * G


def test_a_device_without_figures_frees_at_exit():
    """Where nothing is measured, the exit decides."""
    made = loaded(gpu(total=None), a=10)
    made.unsettle("a")
    assert made.gone("a", 1.0)
    assert made.room("gpu0") == 24 * G
    assert made.measured("gpu0", 1) == []


def test_each_device_confirms_its_own():
    """A reservation ends with the last device's confirmation."""
    made = Reservations([Device("gpu0", 8 * G, 8 * G), Device("ram", 8 * G, 8 * G), Device("disk", 8 * G)])
    made.reserve("a", {"gpu0": 4 * G, "ram": 2 * G, "disk": 1 * G})
    leave(made, "a", 1.0)
    assert made.held("a") == {"gpu0": 4 * G, "ram": 2 * G}
    assert made.measured("gpu0", 8 * G) == []
    assert made.held("a") == {"ram": 2 * G}
    assert made.measured("ram", 8 * G) == ["a"]


def test_what_is_never_confirmed_is_released_in_time_and_counts_as_others():
    """A device that stays silent can't keep memory for ever; what it tells later decides."""
    made = loaded(gpu(), a=10)
    made.measured("gpu0", 14 * G)
    leave(made, "a", 1.0)
    assert made.overdue(1.0 + RELEASE_TIMEOUT - 0.1) == []
    assert made.overdue(1.0 + RELEASE_TIMEOUT) == ["a"]
    assert made.room("gpu0") == 24 * G
    made.measured("gpu0", 14 * G)
    assert made.room("gpu0") == 14 * G


def test_figures_by_process_are_exact():
    """They tell others' bytes, raise a reservation that grew, and confirm what is gone."""
    made = loaded(gpu(), a=10)
    made.reserve("b", {"gpu0": 8 * G})
    assert made.measured("gpu0", 8 * G, {"a": 11 * G, "b": 2 * G, "unknown": 0}) == []
    assert made.others("gpu0") == 3 * G
    assert made.held("a") == {"gpu0": 11 * G}
    assert made.held("b") == {"gpu0": 8 * G}
    leave(made, "a", 1.0)
    assert made.measured("gpu0", 8 * G, {"a": 11 * G, "b": 2 * G}) == []
    assert made.measured("gpu0", 19 * G, {"b": 2 * G}) == ["a"]
