import pytest

from router.core.memory.footprints import Footprints, Learned, Placement, Source

PLAIN = Placement("qwen@gpu0", {"gpu0": 1000, "ram": 100})
TOLD = Placement("qwen@gpu0", {"gpu0": 1000}, is_told=True)


def test_an_estimate_has_a_margin():
    """Before the first load, the estimate and a tenth are reserved."""
    made = Footprints()
    assert made.needs(PLAIN) == {"gpu0": 1100, "ram": 110}
    assert made.source(PLAIN) is Source.ESTIMATED


def test_the_first_measurement_replaces_the_estimate():
    """What was measured counts from the first load on; a device without a figure keeps what was known."""
    made = Footprints()
    made.learn(PLAIN, {"gpu0": 600})
    assert made.needs(PLAIN) == {"gpu0": 600, "ram": 110}
    assert made.source(PLAIN) is Source.LEARNED


def test_more_counts_at_once_and_less_by_a_quarter():
    """A model that once took much is given it for some loads more."""
    made = Footprints()
    for size in (600, 800, 400):
        made.learn(PLAIN, {"gpu0": size})
    assert made.needs(PLAIN)["gpu0"] == 700
    assert made.learned(PLAIN.key) == Learned({"gpu0": 700, "ram": 110}, 3)


def test_what_was_stored_counts():
    """An earlier run's figures are taken over."""
    made = Footprints()
    made.restore(PLAIN.key, Learned({"gpu0": 5}, 2))
    assert made.needs(PLAIN) == {"gpu0": 5}


def test_what_was_told_is_not_learned_over():
    """launch.memory stays, whatever was measured."""
    made = Footprints()
    made.learn(TOLD, {"gpu0": 600})
    assert made.needs(TOLD) == {"gpu0": 1000}
    assert made.source(TOLD) is Source.TOLD


@pytest.mark.parametrize(
    ("device", "expected"),
    [("gpu0", {"gpu0": 1375, "ram": 110}), ("ram", {"gpu0": 1100, "ram": 137}), ("", {"gpu0": 1375, "ram": 137})],
)
def test_a_lack_of_memory_raises(device, expected):
    """What ran out rises by a quarter; all of it, where that isn't known."""
    made = Footprints()
    assert made.raise_after_oom(PLAIN, device, {"gpu0": 9999, "ram": 9999})
    assert made.needs(PLAIN) == expected
    assert made.source(PLAIN) is Source.ESTIMATED


def test_nothing_rises_over_what_there_is():
    """A model that had a whole device for itself can't be helped; a lower ceiling takes nothing away."""
    made = Footprints()
    assert made.raise_after_oom(PLAIN, "gpu0", {"gpu0": 1200})
    assert made.needs(PLAIN)["gpu0"] == 1200
    assert not made.raise_after_oom(PLAIN, "gpu0", {"gpu0": 1200})
    assert not made.raise_after_oom(PLAIN, "gpu0", {})
    assert made.needs(PLAIN)["gpu0"] == 1200


def test_a_load_that_fits_lowers_what_was_raised():
    """After a death that wasn't its fault, what is measured counts again by and by."""
    made = Footprints()
    made.learn(PLAIN, {"gpu0": 1000})
    made.raise_after_oom(PLAIN, "gpu0", {"gpu0": 9999})
    assert made.needs(PLAIN)["gpu0"] == 1250
    made.learn(PLAIN, {"gpu0": 1000})
    assert made.needs(PLAIN)["gpu0"] == 1188
    assert made.learned(PLAIN.key) == Learned({"gpu0": 1188, "ram": 110}, 2)


def test_what_was_told_too_low_stays_raised():
    """A person's figure that a death has proved wrong isn't trusted again."""
    made = Footprints()
    made.raise_after_oom(TOLD, "", {"gpu0": 9999})
    made.learn(TOLD, {"gpu0": 1200})
    assert made.needs(TOLD) == {"gpu0": 1238}
