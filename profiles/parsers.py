"""What programs and system files say of a machine, turned into values. Pure: the text is passed in.

Each reads one source: nvidia-smi, the amdgpu driver's files in /sys, control groups of either version, a kernel's
release, an engine's `--version`. What it can't read it passes over: a machine is never refused for what it says.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NVIDIA_FIELDS = ("index", "name", "memory.total", "driver_version", "compute_cap")
"""What nvidia-smi is asked for, in the order in which `nvidia_gpus` reads it."""

NVIDIA, AMD = "NVIDIA", "AMD"

_AMD_VENDOR = "0x1002"  # its PCI id
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU that this process may use."""

    vendor: str  # NVIDIA or AMD
    name: str  # NVIDIA H100 80GB HBM3
    memory_bytes: int | None  # its own; None where it shares the machine's (a DGX Spark, a Jetson)
    driver: str = ""  # 580.159.04
    capability: str = ""  # NVIDIA's compute capability: 9.0


def nvidia_gpus(text: str) -> tuple[Gpu, ...]:
    """Read `nvidia-smi --query-gpu=… --format=csv,noheader,nounits`: a GPU a line, its memory in MiB."""
    rows = ([cell.strip() for cell in line.split(",")] for line in text.splitlines())
    return tuple(
        Gpu(NVIDIA, name, int(memory) * _MIB if memory.isdecimal() else None, _known(driver), _known(capability))
        for index, name, memory, driver, capability in (row for row in rows if len(row) == len(NVIDIA_FIELDS))
        if index.isdecimal()
    )


def _known(cell: str) -> str:
    return "" if cell.startswith("[") else cell  # [N/A], [Not Supported]


def amd_gpu(vendor: str, memory: str, product: str) -> Gpu | None:
    """Read the files vendor, mem_info_vram_total (bytes) and product_name of one card; None for another vendor's."""
    if vendor.strip() != _AMD_VENDOR or not memory.strip().isdecimal():
        return None
    return Gpu(AMD, product.strip() or "AMD GPU", int(memory))


def visible(gpus: Sequence[Gpu], wish: str | None) -> tuple[Gpu, ...]:
    """Those that CUDA_VISIBLE_DEVICES, or its like of AMD, leaves: `wish` is its value, None where it isn't set.

    As the drivers have it: the order is the wish's, and the first number without a GPU ends it. An id (GPU-…, MIG-…)
    counts as one GPU, the next in order.
    """
    if wish is None:
        return tuple(gpus)
    left: list[Gpu] = []
    for entry in filter(None, map(str.strip, wish.split(","))):
        place = int(entry) if re.fullmatch(r"-?[0-9]+", entry) else len(left)
        if not 0 <= place < len(gpus):
            break
        left.append(gpus[place])
    return tuple(left)


def cgroup_folders(membership: str, controller: str) -> tuple[str, ...]:
    """Where the limits of this process may stand below /sys/fs/cgroup: its own group, and each that holds it.

    `membership` is /proc/self/cgroup. A line `0::/a/b` is version 2's, `4:memory:/a/b` version 1's, whose folder is
    named after the controller. A container may see its group at the root, whatever its path says: the root is last.
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
    """CPUs' worth of time that version 2's cpu.max allows: "200000 100000" is 2.0, "max 100000" no limit, None."""
    quota, _, period = text.strip().partition(" ")
    return _quotient(quota, period)


def cpu_quota_v1(quota: str, period: str) -> float | None:
    """Tell the same of version 1's cpu.cfs_quota_us and cpu.cfs_period_us; a quota of -1 is no limit."""
    return _quotient(quota.strip(), period.strip())


def _quotient(quota: str, period: str) -> float | None:
    if not (quota.isdecimal() and period.isdecimal() and int(period) and int(quota)):
        return None
    return int(quota) / int(period)


def memory_limit(text: str) -> int | None:
    """Bytes that version 2's memory.max or version 1's memory.limit_in_bytes allows; None for "max"."""
    return int(text) if text.strip().isdecimal() else None


def usable_cpus(allowed: int, quotas: Iterable[float | None]) -> int:
    """CPUs that a process may keep busy: of those that it may run on, what the tightest quota leaves; 1 at least."""
    return max(min(allowed, *(math.ceil(quota) for quota in quotas if quota is not None), allowed), 1)


def tightest(limits: Iterable[int | None], total: int) -> int | None:
    """The least of some limits in bytes, if it is below the machine's `total`; else nothing is limited."""
    return min((limit for limit in limits if limit is not None and limit < total), default=None)


def is_wsl(release: str) -> bool:
    """Whether a kernel's release is that of Windows' own Linux: 5.15.167.4-microsoft-standard-WSL2."""
    return "microsoft" in release.lower()


def first_version(text: str) -> str:
    """The version in what a program says of itself: `version: 6710 (abc)` → 6710, `v1.2.3` → 1.2.3; else nothing."""
    found = re.search(r"\bversion:?\s+v?([0-9][\w.+-]*)|\bv?([0-9]+\.[0-9][\w.+-]*)", text)
    return (found[1] or found[2]) if found else ""
