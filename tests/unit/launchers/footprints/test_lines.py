import pytest

from launchers.footprints.lines import corrected, read_lines
from launchers.footprints.parts import RAM, Breakdown, Parts

MIB = 1 << 20

LLAMA_SERVER = """\
0.00.008.241 I cmn  common_init_: fitting params to device memory ...
0.00.013.484 I common_memory_breakdown_print: | memory breakdown [MiB] | total   free    self   model   context   compute    unaccounted |
0.00.013.521 I common_memory_breakdown_print: |   - Host               |                  418 =   277 +     112 +      29                |
0.00.013.821 I common_params_fit_impl: projected to use 418 MiB of host memory vs. 24105 MiB of total host memory
0.00.014.161 I llama_model_loader: loaded meta data with 22 key-value pairs and 27 tensors from models/demo/demo.gguf (version GGUF V3 (latest))
0.00.019.143 I load_tensors:   CPU_Mapped model buffer size =   277.65 MiB
0.00.019.345 I llama_context:        CPU  output buffer size =     0.25 MiB
0.00.019.517 I llama_kv_cache:        CPU KV buffer size =   112.00 MiB
0.00.020.647 I llama_kv_cache: size =  112.00 MiB (  8192 cells,  14 layers,  2/1 seqs), K (f16):   56.00 MiB, V (f16):   56.00 MiB
0.00.021.617 I sched_reserve:        CPU compute buffer size =    29.00 MiB
""".splitlines()  # noqa: E501 -- as it said them

ONLY_PLANNED = LLAMA_SERVER[:4]

VERBOSE = [
    "llama_model_loader: loaded meta data with 22 key-value pairs",
    "print_info: no_alloc              = 1",
    "llama_kv_cache:        CPU KV buffer size =     3.00 MiB",
    "llama_model_loader: loaded meta data with 22 key-value pairs",
    "print_info: no_alloc              = 0",
    "llama_kv_cache:        CPU KV buffer size =     2.00 MiB",
]

ON_A_GPU = """\
load_tensors:   CPU_Mapped model buffer size =    20.00 MiB
load_tensors:        CUDA0 model buffer size =   400.00 MiB
load_tensors:        CUDA1 model buffer size =   300.00 MiB
llama_kv_cache:      CUDA0 KV buffer size =    64.00 MiB
llama_kv_cache:      CUDA1 KV buffer size =    48.00 MiB
llama_memory_recurrent:      CUDA0 RS buffer size =     6.00 MiB
sched_reserve:      CUDA0 compute buffer size =   100.00 MiB
sched_reserve:  CUDA_Host compute buffer size =    10.00 MiB
""".splitlines()

PLANNED_ON_A_GPU = [
    "common_memory_breakdown_print: | memory breakdown [MiB]      |  total    free     self   model   context   compute    unaccounted |",  # noqa: E501
    "common_memory_breakdown_print: |   - CUDA0 (H200)            | 143771 = 141000 + (2106 =  1882 +     112 +     112) +         665 |",  # noqa: E501
    "common_memory_breakdown_print: |   - Host                    |                     120 =   100 +       0 +      20                |",  # noqa: E501
]


def mib(**parts):
    return Parts(**{name: size * MIB for name, size in parts.items()})


@pytest.mark.parametrize(
    ("lines", "devices"),
    [
        (LLAMA_SERVER, {RAM: Parts(round(277.65 * MIB), 112 * MIB, round(29.25 * MIB))}),
        (ONLY_PLANNED, {RAM: mib(weights=277, cache=112, compute=29)}),
        (VERBOSE, {RAM: mib(cache=2)}),
        (
            ON_A_GPU,
            {
                RAM: mib(weights=20, compute=10),
                "gpu 0": mib(weights=400, cache=70, compute=100),
                "gpu 1": mib(weights=300, cache=48),
            },
        ),
        (
            PLANNED_ON_A_GPU,
            {
                RAM: mib(weights=100, cache=0, compute=20),
                "gpu 0": mib(weights=1882, cache=112, compute=112),
            },
        ),
        ([], {}),
        (["nothing of this", "CPU KV buffer size = many MiB", "x" * 100_000], {}),
    ],
)
def test_llama_cpp_names_each_buffer(lines, devices):
    assert read_lines("llama_server", lines) == Breakdown(devices)


def test_weights_that_were_laid_out_anew_count_once():
    """Of 265 MiB that are mapped, 264 are a copy: what is left is one of each."""
    lines = ["CPU_Mapped model buffer size = 265.00 MiB", "CPU_REPACK model buffer size = 264.00 MiB"]
    assert read_lines("llama_cpp", lines).devices[RAM] == mib(weights=265, spare=264)


VLLM_ON_A_GPU = [
    "(EngineCore pid=1) INFO 11-29 [gpu_model_runner.py:4100] Model loading took 2.50 GiB memory and 3.1 seconds",
    "(EngineCore pid=1) INFO 11-29 [gpu_worker.py:400] Available KV cache memory: 61.75 GiB",
    "(EngineCore pid=1) INFO 11-29 [kv_cache_utils.py:1300] GPU KV cache size: 1,000,000 tokens",
    "(EngineCore pid=1) INFO 11-29 [gpu_model_runner.py:5000] Graph capturing finished in 5 secs, took 0.50 GiB",
]


def test_vllm_says_what_weights_and_cache_take():
    found = read_lines("vllm", VLLM_ON_A_GPU)
    assert found.devices == {"gpu 0": mib(weights=2560, cache=63232, compute=512)}
    assert read_lines("mlx", VLLM_ON_A_GPU).devices == {}


def test_what_an_engine_says_stands_in_the_estimate_s_place():
    estimated = Breakdown({RAM: Parts(100, 200, 300, base=7, per_token=2, most_tokens=9)}, ("something",))
    said = Breakdown({RAM: Parts(weights=110, compute=250), "gpu 0": Parts(cache=5)})
    found = corrected(estimated, said)
    assert found.devices == {
        RAM: Parts(110, 200, 250, base=7, per_token=2, most_tokens=9),
        "gpu 0": Parts(cache=5),
    }
    assert found.gaps == ("something",)
    assert corrected(estimated, Breakdown({})) == estimated
