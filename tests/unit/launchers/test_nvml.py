from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from launchers.nvml import GpuMemory, Nvml
from profiles.parsers import Sensors

GIB = 1 << 30


class NVMLError(Exception):
    pass


class NVMLLibraryMismatchError(Exception):
    pass


class _Fake(ModuleType):
    """NVML's Python module, for GPUs that are dictionaries."""

    NVML_TEMPERATURE_GPU = 0
    NVMLError = NVMLError
    NVMLLibraryMismatchError = NVMLLibraryMismatchError

    def __init__(self, *gpus: dict[str, Any]) -> None:
        super().__init__("pynvml")
        self.gpus = list(gpus)
        self.initialised = 0
        self.shut_down = 0
        self.fails = False

    def nvmlInit(self):  # noqa: N802 -- its name
        if self.fails:
            raise NVMLError("Driver Not Loaded")
        self.initialised += 1

    def nvmlShutdown(self):  # noqa: N802
        self.shut_down += 1
        raise NVMLError("Uninitialized")

    def nvmlDeviceGetCount(self):  # noqa: N802
        if self.fails:
            raise NVMLError("Unknown Error")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, number):  # noqa: N802
        return self.gpus[number]

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return handle["uuid"]

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(total=self.told(handle, "total"), free=handle["free"])

    def nvmlDeviceGetMigMode(self, handle):  # noqa: N802
        self.told(handle, "parts")
        return (1, 1)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):  # noqa: N802
        return len(handle["parts"])

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):  # noqa: N802
        if handle["parts"][index] is None:
            raise NVMLError("Not Found")
        return handle["parts"][index]

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        if "too old" in handle:
            raise NVMLLibraryMismatchError
        return self.listed(self.told(handle, "computing"))

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle):  # noqa: N802
        return self.listed(self.told(handle, "drawing"))

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        return SimpleNamespace(gpu=self.told(handle, "busy"), memory=1)

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        assert sensor == self.NVML_TEMPERATURE_GPU
        return self.told(handle, "warm")

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        return self.told(handle, "milliwatts")

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):  # noqa: N802
        return self.told(handle, "limit")

    @staticmethod
    def listed(processes):
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes]

    @staticmethod
    def told(handle, key):
        if key not in handle:
            raise NVMLError("Not Supported")
        return handle[key]


H100 = {"total": 80 * GIB, "free": 70 * GIB, "computing": [(413, 8 * GIB), (414, GIB)]}


def read(*gpus: dict[str, Any]) -> tuple[GpuMemory, ...] | None:
    return Nvml(lambda: _Fake(*gpus)).read()


def test_each_gpu_with_its_processes():
    """By number, as profiles name them; what can't be told of drawing isn't missed."""
    idle = {"total": 80 * GIB, "free": 79 * GIB, "computing": [], "drawing": []}
    assert read(H100, idle) == (
        GpuMemory("NVIDIA 0", 80 * GIB, 70 * GIB, {413: 8 * GIB, 414: GIB}),
        GpuMemory("NVIDIA 1", 80 * GIB, 79 * GIB, {}),
    )


def test_one_that_computes_and_draws_counts_once():
    gpu = H100 | {"drawing": [(413, 8 * GIB), (7, 5)]}
    assert read(gpu) == (GpuMemory("NVIDIA 0", 80 * GIB, 70 * GIB, {413: 8 * GIB, 414: GIB, 7: 5}),)


@pytest.mark.parametrize("without", [{"computing": [(413, None)]}, {"too old": True}])
def test_processes_that_are_not_told_by_bytes(without):
    """WSL names them without their bytes; an old driver lacks the function."""
    assert read(H100 | without) == (GpuMemory("NVIDIA 0", 80 * GIB, 70 * GIB, None),)


def test_a_gpu_that_fails_is_left_out():
    """One without memory of its own, or that has fallen off its bus; it keeps its number."""
    assert read({"computing": []}, H100) == (GpuMemory("NVIDIA 1", 80 * GIB, 70 * GIB, {413: 8 * GIB, 414: GIB}),)


def test_the_parts_of_a_gpu_are_devices():
    """By their uuid, beside the whole; gaps between their numbers are passed over."""
    part = {"uuid": "MIG-0a", "total": 10 * GIB, "free": 9 * GIB, "computing": [(413, GIB)]}
    found = read({"total": 80 * GIB, "free": 70 * GIB, "parts": [None, part, {"uuid": "MIG-failing"}]})
    assert found == (
        GpuMemory("NVIDIA 0", 80 * GIB, 70 * GIB, None),
        GpuMemory("MIG-0a", 10 * GIB, 9 * GIB, {413: GIB}),
    )


BUSY = {"busy": 87, "warm": 64, "milliwatts": 412_345, "limit": 700_000}


@pytest.mark.parametrize(
    ("told", "sensors"),
    [
        (BUSY, Sensors(87, 64, 412.3, 700.0)),
        ({"busy": 0, "warm": 30}, Sensors(0, 30)),
        ({"milliwatts": 8000}, Sensors(power=8.0)),
        ({}, None),
    ],
)
def test_what_the_sensors_tell(told, sensors):
    """Each by itself: a laptop's GPU may have no power limit, a part of a GPU has none of them."""
    (gpu,) = read(H100 | told) or ()
    assert gpu.sensors == sensors


def test_without_the_package_nothing_is_known():
    def load() -> ModuleType:
        raise ImportError

    assert Nvml(load).read() is None


def test_it_is_initialised_once():
    fake = _Fake(H100)
    nvml = Nvml(lambda: fake)
    assert nvml.read() == nvml.read()
    assert fake.initialised == 1


def test_a_driver_that_fails_is_initialised_again():
    """It may have been missing at first, or been updated and loaded anew."""
    fake = _Fake(H100)
    nvml = Nvml(lambda: fake)
    fake.fails = True
    assert nvml.read() is None
    fake.fails = False
    assert nvml.read()
    fake.fails = True
    assert nvml.read() is None
    assert fake.shut_down == 1
    fake.fails = False
    assert nvml.read()
    assert fake.initialised == 2
