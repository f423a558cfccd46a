"""The stress tests as people start them: against a router with a real engine, and against targets that fail."""

import asyncio
import csv
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from scripts.stress.results import SCHEMA, StressResults, read
from tests.fakes.engine import FakeEngine
from tests.running import RunningRouter, dead_url, eventually, started

CONFIG = """\
server: {port: 0}
backends:
  - {name: demo, models: [demo], launch: {model: models/demo, engine: llama_cpp, args: {embedding: true}}}
"""


@dataclass
class Ended:
    """What a command said, its exit code, and where it wrote."""

    said: str
    code: int
    out: Path

    @property
    def results(self) -> StressResults:
        """What it wrote, checked by the schema."""
        path = self.out / "results.json"
        jsonschema.validate(json.loads(path.read_text()), json.loads(SCHEMA.read_text()))
        return read(path)

    @property
    def requests(self) -> list[dict[str, str]]:
        """The lines of requests.csv."""
        with (self.out / "requests.csv").open(newline="") as file:
            return list(csv.DictReader(file))


class Command:
    """A script on its way."""

    def __init__(self, process: asyncio.subprocess.Process, out: Path) -> None:
        self.process = process
        self.said = ""
        self._out = out
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said += line.decode()

    async def end(self) -> Ended:
        """Wait for its end."""
        async with asyncio.timeout(90):
            code = await self.process.wait()
            await self._listening
        assert "Traceback" not in self.said, self.said
        return Ended(self.said, code, self._out)


@asynccontextmanager
async def start(out: Path, script: str, url: str, *flags: str) -> AsyncIterator[Command]:
    words = (f"scripts/{script}.py", "--base-url", url, "--out", str(out), *flags)
    async with started(sys.executable, *words, stderr=asyncio.subprocess.STDOUT) as process:
        yield Command(process, out)


async def run(out: Path, script: str, url: str, *flags: str) -> Ended:
    async with start(out, script, url, *flags) as command:
        return await command.end()


def whole(results: StressResults) -> None:
    """Hold what was counted against itself."""
    for step in results.steps:
        came = step.requests
        assert came.all == came.ok + came.left + came.failed + came.interrupted
        assert came.all == sum(each.requests.all for each in step.backends.values())
        assert step.times.gap.count == sum(each.gap.count for each in step.backends.values())
        assert step.times.wait.count == came.all
        assert sum(step.failures.values()) == came.failed
    assert sum(sample.failed for sample in results.samples) == sum(step.requests.failed for step in results.steps)


@pytest.mark.long
async def test_each_script_against_a_launched_engine(tmp_path):
    """All three, for some seconds each, through the router: nothing fails, and all is reported."""
    async with RunningRouter(tmp_path, CONFIG) as router:
        await router.ready()
        many = await run(
            tmp_path / "many", "concurrent_test", router.url, "--clients", "1,3", "--duration", "0.7s",
            "--slo", "whole=60s", "--max-failures", "0", "--leave", "20%", "--stream", "80%",
        )  # fmt: skip
        long = await run(
            tmp_path / "long", "serial_stress_test", router.url, "--duration", "1.4s", "--parts", "2", "--answer", "8"
        )
        every = await run(tmp_path / "every", "comprehensive_test", router.url, "--duration", "2.4s", "--clients", "2")
    assert (many.code, long.code, every.code) == (0, 0, 0), many.said + long.said + every.said
    for ended in (many, long, every):
        results = ended.results
        whole(results)
        assert len(ended.requests) == sum(step.requests.all for step in results.steps)
        assert "</html>" in (ended.out / "report.html").read_text()
        assert all(step.requests.failed == 0 for step in results.steps)
        assert "".join(sorted({name for step in results.steps for name in step.backends})) in ("demo", "")
        assert results.steps[0].server is not None, "the router runs on this machine"
        assert results.steps[0].children is not None, "so does its engine"
    assert [step.clients for step in many.results.steps] == [1, 3]
    assert any("carries 3 clients" in finding for finding in many.results.findings)
    assert {drift.figure for drift in long.results.drifts} >= {"TTFT p50, s", "memory of the server, bytes"}
    states = {check.name: check.state for check in every.results.checks}
    assert states.pop("a reload under load") in ("passed", "skipped")
    assert "failed" not in states.values()
    assert states["a stream's form"] == states["an unknown model"] == "passed"
    assert [bound.name for bound in every.results.bounds] == ["checks that failed"]


async def test_a_comparison(tmp_path, fake):
    """The same load against each in turns, A B A B; then ratios."""
    ended = await run(
        tmp_path, "concurrent_test", fake.url, "--clients", "2", "--duration", "0.3s", "--compare", f"other={fake.url}"
    )  # fmt: skip
    assert ended.code == 0, ended.said
    results = ended.results
    assert [(step.target, step.round) for step in results.steps] == [
        ("base", 1), ("other", 1), ("base", 2), ("other", 2),
    ]  # fmt: skip
    ratios = {ratio.figure: ratio for ratio in results.ratios}
    assert {"TTFT p50, s", "TTFT p99, s", "requests/s"} <= set(ratios)
    assert len(ratios["TTFT p50, s"].rounds) == 2


@pytest.mark.parametrize("bound", [["--max-p99-ttft", "0.001ms"], ["--max-p99-gap", "0.001ms"]])
async def test_a_bound_that_is_broken(tmp_path, bound):
    """The exit code is 1, and the bound is named."""
    async with FakeEngine(delay=0.005) as fake:  # else several events may come at once, without a gap
        ended = await run(tmp_path, "concurrent_test", fake.url, "--clients", "1", "--duration", "0.3s", *bound)
    assert ended.code == 1
    assert "BROKEN" in ended.said
    assert [each.holds for each in ended.results.bounds] == [False]


async def test_ctrl_c(tmp_path, fake):
    """The report of what ran so far; what was under way is neither an answer nor a failure."""
    async with start(tmp_path, "concurrent_test", fake.url, "--clients", "2,4", "--duration", "60s") as command:
        await eventually(lambda: (tmp_path / "requests.csv").exists() and "2 clients" in command.said, within=30)
        await asyncio.sleep(0.2)
        command.process.send_signal(signal.SIGINT)
        ended = await command.end()
    assert ended.code == 130
    results = ended.results
    whole(results)
    assert results.interrupted
    assert [step.name for step in results.steps] == ["2 clients"]
    assert results.steps[0].requests.failed == 0
    assert "as far as they came" in ended.said


async def test_a_target_that_goes_away(tmp_path):
    """Failures of their kinds, with what was said; the run goes on to its end."""
    async with AsyncExitStack() as stack:
        async with FakeEngine(delay=0.01) as fake:
            flags = ("--rate", "50", "--duration", "2s")
            command = await stack.enter_async_context(start(tmp_path, "concurrent_test", fake.url, *flags))
            await eventually(lambda: fake.stats.ended > 5, within=30)
        ended = await command.end()
    assert ended.code == 0  # no bound was asked for
    (step,) = ended.results.steps
    whole(ended.results)
    assert step.requests.ok > 0
    assert step.failures["no connection"] > 0
    assert "Connection refused" in step.examples.values()
    assert "Connection refused" in ended.said


async def test_a_target_that_was_never_there(tmp_path):
    """It is said in a sentence, before anything is measured."""
    ended = await run(tmp_path, "serial_stress_test", dead_url())
    assert ended.code == 2
    assert "can't be measured: no connection: Connection refused" in ended.said


async def test_a_model_that_is_not_served(tmp_path, fake):
    """What the target says of it is passed on."""
    ended = await run(tmp_path, "concurrent_test", f"{fake.url}/elsewhere")
    assert ended.code == 2
    assert "status 404" in ended.said
