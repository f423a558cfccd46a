"""The display of a run: a moving line in a terminal, else a plain line now and then."""

from collections import Counter
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from scripts.stress import units
from scripts.stress.meter import Meter
from scripts.stress.results import Sample, StepResult
from scripts.stress.tally import Outcome

_FAILURES = 3
"""How many of a kind are shown in a step; the rest are counted."""

_PLAIN_EVERY, _PLAIN_MOST = 5.0, 60
"""Seconds between two plain lines, or more where a step would have too many of them."""

_WIDE = 110
"""Columns of a terminal from which on there is room for a bar."""


class ProgressWatcher(Protocol):
    """A display of the run."""

    def begin(self, title: str, seconds: float) -> None:
        """Show that a step begins."""

    def sample(self, sample: Sample, meter: Meter) -> None:
        """Show a moment of it."""

    def ended(self, one: Outcome) -> None:
        """Show the outcome of a request."""

    def finish(self, step: StepResult) -> None:
        """Show the result of the step."""

    def say(self, line: str) -> None:
        """Show a sentence."""

    def close(self) -> None:
        """End the display."""


def state(sample: Sample, meter: Meter, failed: int) -> str:
    """Write the state in a line, the most important first, since the line may be cut off."""
    first = "no token yet"
    if meter.ttft.count:
        p50, p99 = meter.ttft.percentiles([0.5, 0.99])
        first = f"TTFT {units.time(p50)}, p99 {units.time(p99)}"
    rate, tokens = (units.number(count / sample.seconds) for count in (sample.ended, sample.tokens))
    waiting = f", {sample.waiting} waiting" if sample.waiting else ""
    return f"{rate} requests/s, {sample.in_flight} in flight{waiting}, {failed} failed, {first}, {tokens} tokens/s"


def summary(step: StepResult) -> str:
    """Say what came of a step, in a line."""
    came, first = step.requests, "no token"
    if step.times.ttft.count:
        first = f"TTFT {units.time(step.times.ttft.p50)}, p99 {units.time(step.times.ttft.p99)}"
    rate, tokens = units.number(step.requests_per_second), units.number(step.tokens_per_second)
    return f"{rate} requests/s, {came.ok + came.left} answers, {came.failed} failed, {first}, {tokens} tokens/s"


class Lines:
    """Plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: Counter[str] = Counter()
        self._said: float | None = None
        self._every = _PLAIN_EVERY
        self._failed = 0

    def begin(self, title: str, seconds: float) -> None:
        """Say which step begins."""
        self._seen.clear()
        self._said, self._failed = None, 0
        self._every = max(_PLAIN_EVERY, seconds / _PLAIN_MOST)
        self.say(f"{title}, {units.time(seconds)}")

    def sample(self, sample: Sample, meter: Meter) -> None:
        """Say how it stands, every few seconds."""
        self._failed += sample.failed
        if self._said is None:
            self._said = sample.at - sample.seconds
        if sample.at >= self._said + self._every:
            self._said = sample.at
            self.say(f"  {state(sample, meter, self._failed)}")

    def ended(self, one: Outcome) -> None:
        """Say what failed, the first times."""
        if one.failed:
            self._seen[one.kind] += 1
            if self._seen[one.kind] <= _FAILURES:
                more = "; more of these are only counted" if self._seen[one.kind] == _FAILURES else ""
                self.say(f"  failed: {one.kind}: {one.detail[:160]}{more}")

    def finish(self, step: StepResult) -> None:
        """Say what came of it."""
        self.say(f"  {summary(step)}")

    def say(self, line: str) -> None:
        """Print it."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Nothing is left to do."""


class Moving(Lines):
    """A bar for each step, drawn with each sample and at no other time: drawing delays what is measured."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        bar = [BarColumn(16)] if console.width >= _WIDE else []
        name = TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=12))
        columns = (name, *bar, TextColumn("{task.fields[state]}"))
        self._bars = Progress(*columns, console=console, auto_refresh=False)
        self._bar: TaskID | None = None
        self._begun = 0.0
        self._bars.start()

    def begin(self, title: str, seconds: float) -> None:
        """Show a new bar."""
        self._seen.clear()
        self._failed, self._begun = 0, -1.0
        self._bar = self._bars.add_task(title, total=seconds, state="")

    def sample(self, sample: Sample, meter: Meter) -> None:
        """Move the bar."""
        self._failed += sample.failed
        if self._begun < 0:
            self._begun = sample.at - sample.seconds
        if self._bar is not None:
            text = state(sample, meter, self._failed)
            text = text.replace(f"{self._failed} failed", f"[red]{self._failed} failed[/]") if self._failed else text
            self._bars.update(self._bar, completed=sample.at - self._begun, state=text)
            self._bars.refresh()

    def finish(self, step: StepResult) -> None:
        """Leave a full bar, with what came of it."""
        if self._bar is not None:
            self._bars.update(self._bar, completed=1e9, state=summary(step))
            self._bars.refresh()

    def close(self) -> None:
        """Leave the bars as they are."""
        self._bars.stop()


def watcher(console: Console, *, plain: bool) -> ProgressWatcher:
    """Choose the display: a bar in a terminal, else plain lines."""
    return Moving(console) if console.is_terminal and not plain else Lines(console)
