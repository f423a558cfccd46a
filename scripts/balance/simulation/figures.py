"""The figures of simulated runs, and the tables that show them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import nan
from statistics import fmean
from typing import NamedTuple

from scripts.balance.simulation.choosing import ORACLE, POLICIES
from scripts.balance.simulation.routing import SimulatedRequest
from scripts.balance.simulation.scenarios import SCENARIOS
from scripts.instruments.statistics import percentile

SOON = 1.0
"""Seconds within which an answer should have begun."""

_TIMES = "\N{MULTIPLICATION SIGN}"


class RunFigures(NamedTuple):
    """One run. TTFTs are in seconds, of the answers that began; shares are of all requests, `hits` of all tokens."""

    requests: int
    mean: float
    p50: float
    p99: float
    hits: float
    """The share of the prompts' tokens that were found in a cache."""
    failed: int
    """Requests without a whole answer."""
    soon: float
    """The share whose first token came within a second."""
    attempts: float
    """For each request, on average."""


class Key(NamedTuple):
    """Which run: a scenario, a load, a policy."""

    scenario: str
    load: float
    policy: str


Results = Mapping[Key, RunFigures]


def figures_of(exchanges: Sequence[SimulatedRequest]) -> RunFigures:
    """Reckon the figures of a run."""
    ttfts = [each.ttft for each in exchanges if each.ttft is not None]
    return RunFigures(
        requests=len(exchanges),
        mean=fmean(ttfts) if ttfts else nan,
        p50=percentile(ttfts, 0.5, of_nothing=nan),
        p99=percentile(ttfts, 0.99, of_nothing=nan),
        hits=sum(each.cached for each in exchanges) / max(1, sum(each.read for each in exchanges)),
        failed=sum(each.failed for each in exchanges),
        soon=sum(ttft <= SOON for ttft in ttfts) / len(exchanges),
        attempts=fmean(each.attempts for each in exchanges),
    )


def _seconds(value: float, oracle: RunFigures | None, name: str) -> str:
    if oracle is None:
        return f"{value:.3g}"
    return f"{value:.3g} ({value / float(getattr(oracle, name)):.2f}{_TIMES})"


def _row(key: Key, run: RunFigures, oracle: RunFigures | None) -> str:
    times = (_seconds(getattr(run, name), oracle, name) for name in ("mean", "p50", "p99"))
    rest = (f"{run.hits:.1%}", str(run.failed), f"{run.soon:.2%}", f"{run.attempts:.3f}")
    return "| " + " | ".join((f"{key.load:.0%}", key.policy, *times, *rest)) + " |"


def tables(results: Results) -> Iterator[str]:
    """Write the lines of a table for each scenario: TTFT in seconds, and in brackets how many times the oracle's."""
    for name in dict.fromkeys(key.scenario for key in results):
        yield from (f"### {name}", "", f"{SCENARIOS[name].says[0].upper()}{SCENARIOS[name].says[1:]}.", "")
        yield "| load | policy | mean TTFT | p50 | p99 | cache hits | failed | within 1 s | attempts |"
        yield "|---:|---|---:|---:|---:|---:|---:|---:|---:|"
        for key, run in results.items():
            if key.scenario == name:
                yield _row(key, run, results.get(key._replace(policy=ORACLE)))
        yield ""


def summary(results: Results) -> Iterator[str]:
    """Write the lines of one table of p99 TTFT: the oracle's in seconds, the policies' as multiples of it."""
    policies = [name for name in POLICIES if name != ORACLE and any(key.policy == name for key in results)]
    yield from ("### p99 TTFT beside the oracle's", "")
    yield "| scenario | load | oracle, s | " + " | ".join(policies) + " |"
    yield "|---|---:|---:|" + "---:|" * len(policies)
    for key, oracle in results.items():
        if key.policy == ORACLE:
            runs = (results.get(key._replace(policy=name)) for name in policies)
            cells = ("" if run is None else f"{run.p99 / oracle.p99:.2f}{_TIMES}" for run in runs)
            yield f"| {key.scenario} | {key.load:.0%} | {oracle.p99:.3g} | " + " | ".join(cells) + " |"
    yield ""


def as_json(results: Results) -> list[dict[str, object]]:
    """Give all figures as plain data, a run an entry."""
    return [{**key._asdict(), **run._asdict()} for key, run in results.items()]


def ordered(runs: Iterable[tuple[Key, RunFigures]]) -> dict[Key, RunFigures]:
    """Put runs into the tables' order: by scenario, load, policy."""
    names = list(SCENARIOS)
    return dict(
        sorted(runs, key=lambda run: (names.index(run[0].scenario), run[0].load, POLICIES.index(run[0].policy)))
    )
