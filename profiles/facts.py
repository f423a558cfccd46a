"""What this machine is: read once, at start, into a value. Decides nothing, and imports no engine to look at it."""

import importlib.metadata
import importlib.util
import math
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "200000 100000" is two CPUs, "max 100000" all


@dataclass(frozen=True, slots=True)
class Facts:
    """One machine, as this process may use it."""

    system: str  # Linux, Darwin, Windows
    machine: str  # x86_64, arm64, aarch64, AMD64
    python: str  # 3.11.7
    cpus: int  # that this process may use: what taskset and a container leave of the machine's; 1 at least
    memory_bytes: int  # of the machine
    engines: Mapping[str, str]  # those installed in this Python: name → version


def gather(modules: Mapping[str, str]) -> Facts:
    """Read this machine. `modules` names, for each engine to look for, a top-level module of it."""
    return Facts(
        system=platform.system(),
        machine=platform.machine(),
        python=platform.python_version(),
        cpus=_usable_cpus(CGROUP_QUOTA),
        memory_bytes=psutil.virtual_memory().total,
        engines=_installed(modules),
    )


def _usable_cpus(quota: Path) -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        allowed, period = quota.read_text().split()
        cpus = min(cpus, math.ceil(int(allowed) / int(period)))
    return max(cpus, 1)


def _installed(modules: Mapping[str, str]) -> dict[str, str]:
    distributions = importlib.metadata.packages_distributions()
    found = {}
    for engine, module in modules.items():
        if importlib.util.find_spec(module) is not None:
            names = distributions.get(module)
            found[engine] = importlib.metadata.version(names[0]) if names else "of an unknown version"
    return found
