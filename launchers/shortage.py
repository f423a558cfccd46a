"""Whether an engine ran out of memory, and of which: what it said, and what became of it. Pure.

The words are llama.cpp's (ggml), torch's and vllm's, MLX's and Metal's, C++'s, Python's and Linux's. These say as much,
and mean something else:

1. "cannot allocate memory in static TLS block": a library was loaded too late.
2. "failed to mlock …: Cannot allocate memory": a warning; the limit of locked memory is low.
3. What is said as information or as a warning: llama.cpp and vllm try again with less.

The kernel's OOM killer leaves no words. It is the cause where a process was killed that nobody here has killed, while
the kernel's count of such kills rose.
"""

import re
from collections.abc import Sequence
from typing import Final

from launchers.footprints.parts import RAM
from launchers.gpus import SOME
from launchers.reason import level_of

UNKNOWN: Final = ""
"""It ran out of memory, of which device isn't known."""

MOST_LINE: Final = 2000
"""Characters of a line that are looked at."""

RECENT: Final = 400
"""Lines before the end of an engine that served in which its last error may stand: vllm prints it with the tracebacks
of several processes. An earlier one was that of a request."""

_OTHERS = re.compile(r"static TLS block|mlock|\bwarn(?:ing)?\b", re.IGNORECASE)
_SHORT_OF_RAM = re.compile(
    r"""bad_alloc|\bMemoryError\b|_ArrayMemoryError|cannot\ allocate\ memory|DefaultCPUAllocator|ErrorOutOfHostMemory
    |memory\ allocation\ of\ \d+\ bytes\ failed                                # Rust's
    |ggml_aligned_malloc:\ insufficient\ memory
    |(?:failed|unable)\ to\ allocate\ (?:CPU|MTL\d*|Metal|CUDA_Host|ROCm_Host|Vulkan_Host)\w*\ buffer
    |\[METAL\]\ .*Insufficient\ Memory|kIOGPUCommandBufferCallbackErrorOutOfMemory
    |\[metal::malloc\]|\[malloc\w*\]\ Unable\ to\ allocate|ggml_metal\w*:\ (?:error:\ )?failed\ to\ allocate
    |Available\ memory\ on\ node\ \d+\ .*\ is\ less\ than\ desired\ CPU\ memory""",
    re.VERBOSE | re.IGNORECASE,
)
_SHORT = re.compile(
    r"""out\ of\ memory|\bOutOfMemory|ErrorOutOfDeviceMemory|CUBLAS_STATUS_ALLOC_FAILED|insufficient\ memory
    |cudaMalloc\ failed|hipMalloc\ failed|Device\ memory\ allocation\ of\ size\ \d+\ failed
    |failed\ to\ allocate|unable\ to\ allocate
    |no\ available\ memory\ for\ the\ cache\ blocks|larger\ than\ the\ available\ KV\ cache\ memory
    |free\ memory\ on\ device\ .*is\ less\ than\ desired\ GPU\ memory""",
    re.VERBOSE | re.IGNORECASE,
)
_GPU = re.compile(
    r"\b(?:on device |GPU |cuda:|hip:|xpu:|CUDA|ROCm|HIP|Vulkan|SYCL)(\d+)(?![\d.]*\s?(?:[KMG]i?B|%))", re.IGNORECASE
)
_KILLED = re.compile(r"\bexit ?code:? -9\b|': -9\b|\bSIGKILL\b|\bsignal 9\b|\bdied unexpectedly\b")
_HARMLESS = frozenset({"DEBUG", "INFO", "WARNING", "D", "I", "W"})


def shortage_in(line: str) -> str | None:
    """Tell of which memory a line says that it ran out: RAM, `gpu 0` by the engine's own count, or UNKNOWN.

    None if the line says no such thing.
    """
    short = line[:MOST_LINE]
    # Nearly all lines end here: this is asked of each line of every engine.
    lower = short.lower()
    if "alloc" not in lower and "memory" not in lower:
        return None
    if _OTHERS.search(short) or level_of(short) in _HARMLESS:
        return None
    if _SHORT_OF_RAM.search(short):
        return RAM
    if not _SHORT.search(short):
        return None
    found = _GPU.search(short)
    return UNKNOWN if found is None else f"gpu {found[1]}"


class Shortages:
    """Reads an engine's output line by line, and keeps what it said of a lack of memory."""

    def __init__(self) -> None:
        self._count = 0
        # The first that names its device, else the first; and the number of the last line that spoke of any.
        self._said: str | None = None
        self._at = 0

    def hear(self, line: str) -> None:
        """Take in the next line."""
        self._count += 1
        said = shortage_in(line)
        if said is None:
            return
        if self._at and self._count - self._at > RECENT:
            self._said = None
        self._said = self._said or said
        self._at = self._count

    @property
    def any(self) -> str | None:
        """The memory that it ever ran out of; see `shortage_in`."""
        return self._said

    @property
    def recent(self) -> str | None:
        """The memory that it ran out of shortly before its last line."""
        return self._said if self._count - self._at <= RECENT else None


def by_the_kernel(code: int | None, lines: Sequence[str], *, kills_rose: bool) -> bool:
    """Whether the kernel ended an engine for lack of RAM; nobody here has.

    `code` is its first process' exit code, `lines` are its last ones: another process of it may have been killed.
    """
    return kills_rose and (code == -9 or any(_KILLED.search(line) for line in lines))


def device_of(said: str | None, gpus: Sequence[str]) -> str | None:
    """Give the id of the device that an engine named; `gpus` are the ids of those that it sees, in its order."""
    if said is None or not said.startswith("gpu "):
        return said
    number = int(said.removeprefix("gpu "))
    return gpus[number] if number < len(gpus) and not gpus[number].endswith(SOME) else UNKNOWN
