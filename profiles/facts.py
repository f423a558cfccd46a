"""Reads what this machine is into a value. Decides nothing, and imports no engine to look at it.

The reading is here, the parsing in profiles.parsers. Whatever can't be read is left out; if that may matter, a note
says so. A start never fails or waits because of it. Without a GPU's driver on this machine, no process is started.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import psutil

from profiles import parsers
from profiles.parsers import Gpu

PATIENCE = 2.0
"""Seconds within which a program must answer."""

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
CARDS = Path("/sys/class/drm")
KFD = Path("/dev/kfd")
"""The device by which ROCm computes. A container sees the host's cards in /sys, but may not have this."""

WSL_PROGRAMS = "/usr/lib/wsl/lib"
"""The folder of nvidia-smi in WSL, which may not be on PATH."""

_NO_PROGRAMS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Facts:
    """One machine, as this process may use it.

    `system` is Linux or Darwin, `machine` x86_64, arm64 or aarch64, `os` like macOS 15.1, `chip` like Apple M3 Ultra
    and only of Macs. `cpus` are those that this process may use: what taskset and a container leave, at least 1.
    `machine_cpus` are all, and `machine_cores` the cores that these are on; 0 if unknown. `memory_bytes` is the
    machine's, `memory_limit_bytes` a container's, if it is below that. `engines` are the installed ones with their
    versions. `wsl`: it is Linux inside Windows. `notes` name what is there and couldn't be read, each with what to do.
    """

    system: str
    machine: str
    python: str
    cpus: int
    memory_bytes: int
    engines: Mapping[str, str]
    os: str = ""
    chip: str = ""
    gpus: tuple[Gpu, ...] = ()
    machine_cpus: int = 0
    machine_cores: int = 0
    memory_limit_bytes: int | None = None
    wsl: bool = False
    notes: tuple[str, ...] = ()

    @property
    def usable_memory_bytes(self) -> int:
        """The CPU's memory that this process may use."""
        return self.memory_bytes if self.memory_limit_bytes is None else self.memory_limit_bytes


def gather(modules: Mapping[str, str], programs: Mapping[str, str] = _NO_PROGRAMS) -> Facts:
    """Read this machine.

    `modules` has a top-level Python module of each engine to look for; `programs` has a program on PATH, for engines
    with one. An engine is installed if either is found.
    """
    system, release = platform.system(), platform.release()
    memory = psutil.virtual_memory().total
    gpus, notes = _gpus(system, os.environ)
    membership = _text(MEMBERSHIP) if system == "Linux" else ""
    return Facts(
        system=system,
        machine=platform.machine(),
        python=platform.python_version(),
        cpus=_usable_cpus(membership, CGROUPS),
        memory_bytes=memory,
        engines=_installed(modules) | _on_path(programs, but=_found(modules)),
        os=_os_name(system, release),
        chip=_output(("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")).strip() if system == "Darwin" else "",
        gpus=gpus,
        machine_cpus=os.cpu_count() or 0,
        machine_cores=psutil.cpu_count(logical=False) or 0,
        memory_limit_bytes=_memory_limit(membership, CGROUPS, memory),
        wsl=system == "Linux" and parsers.is_wsl(release),
        notes=notes,
    )


def program_version(path: str) -> str:
    """Give the version that a program prints with --version; "" if it prints none within PATIENCE."""
    return parsers.first_version(_output((path, "--version")))


# The system


def _os_name(system: str, release: str) -> str:
    if system == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    with suppress(OSError, KeyError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{system} {release}"


def _usable_cpus(membership: str, root: Path) -> int:
    """`root` is where control groups are mounted."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = []
    for folder in parsers.cgroup_folders(membership, "cpu"):
        group = root / folder
        quotas.append(parsers.cpu_quota(_text(group / "cpu.max")))
        quotas.append(parsers.cpu_quota_v1(_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")))
    return parsers.usable_cpus(allowed, quotas)


@dataclass(frozen=True, slots=True)
class Memory:
    """The CPU's memory that this process may use: all of it, and what is available, in bytes."""

    total: int
    available: int


def memory_now() -> Memory:
    """Read the memory, as far as a container's limits leave it. Cached files count as available."""
    there = psutil.virtual_memory()
    membership = _text(MEMBERSHIP) if sys.platform == "linux" else ""
    return _within(membership, CGROUPS, Memory(there.total, there.available))


def _within(membership: str, root: Path, machine: Memory) -> Memory:
    """Bound the machine's memory by the limit of each control group, and by what is left of it."""
    limits, left = [], [machine.available]
    for folder in parsers.cgroup_folders(membership, "memory"):
        group = root / folder
        for limited, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit = parsers.memory_limit(_text(group / limited))
            if limit is None or limit >= machine.total:
                continue
            limits.append(limit)
            in_use = parsers.memory_in_use(_text(group / used), _text(group / "memory.stat"))
            left.append(limit if in_use is None else max(limit - in_use, 0))
    return Memory(min(limits, default=machine.total), min(left))


def mapped_now() -> int:
    """Give the bytes of mapped files, which count as available though a program works with them; 0 if unknown."""
    return parsers.mapped_files(_text(MEMINFO))


METAL_LIMIT = ("/usr/sbin/sysctl", "-n", "iogpu.wired_limit_mb")
"""What prints how much a Mac's GPU may take, in MiB; 0 unless somebody has set it."""


def metal_limit_now() -> int | None:
    """Give the bytes that a Mac's GPU was allowed to take by `sudo sysctl iogpu.wired_limit_mb=…`; None if not set."""
    said = _output(METAL_LIMIT).strip()
    return (int(said) << 20) or None if said.isdecimal() else None


def _memory_limit(membership: str, root: Path, total: int) -> int | None:
    limits = []
    for folder in parsers.cgroup_folders(membership, "memory"):
        limits += [
            parsers.memory_limit(_text(root / folder / name)) for name in ("memory.max", "memory.limit_in_bytes")
        ]
    return parsers.tightest(limits, total)


# GPUs


def _gpus(system: str, environ: Mapping[str, str]) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """Give the GPUs that engines may use, and notes about others."""
    if system == "Darwin":
        # The chip's own GPU shares the machine's memory.
        return (), ()
    found, notes = _nvidia()
    gpus = parsers.visible(found, environ.get("CUDA_VISIBLE_DEVICES"))
    hidden = len(found) - len(gpus)
    if hidden:
        notes = (*notes, f"CUDA_VISIBLE_DEVICES hides {hidden} of {len(found)} NVIDIA GPUs")
    if system == "Linux" and (cards := _amd(CARDS)):
        if KFD.exists():
            wish = environ.get("ROCR_VISIBLE_DEVICES", environ.get("HIP_VISIBLE_DEVICES"))
            gpus += parsers.visible(cards, wish)
        else:
            names = ", ".join(sorted({card.name for card in cards}))
            why = f"{names}: can't be computed with, for {KFD} is missing; load the amdgpu driver"
            notes = (*notes, f"{why}, or, in a container, pass --device /dev/kfd --device /dev/dri")
    return gpus, notes


def gpus_now() -> tuple[Gpu, ...]:
    """Give all GPUs of this machine, visible to this process or not, with their free memory. May take seconds."""
    return nvidia_now() + amd_now()


def nvidia_now() -> tuple[Gpu, ...]:
    """Give all NVIDIA GPUs of this machine with their free memory. May take seconds."""
    return _nvidia()[0]


def amd_now() -> tuple[Gpu, ...]:
    """Give all AMD GPUs of this machine with their free memory."""
    return _amd(CARDS)


def nvidia_apps_now() -> Mapping[str, Mapping[int, int]] | None:
    """Give the bytes of each process on each NVIDIA GPU, by its uuid; None if unknown. May take seconds."""
    program = _nvidia_smi()
    if program is None:
        return None
    fields = f"--query-compute-apps={','.join(parsers.NVIDIA_APP_FIELDS)}"
    with suppress(OSError, subprocess.TimeoutExpired):
        return parsers.nvidia_apps(_ask((program, fields, "--format=csv,noheader,nounits")))
    return None


def _nvidia_smi() -> str | None:
    return shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=WSL_PROGRAMS)


def _nvidia() -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    program = _nvidia_smi()
    if program is None:
        return (), ()
    try:
        said = _ask((program, f"--query-gpu={','.join(parsers.NVIDIA_FIELDS)}", "--format=csv,noheader,nounits"))
    except subprocess.TimeoutExpired:
        why = f"nvidia-smi said nothing within {PATIENCE:g} s: start nvidia-persistenced, or set profile: nvidia"
        return (), (why,)
    except OSError as error:
        return (), (f"nvidia-smi can't be started: {error.strerror or error}",)
    gpus = parsers.nvidia_gpus(said)
    if gpus:
        return gpus, ()
    first = next(iter(said.strip().splitlines()), "nothing")
    return (), (f"nvidia-smi names no GPU; it said: {first}",)


def _amd(cards: Path) -> tuple[Gpu, ...]:
    """Read the cards: each has a folder cardN; cardN-HDMI-A-1 and the like are its connectors."""
    names = ("vendor", "mem_info_vram_total", "product_name", "mem_info_vram_used")
    found = sorted(cards.glob("card[0-9]*"), key=lambda card: (len(card.name), card.name))
    folders = [card / "device" for card in found if "-" not in card.name]
    told = ([_text(folder / name) for name in names] for folder in folders)
    read = (parsers.amd_gpu(*each, sensors=_amd_sensors(folder)) for each, folder in zip(told, folders, strict=True))
    gpus = (gpu for gpu in read if gpu is not None)
    return tuple(replace(gpu, number=number) for number, gpu in enumerate(gpus))


def _amd_sensors(folder: Path) -> parsers.Sensors | None:
    hwmon = next(iter(sorted(folder.glob("hwmon/hwmon*"))), folder / "hwmon")
    names = ("temp1_input", "power1_average", "power1_input", "power1_cap")
    return parsers.amd_sensors(_text(folder / "gpu_busy_percent"), *(_text(hwmon / name) for name in names))


# Engines


def _found(modules: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(engine for engine, module in modules.items() if importlib.util.find_spec(module) is not None)


def _installed(modules: Mapping[str, str]) -> dict[str, str]:
    return {engine: _version(modules[engine]) for engine in _found(modules)}


def _version(module: str) -> str:
    """Find the version of the distribution that a module came with. Searching all of them takes a tenth of a second.

    So it is looked for by the module's name first, and then by names that begin with it, beside the module.
    """
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(module)
    if (version := _beside(module)) is not None:
        return version
    names = importlib.metadata.packages_distributions().get(module)
    return importlib.metadata.version(names[0]) if names else "of an unknown version"


def _beside(module: str) -> str | None:
    """Give the version of the one distribution that has the module and whose name begins with the module's."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    infos = Path(spec.origin).parent.parent.glob(f"{module}*.dist-info")
    found = [importlib.metadata.Distribution.at(info) for info in infos]
    found = [each for each in found if f"\n{module}/" in "\n" + (each.read_text("RECORD") or "")]
    return found[0].version if len(found) == 1 else None


def _on_path(programs: Mapping[str, str], but: Sequence[str]) -> dict[str, str]:
    """Find programs. Asking one for its version may take a second, so its path stands for it."""
    found = {engine: shutil.which(name) for engine, name in programs.items() if engine not in but}
    return {engine: f"at {path}" for engine, path in found.items() if path is not None}


# Files and programs


def _text(path: Path) -> str:
    """Give a file's text; "" if it can't be read."""
    with suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8")
    return ""


def _output(argv: Sequence[str]) -> str:
    """Give a program's output; "" if it can't be started or takes too long."""
    with suppress(OSError, subprocess.TimeoutExpired):
        return _ask(argv)
    return ""


_hanging: dict[str, subprocess.Popen[str]] = {}
"""Programs, by their paths, that hang in their driver: not even SIGKILL ends them before the driver lets them go."""


def _ask(argv: Sequence[str]) -> str:
    """Give a program's output, stdout or stderr. Raises OSError, or TimeoutExpired after PATIENCE.

    A program that hangs in its driver isn't started again while it hangs: else there would soon be hundreds of it.
    """
    earlier = _hanging.get(argv[0])
    if earlier is not None and earlier.poll() is None:
        raise subprocess.TimeoutExpired(argv, PATIENCE)
    _hanging.pop(argv[0], None)
    # Not `run`: that would wait for a process that hangs in its driver.
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    try:
        return process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            _hanging[argv[0]] = process
        if process.stdout is not None:
            process.stdout.close()
        raise
