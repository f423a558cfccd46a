import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.health import WELL, Health, Thresholds, Verdict, declared, failed, succeeded

THRESHOLDS = Thresholds(unhealthy_after=3, healthy_after=2)


def after(events: str) -> Health:
    """Feed a story: s for a success, f for a probe that failed, r for a request that did."""
    health = Health()
    for event in events:
        if event == "s":
            health = succeeded(health, THRESHOLDS)
        else:
            health = failed(health, THRESHOLDS, "why", probe=event == "f")
    return health


@pytest.mark.parametrize(
    ("story", "verdict"),
    [
        ("", Verdict.UNKNOWN),
        ("s", Verdict.UP),  # the first word decides
        ("f", Verdict.DOWN),
        ("rr", Verdict.UNKNOWN),  # of a probe, that is; requests may have hiccups
        ("rrr", Verdict.DOWN),
        ("rf", Verdict.DOWN),
        ("rs", Verdict.UP),
        ("srf", Verdict.UP),
        ("srfr", Verdict.DOWN),  # once it is up, both count alike
        ("sff", Verdict.UP),  # two failures are not three
        ("sfff", Verdict.DOWN),
        ("sffsff", Verdict.UP),  # in a row, not in all
        ("fs", Verdict.DOWN),  # one success is not two
        ("fss", Verdict.UP),
        ("fsfs", Verdict.DOWN),
        ("fssff", Verdict.UP),  # back up, it starts afresh
    ],
)
def test_verdict_after(story, verdict):
    """The verdict changes with the first word, and then only after enough in a row."""
    assert after(story).verdict is verdict


def test_usable():
    """A backend that nothing is known of may be tried; one that is down may not."""
    assert Health().usable
    assert after("s").usable
    assert not after("f").usable


def test_reason_is_the_latest():
    """The reason of a bad verdict is kept, and goes with a good one."""
    assert after("f").reason == "why"
    assert after("fss").reason == ""


def test_success_of_a_healthy_backend_changes_nothing():
    """The common case makes no new object."""
    health = after("s")
    assert succeeded(health, THRESHOLDS) is health


@pytest.mark.parametrize("story", ["s", "rs", "srs", "sffs", "fss", "ffss"])
def test_a_backend_with_nothing_against_it_is_well(story):
    """However it came to that: it is known by this one object that there is nothing to take note of."""
    assert after(story) is WELL
    assert declared(up=True) is WELL
    assert failed(WELL, THRESHOLDS, "why", probe=False) is not WELL


def test_the_supervisor_decides_at_once():
    """Whoever owns the process needs no three tries."""
    assert declared(up=False, reason="exited").verdict is Verdict.DOWN
    assert declared(up=False, reason="exited").reason == "exited"
    assert declared(up=True).verdict is Verdict.UP


@given(st.text("sfr", max_size=30))
def test_count_against_is_bounded(story):
    """Fewer speak against a verdict than would change it."""
    health = after(story)
    assert 0 <= health.against < 3
    assert (health.verdict is Verdict.UNKNOWN) == (story in {"", "r", "rr"})
