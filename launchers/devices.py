"""How much memory this machine's devices have free, what our engines have of it, and what GPUs' sensors tell.

A device is RAM, or one GPU with memory of its own. A Mac has RAM alone: its GPU shares it.

| device | total and free | by process |
|---|---|---|
| RAM | the machine's, bounded by this process' control groups | PSS, of our engines alone |
| NVIDIA | NVML, else nvidia-smi | the same; None where the driver doesn't tell |
| AMD | the driver's files in /sys | None |

Mapped weights count as used by the engine that maps them: the kernel could drop them, but the engine would read them
from the disk again for each token. The system counts such pages as available, so `look` takes them off what is free.

A device that can't be read is left out. No look waits longer than `PATIENCE` for GPUs: they are read in a thread of
its own, which is left behind if the driver hangs. No second one is started while it hangs.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import psutil

from launchers import kin
from launchers.footprints.parts import RAM
from launchers.footprints.resident import Resident, of_process, of_processes
from launchers.nvml import GpuMemory, Nvml
from profiles import facts
from profiles.parsers import Sensors

PATIENCE = 5.0
"""Seconds within which the GPUs must have been read: two calls of nvidia-smi, and then some."""

STALE = 60.0
"""Seconds after which the RAM of a process is measured again, though it has the same resident size: what it shares may
have changed."""

DRIFT = 32 << 20
"""Bytes by which the resident size of a process may differ before its RAM is measured again."""

UNTOLD = 1 << 30
"""Bytes in use of a GPU without any process: the driver keeps 480 to 615 MiB; more belongs to processes that we aren't
shown."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """The memory of one device, in bytes.

    `by_pid` are bytes by process, None where the device doesn't tell; of RAM, only of our engines' processes.
    `ceiling` is what engines can have of it together, None where the system sets no such bound. `sensors` are a GPU's,
    None where they tell nothing.
    """

    name: str
    total: int
    free: int
    by_pid: Mapping[int, int] | None = None
    ceiling: int | None = None
    sensors: Sensors | None = None


@dataclass(frozen=True, slots=True)
class DeviceLimit:
    """What our engines may hold of one device together, `limit`, of `total` bytes."""

    name: str
    total: int
    limit: int


# Looking


def look(roots: Iterable[int] = ()) -> tuple[DeviceFigures, ...]:
    """Read all devices, RAM first. `roots` are the first processes of our engines. Blocks for up to some seconds.

    RAM costs some 10 ms for each GiB of an engine whose size has changed; GPUs cost 1 to 60 ms.
    """
    gpus = _GPUS(_read_gpus, PATIENCE) if sys.platform != "darwin" else None
    return (_ram(roots), *(gpus or ()))


def _ram(roots: Iterable[int]) -> DeviceFigures:
    memory = facts.memory_now()
    ceiling = metal_ceiling(memory.total, facts.metal_limit_now()) if sys.platform == "darwin" else None
    roots = set(roots)
    table = kin.processes() if roots else {}
    found = _RESIDENT.read({pid for root in roots for pid in family(root, table)})
    mapped = sum(each.mapped for each in found.values())
    by_pid = {pid: each.total - each.swapped for pid, each in found.items()}
    # Where an engine is there and nothing of it can be read, the system doesn't tell.
    told = by_pid or not any(root in table and table[root].alive for root in roots)
    return DeviceFigures(RAM, memory.total, max(memory.available - mapped, 0), by_pid if told else None, ceiling)


def metal_ceiling(total: int, allowed: int | None) -> int:
    """Give what a Mac's GPU may take of so much memory: what a person `allowed`, else the least that was seen.

    Metal tells it as recommendedMaxWorkingSetSize. Seen were two thirds of 32 GiB, three quarters of 64 GiB, and 84 %
    of 128 GiB on macOS 26. Beyond it, a load fails or the GPU's work does.
    """
    if allowed is not None:
        return min(allowed, total)
    return total * 3 // 4 if total >= 36 << 30 else total * 2 // 3


def _read_gpus() -> tuple[DeviceFigures, ...]:
    nvidia = _NVML.read()
    gpus = by_nvidia_smi() if nvidia is None else nvidia
    amd = [
        DeviceFigures(gpu.id, gpu.memory_bytes, gpu.free_bytes, sensors=gpu.sensors)
        for gpu in facts.amd_now()
        if gpu.memory_bytes is not None and gpu.free_bytes is not None
    ]
    return (*(DeviceFigures(gpu.id, gpu.total, gpu.free, shown(gpu), sensors=gpu.sensors) for gpu in gpus), *amd)


def by_nvidia_smi() -> tuple[GpuMemory, ...]:
    """Read all NVIDIA GPUs by nvidia-smi, which costs two processes."""
    gpus = [(gpu, gpu.memory_bytes, gpu.free_bytes) for gpu in facts.nvidia_now()]
    apps = facts.nvidia_apps_now() if gpus else None
    return tuple(
        GpuMemory(gpu.id, total, free, None if apps is None else {**apps.get(gpu.uuid, {})}, gpu.sensors)
        for gpu, total, free in gpus
        if total is not None and free is not None
    )


def shown(gpu: GpuMemory) -> Mapping[int, int] | None:
    """Give a GPU's bytes by process, if they can be believed; else None.

    In a container, a driver may name the host's processes, or none of ours. The first are pids that don't exist here.
    The second shows where much is used and nobody is named.
    """
    if gpu.by_pid is None or not all(map(psutil.pid_exists, gpu.by_pid)):
        return None
    return gpu.by_pid if gpu.by_pid or gpu.total - gpu.free < UNTOLD else None


class OneAtATime(Generic[Found]):
    """Runs calls that may never return, one at a time, each in a thread that doesn't outlive the program."""

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def __call__(self, call: Callable[[], Found], patience: float) -> Found | None:
        """Give what a call returns; None if it, or one before it, has not returned within so many seconds."""
        if not self._turn.acquire(timeout=patience):
            return None
        found: list[Found] = []
        done = threading.Event()

        def run() -> None:
            try:
                found.append(call())
            finally:
                self._turn.release()
                done.set()

        threading.Thread(target=run, name="devices", daemon=True).start()
        return found[0] if done.wait(patience) and found else None


class _Measured(NamedTuple):
    """What a process took, with its start and its resident size at that moment."""

    began: float
    size: int
    at: float
    found: Resident


class ResidentSizes:
    """The RAM of processes, measured again only where it must have changed. Threads may share it.

    To measure it, the kernel walks all pages of a process: 10 to 20 ms for each GiB, and most engines never change.
    """

    def __init__(self, measure: Callable[[int], Resident | None] = of_process) -> None:
        self._measure = measure
        self._known: dict[int, _Measured] = {}

    def read(self, pids: Iterable[int]) -> dict[int, Resident]:
        """Give what each process takes; one that is gone, or that the system doesn't tell of, is left out."""
        now = time.monotonic()
        fresh = {pid: each for pid in pids if (each := self._look(pid, now)) is not None}
        # Others are kept: each caller asks for the engines that it cares for.
        kept = {pid: each for pid, each in self._known.items() if now - each.at <= STALE}
        self._known = kept | fresh
        return {pid: each.found for pid, each in fresh.items()}

    def _look(self, pid: int, now: float) -> _Measured | None:
        try:
            process = psutil.Process(pid)
            began, size = process.create_time(), process.memory_info().rss
        except (psutil.Error, OSError):
            return None
        last = self._known.get(pid)
        if last is not None and last.began == began and abs(last.size - size) <= DRIFT and now - last.at <= STALE:
            return last
        found = self._measure(pid)
        return None if found is None else _Measured(began, size, now, found)


_GPUS: OneAtATime[tuple[DeviceFigures, ...]] = OneAtATime()
_NVML = Nvml()
_RESIDENT = ResidentSizes()


# Whose it is


def family(root: int, table: kin.Table) -> set[int]:
    """Find the processes of the engine whose first one is `root`: its descendants, and those of its session.

    Those of its session belong to it though their parent was killed: vllm's core lives on then, with all its memory.
    """
    found = {root} | kin.descendants(table, root)
    if root not in table or table[root].session == root:
        found |= {pid for pid, each in table.items() if each.session == root}
    return found


def own(figures: Iterable[DeviceFigures], roots: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Give bytes by backend for each device that tells them by process; others are left out.

    `roots` are the first processes of the backends' engines, and `figures` what `look(roots.values())` gave.
    """
    return _by_family(figures, _families(roots))


def held(figures: Iterable[DeviceFigures], roots: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Give the same of GPUs, and the resident bytes of RAM: what several processes map counts in each of them.

    That is much cheaper than what `look` measures of RAM, so `figures` may be those of a `look` without processes.
    """
    families = _families(roots)
    gpus = (each for each in figures if each.name != RAM)
    resident = {backend: sum(map(_resident, pids)) for backend, pids in families.items()}
    return {RAM: resident} | _by_family(gpus, families)


def cpu_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """Give the CPU time, in seconds, of each backend's living processes. Blocks for some milliseconds."""
    return {backend: sum(map(_worked, pids)) for backend, pids in _families(roots).items()}


def _worked(pid: int) -> float:
    try:
        used = psutil.Process(pid).cpu_times()
    except (psutil.Error, OSError):
        return 0.0
    return float(used.user + used.system)


def _families(roots: Mapping[str, int]) -> dict[str, set[int]]:
    table = kin.processes() if roots else {}
    return {backend: family(root, table) for backend, root in roots.items()}


def _resident(pid: int) -> int:
    try:
        resident: int = psutil.Process(pid).memory_info().rss
    except (psutil.Error, OSError):
        return 0
    return resident


def _by_family(figures: Iterable[DeviceFigures], families: Mapping[str, Iterable[int]]) -> dict[str, dict[str, int]]:
    return {
        device.name: {backend: _of(device.by_pid, pids) for backend, pids in families.items()}
        for device in figures
        if device.by_pid is not None
    }


def footprint_of(root: int, figures: Iterable[DeviceFigures]) -> dict[str, int]:
    """Measure what an engine takes of each device; one that doesn't tell is left out. 0: it takes nothing of that GPU.

    RAM is measured now, and includes what was swapped out.
    """
    pids = family(root, kin.processes())
    found = {
        device.name: _of(device.by_pid, pids) for device in figures if device.by_pid is not None and device.name != RAM
    }
    resident = of_processes(pids)
    return found if resident is None else {RAM: resident.total} | found


def _of(by_pid: Mapping[int, int], pids: Iterable[int]) -> int:
    return sum(by_pid.get(pid, 0) for pid in pids)


def by_difference(before: Iterable[DeviceFigures], after: Iterable[DeviceFigures]) -> dict[str, int]:
    """Give by how many bytes the free memory of each GPU has fallen, of those that don't tell bytes by process.

    What others took or freed meanwhile is in it, so it holds only where nothing else was loaded or ended. Pure.
    """
    free = {device.name: device.free for device in before}
    return {
        device.name: max(free[device.name] - device.free, 0)
        for device in after
        if device.by_pid is None and device.name != RAM and device.name in free
    }


# How much engines may hold


def limits(
    figures: Iterable[DeviceFigures], ram: float | None = None, gpu: float | None = None
) -> tuple[DeviceLimit, ...]:
    """Tell how much of each device our engines may hold together.

    `ram`, and `gpu` of each GPU: bytes (int), a share of the total (float, up to 1.0), or None for the default. Pure.
    """
    return tuple(DeviceLimit(each.name, each.total, _limit(each, ram if each.name == RAM else gpu)) for each in figures)


def _limit(device: DeviceFigures, wish: float | None) -> int:
    if wish is not None:
        return min(wish if isinstance(wish, int) else int(wish * device.total), device.total)
    if device.name == RAM:
        return min(device.total - kept_of_ram(device.total), device.ceiling or device.total)
    return device.total - kept_of_gpu(device.total)


def kept_of_ram(total: int) -> int:
    """Bytes of RAM that are left to the system, this router and cached files: a tenth, at least 2 GiB.

    Of a machine with less than 8 GiB it is a quarter. What other programs hold beyond it is measured.
    """
    return min(max(2 << 30, total // 10), total // 4)


def kept_of_gpu(total: int) -> int:
    """Bytes of a GPU that no engine gets: 2 % of it, at least 1 GiB; below 16 GiB, a sixteenth.

    The driver keeps 615 MiB of an H200 (143,771 MiB) and 480 MiB of an H100 (81,559 MiB). The rest is for what engines
    come to take after they were measured: buffers of the first long prompt, graphs, blocks that don't fill. llama.cpp
    leaves 1 GiB free of each GPU for that, too (`fit-target`).
    """
    return max(total // 50, min(1 << 30, total // 16))
