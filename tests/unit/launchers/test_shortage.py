"""What engines, and the kernel, say when memory runs out: the words are those of llama.cpp, vllm, torch, MLX and Linux.

Those of CUDA, ROCm, Vulkan and Metal are from reports of their users; said/ has what engines said on a CPU.
"""

from pathlib import Path

import pytest

from launchers.footprints.parts import RAM
from launchers.shortage import RECENT, Shortages, by_the_kernel, device_of, shortage_in

SAID = Path(__file__).with_name("said")
CORE = "(EngineCore pid=413) ERROR 11-23 04:28:42 [core.py:1100] "


def heard(*lines: str) -> Shortages:
    found = Shortages()
    for line in lines:
        found.hear(line)
    return found


@pytest.mark.parametrize(
    ("line", "device"),
    [
        # llama.cpp
        (
            "ggml_cuda_buffer_type_alloc_buffer: allocating 2 MiB on device 1: cudaMalloc failed: out of memory",
            "gpu 1",
        ),
        ("alloc_tensor_range: failed to allocate CUDA0 buffer of size 5064192000", "gpu 0"),
        ("0.03.120.011 E ggml_gallocr_reserve_n_impl: failed to allocate ROCm0 buffer of size 272646272", "gpu 0"),
        ("llama_model_load: error loading model: unable to allocate CUDA2 buffer", "gpu 2"),
        ("llama_model_load: error loading model: unable to allocate CPU buffer", RAM),
        ("llama_model_load: error loading model: unable to allocate CPU_REPACK buffer", RAM),
        ("llama_model_load: error loading model: unable to allocate MTL0_Mapped buffer", RAM),
        ("llama_model_load: error loading model: unable to allocate CUDA_Host buffer", RAM),
        ("ggml_aligned_malloc: insufficient memory (attempted to allocate 29000.00 MB)", RAM),
        ("llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache", ""),
        ("graph_reserve: failed to allocate compute buffers", ""),
        ("llama_model_load: error loading model: mmap failed: Cannot allocate memory", RAM),
        ("CUDA error: out of memory", ""),
        ("ggml_vulkan: Device memory allocation of size 1073741824 failed.", ""),
        ("ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory", ""),
        ("ggml_metal_buffer_init: error: failed to allocate buffer, size = 8192.00 MiB", RAM),
        # vllm and torch
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a capacity of 79 GiB",
            "gpu 0",
        ),
        (f"{CORE}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.", ""),
        ("torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB. GPU 3 has a total capacity", "gpu 3"),
        (
            "ValueError: Free memory on device cuda:0 (12.66/139.8 GiB) on startup is less than desired GPU memory",
            "gpu 0",
        ),
        ("ValueError: Free memory on device (61.05/119.7 GiB) on startup is less than desired GPU memory", ""),
        ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when", ""),
        (
            "(16.0 GiB KV cache is needed, which is larger than the available KV cache memory (9.5 GiB).",
            "",
        ),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", ""),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory", RAM),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 29.8 GiB for an array with shape (4,)", RAM),
        # mlx
        (
            "std::runtime_error: [METAL] Command buffer execution failed: Insufficient Memory",
            RAM,
        ),
        ("RuntimeError: [malloc_or_wait] Unable to allocate 9000000000 bytes.", RAM),
        ("RuntimeError: [metal::malloc] Attempting to allocate 9000000000 bytes which is greater than", RAM),
        # C++, Python, Rust, Linux
        ("terminate called after throwing an instance of 'std::bad_alloc'", RAM),
        ("  what():  std::bad_alloc", RAM),
        ("MemoryError", RAM),
        ("MemoryError: Unable to allocate output buffer.", RAM),
        ("OSError: [Errno 12] Cannot allocate memory", RAM),
        ("memory allocation of 8589934592 bytes failed", RAM),
    ],
)  # fmt: skip
def test_a_line_tells_that_memory_ran_out_and_of_which(line, device):
    assert shortage_in(line) == device


@pytest.mark.parametrize(
    "line",
    [
        "",
        "loading 5 GiB into memory",
        "ValueError: no such model",
        "load_tensors:        CUDA0 model buffer size =  4807.05 MiB",
        "ImportError: libgomp.so.1: cannot allocate memory in static TLS block",
        "warning: failed to mlock 1024-byte buffer (after previously locking 0 bytes): Cannot allocate memory",
        "0.03.120.011 W srv          load: failed to allocate memory for prompt cache state: std::bad_alloc",
        "(EngineCore pid=4) WARNING 11-23 04:28:42 [x.py:1] CUDA out of memory while it captures; tried with less",
        "INFO 11-23 04:28:42 [x.py:1] Available KV cache memory: 9.5 GiB",
        "[W1129 08:03:29.229 utils.cpp:68] Warning: NUMA binding: Memory allocations will be strictly bound",
    ],
)
def test_other_lines_say_no_such_thing(line):
    assert shortage_in(line) is None


@pytest.mark.parametrize("file", sorted(SAID.glob("*.txt")), ids=lambda file: file.stem)
def test_of_the_starts_that_failed_on_a_cpu_some_lacked_memory(file):
    assert heard(*file.read_text().splitlines()).any == (RAM if file.stem.endswith("_mem") else None)


def test_the_first_line_that_names_a_device_counts():
    said = heard(
        "graph_reserve: failed to allocate compute buffers", "unable to allocate CUDA1 buffer", "std::bad_alloc"
    )
    assert said.any == said.recent == "gpu 1"


def test_who_serves_may_have_failed_a_request_long_ago():
    """That is no reason of its end; what it said shortly before is."""
    lines = ["std::bad_alloc", *["fine"] * RECENT]
    assert heard(*lines).recent == RAM
    assert heard(*lines, "fine").recent is None
    assert heard(*lines, "fine").any == RAM
    assert heard(*lines, "fine", "unable to allocate CUDA1 buffer").recent == "gpu 1"
    assert heard().recent is heard("fine").recent is None


@pytest.mark.parametrize(
    ("code", "line", "rose", "killed"),
    [
        (-9, "loading", True, True),
        (-9, "loading", False, False),
        (1, "loading", True, False),
        (0, "Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.", True, True),
        (1, "Engine core initialization failed. Failed core proc(s): {'EngineCore_DP0': -9}", True, True),
        (None, "", True, False),
    ],
)  # fmt: skip
def test_the_kernel_has_ended_what_nobody_else_has(code, line, rose, killed):
    assert by_the_kernel(code, [line], kills_rose=rose) is killed


@pytest.mark.parametrize(
    ("said", "device"),
    [
        (None, None),
        ("", ""),
        (RAM, RAM),
        ("gpu 0", "NVIDIA 3"),
        ("gpu 1", "MIG-8f3a"),
        ("gpu 2", ""),
        ("gpu 7", ""),
    ],
)
def test_an_engine_counts_the_gpus_that_it_sees(said, device):
    assert device_of(said, ["NVIDIA 3", "MIG-8f3a", "NVIDIA of some kind"]) == device
