import pytest

from scripts.bench import __main__ as bench
from scripts.bench import report
from scripts.bench.cases import CASES
from scripts.bench.results import BenchResults, Cost, Crowd, Crowds, Latency, Machine, ProxyRun, Soak, read
from scripts.instruments.processes import Spent

MACHINE = Machine(system="Linux", kernel="6", cpu="A CPU", cores=2, python="3.11", uvloop="0.22", commit="")


def run(cost, p99=1.0, started=50.0, lost=0):
    costs = {case.name: Cost(cost / 2, cost / 2, cost, 100, lost) for case in CASES}
    return ProxyRun(costs, Latency(1000, 10_000, 0.5, p99, 0), started, 60.0)


@pytest.fixture
def results():
    """Ours costs 12, nginx 10, the cheapest router 20."""
    runs = {"router": [run(11.0), run(12.0), run(13.0)], "nginx": [run(10.0)], "smg": [run(20.0)]}
    return BenchResults("2026-01-01", MACHINE, 1.0, {"router": "0.1"}, {}, runs=runs)


def test_cpu_time_between_two_readings():
    """Each part by itself."""
    assert Spent(3.0, 5.0, 8.5).since(Spent(1.0, 2.0, 3.5)) == Spent(2.0, 3.0, 5.0)


@pytest.mark.parametrize(("share", "files", "size"), [(1, 65536, 10_000), (0.1, 65536, 1000), (1, 20_000, 9750)])
def test_a_crowd_fits_the_descriptors(share, files, size):
    """A stream takes two of its proxy."""
    assert bench.crowd_size(share, files) == size


def test_medians_stand_beside_their_bounds(results):
    """The median of three runs, over nginx's and over the cheapest router's."""
    rows = report.bounds_table(results).splitlines()
    assert rows[2:4] == [
        "| µs a request | 12.0 | nginx 10.0 | 1.20 | ≤ 1.5 times nginx | holds |",
        "| µs a request | 12.0 | smg 20.0 | 0.60 | ≤ 0.5 times smg | does not |",
    ]
    assert "| µs an event, full speed | 12.0 | nginx 10.0 | 1.20 | ≤ 1 times nginx | does not |" in rows
    assert "| p99 ms | 1.00 | nginx 1.00 | +0.00 ms | within 1 ms of nginx | holds |" in rows
    assert "| MB at start | 50.0 | - | - | < 64 | holds |" in rows


def test_a_cost_with_lost_answers_is_no_cost(results):
    """It is neither shown nor compared as one."""
    results.runs["router"][0] = run(11.0, lost=3)
    assert "| router | lost 3 | lost 3 | lost 3 |" in report.runs_table(results)
    assert "| µs a request | inf | nginx 10.0 | inf | ≤ 1.5 times nginx | does not |" in report.bounds_table(results)


def test_crowds_and_soak(results):
    """What was lost, or not there at once, has no growth; the soak is judged from 100,000 requests on."""
    whole_one, few, lost = Crowd(1000, 1000, 0, 5.0), Crowd(1000, 900, 0, 5.0), Crowd(1000, 1000, 2, 5.0)
    results.crowds = {"router": Crowds(whole_one, lost), "nginx": Crowds(few, whole_one)}
    results.soak = Soak(50_000, [40.0, 50.0, 51.0, 48.0], 0)
    crowds, bounds = report.crowds_table(results), report.bounds_table(results)
    assert "| router | lost 0 | 5.0 | lost 2 | - |" in crowds
    assert "| nginx | lost 0, 900 at once | - | lost 0 | 5.0 |" in crowds
    assert "| idle connections lost, of 1,000 | 2 | - | - | 0 | does not |" in bounds
    assert "| soak, % of memory | 4.0 | - | - | ≤ 5 | holds |" in bounds
    assert "200,000 requests through ours, 0 lost: 50.0 MB resident after the first 100,000" in report.report(results)


def test_results_are_read_as_they_were_written(results, tmp_path):
    """JSON and back."""
    results.soak = Soak(50_000, [40.0], 0)
    results.write(tmp_path / "results.json")
    assert read(tmp_path / "results.json") == results


def test_only_what_is_between_the_marks_is_replaced():
    """The page around them stays; a page without them is left alone."""
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.between_marks(page, "new\n")
    assert once == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.between_marks(once, "new\n") == once
    with pytest.raises(SystemExit):
        report.between_marks("no marks", "new")


def test_ours_is_not_compared_with_what_failed(results):
    """Nobody is cheaper than a proxy that lost answers; the next one stands in."""
    results.runs["nginx"], results.runs["vllm-router"] = [run(10.0, lost=1)], [run(15.0, lost=1)]
    bounds = report.bounds_table(results)
    assert "| µs a request | 12.0 | smg 20.0 |" in bounds
    assert "| nginx 10.0 |" not in bounds
    assert "vllm" not in bounds
