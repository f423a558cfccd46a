"""Parsers for the output of programs and for system files that describe a machine. Pure: the text is an argument.

Each parses one source: nvidia-smi, the amdgpu driver's files in /sys, control groups of either version, a kernel's
release, an engine's `--version`. Text that it can't read it skips: no machine is refused because of such text.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

NVIDIA_FIELDS = (
    "index", "name", "memory.total", "driver_version", "compute_cap", "memory.free", "uuid",
    "utilization.gpu", "temperature.gpu", "power.draw", "enforced.power.limit",
)  # fmt: skip
"""The fields to query of nvidia-smi, in the order in which `nvidia_gpus` reads them."""

NVIDIA_APP_FIELDS = ("gpu_uuid", "pid", "used_gpu_memory")
"""The fields to query of nvidia-smi's list of processes, in the order in which `nvidia_apps` reads them."""

NVIDIA, AMD = "NVIDIA", "AMD"

_AMD_VENDOR = "0x1002"  # its PCI id
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sensors:
    """What a GPU's sensors tell; None where it has no such sensor, or doesn't tell.

    `utilisation` is the percentage of the driver's last sample (up to a second) in which the GPU computed,
    `temperature` in °C, `power` what it draws and `power_limit` what it may draw, in watts.
    """

    utilisation: int | None = None
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None

    def __bool__(self) -> bool:
        """Whether any of them tells something."""
        return self != _SILENT


_SILENT = Sensors()


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU that this process may use. Two of a kind are equal, whatever their numbers and their free memory.

    `vendor` is NVIDIA or AMD, `name` like NVIDIA H100 80GB HBM3. `memory_bytes` are its own, None if it shares the
    machine's (a DGX Spark, a Jetson). `capability` is NVIDIA's compute capability, like 9.0. `number` is its place
    among the machine's GPUs of its vendor. `uuid`, of NVIDIA's alone, is like GPU-…. `free_bytes` and `sensors` are
    from the last look, None if unknown.
    """

    vendor: str
    name: str
    memory_bytes: int | None
    driver: str = ""
    capability: str = ""
    number: int = field(default=0, compare=False)
    uuid: str = field(default="", compare=False)
    free_bytes: int | None = field(default=None, compare=False)
    sensors: Sensors | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """Its id on this machine: `NVIDIA 0`; of a part of a GPU (MIG-…), the part's uuid."""
        return self.uuid if self.uuid.startswith("MIG-") else f"{self.vendor} {self.number}"


def nvidia_gpus(text: str) -> tuple[Gpu, ...]:
    """Parse `nvidia-smi --query-gpu=… --format=csv,noheader,nounits`: a GPU a line, memory in MiB."""
    rows = ([cell.strip() for cell in line.split(",")] for line in text.splitlines())
    return tuple(_nvidia_gpu(*row) for row in rows if 5 <= len(row) <= len(NVIDIA_FIELDS) and row[0].isdecimal())


def _nvidia_gpu(
    index: str, name: str, memory: str, driver: str, capability: str, free: str = "", uuid: str = "", *sensed: str
) -> Gpu:
    return Gpu(
        NVIDIA,
        name,
        _mebibytes(memory),
        _known(driver),
        _known(capability),
        int(index),
        _known(uuid),
        _mebibytes(free),
        _nvidia_sensors(*sensed),
    )


def _nvidia_sensors(busy: str = "", temperature: str = "", power: str = "", limit: str = "") -> Sensors | None:
    """Parse what nvidia-smi tells in percent, °C and watts; what isn't told is in brackets."""
    return Sensors(_whole(busy), _whole(temperature), _scaled(power), _scaled(limit)) or None


def nvidia_apps(text: str) -> dict[str, dict[int, int]] | None:
    """Parse `nvidia-smi --query-compute-apps=… --format=csv,noheader,nounits`: bytes by process, by the GPU's uuid.

    None if a line isn't like that: an error, or [N/A] for the memory, as in WSL. Such a list says too little.
    """
    found: dict[str, dict[int, int]] = {}
    for line in filter(str.strip, text.splitlines()):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(NVIDIA_APP_FIELDS) or not (cells[1].isdecimal() and cells[2].isdecimal()):
            return None
        uuid, pid, used = cells[0], int(cells[1]), int(cells[2]) * _MIB
        by_pid = found.setdefault(uuid, {})
        by_pid[pid] = by_pid.get(pid, 0) + used
    return found


def _mebibytes(cell: str) -> int | None:
    return int(cell) * _MIB if cell.isdecimal() else None


def _known(cell: str) -> str:
    return "" if cell.startswith("[") else cell  # [N/A], [Not Supported]


def _whole(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _scaled(text: str, unit: float = 1) -> float | None:
    """Parse a number in so small a unit, to a tenth of the large one."""
    return round(float(text) / unit, 1) if re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s*", text) else None


def amd_gpu(vendor: str, memory: str, product: str, used: str = "", *, sensors: Sensors | None = None) -> Gpu | None:
    """Parse a card's files vendor, mem_info_vram_total, product_name and mem_info_vram_used; None if it isn't AMD's."""
    if vendor.strip() != _AMD_VENDOR or not memory.strip().isdecimal():
        return None
    free = max(int(memory) - int(used), 0) if used.strip().isdecimal() else None
    return Gpu(AMD, product.strip() or "AMD GPU", int(memory), free_bytes=free, sensors=sensors)


def amd_sensors(busy: str, temperature: str, average: str, power: str, limit: str) -> Sensors | None:
    """Parse a card's files gpu_busy_percent and, of its hwmon, temp1_input, power1_average, power1_input, power1_cap.

    These are in thousandths of °C and millionths of watts; newer cards have power1_input alone.
    """
    degrees, watts = _scaled(temperature, 1000), _scaled(average, 1e6)
    return (
        Sensors(
            _whole(busy),
            None if degrees is None else round(degrees),
            _scaled(power, 1e6) if watts is None else watts,
            _scaled(limit, 1e6),
        )
        or None
    )


def visible(gpus: Sequence[Gpu], wish: str | None) -> tuple[Gpu, ...]:
    """Give the GPUs that CUDA_VISIBLE_DEVICES, or AMD's like, leaves: `wish` is its value, None if it isn't set.

    As in the drivers, the order is the wish's, and the first number without a GPU ends it. An id (GPU-…) may be
    shortened. An id that no GPU has (MIG-…, a part of a GPU) counts as one GPU, the next in order, with unknown free
    memory.
    """
    if wish is None:
        return tuple(gpus)
    left: list[Gpu] = []
    for entry in filter(None, map(str.strip, wish.split(","))):
        known = next((gpu for gpu in gpus if gpu.uuid and gpu.uuid.startswith(entry)), None)
        if known is not None:
            left.append(known)
            continue
        number = re.fullmatch(r"-?[0-9]+", entry) is not None
        place = int(entry) if number else len(left)
        if not 0 <= place < len(gpus):
            break
        left.append(gpus[place] if number else replace(gpus[place], uuid=entry, free_bytes=None))
    return tuple(left)


def cgroup_folders(membership: str, controller: str) -> tuple[str, ...]:
    """Give the folders below /sys/fs/cgroup with limits of this process: its own group, and all that contain it.

    `membership` is /proc/self/cgroup. A line `0::/a/b` is version 2's, `4:memory:/a/b` version 1's, whose folder has
    the controller's name. A container may see its group at the root, whatever the path is, so the root is last.
    """
    folders: list[str] = []
    for line in membership.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            root = controller
        elif number == "0" and not controllers:
            root = ""
        else:
            continue
        parts = [part for part in (root, *path.split("/")) if part not in {"", ".", ".."}]
        folders += ["/".join(parts[:length]) for length in range(len(parts), len(root.split()) - 1, -1)]
    return tuple(folders)


def cpu_quota(text: str) -> float | None:
    """Parse version 2's cpu.max into CPUs: "200000 100000" is 2.0, "max 100000" no limit, None."""
    quota, _, period = text.strip().partition(" ")
    return _quotient(quota, period)


def cpu_quota_v1(quota: str, period: str) -> float | None:
    """Parse version 1's cpu.cfs_quota_us and cpu.cfs_period_us into CPUs; a quota of -1 is no limit, None."""
    return _quotient(quota.strip(), period.strip())


def _quotient(quota: str, period: str) -> float | None:
    if not (quota.isdecimal() and period.isdecimal() and int(period) and int(quota)):
        return None
    return int(quota) / int(period)


def memory_limit(text: str) -> int | None:
    """Parse version 2's memory.max or version 1's memory.limit_in_bytes into bytes; None for "max"."""
    return int(text) if text.strip().isdecimal() else None


def memory_in_use(usage: str, stat: str) -> int | None:
    """Give the bytes that a control group uses and can't drop at once; None if it doesn't tell.

    `usage` is version 2's memory.current or version 1's memory.usage_in_bytes, `stat` its memory.stat. Cached files
    count in the usage, but the kernel drops them where memory is needed; version 1 has the whole group in total_….
    """
    if not usage.strip().isdecimal():
        return None
    rows = (line.split() for line in stat.splitlines())
    said = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}
    cached = sum(said.get(f"total_{name}", said.get(name, 0)) for name in ("inactive_file", "active_file"))
    return max(int(usage) - cached, 0)


def mapped_files(meminfo: str) -> int:
    """Give the bytes of files that any process has mapped, each once, by /proc/meminfo; 0 if it doesn't tell."""
    found = re.search(r"^Mapped:\s+([0-9]+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def usable_cpus(allowed: int, quotas: Iterable[float | None]) -> int:
    """Give the CPUs that a process may keep busy: those that it may run on, bounded by the least quota; at least 1."""
    return max(min(allowed, *(math.ceil(quota) for quota in quotas if quota is not None), allowed), 1)


def tightest(limits: Iterable[int | None], total: int) -> int | None:
    """Give the least of some limits in bytes, if it is below the machine's `total`; else None: no limit."""
    return min((limit for limit in limits if limit is not None and limit < total), default=None)


def is_wsl(release: str) -> bool:
    """Tell whether a kernel's release is WSL's: 5.15.167.4-microsoft-standard-WSL2."""
    return "microsoft" in release.lower()


def first_version(text: str) -> str:
    """Find the version in a program's output: `version: 6710 (abc)` → 6710, `v1.2.3` → 1.2.3; else ""."""
    found = re.search(r"\bversion:?\s+v?([0-9][\w.+-]*)|\bv?([0-9]+\.[0-9][\w.+-]*)", text)
    return (found[1] or found[2]) if found else ""
