"""What the balancing policies are held to, in simulated scenarios (scripts/balance/simulation): pure, and repeatable.

This is the short version, of one load a scenario and few requests; docs/balancing.md has the figures of the long one.
`make test` plays two scenarios, `make test-performance` all of them.
"""

from dataclasses import replace
from functools import cache
from statistics import fmean

import pytest

from router.core import balance
from scripts.balance.simulation.choosing import AFFINITY, ORACLE, UNAWARE
from scripts.balance.simulation.figures import RunFigures, figures_of
from scripts.balance.simulation.scenarios import SCENARIOS, play, simulate

REQUESTS = 2500
SEED = 1

OURS = "least_latency"
OTHERS = [policy for policy in balance.POLICIES if policy != OURS]


IN_EACH_RUN = {"fast-slow", "stalling"}
"""Cheap ones: each policy runs, and a wrong choice is far out of bounds."""


def scenarios(names):
    return [pytest.param(name, marks=[] if name in IN_EACH_RUN else [pytest.mark.long]) for name in names]


@cache
def figures(name: str, policy: str) -> RunFigures:
    """Run once, whoever asks, at a middling load."""
    loads = SCENARIOS[name].loads
    return figures_of(simulate(name, loads[len(loads) // 2], policy, requests=REQUESTS, seed=SEED))


SHARED = ["guests", "two-routers-few"]
"""What others send to the same engines matters, and isn't seen, or late."""


@pytest.mark.parametrize("name", scenarios(name for name in SCENARIOS if name.removesuffix("-published") not in SHARED))
def test_first_tokens_come_nearly_as_soon_as_an_oracle_could_have_them(name):
    """The p99 of TTFT is at most 1.3 times that of who knows the true state."""
    assert figures(name, OURS).p99 <= 1.3 * figures(name, ORACLE).p99


@pytest.mark.parametrize("name", scenarios([*SHARED, "two-routers"]))
def test_what_engines_publish_shows_the_load_of_others(name):
    """First tokens come sooner where few requests fill an engine, or others fill one; elsewhere no later."""
    most = 1.0 if name in SHARED else 1.05
    assert figures(f"{name}-published", OURS).mean <= most * figures(name, OURS).mean


def test_a_stall_is_felt_by_those_who_are_there_alone():
    """Hardly one request a stall goes to a stalled engine: that it has fallen silent is heard."""
    assert figures("stalling", OURS).soon >= figures("stalling", ORACLE).soon - 0.005


@pytest.mark.parametrize("name", scenarios(SCENARIOS))
def test_no_other_policy_is_better(name):
    """The p99 of TTFT is never worse than another's by more than 5%."""
    others = {policy: figures(name, policy).p99 for policy in OTHERS}
    best = min(others, key=others.__getitem__)
    assert figures(name, OURS).p99 <= 1.05 * others[best], f"{best} is better"


@pytest.mark.parametrize("name", scenarios(SCENARIOS))
def test_no_request_is_lost_that_an_oracle_would_have_had_answered(name):
    """Only answers that had begun at an engine that ended are lost, and hardly more than the oracle loses."""
    assert figures(name, OURS).failed <= 1.1 * figures(name, ORACLE).failed + 2


@pytest.mark.long
def test_one_of_eleven_stalled_is_hardly_felt():
    """At least 99.9% of the answers begin within 1 s, with one engine of eleven stalled for good."""
    assert figures("eleven", OURS).soon >= 0.999


@pytest.mark.parametrize("name", scenarios(["chats", "chats-skewed"]))
def test_shared_prefixes_are_found_in_caches(name):
    """Cache hits are within 5% of those of a policy that looks at nothing else."""
    assert figures(name, OURS).hits >= 0.95 * figures(name, AFFINITY).hits


@pytest.mark.long
def test_a_prompt_that_half_of_all_share_makes_no_hot_spot():
    """Looking at prefixes makes the p99 of TTFT no worse than not looking at them."""
    assert figures("chats-skewed", OURS).p99 <= figures("chats-skewed", UNAWARE).p99


COLD = ["cold-start", "cold-shared", "cold-serial", "cold-refusing"]
SEEDS = range(11, 17)


def cold(name: str, policy: str) -> dict[str, float]:
    """Give the mean p50 and p99 of some runs from the first request on, by engines of which nothing is known.

    Where one of them refuses all requests, those who don't look at health are given the others alone.
    """
    scenario = SCENARIOS[name]
    if policy != OURS:
        scenario = replace(scenario, engines=tuple(spec for spec in scenario.engines if not spec.refuses))
    runs = [figures_of(play(scenario, 1.0, policy, requests=700, seed=seed)) for seed in SEEDS]
    return {share: fmean(getattr(run, share) for run in runs) for share in ("p50", "p99")}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name != "cold-start")) for name in COLD]
)
def test_from_the_first_request_on_caches_and_queues_are_both_minded(name):
    """Nobody has to choose: it is hardly worse than the better of pure affinity and least connections, each time."""
    ours, others = cold(name, OURS), [cold(name, policy) for policy in (AFFINITY, "least_in_flight")]
    for share, seconds in ours.items():
        assert seconds <= 1.1 * min(other[share] for other in others), share
