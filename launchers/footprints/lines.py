"""What engines say of their memory while they load, line by line: it corrects an estimate. Pure.

llama.cpp names each buffer with its size; llama_server does at --log-verbosity 4 alone, llama_cpp at verbose: true.
Before that, llama_server's planner (--fit, on by default) says what it expects, in a table:

    load_tensors:   CPU_Mapped model buffer size =   277.65 MiB
    llama_kv_cache:      CUDA0 KV buffer size =   112.00 MiB
    sched_reserve:        CPU compute buffer size =    29.02 MiB
    | memory breakdown [MiB]   |  total    free     self   model   context   compute    unaccounted |
    |   - CUDA0 (H200)         | 143771 = 141000 + (2106 =  1882 +     112 +     112) +         665 |
    |   - Host                 |                    418 =   277 +     112 +      29                |

vllm says what weights and cache take, of a GPU and of a CPU. mlx says nothing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from launchers.footprints.parts import RAM, Breakdown, Parts

MIB: Final = 1 << 20
GIB: Final = 1 << 30
MOST_LINE: Final = 1000
"""Characters of a line that are looked at."""

_BUFFER = re.compile(r"(\S+)\s+(model|KV|RS|compute|output) buffer size\s*=\s*(\d+(?:\.\d+)?) MiB")
_PLANNED = re.compile(r"\|\s+- (\S+)[^|]*\|.*?\(?\s*\d+ =\s*(\d+) \+\s*(\d+) \+\s*(\d+)\)?")
_LOADS = "loaded meta data"
_ONLY_PLANS = re.compile(r"no_alloc\s*=\s*1\b")
_GPU = re.compile(r"(?:CUDA|ROCm|Vulkan|SYCL|HIP)(\d+)$")
_FIELDS: Final[Mapping[str, str]] = MappingProxyType({
    "model": "weights", "KV": "cache", "RS": "cache", "compute": "compute", "output": "compute",
})  # fmt: skip
_VLLM: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType({
    "weights": re.compile(r"[Mm]odel loading took (\d+(?:\.\d+)?) GiB"),
    "cache": re.compile(r"(?:Available KV cache memory: |Explicitly set \()(\d+(?:\.\d+)?)"),
    "compute": re.compile(r"Graph capturing finished .* took (\d+(?:\.\d+)?) GiB"),
})  # fmt: skip


@dataclass(slots=True)
class _Said:
    """Bytes by device and field."""

    found: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, device: str, name: str, size: float) -> None:
        fields = self.found.setdefault(device, {})
        fields[name] = fields.get(name, 0) + round(size)

    def footprint(self) -> Breakdown:
        return Breakdown({device: Parts(**fields) for device, fields in self.found.items()})


def read_lines(engine: str, lines: Iterable[str]) -> Breakdown:
    """Tell what an engine said that it takes; no device where it said nothing."""
    if engine in {"llama_cpp", "llama_server"}:
        return _of_llama(lines)
    return _of_vllm(lines) if engine == "vllm" else Breakdown({})


def _of_llama(lines: Iterable[str]) -> Breakdown:
    planned, said = _Said(), _Said()
    only_plans = False
    for line in lines:
        short = line[:MOST_LINE]
        if _LOADS in short:
            only_plans = False
        elif _ONLY_PLANS.search(short):
            only_plans = True
        elif found := _BUFFER.search(short):
            if not only_plans:
                device, name = _device(found[1]), _FIELDS[found[2]]
                said.add(device, name, float(found[3]) * MIB)
                if found[1] == "CPU_REPACK":
                    said.add(device, "spare", float(found[3]) * MIB)
        elif found := _PLANNED.search(short):
            for name, size in zip(("weights", "cache", "compute"), found.groups()[1:], strict=True):
                planned.add(_device(found[1]), name, int(size) * MIB)
    return _without_copies(said) if said.found else planned.footprint()


def _without_copies(said: _Said) -> Breakdown:
    """What was laid out anew is counted as the copy; what was mapped for it is spare."""
    for fields in said.found.values():
        fields["weights"] = max(fields.get("weights", 0) - fields.get("spare", 0), 0)
    return said.footprint()


def _device(name: str) -> str:
    """The device that a buffer is on: CPU_Mapped, CUDA_Host and MTL0 (Apple's GPU) are in RAM."""
    found = _GPU.match(name)
    return f"gpu {found[1]}" if found else RAM


def _of_vllm(lines: Iterable[str]) -> Breakdown:
    said = _Said()
    on_gpu = False
    for line in lines:
        short = line[:MOST_LINE]
        on_gpu = on_gpu or "Graph capturing" in short or "GPU KV cache size" in short
        for name, pattern in _VLLM.items():
            if found := pattern.search(short):
                said.found.setdefault(RAM, {})[name] = round(float(found[1]) * GIB)
    if on_gpu and RAM in said.found:
        return Breakdown({"gpu 0": Parts(**said.found[RAM])})
    return said.footprint()


def corrected(estimated: Breakdown, said: Breakdown) -> Breakdown:
    """An estimate with what the engine said in its place; what it didn't say, and what use adds, stays estimated."""
    devices = dict(estimated.devices)
    for name, parts in said.devices.items():
        known = {part: size for part in ("weights", "cache", "compute", "spare") if (size := getattr(parts, part))}
        devices[name] = replace(devices.get(name, Parts()), **known)
    return Breakdown(devices, estimated.gaps)
