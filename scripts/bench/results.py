"""The results of a benchmark, as results.json has them."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from scripts.instruments.processes import ROOT


@dataclass(frozen=True)
class Machine:
    """Where it was measured."""

    system: str
    kernel: str
    cpu: str
    cores: int
    python: str
    uvloop: str
    commit: str


@dataclass(frozen=True)
class Cost:
    """CPU time of a case, in µs a unit (a request, an event); `total` is exact, its parts are in ticks of 10 ms."""

    user: float
    system: float
    total: float
    units: int
    lost: int
    """Answers that didn't come whole; unless it is 0, the figures mean nothing."""


@dataclass(frozen=True)
class Latency:
    """An open loop's latencies in ms, from the moment that a request was due to its answer's end."""

    rate: float
    """Requests a second."""
    count: int
    p50: float
    p99: float
    lost: int


@dataclass(frozen=True)
class ProxyRun:
    """One run of one proxy; memory is in MB resident, after the first answers and after all loads."""

    costs: dict[str, Cost]
    latency: Latency
    started: float
    loaded: float


@dataclass(frozen=True)
class Crowd:
    """Many connections: how many were tried, open at once, and lost; `growth` is in KB for each."""

    count: int
    at_once: int
    lost: int
    growth: float


@dataclass(frozen=True)
class Crowds:
    """What a proxy does with open streams, and with idle connections."""

    streams: Crowd
    idle: Crowd


@dataclass(frozen=True)
class Soak:
    """Very many requests: MB resident after each so many."""

    every: int
    resident: list[float]
    lost: int

    @property
    def settled(self) -> list[float]:
        """The samples from the first 100,000 requests on, or the last."""
        return self.resident[max(0, 100_000 // self.every - 1) :] or self.resident[-1:]

    @property
    def deviation(self) -> float:
        """The greatest difference to the first of the settled samples, in percent of it."""
        first = self.settled[0]
        return max((abs(value - first) for value in self.settled), default=0.0) / first * 100


@dataclass
class BenchResults:
    """All results. `share` is the share of the usual counts, `scales` the part of it that a proxy got, if not 1."""

    date: str
    machine: Machine
    share: float
    versions: dict[str, str]
    scales: dict[str, float]
    no_proxy: list[Latency] = field(default_factory=list)
    runs: dict[str, list[ProxyRun]] = field(default_factory=dict)
    crowds: dict[str, Crowds] = field(default_factory=dict)
    soak: Soak | None = None

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def read(path: Path) -> BenchResults:
    """Read what `write` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=BenchResults)


def this_machine() -> Machine:
    """Describe the machine and what runs the benchmark."""
    return Machine(
        system=platform.system(),
        kernel=platform.release(),
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        uvloop=importlib.metadata.version("uvloop"),
        commit=_line(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
    )


def _cpu_model() -> str:
    if sys.platform == "linux":
        with suppress(OSError):
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return _line(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()


def _line(command: list[str]) -> str:
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return ""
