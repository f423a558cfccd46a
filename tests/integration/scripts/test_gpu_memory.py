import pytest

from launchers import devices
from launchers.nvml import Nvml
from scripts.gpu_memory import __main__ as gpu_memory
from tests.fakes import gpu


def no_library():
    raise ImportError


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """An H200 that an nvidia-smi tells of, and a vllm on it whose imports take a while."""
    for name, value in gpu.install(tmp_path / "gpu", 143771).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(gpu.IMPORTS, "4")
    monkeypatch.setattr(devices, "_NVML", Nvml(no_library))


@pytest.mark.timeout(300)
@pytest.mark.long
@pytest.mark.parametrize("name", ["swap", "taken", "short"])
async def test_two_models_of_which_one_fits(name):
    """One is in memory at a time, and a load that fails for lack of memory is made good."""
    asked = gpu_memory.options([name, "--engine", "vllm", "--holder", "holder"])
    assert await gpu_memory.run(asked) == []
