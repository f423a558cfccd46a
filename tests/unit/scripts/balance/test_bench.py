from math import nan

import pytest

from router.config import load
from router.core.affinity import blocks_of
from router.core.estimate.ask import Ask
from scripts.balance import bench
from scripts.balance.figures import Beside, as_json, best_other, conditions, hits, measured, table, warnings
from scripts.balance.fleet import configuration
from scripts.balance.load import TurnOutcome
from scripts.balance.real_time import described, job_of
from scripts.balance.simulation.figures import Key, RunFigures, figures_of
from scripts.balance.simulation.scenarios import SCENARIOS, conversations_of, play, starts_of

OURS, OTHER, THIRD = (Key("equal", 0.75, name) for name in ("least_latency", "round_robin", "random"))
SIMULATED = RunFigures(10, 0.2, 0.11, 0.7, 0.0, 1, 0.99, 1.0)
ORACLE = SIMULATED._replace(p99=0.6)
BUSIEST = {"engine": 0.02, "router": 0.03}


def outcome(ttft, failure="", late=0.001, cached=0):
    return TurnOutcome(0.0, late, ttft, failure, 100, cached)


def beside(ttft, late=0.001, cached=0):
    real = measured([outcome(ttft, late=late, cached=cached)] * 10, 0.002, 4.0, BUSIEST)
    return Beside(real, SIMULATED, ORACLE)


@pytest.mark.parametrize("name", ["equal", "chats"])
def test_an_engine_is_told_of_a_job_what_a_simulated_one_knows(name):
    """The header carries all that the model looks at."""
    for conversation in conversations_of(SCENARIOS[name].asked, 20, 1):
        for job in conversation:
            told = job_of(described(job), 7, job.ask.size)
            assert (told.prompt, told.answer, told.path, told.kept) == (job.prompt, job.answer, job.path, job.kept)
            assert (told.number, told.ask) == (7, Ask(job.ask.size))


def test_who_describes_nothing_wants_a_token():
    """As a probe of a backend that stalled does; its prompt is nobody else's."""
    first, second = job_of("", 1, 90), job_of("", 2, 90)
    assert (first.prompt, first.answer) == (1, 1)
    assert first.path != second.path


@pytest.mark.parametrize("name", ["equal", "mixed", "chats"])
def test_what_is_sent_is_what_is_simulated(name):
    """The same jobs, and bodies that the router sees as the simulated one sees them."""
    kept = conversations_of(SCENARIOS[name].asked, 30, 3, keep_bodies=True)
    plain = conversations_of(SCENARIOS[name].asked, 30, 3)
    for with_body, without in zip(kept, plain, strict=True):
        for sent, job in zip(with_body, without, strict=True):
            assert not job.body
            assert Ask(len(sent.body), blocks_of(sent.body)) == job.ask
            assert (sent.number, sent.path, sent.answer, sent.think) == (job.number, job.path, job.answer, job.think)


@pytest.mark.parametrize("name", bench.POSSIBLE)
def test_time_runs_as_fast_as_the_rate_wants(name):
    """So many requests come in a real second, unless that would be faster than a real machine can follow."""
    load_ = bench.middling(name)
    part = bench.part_of(name, load_, 200, 1, 30.0)
    assert part.starts == starts_of(part.scenario, part.conversations, load_, 1)
    assert part.pace == pytest.approx(min(bench.FASTEST, 30.0 * part.starts[-1] / 200), rel=0.01)
    assert part.key("random") == Key(name, load_, "random")


def test_what_is_simulated_is_what_is_run():
    """Nobody tells the routers of a restart, in neither case, so more requests fail than where they are told."""
    key = Key("restarting", 0.75, "round_robin")
    told = figures_of(play(SCENARIOS["restarting"], 0.75, "round_robin", requests=600, seed=1))
    assert bench.simulate(key, requests=600, seed=1).failed > told.failed


def test_as_many_side_by_side_as_there_may_be_engines():
    """All policies once, and one at a time where even one takes more."""
    assert list(bench.groups("abcde", 4, 8)) == ["ab", "cd", "e"]
    assert list(bench.groups("ab", 11, 8)) == ["a", "b"]


def test_the_middle_one_of_a_scenarios_loads():
    """Of two, the first."""
    assert [bench.middling(name) for name in ("equal", "serial", "eleven")] == [0.75, 0.7, 0.5]


def test_a_router_is_told_the_engines_and_times_of_their_pace(tmp_path):
    """router.yaml is one that the router takes."""
    file = tmp_path / "router.yaml"
    file.write_text(
        configuration(SCENARIOS["fast-slow"], "weighted", 2.5, [f"http://127.0.0.1:{n}" for n in range(1, 5)])
    )
    config = load(file, {}).config
    assert config.balance.policy == "weighted"
    assert [backend.weight for backend in config.backends] == [1.0, 0.25, 0.25, 0.25]
    assert (config.health.interval, config.health.ramp, config.health.stall_after) == (2.0, 12.0, 24.0)
    file.write_text(configuration(SCENARIOS["fast-slow"], "random", 100.0, ["http://127.0.0.1:1"]))
    config = load(file, {}).config
    assert [backend.weight for backend in config.backends] == [1.0]
    assert (config.health.interval, config.health.stall_after) == (0.1, 1.0)


def test_figures_of_a_run():
    """What failed after its first token counts in both; what had none, in the shares alone."""
    outcomes = [*(outcome(0.1 * n) for n in range(1, 20)), outcome(0.3, "cut off", 0.5, 42), outcome(None, "no answer")]
    real = measured(outcomes, 0.2, 4.0, BUSIEST)
    assert (real.requests, real.failed, real.hits) == (21, 2, 0.02)
    assert [real.p50, real.p99] == pytest.approx([0.9, 1.9])
    assert real.soon == pytest.approx(11 / 21)
    assert (real.sent_late, real.written_late, real.late) == (0.5, 0.2, 0.5)


def test_figures_of_nothing():
    """They are none, and don't end the bench."""
    real = measured([outcome(None, "no answer")], 0.0, 4.0, BUSIEST)
    assert repr(real.p99) == repr(nan)
    assert real.soon == 0.0


def test_the_table_has_both_side_by_side():
    """What was measured, in brackets what was simulated; ours beside the best of the others at the same load."""
    results = {OURS: beside(0.6), OTHER: beside(0.8), THIRD: beside(1.2), OTHER._replace(load=0.9): beside(0.3)}
    assert best_other(OURS, results) == ("round_robin", 0.8)
    assert best_other(OTHER._replace(load=0.9), results) is None
    rows = list(table(results))
    row = "| equal | 75% | least_latency | 0.6 (0.11) | 0.6 (0.7) | 100.0% (99.0%) | 0 (1) | 0.6 |"
    assert rows[2] == f"{row} 0.75\N{MULTIPLICATION SIGN} round_robin |"
    assert rows[4].endswith("| 0.0% (99.0%) | 0 (1) | 0.6 |  |")
    assert len(rows) == 7


def test_what_was_found_in_caches():
    """It has lines where there was anything; else there is no table."""
    assert list(hits({OURS: beside(0.6, cached=40), OTHER: beside(0.6)}))[2:] == [
        "| equal | 75% | least_latency | 40.0% (0.0%) |",
        "",
    ]
    assert not list(hits({OTHER: beside(0.6)}))


def test_what_the_machine_could_not_do_is_told():
    """In milliseconds, and as much as they are of the model's time; runs that are spoiled by it are named."""
    results = {OURS: beside(0.6, late=0.02), OTHER: beside(0.6, late=0.04)}
    assert list(conditions(results))[2:-1] == [
        "| equal | 75% | 10 | 4.0 | 10.0 ms = 0.040 s | 0.5 ms = 0.002 s | 3% | 2% |"
    ]
    (said,) = warnings(results)
    assert said.startswith("equal, 75%, round_robin: this machine's own lateness of 0.040 s")


def test_figures_as_data():
    """One entry a run, with all three."""
    (entry,) = as_json({OURS: beside(0.6)})
    assert (entry["scenario"], entry["policy"]) == ("equal", "least_latency")
    assert {"real", "simulated", "oracle"} <= entry.keys()
