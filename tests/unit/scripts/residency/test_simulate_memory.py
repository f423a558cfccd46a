import pytest

from scripts import simulate_memory
from scripts.residency.machine import DEVICE, Engine, Job, Machine
from scripts.residency.rules import Gathering, OneByOne
from scripts.residency.scenarios import RULES, SCENARIOS, simulate
from scripts.residency.traffic import G

TWO = [Engine("a", {DEVICE: 4 * G}), Engine("b", {DEVICE: 4 * G})]


def figures(scenario, rule, requests, seed):
    found = simulate(scenario, rule, requests=requests, seed=seed)
    assert found is not None
    return found


def words(actions):
    return [(type(each).__name__, each.backend) for each in actions]


@pytest.mark.parametrize("seed", [11, 12])
def test_two_agents_are_served_five_times_as_fast_as_one_by_one(seed):
    """Two models that don't fit together: turns beat a swap at each request, and nobody waits beyond max_wait."""
    router, other = (figures("two agents", rule, 400, seed) for rule in ("router", "one by one, LRU"))
    assert router.throughput >= 5 * other.throughput
    assert router.longest <= 120


@pytest.mark.parametrize("scenario", ["zipf, light", "zipf, medium", "zipf, steep", "bursts"])
def test_loads_are_at_most_half_more_than_belady_s(scenario):
    """Belady knows the future; under the same gathering the router's evictions come near."""
    router, belady = (figures(scenario, rule, 2000, 11) for rule in ("router", "Belady"))
    assert router.loads <= 1.5 * belady.loads


def test_ten_models_where_three_fit():
    """No request fails, no answer is cut, and memory is under the limit at each moment."""
    found = figures("zipf, heavy", "router", 2000, 11)
    assert (found.requests, found.failed, found.cut) == (2000, 0, 0)
    assert found.peak <= 12


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_rule_in_each_scenario(scenario, rule):
    """Each request is served or, where loads fail, refused; Belady's rule needs requests that are known beforehand."""
    found = simulate(scenario, rule, requests=102, seed=3)
    if found is None:
        assert rule == "Belady"
        return
    assert found.requests >= 100
    assert found.cut == 0
    assert found.failed == 0 or scenario == "misfortune"


def test_one_by_one_blocks_all_behind():
    """While a model loads, requests for one that is loaded wait, too; the one used longest ago leaves."""
    rule = OneByOne(TWO, 4 * G)
    assert words(rule.wanted(1, "a", 0.0)) == [("Load", "a")]
    assert words(rule.loaded("a", 10.0)) == [("Send", "a")]
    assert words(rule.wanted(2, "b", 11.0)) == []
    assert words(rule.wanted(3, "a", 12.0)) == []
    assert words(rule.ended(1, 13.0)) == [("Unload", "a")]
    assert words(rule.exited("a", 14.0)) == [("Load", "b")]
    assert words(rule.ended(3, 15.0)) == []
    assert words(rule.failed("b", "broken", 16.0)) == [("Refuse", "b"), ("Unload", "b")]


def test_gathering_serves_what_is_loaded_first():
    """As llama-swap does: whoever asks for a loaded model goes on, however long others wait."""
    rule = Gathering(TWO, 4 * G)
    rule.wanted(1, "a", 0.0)
    rule.loaded("a", 10.0)
    assert words(rule.wanted(2, "b", 11.0)) == []
    assert words(rule.wanted(3, "a", 12.0)) == [("Send", "a")]
    assert words(rule.ended(1, 13.0)) == []
    assert words(rule.ended(3, 14.0)) == [("Unload", "a")]


def test_a_machine_frees_memory_after_an_exit():
    """What has ended is still in use for a while; a client that leaves is not served."""
    rule = OneByOne(TWO, 4 * G)
    machine = Machine(rule, TWO, {DEVICE: 8 * G}, lag=2.0)
    jobs = machine.run([Job(1, 0.0, "a", 5.0), Job(2, 1.0, "b", 5.0), Job(3, 2.0, "b", 5.0, leaves_after=1.0)])
    assert [job.began for job in jobs] == [10.0, 26.0, -1.0]
    assert machine.tally.peak[DEVICE] > 4 * G


def test_tables_are_printed(capsys):
    """A table a scenario, a line a rule."""
    simulate_memory.main(["--requests", "50", "--scenario", "two agents", "--workers", "1"])
    printed = capsys.readouterr().out
    assert "**two agents**" in printed
    assert "| Belady |" not in printed
    assert printed.count("| router |") == 1
    assert "50 requests a line, seed 1" in printed
