import pytest

from scripts.instruments.statistics import Histogram
from scripts.stress import verdict
from scripts.stress.results import Check, Goodput, ProcessResult
from scripts.stress.tally import Outcome, Slo, StepFigures


def figures(ttft=0.1, count=100, failed=0):
    made = StepFigures()
    for number in range(count + failed):
        kind = "timeout" if number >= count else ""
        made.count(Outcome(0, 0, ttft, ttft + 1, 2 * ttft + 1, kind, "", 200, True, 11, 0, "", None), Slo())
    return made


@pytest.fixture
def step(make_step):
    return lambda **changes: make_step(figures(changes.pop("ttft", 0.1), failed=changes.pop("failed", 0)), **changes)


def lag(seconds):
    made = Histogram()
    made.record(seconds)
    return made


@pytest.mark.parametrize(
    ("cpu", "late", "says"),
    [(0.5, 0.001, ""), (0.9, 0.001, "90% of its core"), (0.5, 0.02, "late by 20.0 ms"), (0.9, 0.02, "90%")],
)
def test_the_generator_says_when_it_is_in_the_way(cpu, late, says):
    """It is, where it has no CPU left, or is late; else it says nothing."""
    said = verdict.generator(cpu, lag(late)).warning
    assert said == "" if not says else says in said


def test_what_is_carried(step):
    """The heaviest load whose answers, and those of all lighter ones, are good."""
    shares = {1: 1.0, 2: 0.995, 4: 0.7, 8: 1.0}
    steps = [step(name=str(n), clients=n, goodput=Goodput(1.0, share)) for n, share in shares.items()]
    carried = verdict.carried(steps, "base")
    assert carried is not None
    assert carried.name == "2"
    assert verdict.carried(steps[2:], "base") is None
    assert verdict.carried([steps[0], step(clients=1, goodput=Goodput(1.0, 0.5))], "base") is None  # in another round
    assert verdict.carried(steps, "other") is None
    assert verdict.findings(steps[:3], Slo(ttft=1)) == ["base carries 2: 99 of 100 answers within ttft 1 s."]
    assert "doesn't carry the lightest" in verdict.findings(steps[2:], Slo(ttft=1))[0]


def test_the_worst_step_speaks_for_the_generator(step):
    """One sentence for all."""
    cost = [verdict.generator(cpu, lag(late)) for cpu, late in ((0.5, 0.1), (0.9, 0.001), (0.1, 0))]
    (said,) = verdict.findings([step(name=str(number), generator=each) for number, each in enumerate(cost)], None)
    assert said.startswith(
        "Not the target alone was measured in 2 of 3 steps. In the worst, 1, the load generator used"
    )


def test_ratios():
    """Of all rounds together, and of each by itself; the first target is what the others are compared with."""
    found = {
        ("1 client", "base"): [(figures(0.1), 10.0), (figures(0.2), 10.0)],
        ("1 client", "other"): [(figures(0.2), 10.0), (figures(0.2, failed=1), 20.0)],
    }
    ratios = {each.figure: each for each in verdict.ratios(found)}
    assert ratios["TTFT p50, s"].target == "other"
    assert ratios["TTFT p50, s"].rounds == pytest.approx([2, 1], rel=0.01)
    assert ratios["requests/s"].ratio == pytest.approx(2 / 3)
    assert (ratios["failed"].other, ratios["failed"].ratio) == (1, None)


def test_drifts(step):
    """The last part over the first; of memory, what there was at the end of each."""
    used = [ProcessResult(0.1, 1e6, memory, 9e6) for memory in (2e6, 3e6, 4e6)]
    steps = [step(name=str(n), ttft=0.1 * (n + 1), server=each) for n, each in enumerate(used)]
    drifts = {each.figure: each.ratio for each in verdict.drifts(steps, "base")}
    assert drifts["TTFT p50, s"] == pytest.approx(3, rel=0.01)
    assert drifts["memory of the server, bytes"] == 2
    assert verdict.drifts(steps[:1], "base") == []


def held(steps, checks=(), drifts=(), **asked):
    names = {"ttft": "p99 of TTFT, s", "failures": "failures", "drift": "drift"}
    found = verdict.bounds(steps, checks, drifts, {names[name]: bound for name, bound in asked.items()})
    return {each.name: each.holds for each in found}


def test_bounds_hold_of_the_worst(step):
    """Of the slowest step, and of all failures; what nobody asked for isn't held against anything."""
    steps = [step(ttft=0.1, failed=1), step(ttft=0.3, failed=1)]
    assert held(steps, ttft=None, failures=None) == {}
    assert held(steps, ttft=0.4, failures=2) == {"p99 of TTFT, s": True, "failures": True}
    assert held(steps, ttft=0.2, failures=1) == {"p99 of TTFT, s": False, "failures": False}


def test_no_token_keeps_no_bound_of_tokens(make_step):
    """Of a run that streams nothing it can't be said that its first tokens come soon."""
    figures = StepFigures()
    figures.count(Outcome(0, 0, None, None, 1, "", "", 200, False, 9, 0, "", None), Slo())
    assert held([make_step(figures)], ttft=9, failures=0) == {"p99 of TTFT, s": False, "failures": True}


def test_drift_is_no_gain(step):
    """A time that grew breaks the bound; that there are more requests/s doesn't."""
    drifts = verdict.drifts([step(ttft=0.2), step(ttft=0.1, requests_per_second=99.0)], "base")
    assert held([], drifts=drifts, drift=1.5)["drift"]
    assert not held([], drifts=verdict.drifts([step(ttft=0.1), step(ttft=0.2)], "base"), drift=1.5)["drift"]


def test_no_answer_keeps_no_bound():
    """A target that is gone has no slow answers either: that must not pass."""
    assert held([], failures=9) == {"failures": True, "no answer at all": False}


def test_checks_that_failed(step):
    """They are broken bounds, too; skipped ones aren't."""
    checks = [Check(state, "base", state, "") for state in ("passed", "skipped")]
    assert held([step()], checks) == {"checks that failed": True}
    assert held([step()], [*checks, Check("x", "base", "failed", "")]) == {"checks that failed": False}


@pytest.mark.parametrize(
    ("state", "failed", "then"), [("passed", 0, "passed"), ("passed", 1, "failed"), ("skipped", 1, "skipped")]
)
def test_what_was_done_under_load(state, failed, then):
    """It passes only if no request failed around it."""
    assert verdict.unharmed(Check("reload", "base", state, "200"), figures(failed=failed)).state == then
