"""What programs and system files say of a machine, turned into values. Pure: the text is passed in.

Each reads one source: nvidia-smi, the amdgpu driver's files in /sys, control groups of either version, a kernel's
release, an engine's `--version`. What it can't read it passes over: a machine is never refused for what it says.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

NVIDIA_FIELDS = ("index", "name", "memory.total", "driver_version", "compute_cap", "memory.free", "uuid")
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
    # Two of a kind are equal, wherever they are and whatever they do:
    number: int = field(default=0, compare=False)  # its place among the machine's of its vendor
    uuid: str = field(default="", compare=False)  # GPU-…; of NVIDIA's
    free_bytes: int | None = field(default=None, compare=False)  # when it was looked at; None is unknown

    @property
    def id(self) -> str:
        """What tells it from this machine's others: `NVIDIA 0`; of a part of one (MIG-…), the part's own."""
        return self.uuid if self.uuid.startswith("MIG-") else f"{self.vendor} {self.number}"


def nvidia_gpus(text: str) -> tuple[Gpu, ...]:
    """Read `nvidia-smi --query-gpu=… --format=csv,noheader,nounits`: a GPU a line, its memory in MiB."""
    rows = ([cell.strip() for cell in line.split(",")] for line in text.splitlines())
    return tuple(_nvidia_gpu(*row) for row in rows if 5 <= len(row) <= len(NVIDIA_FIELDS) and row[0].isdecimal())


def _nvidia_gpu(
    index: str, name: str, memory: str, driver: str, capability: str, free: str = "", uuid: str = ""
) -> Gpu:
    return Gpu(
        NVIDIA, name, _mebibytes(memory), _known(driver), _known(capability), int(index), _known(uuid), _mebibytes(free)
    )


def _mebibytes(cell: str) -> int | None:
    return int(cell) * _MIB if cell.isdecimal() else None


def _known(cell: str) -> str:
    return "" if cell.startswith("[") else cell  # [N/A], [Not Supported]


def amd_gpu(vendor: str, memory: str, product: str, used: str = "") -> Gpu | None:
    """Read the files vendor, mem_info_vram_total, product_name and mem_info_vram_used of a card; None for another's."""
    if vendor.strip() != _AMD_VENDOR or not memory.strip().isdecimal():
        return None
    free = max(int(memory) - int(used), 0) if used.strip().isdecimal() else None
    return Gpu(AMD, product.strip() or "AMD GPU", int(memory), free_bytes=free)


def visible(gpus: Sequence[Gpu], wish: str | None) -> tuple[Gpu, ...]:
    """Those that CUDA_VISIBLE_DEVICES, or its like of AMD, leaves: `wish` is its value, None where it isn't set.

    As the drivers have it: the order is the wish's, and the first number without a GPU ends it. An id (GPU-…) may be
    cut off; one that is none of theirs (MIG-…, a part of a GPU) counts as one GPU, the next in order, of which it isn't
    known what is free.
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
