"""The results of a run, as results.json has them; results.schema.json is made from these types.

python -m scripts.stress.results        writes the schema anew
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

SCHEMA = Path(__file__).with_name("results.schema.json")

Seconds = Annotated[float, Meta(description="seconds")]
Bytes = Annotated[float, Meta(description="bytes")]
Share = Annotated[float, Meta(description="from 0 to 1")]
Cores = Annotated[float, Meta(description="CPU time over time: 1 is a whole core")]


class _Strict(Struct, forbid_unknown_fields=True):
    """A part of the results."""


class Spread(_Strict):
    """How values are spread; all 0 where `count` is."""

    count: int
    mean: float
    least: float
    p10: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    most: float


class Requests(_Strict):
    """How many requests came to what; all of them are `ok`, `left`, `failed` or `interrupted`."""

    all: int
    ok: int
    left: Annotated[int, Meta(description="left midway, on purpose")]
    failed: int
    interrupted: Annotated[int, Meta(description="by Ctrl-C")]


class Times(_Strict):
    """Times of requests, in seconds; `speed` is in tokens/s."""

    ttft: Annotated[Spread, Meta(description="from when the request was due to its first token")]
    gap: Annotated[Spread, Meta(description="between two tokens, of all streams")]
    tpot: Annotated[Spread, Meta(description="time per token after the first, a value for each request")]
    whole: Annotated[Spread, Meta(description="from when the request was due to the end of a whole answer")]
    wait: Annotated[Spread, Meta(description="from when the request was due to when it was sent")]
    queue: Annotated[Spread, Meta(description="in the router's queue, as x-router-queue-ms says")]
    speed: Annotated[Spread, Meta(description="tokens/s of a stream, after its first token")]


class BackendResult(_Strict):
    """What one backend did; the one of no name has what never came to a backend that is known."""

    requests: Requests
    share: Annotated[Share, Meta(description="of the step's requests")]
    tokens: int
    failures: dict[str, int]
    ttft: Spread
    gap: Spread


class Goodput(_Strict):
    """Whole answers within the bounds of --slo."""

    per_second: float
    share: Annotated[Share, Meta(description="of all requests that were not left or interrupted")]


class Curves(_Strict):
    """Points (share, seconds): so large a share of the values is not above this."""

    ttft: list[tuple[float, float]]
    gap: list[tuple[float, float]]


class Generator(_Strict):
    """What the load generator itself cost, and whether it was in the way."""

    cpu: Annotated[Cores, Meta(description="of its one thread; near 1 it is the bottleneck")]
    lag: Annotated[Spread, Meta(description="how late its loop was, in seconds: what it adds to any time at most")]
    warning: Annotated[str, Meta(description="empty: the target was measured, not the generator")]


class ProcessResult(_Strict):
    """What the server, or all that it started, used in a step."""

    cpu: Cores
    memory_begin: Bytes
    memory_end: Bytes
    memory_most: Bytes


class StepResult(_Strict):
    """One load against one target."""

    name: str
    target: str
    round: int
    clients: Annotated[int, Meta(description="of a closed loop; 0: it is an open loop")]
    rate: Annotated[float, Meta(description="of an open loop, in requests/s; 0: it is a closed loop")]
    begin: Annotated[Seconds, Meta(description="from the start of the run")]
    seconds: Annotated[Seconds, Meta(description="that requests were sent for; ends of answers may come later")]
    requests: Requests
    failures: dict[str, int]
    examples: Annotated[dict[str, str], Meta(description="for each kind of failure, what was said first")]
    requests_per_second: Annotated[float, Meta(description="ended well within `seconds`")]
    tokens: int
    tokens_per_second: Annotated[float, Meta(description="of all streams together, within `seconds`")]
    goodput: Goodput | None
    times: Times
    curves: Curves
    backends: dict[str, BackendResult]
    generator: Generator
    server: Annotated[
        ProcessResult | None, Meta(description="the process that listens at the target's port, if it is here")
    ]
    children: Annotated[ProcessResult | None, Meta(description="what that process started: a router's engines")]


class Sample(_Strict):
    """What a moment looked like; counts are those since the sample before."""

    at: Annotated[Seconds, Meta(description="from the start of the run")]
    seconds: Seconds
    step: Annotated[int, Meta(description="index into `steps`")]
    in_flight: int
    waiting: Annotated[int, Meta(description="due, and not sent yet")]
    ended: int
    failed: int
    tokens: int
    ttft: Annotated[float | None, Meta(description="the median, in seconds")]
    generator_cpu: Cores
    server_cpu: Cores | None = None
    server_memory: Bytes | None = None
    children_cpu: Cores | None = None
    children_memory: Bytes | None = None


class Check(_Strict):
    """Something that a target should do, and whether it does."""

    name: str
    target: str
    state: Annotated[str, Meta(description="passed, failed, or skipped: it can't be asked of this target")]
    detail: str


class Bound(_Strict):
    """A bound that was asked for on the command line."""

    name: str
    bound: float
    value: float
    holds: bool


class Ratio(_Strict):
    """A figure of a target over that of the first, all rounds taken together."""

    step: str
    figure: str
    target: str
    first: float
    other: float
    ratio: float | None
    rounds: Annotated[list[float], Meta(description="the ratio of each round by itself: how far it is to be trusted")]


class Drift(_Strict):
    """A figure late in the run over the same early on."""

    figure: str
    target: str
    early: float
    late: float
    ratio: float | None


class StressResults(_Strict):
    """A run, whole or interrupted."""

    tool: str
    date: str
    command: str
    seed: int
    interrupted: bool
    seconds: Seconds
    targets: dict[str, str]
    machine: dict[str, str]
    options: dict[str, Any]
    steps: list[StepResult]
    samples: list[Sample]
    checks: list[Check]
    ratios: list[Ratio]
    drifts: list[Drift]
    bounds: list[Bound]
    findings: Annotated[list[str], Meta(description="sentences that say what was found")]


def write(results: StressResults, path: Path) -> None:
    """Write results.json."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))


def read(path: Path) -> StressResults:
    """Read results.json; raises msgspec.ValidationError where it isn't as the types say."""
    return msgspec.json.decode(path.read_bytes(), type=StressResults)


def schema() -> bytes:
    """Make the JSON schema."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(StressResults)), indent=2) + b"\n"


if __name__ == "__main__":
    SCHEMA.write_bytes(schema())
