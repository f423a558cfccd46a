"""What NVIDIA's driver tells of the memory and the sensors of each GPU, by its library NVML.

It blocks: a look at an H200 takes 0.4 ms (driver 580), a quarter of it for the sensors.

The package nvidia-ml-py (the extra `nvidia`) is optional, and so is a driver: without either, or where the driver
fails, there are no figures, and that is no error. NVML is initialised once and kept: doing so at each look costs many
times as much as the look. After a failure it is initialised anew at the next look, as the driver may have been loaded
again.

A call into a driver that hangs never returns, so `launchers.devices` calls this in a thread that it can leave behind.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType

from profiles.parsers import NVIDIA, Sensors


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """The memory of one GPU, or of a part of one (MIG), in bytes.

    `id` is as in `profiles.parsers.Gpu.id`. `total` includes what the driver keeps for itself, which is never free.
    `by_pid` is None where the driver names processes without their bytes, as in WSL, or names none. `sensors` is None
    where they tell nothing.
    """

    id: str
    total: int
    free: int
    by_pid: dict[int, int] | None
    sensors: Sensors | None = None


class Nvml:
    """The library, once it is initialised. Used by one thread at a time."""

    def __init__(self, load: Callable[[], ModuleType] = lambda: importlib.import_module("pynvml")) -> None:
        """`load` gives the module, or raises ImportError."""
        self._load = load
        self._library: ModuleType | None = None

    def read(self) -> tuple[GpuMemory, ...] | None:
        """Read all GPUs. One that has no memory of its own, or that fails, is left out; None without NVML."""
        library = self._initialised()
        if library is None:
            return None
        try:
            return tuple(self._all(library))
        except library.NVMLError:
            self._library = None
            with suppress(library.NVMLError):
                library.nvmlShutdown()
            return None

    def _initialised(self) -> ModuleType | None:
        if self._library is not None:
            return self._library
        try:
            library = self._load()
        except (ImportError, OSError):
            return None
        with suppress(library.NVMLError):
            library.nvmlInit()
            self._library = library
        return self._library

    def _all(self, library: ModuleType) -> Iterator[GpuMemory]:
        """Raises NVMLError if not even the count of the GPUs can be read."""
        for number in range(library.nvmlDeviceGetCount()):
            with suppress(library.NVMLError):
                handle = library.nvmlDeviceGetHandleByIndex(number)
                parts = tuple(_parts(library, handle))
                with suppress(library.NVMLError):
                    yield _memory(library, handle, f"{NVIDIA} {number}")
                for part in parts:
                    with suppress(library.NVMLError):
                        yield _memory(library, part, library.nvmlDeviceGetUUID(part))


def _parts(library: ModuleType, handle: object) -> Iterator[object]:
    """Find the parts of a GPU that was divided (MIG). Most GPUs can't be."""
    with suppress(library.NVMLError):
        if not library.nvmlDeviceGetMigMode(handle)[0]:
            return
        for index in range(library.nvmlDeviceGetMaxMigDeviceCount(handle)):
            with suppress(library.NVMLError):
                yield library.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)


def _memory(library: ModuleType, handle: object, name: str) -> GpuMemory:
    memory = library.nvmlDeviceGetMemoryInfo(handle)
    return GpuMemory(name, memory.total, memory.free, _by_pid(library, handle), _sensors(library, handle))


def _sensors(library: ModuleType, handle: object) -> Sensors | None:
    """Read each sensor that there is. A part of a GPU (MIG) has none of its own."""

    def told(read: Callable[[], int]) -> int | None:
        with suppress(library.NVMLError):
            return read()
        return None

    power = told(lambda: library.nvmlDeviceGetPowerUsage(handle))
    limit = told(lambda: library.nvmlDeviceGetEnforcedPowerLimit(handle))
    return (
        Sensors(
            told(lambda: library.nvmlDeviceGetUtilizationRates(handle).gpu),
            told(lambda: library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU)),
            None if power is None else round(power / 1000, 1),
            None if limit is None else round(limit / 1000, 1),
        )
        or None
    )


def _by_pid(library: ModuleType, handle: object) -> dict[int, int] | None:
    """Give the bytes of each process. One that computes and draws (Vulkan) is in both lists, with all its bytes."""
    found: dict[int, int] = {}
    # The bindings have an error of their own for a driver that is older than they are (before 510).
    errors = (library.NVMLError, library.NVMLLibraryMismatchError)
    try:
        processes = library.nvmlDeviceGetComputeRunningProcesses(handle)
        with suppress(*errors):
            processes = [*processes, *library.nvmlDeviceGetGraphicsRunningProcesses(handle)]
    except errors:
        return None
    for process in processes:
        if process.usedGpuMemory is None:
            return None
        found[process.pid] = max(process.usedGpuMemory, found.get(process.pid, 0))
    return found
