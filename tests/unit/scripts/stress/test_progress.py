import io

import pytest
from rich.console import Console

from scripts.stress.meter import Meter
from scripts.stress.progress import Lines, Moving, watcher
from scripts.stress.results import Sample
from scripts.stress.tally import Outcome, StepFigures


def failed(kind="timeout", detail="[late]"):
    return Outcome(0, 0, None, None, 1, kind, detail, 0, False, 0, 0, "", None)


def sample(at, failed=0):
    return Sample(at, 1.0, 0, in_flight=3, waiting=2, ended=10, failed=failed, tokens=500, ttft=0.1, generator_cpu=0.1)


@pytest.fixture
def said():
    """A console whose words can be read."""
    return Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)


def test_plain_lines(said, make_step):
    """How a step begins, how it stands now and then, what fails the first times, and what came of it."""
    lines, meter = Lines(said), Meter()
    meter.first_token(0.25)
    lines.begin("2 clients", 15.0)
    for second in range(1, 12):
        lines.sample(sample(float(second), failed=second == 3), meter)
    for _ in range(5):
        lines.ended(failed())
    lines.finish(make_step(StepFigures()))
    words = said.file.getvalue()
    assert words.startswith("2 clients, 15 s\n")
    assert words.count("10 requests/s, 3 in flight, 2 waiting, 1 failed, TTFT 250 ms, p99 250 ms, 500 tokens/s") == 2
    assert words.count("failed: timeout: [late]") == 3
    assert words.count("only counted") == 1
    assert words.endswith("0 requests/s, 0 answers, 0 failed, no token, 0 tokens/s\n")


def test_a_bar_for_each_step(said, make_step):
    """It moves with the samples, and stays with what came of the step."""
    bars = Moving(said)
    for title in ("1 client", "2 clients"):
        bars.begin(title, 10.0)
        bars.sample(sample(1.0, failed=4), Meter())
        bars.ended(failed())
        bars.finish(make_step(StepFigures()))
    bars.close()
    words = said.file.getvalue()
    for each in ("1 client", "2 clients", "4 failed", "failed: timeout: [late]", "0 answers"):
        assert each in words


@pytest.mark.parametrize(
    ("terminal", "plain", "kind"), [(True, False, Moving), (True, True, Lines), (False, False, Lines)]
)
def test_what_is_shown_where(terminal, plain, kind):
    """Bars in a terminal, unless plain lines are asked for."""
    shown = watcher(Console(file=io.StringIO(), force_terminal=terminal), plain=plain)
    assert type(shown) is kind
    shown.close()
