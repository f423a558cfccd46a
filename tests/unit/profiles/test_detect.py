from dataclasses import replace

import pytest

from profiles import (
    EngineNotInstalledError,
    Facts,
    Profile,
    UnknownEngineError,
    UnknownProfileError,
    choose_engine,
    detect,
    load_profiles,
)
from profiles.detect import WORDS, EngineDefaults, Memory, gibibytes, model_memory, numbers, usable_gpus
from profiles.parsers import Gpu

FACTS = Facts("Linux", "x86_64", "3.11.7", cpus=6, memory_bytes=8 << 30, engines={"llama_cpp": "0.3.36"})
BARE = replace(FACTS, engines={})
CPU = Profile(
    "cpu",
    "any machine",
    (
        EngineDefaults("fancy", {}),
        EngineDefaults("llama_cpp", {"n_ctx": 4096, "n_threads": "$half_the_cpus", "n_threads_batch": "$cpus"}),
    ),
)
INSTALLS = {"llama_cpp": "pip install llama", "vllm": "pip install vllm"}


# Real machines: what their facts are, and what comes of them.

GIB = 1 << 30
NO_GPU = "no GPU that engines can use"
PROFILES = load_profiles()
ALL = {"llama_cpp": "0.3.36", "llama_server": "6710", "mlx": "0.32.2", "vllm": "0.32.0"}
LAUNCHABLE = {name: f"pip install {name}" for name in ALL}


def linux(cpus: int, gibibytes: float, *gpus: Gpu, machine: str = "x86_64", **more) -> Facts:
    return Facts(
        "Linux", machine, "3.11.7", cpus, int(gibibytes * GIB), {}, gpus=gpus, **{"machine_cpus": cpus, **more}
    )


def mac(chip: str, cpus: int, gibibytes: int, machine: str = "arm64") -> Facts:
    return Facts("Darwin", machine, "3.11.7", cpus, gibibytes * GIB, {}, os="macOS 15.1", chip=chip, machine_cpus=cpus)


def nvidia(name: str, mebibytes: int | None, capability: str) -> Gpu:
    return Gpu("NVIDIA", f"NVIDIA {name}", mebibytes and mebibytes << 20, "580.159.04", capability)


H100 = nvidia("H100 80GB HBM3", 81559, "9.0")
RTX_4090 = nvidia("GeForce RTX 4090", 24564, "8.9")
RTX_4060 = nvidia("GeForce RTX 4060 Laptop GPU", 8188, "8.9")
MX150 = nvidia("GeForce MX150", 2048, "6.1")
GB10 = nvidia("GB10", None, "12.1")
MI300X = Gpu("AMD", "AMD Instinct MI300X OAM", 206141652992)
RADEON_IN_A_RYZEN = Gpu("AMD", "AMD GPU", 512 << 20)

MACHINES = {
    "M1 8 GB": mac("Apple M1", 8, 8),
    "M2 Pro 32 GB": mac("Apple M2 Pro", 12, 32),
    "M3 Ultra 512 GB": mac("Apple M3 Ultra", 32, 512),
    "Intel Mac": mac("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", 12, 16, machine="x86_64"),
    "M2 with an Intel Python": mac("VirtualApple @ 2.50GHz", 8, 16, machine="x86_64"),
    "H100": linux(16, 125.9, H100),
    "8 H100s": linux(192, 2015, *[H100] * 8),
    "6 H100s": linux(192, 2015, *[H100] * 6),
    "RTX 4090 desktop": linux(32, 64, RTX_4090, RADEON_IN_A_RYZEN),
    "RTX 4090 beside an MX150": linux(32, 64, RTX_4090, MX150),
    "RTX 4090 beside an H100": linux(32, 64, RTX_4090, H100),
    "laptop GPU 8 GB": linux(16, 16, RTX_4060),
    "laptop GPU 2 GB": linux(8, 8, MX150),
    "DGX Spark": linux(20, 119.7, GB10, machine="aarch64"),
    "MI300X": linux(24, 224, MI300X),
    "Ryzen": linux(16, 32, RADEON_IN_A_RYZEN),
    "WSL2 with an RTX": linux(16, 15.5, RTX_4090, wsl=True),
    "Raspberry Pi 5": linux(4, 7.9, machine="aarch64"),
    "2-core VM": linux(2, 4),
    "container": linux(2, 251, machine_cpus=64, memory_limit_bytes=4 * GIB),
}


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        ("M1 8 GB", "apple_silicon: Apple M1 with 8 GiB of memory that its GPU shares"),
        ("M2 Pro 32 GB", "apple_silicon: Apple M2 Pro with 32 GiB of memory that its GPU shares"),
        ("M3 Ultra 512 GB", "apple_silicon: Apple M3 Ultra with 512 GiB of memory that its GPU shares"),
        ("Intel Mac", "cpu: an Intel Mac with 12 CPUs; engines don't use its GPU"),
        (
            "M2 with an Intel Python",
            "cpu: an Apple chip, but this Python is made for Intel: install one for arm64, and its GPU serves",
        ),
        ("H100", "nvidia: Linux with NVIDIA H100 80GB HBM3 (79.6 GiB)"),
        ("8 H100s", "nvidia: Linux with 8 x NVIDIA H100 80GB HBM3 (79.6 GiB each)"),
        ("RTX 4090 desktop", "nvidia: Linux with NVIDIA GeForce RTX 4090 (24 GiB)"),
        ("RTX 4090 beside an MX150", "nvidia: Linux with NVIDIA GeForce RTX 4090 (24 GiB)"),
        (
            "RTX 4090 beside an H100",
            "nvidia: Linux with NVIDIA GeForce RTX 4090 (24 GiB), NVIDIA H100 80GB HBM3 (79.6 GiB)",
        ),
        ("laptop GPU 8 GB", "nvidia: Linux with NVIDIA GeForce RTX 4060 Laptop GPU (8 GiB)"),
        (
            "laptop GPU 2 GB",
            f"cpu: Linux on x86_64 with 8 CPUs and {NO_GPU}; NVIDIA GeForce MX150 (2 GiB) is too small for models",
        ),
        ("DGX Spark", "nvidia: Linux with NVIDIA GB10 (the machine's memory)"),
        ("MI300X", "rocm: Linux with AMD Instinct MI300X OAM (192 GiB)"),
        (
            "Ryzen",
            f"cpu: Linux on x86_64 with 16 CPUs and {NO_GPU}; AMD GPU (512 MiB) is too small for models",
        ),
        ("WSL2 with an RTX", "nvidia: WSL with NVIDIA GeForce RTX 4090 (24 GiB)"),
        ("Raspberry Pi 5", "cpu: Linux on aarch64 with 4 CPUs and no GPU that engines can use"),
        ("2-core VM", "cpu: Linux on x86_64 with 2 CPUs and no GPU that engines can use"),
        ("container", "cpu: Linux on x86_64 with 2 of 64 CPUs and no GPU that engines can use"),
    ],
)
def test_a_machines_profile_and_why(machine, why):
    choice = detect(MACHINES[machine], PROFILES)
    assert choice.why == why
    assert choice.profile is PROFILES[why.partition(":")[0]]


ON_APPLE = {"parallel": 4, "ctx-size": 16384, "n-gpu-layers": 99}


@pytest.mark.parametrize(
    ("machine", "installed", "engine", "args"),
    [
        ("M1 8 GB", "mlx llama_cpp", "mlx", {"max-tokens": 4096}),
        ("M2 Pro 32 GB", "llama_cpp llama_server", "llama_server", ON_APPLE),
        ("M3 Ultra 512 GB", "llama_cpp", "llama_cpp", {"n_ctx": 4096, "n_gpu_layers": -1}),
        ("Intel Mac", "mlx llama_cpp", "llama_cpp", {"n_ctx": 4096, "n_threads": 6, "n_threads_batch": 12}),
        ("H100", "vllm llama_cpp", "vllm", {"gpu-memory-utilization": 0.9, "tensor-parallel-size": 1}),
        ("8 H100s", "vllm", "vllm", {"gpu-memory-utilization": 0.9, "tensor-parallel-size": 8}),
        ("6 H100s", "vllm", "vllm", {"gpu-memory-utilization": 0.9, "tensor-parallel-size": 4}),
        ("RTX 4090 beside an MX150", "vllm", "vllm", {"gpu-memory-utilization": 0.9, "tensor-parallel-size": 1}),
        ("RTX 4090 beside an H100", "vllm", "vllm", {"gpu-memory-utilization": 0.9, "tensor-parallel-size": 1}),
        (
            "RTX 4090 desktop",
            "llama_server llama_cpp",
            "llama_server",
            {**ON_APPLE, "threads": 16, "threads-batch": 32},
        ),
        (
            "laptop GPU 8 GB",
            "llama_cpp",
            "llama_cpp",
            {"n_ctx": 4096, "n_gpu_layers": -1, "n_threads": 8, "n_threads_batch": 16},
        ),
        ("DGX Spark", "vllm", "vllm", {"gpu-memory-utilization": 0.9, "tensor-parallel-size": 1}),
        ("MI300X", "vllm", "vllm", {"gpu-memory-utilization": 0.9, "tensor-parallel-size": 1}),
        ("WSL2 with an RTX", "vllm", "vllm", {"gpu-memory-utilization": 0.9, "tensor-parallel-size": 1}),
        ("Raspberry Pi 5", "llama_cpp", "llama_cpp", {"n_ctx": 4096, "n_threads": 2, "n_threads_batch": 4}),
        (
            "2-core VM",
            "llama_server vllm",
            "llama_server",
            {"parallel": 2, "ctx-size": 8192, "threads": 1, "threads-batch": 2},
        ),
        ("container", "llama_cpp", "llama_cpp", {"n_ctx": 4096, "n_threads": 1, "n_threads_batch": 2}),
    ],
)
def test_a_machines_engine_and_its_arguments(machine, installed, engine, args):
    facts = replace(MACHINES[machine], engines={name: ALL[name] for name in installed.split()})
    choice = choose_engine(detect(facts, PROFILES).profile, facts, LAUNCHABLE)
    assert (choice.name, choice.args) == (engine, args)


@pytest.mark.parametrize(
    ("installed", "version", "passed_over"),
    [
        ("vllm llama_cpp", "vllm 0.32.0", ""),
        ("llama_server", "llama_server 6710", "; vllm is not installed"),
        ("llama_cpp mlx", "llama_cpp 0.3.36", "; vllm and llama_server are not installed"),
    ],
)
def test_an_engine_that_is_passed_over_is_said(installed, version, passed_over):
    facts = replace(MACHINES["H100"], engines={name: ALL[name] for name in installed.split()})
    why = choose_engine(PROFILES["nvidia"], facts, LAUNCHABLE).why
    assert why == f"{version}: the first of the nvidia profile's engines that is installed{passed_over}"


def test_an_engine_that_may_not_be_launched_is_passed_over_silently():
    """As where a launch names no model for it."""
    facts = replace(MACHINES["H100"], engines=ALL)
    choice = choose_engine(PROFILES["nvidia"], facts, {"llama_cpp": "pip install llama"})
    assert choice.why == "llama_cpp 0.3.36: the first of the nvidia profile's engines that is installed"


@pytest.mark.parametrize(("launched", "share"), [(0, 0.9), (1, 0.9), (2, 0.45), (4, 0.22), (7, 0.12)])
def test_launched_engines_share_a_gpu(launched, share):
    """Rounded down: together they never take more than 0.9 of it."""
    facts = replace(MACHINES["H100"], engines=ALL)
    args = choose_engine(PROFILES["nvidia"], facts, LAUNCHABLE, launched=launched).args
    assert args["gpu-memory-utilization"] == share


@pytest.mark.parametrize(
    ("cpus", "cores", "together", "threads", "batch"),
    [
        (16, 8, 1, 8, 16),
        (16, 8, 2, 4, 8),
        (16, 8, 3, 2, 5),
        (16, 8, 20, 1, 1),
        (8, 8, 1, 4, 8),  # as ever, where there is one
        (8, 8, 2, 4, 4),
        (8, 8, 4, 2, 2),
        (8, 0, 2, 2, 4),  # it isn't known how many cores there are
    ],
)
def test_engines_that_work_at_the_same_time_divide_the_cpus(cpus, cores, together, threads, batch):
    """Their threads that write answers never outnumber the cores."""
    facts = replace(FACTS, cpus=cpus, machine_cpus=cpus, machine_cores=cores)
    args = choose_engine(CPU, facts, INSTALLS, together=together).args
    assert (args["n_threads"], args["n_threads_batch"]) == (threads, batch)


def test_a_container_has_its_part_of_the_cores():
    facts = replace(FACTS, cpus=8, machine_cpus=64, machine_cores=32)
    assert numbers(facts, together=2)["$half_the_cpus"] == 2


def test_every_word_has_a_meaning_and_a_number():
    assert WORDS.keys() == numbers(FACTS).keys()
    assert numbers(FACTS)["$gpus"] == 1  # a profile of GPUs may be named where none was seen


@pytest.mark.parametrize(
    ("gpus", "usable"),
    [
        ((MX150, RTX_4090), (RTX_4090,)),
        ((H100, MI300X), (H100,)),
        ((MX150, MI300X), (MI300X,)),
        ((GB10,), (GB10,)),
        ((RADEON_IN_A_RYZEN,), ()),
    ],
)
def test_usable_gpus(gpus, usable):
    """Large enough, and of one vendor."""
    assert usable_gpus(gpus) == usable


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ("M1 8 GB", "6 GiB, 0.75 of memory (8 GiB)"),
        ("8 H100s", "573.5 GiB, 0.9 of the 8 GPUs' memory (637.2 GiB)"),
        ("RTX 4090 desktop", "21.6 GiB, 0.9 of the GPU's memory (24 GiB)"),
        ("DGX Spark", "107.7 GiB, 0.9 of memory (119.7 GiB)"),
        ("container", "3.2 GiB, 0.8 of the container's memory (4 GiB)"),
    ],
)
def test_what_models_may_take(machine, said):
    facts = MACHINES[machine]
    assert model_memory(detect(facts, PROFILES).profile, facts)[1] == said


def test_what_models_may_take_in_bytes():
    profile = replace(CPU, memory=Memory("ram", 0.5))
    assert model_memory(profile, FACTS)[0] == 4 * GIB


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 KiB"), (700_000, "683.6 KiB"), (1 << 20, "1 MiB"), (GIB, "1 GiB"), (81559 << 20, "79.6 GiB")],
)
def test_gibibytes(number, text):
    assert gibibytes(number) == text


def test_a_profile_that_a_folder_lacks_says_which_it_has():
    with pytest.raises(UnknownProfileError, match=r"no profile nvidia, .*H100.*; set profile to one of: cpu$"):
        detect(MACHINES["H100"], {"cpu": CPU})


def test_a_profile_can_be_named():
    other = replace(CPU, name="other")
    choice = detect(FACTS, {"cpu": CPU, "other": other}, "other")
    assert (choice.profile, choice.why) == (other, "other: router.yaml names it")


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(UnknownProfileError, match=r"no profile gpu; there are: auto, cpu$"):
        detect(FACTS, {"cpu": CPU}, "gpu")


def test_auto_takes_the_first_engine_that_is_installed_and_can_be_launched():
    choice = choose_engine(CPU, replace(FACTS, engines={"fancy": "1", "llama_cpp": "0.3.36"}), INSTALLS)
    assert choice.name == "llama_cpp"
    assert choice.why == "llama_cpp 0.3.36: the first of the cpu profile's engines that is installed"


@pytest.mark.parametrize(("cpus", "half"), [(6, 3), (1, 1)])
def test_a_profiles_arguments_get_the_machines_numbers(cpus, half):
    choice = choose_engine(CPU, replace(FACTS, cpus=cpus), INSTALLS)
    assert choice.args == {"n_ctx": 4096, "n_threads": half, "n_threads_batch": cpus}


def test_an_engine_that_is_named_gets_the_profiles_arguments():
    choice = choose_engine(CPU, FACTS, INSTALLS, "llama_cpp")
    assert (choice.args["n_threads"], choice.why) == (3, "llama_cpp 0.3.36: router.yaml names it")


def test_an_engine_that_the_profile_does_not_have_gets_no_arguments():
    choice = choose_engine(CPU, replace(FACTS, engines={"vllm": "0.32"}), INSTALLS, "vllm")
    assert choice.args == {}
    assert choice.why == "vllm 0.32: router.yaml names it; the cpu profile has no arguments for it"


def test_an_engine_that_is_not_installed_says_how_to():
    with pytest.raises(
        EngineNotInstalledError, match=r"vllm is not installed in this Python; install it: pip install vllm"
    ):
        choose_engine(CPU, FACTS, INSTALLS, "vllm")


def test_nothing_installed_says_how_to_get_the_first():
    with pytest.raises(
        EngineNotInstalledError, match=r"no engine of the cpu profile .* install llama_cpp: pip install llama"
    ):
        choose_engine(CPU, BARE, INSTALLS)


def test_an_engine_that_can_not_be_launched_lists_those_that_can():
    with pytest.raises(UnknownEngineError, match=r"can't launch fancy; it can: auto, llama_cpp, vllm"):
        choose_engine(CPU, FACTS, INSTALLS, "fancy")


def test_a_profile_of_engines_that_can_not_be_launched():
    with pytest.raises(UnknownEngineError, match=r"any engine of the cpu profile yet: fancy, llama_cpp"):
        choose_engine(CPU, FACTS, {"vllm": "pip install vllm"})
