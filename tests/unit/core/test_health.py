from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.health import (
    RETURNS_WITHIN,
    SOONEST,
    WELL,
    Health,
    Thresholds,
    Verdict,
    declared,
    failed,
    least_bad,
    pause,
    succeeded,
)

UNKNOWN, UP, SUSPECT, DOWN, PROBING = Verdict
THRESHOLDS = Thresholds(unhealthy_after=3, healthy_after=2, slow_start=30)
WELL_AGAIN = "rsrs" + "a" * 20
"""A story of two failures that nobody remembers."""


def after(events: str, health: Health | None = None, thresholds: Thresholds = THRESHOLDS, every: float = 0.0) -> Health:
    """Feed a story: a for a request that was answered, r for one that wasn't; s and f for probes."""
    health = health or Health()
    for number, event in enumerate(events, 1):
        probe, now = event in "sf", number * every
        if event in "sa":
            health = succeeded(health, thresholds, probe=probe, now=now)
        else:
            health = failed(health, thresholds, f"why {number}", probe=probe, now=now)
    return health


@pytest.mark.parametrize(
    ("story", "s", "a", "f", "r"),  # the verdict after one more
    [
        ("", UP, UP, DOWN, UNKNOWN),  # the first word decides, of a probe, that is; requests may have hiccups
        ("r", UP, UP, DOWN, UNKNOWN),
        ("rr", UP, UP, DOWN, DOWN),
        ("s", UP, UP, SUSPECT, SUSPECT),
        ("sf", UP, UP, SUSPECT, SUSPECT),
        ("sff", UP, UP, DOWN, DOWN),
        ("sr", SUSPECT, UP, SUSPECT, SUSPECT),  # what requests met, probes don't clear
        ("srr", SUSPECT, UP, DOWN, DOWN),
        ("srsrs", SUSPECT, UP, DOWN, DOWN),
        ("srf", UP, UP, DOWN, DOWN),  # a probe has seen it too, so that a probe can tell when it is over
        ("sffsff", UP, UP, DOWN, DOWN),  # in a row, not in all
        ("sffs", UP, UP, SUSPECT, SUSPECT),
        ("f", DOWN, DOWN, DOWN, DOWN),
        ("fs", PROBING, PROBING, DOWN, DOWN),
        ("fsf", DOWN, DOWN, DOWN, DOWN),  # one success is not two
        ("fss", PROBING, UP, DOWN, DOWN),  # a request proves more than a probe
        ("fsss", UP, UP, DOWN, DOWN),  # probes put it out, probes bring it back
        ("rrr", DOWN, DOWN, DOWN, DOWN),
        ("rrrss", PROBING, UP, DOWN, DOWN),
        ("rrrssss", PROBING, UP, DOWN, DOWN),  # requests put it out: probes give it a trial, and no more
        ("rrrssa", UP, UP, SUSPECT, SUSPECT),  # back up, it starts afresh
        ("rrrfss", PROBING, UP, DOWN, DOWN),
        ("rrrfsss", UP, UP, DOWN, DOWN),
    ],
)
def test_transitions(story, s, a, f, r):
    """The whole table: from each state, by each event."""
    verdicts = [after(story + event).verdict for event in "safr"]
    assert verdicts == [s, a, f, r]


@pytest.mark.parametrize("story", ["", "s", "sf", "sr", "f", "rrr", "fss", "rrrss"])
def test_the_supervisor_decides_at_once(story):
    """Whoever owns the process needs no three tries, whatever was believed before."""
    assert declared(up=True) is WELL
    gone = declared(up=False, reason="exited")
    assert (gone.verdict, gone.reason, gone.absent) == (DOWN, "exited", True)
    assert after(story).absent is False


def test_of_who_is_gone_the_supervisor_says_why():
    """What was under way there fails, which tells nothing; an answer, if there is one, does."""
    gone = declared(up=False, reason="exited")
    assert after("rf", gone) is gone
    assert not after("s", gone).absent
    assert after("ss", gone).verdict is PROBING
    assert not after("ss", gone).absent


def test_who_is_gone_may_be_about_to_be_there():
    """The supervisor says that, too; what fails meanwhile changes nothing of it, an answer ends it."""
    assert not declared(up=False, reason="failed for good").coming
    starting = declared(up=False, reason="starting", coming=True)
    assert (starting.usable, starting.hope, starting.coming) == (False, 0, True)
    assert after("rf", starting) is starting
    assert not after("s", starting).coming


def refused(health: Health, now: float, *, probe: bool = False) -> Health:
    return failed(health, THRESHOLDS, "refused", probe=probe, now=now, refused=True)


def test_a_server_that_refuses_connections_is_gone_and_may_return():
    """One request tells, of who had answered; it takes several probes, as any of them might be mistaken."""
    gone = refused(WELL, 7.0)
    assert (gone.usable, gone.absent, gone.coming, gone.since, gone.relapses) == (False, True, True, 7.0, 0)
    assert refused(refused(WELL, 7.0, probe=True), 8.0, probe=True).usable
    probed = refused(after("ff", WELL), 9.0, probe=True)
    assert (probed.usable, probed.coming, probed.since) == (False, True, 9.0)
    assert refused(after("fss"), 7.0).relapses == 1  # it was on trial


def test_a_server_that_was_never_there_is_not_waited_for():
    """Its failure is told at once. One that had taken connections is, be it that it was out."""
    never = refused(Health(), 1.0, probe=True)
    assert (never.verdict, never.coming, never.refused) == (DOWN, False, True)
    assert not refused(never, 2.0).coming
    assert not refused(Health(), 1.0).coming
    assert refused(after("rrr"), 2.0).coming


def test_a_server_that_does_not_return_is_soon_given_up():
    """From then on it is tried as any other that is out, so that its failure is told."""
    gone = refused(WELL, 7.0)
    assert refused(gone, 11.9, probe=True) is gone
    late = refused(gone, 12.0, probe=True)
    assert (late.usable, late.absent, late.coming, late.reason) == (False, False, False, "refused")
    assert late.hope
    assert not refused(late, 13.0).coming


def test_a_server_that_returns_may_be_asked():
    """Its first good probe shows that somebody is there again, the next puts it on trial."""
    gone = refused(WELL, 7.0)
    assert after("s", gone).hope > late_hope(gone)
    assert after("ss", gone).verdict is PROBING


def test_a_server_that_goes_again_is_waited_for_again():
    """Though it was not back for good: it had answered."""
    again = refused(after("s", refused(WELL, 7.0)), 20.0)
    assert (again.usable, again.coming, again.since) == (False, True, 20.0)
    assert refused(after("sr", refused(WELL, 7.0)), 20.0).coming


def test_a_server_that_is_never_probed_is_waited_for_once():
    """However often it is tried meanwhile: nobody has heard of it. Then each request is told at once."""
    health = refused(WELL, 7.0)
    for now in (7.1, 8.0, 7.0 + RETURNS_WITHIN - 0.1):
        tried = supposed(health, now)
        assert (tried.verdict, tried.coming) == (PROBING, False)
        assert supposed(tried, now).verdict is PROBING  # no request has come
        health = refused(tried, now)
        assert (health.coming, health.absent, health.since, health.relapses) == (True, True, 7.0, 0)
    late = 7.0 + RETURNS_WITHIN
    for now in (late, late + 1):
        health = refused(supposed(health, now), now)
        assert (health.verdict, health.coming, health.absent, health.refused) == (DOWN, False, False, True)


def test_a_server_that_is_never_probed_is_back_once_it_answers():
    """A request shows it; another failure on trial is counted as one of a backend that had answered."""
    tried = supposed(refused(WELL, 7.0), 8.0)
    back = succeeded(tried, THRESHOLDS, now=9.0)
    assert (back.verdict, back.refused) == (UP, False)
    assert refused(back, 20.0).since == 20.0
    assert failed(tried, THRESHOLDS, "answered 500", probe=False, now=9.0).relapses == 1
    assert supposed(Health()) is WELL
    assert supposed(after("r", Health(PROBING))).verdict is DOWN


def test_who_is_waited_for_is_probed_soon_however_often_it_fell():
    """One that is out otherwise is left alone for longer each time."""
    relapsed = Health(DOWN, relapses=3)
    waited = Health(DOWN, relapses=3, absent=True, coming=True)
    assert [pause(each, 5.0, 0.0) for each in (relapsed, waited)] == [8 * SOONEST, SOONEST]


def supposed(health: Health, now: float = 0.0) -> Health:
    return succeeded(health, THRESHOLDS, probe=True, now=now, heard=False)


def late_hope(gone: Health) -> int:
    return refused(gone, 99.0).hope


def test_usable():
    """Every backend may be sent requests but one that is down."""
    assert {verdict for verdict in Verdict if not Health(verdict).usable} == {DOWN}


def test_reason_is_the_latest():
    """The reason of a bad verdict is kept, on trial too, and goes with a good one."""
    assert after("frf").reason == "why 3"
    assert after("fss").reason == "why 1"
    assert after("fssss").reason == ""


# A share of failures


@pytest.mark.parametrize(
    ("thresholds", "pattern", "expected"),  # how many requests of the pattern, repeated, until it is down
    [
        (THRESHOLDS, "ra", 19),  # ten of twenty, never two in a row
        (THRESHOLDS, "rra", 14),
        (THRESHOLDS, "raa", None),  # a third isn't half
        (THRESHOLDS, "rasss", 19 // 2 * 5 + 1),  # probes don't water it down
        (THRESHOLDS, "fs", None),  # what only probes meet, they clear
        (Thresholds(error_rate=0.3), "raa", 16),
        (Thresholds(error_rate=1.1), "rra", None),  # off
        (Thresholds(window=0), "rra", None),  # off
    ],
)
def test_a_flapping_backend_is_put_out(thresholds, pattern, expected):
    """A high share of failures among the last requests counts, though they never come in a row."""
    down = [n for n in range(200) if after((pattern * n)[:n], WELL, thresholds).verdict is DOWN]
    assert (down[0] if down else None) == expected


def test_old_failures_are_forgotten():
    """With the last of twenty answers behind one failure, nothing is left of it."""
    assert after("r" + "a" * 19, WELL) is not WELL
    assert after("r" + "a" * 20, WELL) is WELL


# Coming back


@pytest.mark.parametrize("story", ["s", "a", "rs", "sfs", "sffs", WELL_AGAIN])
def test_a_backend_with_nothing_against_it_is_well(story):
    """However it came to that: it is known by this one object that there is nothing to take note of."""
    assert after(story) is WELL
    assert after("sa", WELL) is WELL
    assert failed(WELL, THRESHOLDS, "why", probe=False) is not WELL


def test_it_comes_back_slowly():
    """On trial a tenth, then from second to second more, until it is well."""
    assert WELL.ramp(0, THRESHOLDS) == 1
    assert Health().ramp(0, THRESHOLDS) == 1
    assert after("fss").ramp(1e9, THRESHOLDS) == 0.1
    back = after("fssss", every=1.0)  # at 5 s
    assert [back.ramp(now, THRESHOLDS) for now in (5, 6.5, 20, 34, 35, 99)] == [0.1, 0.1, 0.5, 29 / 30, 1, 1]
    assert succeeded(back, THRESHOLDS, now=34).ramp(34, THRESHOLDS) == 29 / 30
    assert succeeded(back, THRESHOLDS, now=35) is WELL
    assert succeeded(back, THRESHOLDS, probe=True, now=35) is WELL
    assert back.ramp(5, Thresholds(slow_start=0)) == 1


def test_a_launched_backend_comes_back_slowly_if_so_declared():
    """The supervisor may say when."""
    assert declared(up=True, now=10.0).ramp(25.0, THRESHOLDS) == 0.5


@pytest.mark.parametrize(
    ("verdict", "cap", "expected"),
    [(UNKNOWN, inf, inf), (UP, 16, 16), (SUSPECT, 16, 16), (PROBING, 16, 2), (PROBING, 1, 1), (DOWN, inf, 2)],
)
def test_few_requests_at_a_time_on_trial(verdict, cap, expected):
    """Half open: not all that wait are sent to who may fail again. The least bad of those down is treated alike."""
    assert Health(verdict).cap(cap, THRESHOLDS) == expected


def test_each_relapse_doubles_the_way_back():
    """One that passes its probes and fails its trials is asked more and more seldom, but is asked."""
    health, needed = after("rrr"), []
    for _ in range(8):
        trial, successes = health, 0
        while trial.verdict is not PROBING:
            trial, successes = after("s", trial), successes + 1
        needed.append(successes)
        health = after("r", trial)
    assert needed == [2, 4, 8, 16, 32, 64, 64, 64]


def test_a_relapse_takes_a_whole_answer():
    """As the first trial does."""
    relapsed = after("ssss", after("r", after("ss", after("rrr"))))
    assert (relapsed.verdict, relapsed.relapses) == (PROBING, 1)
    assert after("a", relapsed).verdict is UP


@pytest.mark.parametrize(
    ("story", "ill", "expected"),
    [
        ("s", 99, 5),
        ("sr", 0, 0.1),
        ("rrr", 0, 0.1),
        ("rrr", 2.5, 0.35),
        ("rrr", 99, 5),
        ("fs", 99, 0.1),
        ("fss", 99, 0.1),
        ("", 0, 0.1),
    ],
)
def test_who_is_out_or_in_doubt_is_probed_soon(story, ill, expected):
    """The later, the longer it has been so, and as seldom as others at last."""
    assert pause(after(story), 5.0, ill) == pytest.approx(expected)


def test_who_relapses_is_probed_less_often():
    """Each relapse doubles it."""
    health, pauses = after("rrr"), []
    for _ in range(8):
        pauses.append(pause(health, 60.0, 0.0))
        while health.verdict is not PROBING:
            health = after("s", health)
        health = after("r", health)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 3.2, 3.2]


def test_a_relapse_is_soon():
    """Down again while it comes back is one; later it isn't."""
    back = after("fssss")
    failing = after("ff", back)
    assert failed(failing, THRESHOLDS, "why", probe=True, now=29).relapses == 1
    assert failed(failing, THRESHOLDS, "why", probe=True, now=30).relapses == 0
    again = after("ssss" + "ss", after("f", failing))
    assert (again.verdict, again.relapses) == (UP, 1)  # remembered until it is well
    assert after("ff", again).relapses == 1


# Where all look bad


def test_hope():
    """The order in which those that look bad may be tried; nobody is asked who isn't there."""
    stories = ["f", "rrr", "fs", "fss"]  # refuses probes; only requests fail; has answered since; on trial
    hopes = [declared(up=False).hope, *(after(story).hope for story in stories)]
    assert hopes == [0, 1, 2, 3, 4]
    assert {Health(verdict).hope for verdict in Verdict if verdict is not DOWN} == {4}


@pytest.mark.parametrize(
    ("stories", "expected"),
    [
        ([], []),
        (["gone", "gone"], []),
        (["f", "gone", "f"], [0, 2]),
        (["f", "rrr", "rrr"], [1, 2]),
        (["f", "s"], [1]),
    ],
)
def test_least_bad(stories, expected):
    """All of whom an answer is likeliest."""
    healths = [declared(up=False) if story == "gone" else after(story) for story in stories]
    assert least_bad(range(len(healths)), healths.__getitem__) == expected


# Whatever happens


@given(st.text("sfra", max_size=60), st.integers(1, 5), st.integers(1, 5), st.floats(0, 60))
def test_all_is_bounded(story, unhealthy_after, healthy_after, every):
    """Fewer speak against a verdict than would change it, and no more is remembered than is used."""
    thresholds = Thresholds(unhealthy_after=unhealthy_after, healthy_after=healthy_after)
    health = after(story, None, thresholds, every)
    most = {DOWN: healthy_after << 5, PROBING: healthy_after, UP: 1}.get(health.verdict, unhealthy_after)
    assert 0 <= health.against < most
    assert health.recent < 1 << 20
    assert health.relapses <= 5
    assert 0 < health.ramp(len(story) * every, thresholds) <= 1
    assert (health.verdict is SUSPECT) <= (health.against > 0)


@given(st.text("sfra", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_it_always_comes_back(story, unhealthy_after, healthy_after):
    """Whatever it has met: an engine that answers is up again."""
    thresholds = Thresholds(unhealthy_after=unhealthy_after, healthy_after=healthy_after)
    well = after("sa" * (healthy_after << 5), after(story, None, thresholds), thresholds)
    assert well.verdict is UP
    assert succeeded(succeeded(well, thresholds, now=60), thresholds, now=60) is WELL


@given(st.text("sfra", max_size=60), st.integers(1, 5))
def test_an_engine_that_fails_fast_is_out_within_a_handful(story, unhealthy_after):
    """Whatever it has met, and whatever its probes say meanwhile."""
    thresholds = Thresholds(unhealthy_after=unhealthy_after)
    health = after(story, None, thresholds)
    for _ in range(unhealthy_after):
        health = after("rs" if health.verdict not in {UNKNOWN, DOWN} else "r", health, thresholds)
    assert health.verdict is DOWN


@pytest.mark.parametrize(
    ("health", "word"),
    [
        (declared(up=False, reason="is asleep", due=inf), "asleep"),
        (declared(up=False, reason="is being woken", coming=True, due=12.0), "waking"),
        (declared(up=False, reason="starts", coming=True), "down"),
        (WELL, "up"),
    ],
)
def test_who_sleeps_is_not_called_down(health, word):
    """In a word for people."""
    assert health.word == word


def test_one_that_sleeps_stays_asleep_until_it_answers():
    """Whatever fails there meanwhile; no request is tried there. Then it comes back as any other."""
    asleep = declared(up=False, reason="is asleep", due=inf)
    assert after("frf", asleep) is asleep
    assert refused(asleep, 1.0).word == "down"
    waking = declared(up=False, reason="is being woken", coming=True, due=inf)
    assert refused(waking, 1.0) is waking
    assert (asleep.hope, asleep.usable) == (0, False)
    assert not after("s", asleep).asleep
    assert after("ss", asleep).verdict is PROBING


def test_one_that_is_being_woken_is_probed_all_the_time():
    """However long it slept; one that sleeps on as one that is down."""
    asleep, waking = declared(up=False, due=inf), declared(up=False, coming=True, due=inf)
    assert (pause(asleep, 5.0, 3600.0), pause(waking, 5.0, 3600.0), pause(waking, 0.05, 0.0)) == (5.0, 0.1, 0.05)
