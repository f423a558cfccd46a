"""What programs and system files said on real machines, and what they say where something is amiss."""

import pytest

from profiles import parsers
from profiles.parsers import Gpu, Sensors

MIB = 1 << 20
H100 = Gpu("NVIDIA", "NVIDIA H100 80GB HBM3", 81559 * MIB, "580.159.04", "9.0")

NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.\n"
)


@pytest.mark.parametrize(
    ("said", "gpus"),
    [
        ("0, NVIDIA H100 80GB HBM3, 81559, 580.159.04, 9.0\n", (H100,)),
        ("".join(f"{n}, NVIDIA H100 80GB HBM3, 81559, 580.159.04, 9.0\n" for n in range(8)), (H100,) * 8),
        ("0, NVIDIA GB10, [N/A], 580.95.05, 12.1\n", (Gpu("NVIDIA", "NVIDIA GB10", None, "580.95.05", "12.1"),)),
        ("0, Tesla K80, 11441, 470.256.02, [N/A]\r\n", (Gpu("NVIDIA", "Tesla K80", 11441 * MIB, "470.256.02"),)),
        (NO_DRIVER, ()),
        ("No devices were found\n", ()),
        ('Field "compute_cap" is not a valid field to query.\n', ()),
        ("index, name, memory.total [MiB], driver_version, compute_cap\n", ()),
        ("", ()),
    ],
)
def test_nvidia_gpus(said, gpus):
    assert parsers.nvidia_gpus(said) == gpus


@pytest.mark.parametrize(
    ("said", "sensors"),
    [
        ("0, 36, 120.93, 700.00", Sensors(0, 36, 120.9, 700.0)),
        ("[N/A], 51, [Not Supported], [N/A]", Sensors(temperature=51)),
        ("[N/A], [N/A], [N/A], [N/A]", None),
        ("100", Sensors(100)),
    ],
)
def test_nvidia_sensors(said, sensors):
    (gpu,) = parsers.nvidia_gpus(f"0, NVIDIA H100 80GB HBM3, 81559, 580.159.04, 9.0, 81079, GPU-0, {said}\n")
    assert gpu.sensors == sensors
    assert gpu.free_bytes == 81079 * MIB


@pytest.mark.parametrize(
    ("said", "sensors"),
    [
        (("41\n", "52500\n", "130000000\n", "", "750000000\n"), Sensors(41, 52, 130.0, 750.0)),
        (("0", "44000", "", "12345678", "300000000"), Sensors(0, 44, 12.3, 300.0)),
        (("", "", "", "", ""), None),
        (("?", "-1", "?", "?", "?"), None),
    ],
)
def test_amd_sensors(said, sensors):
    """Newer cards tell their power now, older ones on average."""
    assert parsers.amd_sensors(*said) == sensors


@pytest.mark.parametrize(
    ("vendor", "memory", "product", "gpu"),
    [
        (
            "0x1002\n",
            "206141652992\n",
            "AMD Instinct MI300X OAM\n",
            Gpu("AMD", "AMD Instinct MI300X OAM", 206141652992),
        ),
        ("0x1002\n", "536870912\n", "", Gpu("AMD", "AMD GPU", 512 * MIB)),
        ("0x10de\n", "", "", None),
        ("0x8086\n", "536870912\n", "", None),
        ("0x1002\n", "", "", None),
        ("", "", "", None),
    ],
)
def test_amd_gpu(vendor, memory, product, gpu):
    assert parsers.amd_gpu(vendor, memory, product) == gpu


@pytest.mark.parametrize(
    ("wish", "left"),
    [
        (None, "abc"),
        ("", ""),
        ("-1", ""),
        ("0", "a"),
        ("2, 0", "ca"),
        ("0,7,1", "a"),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "a"),
        ("MIG-1,MIG-2,MIG-3,MIG-4", "abc"),
        ("NoDevFiles", "a"),
    ],
)
def test_what_is_visible(wish, left):
    """The order is the wish's, and the first number without a GPU ends it; an id counts as one."""
    gpus = [Gpu("NVIDIA", name, 1) for name in "abc"]
    assert "".join(gpu.name for gpu in parsers.visible(gpus, wish)) == left


def test_an_id_names_its_gpu():
    """Cut off or not; of a part of a GPU, it isn't known what is free."""
    gpus = parsers.nvidia_gpus("0, A, 80, 5, 9.0, 70, GPU-0a\n1, A, 80, 5, 9.0, [N/A], GPU-1b\n")
    assert [gpu.number for gpu in parsers.visible(gpus, "GPU-1,GPU-0a")] == [1, 0]
    assert [(gpu.number, gpu.free_bytes) for gpu in gpus] == [(0, 70 << 20), (1, None)]
    assert [(gpu.number, gpu.free_bytes) for gpu in parsers.visible(gpus, "MIG-0a")] == [(0, None)]


V1 = "9:name=systemd:/\n4:memory:/process_api/349\n3:cpuset:/\n2:cpu,cpuacct:/docker/f00\n0::/\n"


@pytest.mark.parametrize(
    ("membership", "controller", "folders"),
    [
        ("0::/\n", "cpu", ("",)),
        ("0::/user.slice/user-1000.slice\n", "memory", ("user.slice/user-1000.slice", "user.slice", "")),
        ("0::/../..\n", "memory", ("",)),
        (V1, "memory", ("memory/process_api/349", "memory/process_api", "memory", "")),
        (V1, "cpu", ("cpu/docker/f00", "cpu/docker", "cpu", "")),
        ("", "cpu", ()),
        ("?", "cpu", ()),
    ],
)
def test_cgroup_folders(membership, controller, folders):
    assert parsers.cgroup_folders(membership, controller) == folders


@pytest.mark.parametrize(
    ("text", "quota"),
    [("200000 100000\n", 2.0), ("50000 100000", 0.5), ("max 100000\n", None), ("?", None), ("", None), ("1 0", None)],
)
def test_cpu_quota(text, quota):
    assert parsers.cpu_quota(text) == quota


@pytest.mark.parametrize(
    ("quota", "period", "cpus"), [("200000\n", "100000\n", 2.0), ("-1\n", "100000\n", None), ("", "", None)]
)
def test_cpu_quota_of_version_1(quota, period, cpus):
    assert parsers.cpu_quota_v1(quota, period) == cpus


@pytest.mark.parametrize(
    ("text", "limit"), [("4294967296\n", 4 << 30), ("max\n", None), ("9223372036854771712\n", 9223372036854771712)]
)
def test_memory_limit(text, limit):
    assert parsers.memory_limit(text) == limit


@pytest.mark.parametrize(
    ("text", "mapped"),
    [("MemTotal:  8 kB\nMapped:          2048 kB\nShmem:  9 kB\n", 2 << 20), ("Mapped: ? kB\n", 0), ("", 0)],
)
def test_mapped_files(text, mapped):
    assert parsers.mapped_files(text) == mapped


@pytest.mark.parametrize(
    ("limits", "left"),
    [([], None), ([None, 9223372036854771712], None), ([8 << 30], None), ([4 << 30, None, 2 << 30], 2 << 30)],
)
def test_the_tightest_limit_counts_if_it_is_below_what_the_machine_has(limits, left):
    assert parsers.tightest(limits, 8 << 30) == left


@pytest.mark.parametrize(
    ("allowed", "quotas", "cpus"),
    [(64, [], 64), (64, [None, 2.0], 2), (64, [1.5, 8.0], 2), (64, [0.25], 1), (2, [16.0], 2)],
)
def test_usable_cpus(allowed, quotas, cpus):
    assert parsers.usable_cpus(allowed, quotas) == cpus


@pytest.mark.parametrize(
    ("release", "wsl"),
    [("5.15.167.4-microsoft-standard-WSL2", True), ("4.4.0-19041-Microsoft", True), ("6.8.0-48-generic", False)],
)
def test_is_wsl(release, wsl):
    assert parsers.is_wsl(release) is wsl


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("version: 6710 (74b8fc17)\nbuilt with cc (Debian 12.2.0-14) 12.2.0 for x86_64-linux-gnu\n", "6710"),
        ("ggml_metal_init: found device: Apple M2\nversion: 5010 (8c1f2a3)\n", "5010"),
        ("program 0.32.2\n", "0.32.2"),
        ("v1.2.3\n", "1.2.3"),
        ("usage: program", ""),
        ("", ""),
    ],
)
def test_first_version(said, version):
    assert parsers.first_version(said) == version


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("GPU-0a, 413, 1542\n", {"GPU-0a": {413: 1542 << 20}}),
        (
            "GPU-0a, 413, 1542\nGPU-1b, 413, 2\n\nGPU-0a, 413, 8",
            {"GPU-0a": {413: 1550 << 20}, "GPU-1b": {413: 2 << 20}},
        ),
        ("GPU-0a, 413, [N/A]\n", None),
        ("GPU-0a, 413, 1542\nGPU-0a, 414, [Not Supported]\n", None),
        ("Failed to initialize NVML: Driver/library version mismatch\n", None),
        ("GPU-0a, [N/A], 5", None),
    ],
)
def test_processes_that_nvidia_smi_tells_of(text, found):
    """All of them, or none: a list without some of the bytes says too little."""
    assert parsers.nvidia_apps(text) == found


@pytest.mark.parametrize(
    ("usage", "stat", "used"),
    [("100\n", "inactive_file 30\nactive_file 5\nanon 50", 65), ("10", "active_file 30", 0), ("max", "", None)],
)
def test_memory_that_a_control_group_can_not_drop(usage, stat, used):
    assert parsers.memory_in_use(usage, stat) == used
