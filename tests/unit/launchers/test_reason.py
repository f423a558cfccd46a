"""What real engines said when they failed to start (said/), and the reason that is taken from it.

The files are the whole output of llama-cpp-python 0.3.36, xllamacpp 2026.10, mlx-lm 0.32.2 and vllm 0.32.0, with
shortened paths: a model file that is random bytes (bad) or cut off (trunc), a port in use, a wrong option (opt), a
context too long (len), a share of memory that isn't free (mem), a batch too small (batch), no such tool parser.
"""

import time
from pathlib import Path

import pytest

from launchers.reason import LONGEST, first_error

SAID = Path(__file__).with_name("said")


def reason(*lines: str) -> str:
    return first_error(lines).text


@pytest.mark.parametrize(
    ("file", "beginning"),
    [
        ("llama_cpp_bad_verbose", "llama_model_load: error loading model: llama_model_loader: failed to load model"),
        ("llama_cpp_mem", "ValueError: Failed to create llama_context"),
        ("llama_cpp_opt", "unrecognized arguments: --no_such 1"),
        ("llama_cpp_port", "[Errno 98] error while attempting to bind on address ('127.0.0.1', 29777): address"),
        ("llama_cpp_trunc", "ValueError: Failed to load model from file: nohead/demo.gguf"),
        ("llama_server_bad", "gguf_init_from_reader: invalid magic characters"),
        ("llama_server_mem", "ggml_aligned_malloc: insufficient memory (attempted to allocate 7324.25 MB)"),
        ("llama_server_opt", "--no-such: the server of xllamacpp has no such option"),
        ("llama_server_port", "start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 29778"),
        (
            "llama_server_trunc",
            "llama_model_load: error loading model: tensor 'blk.0.ffn_up.weight' data is not within",
        ),
        ("mlx_bad", "FileNotFoundError: No safetensors found in bad_hf"),
        ("mlx_opt", "unrecognized arguments: --no-such 1"),
        ("mlx_port", "OSError: [Errno 98] Address already in use"),
        ("mlx_trunc", "RuntimeError: [load_safetensors] Tensor 'lm_head.weight' invalid data offsets"),
        ("vllm_bad", "Error parsing config for bad_hf: The checkpoint you are trying to load has model type `nope`"),
        (
            "vllm_batch",
            "ValidationError: 1 validation error for SchedulerConfig: Value error, max_num_batched_tokens (100) must",
        ),
        ("vllm_len", "ValidationError: 1 validation error for ModelConfig: Value error, User-specified max_model_len"),
        (
            "vllm_mem",
            "ValueError: Available memory on node 0 (7.03/9.46 GiB) on startup is less than desired CPU memory",
        ),
        ("vllm_opt", "unrecognized arguments: --embedding"),
        ("vllm_parser", "KeyError: 'invalid tool call parser: nope"),
        ("vllm_port", "OSError: [Errno 98] Address already in use"),
        (
            "vllm_trunc",
            "SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered",
        ),
    ],
)
def test_of_a_real_engine_s_words_the_reason_is_its_first_error(file, beginning):
    lines = (SAID / f"{file}.txt").read_text().splitlines()
    said = reason(*lines)
    assert said[: len(beginning)] == beginning
    assert len(said) <= LONGEST
    assert reason(*lines, *["(APIServer pid=1) INFO 11-23 04:28:42 [x.py:1] still here"] * 300) == said


CORE = "(EngineCore pid=413) ERROR 11-23 04:28:42 [core.py:1100] "
ON_A_GPU = (
    f"{CORE}EngineCore failed to start.",
    f"{CORE}Traceback (most recent call last):",
    f'{CORE}  File "/venv/vllm/v1/worker/utils.py", line 435, in request_memory',
    f"{CORE}    raise ValueError(",
    f"{CORE}ValueError: Free memory on device cuda:0 (12.66/139.8 GiB) on startup is less than desired GPU memory",
    "(EngineCore pid=413) Process EngineCore:",
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
)


def test_the_cores_exception_counts_not_the_line_above_it_nor_the_last_words():
    assert reason(*ON_A_GPU).startswith("ValueError: Free memory on device cuda:0 (12.66/139.8 GiB)")


def test_two_tracebacks_may_be_told_through_each_other():
    other = f"{CORE.replace('413', '414')}  File"
    lines = [line for each in ON_A_GPU for line in (each, other)]
    assert reason(*lines).startswith("ValueError: Free memory")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), ""),
        (("loading", ""), "loading"),
        (("cudaMalloc failed: out of memory", "bye"), "cudaMalloc failed: out of memory"),
        (("cudaMalloc failed: out of memory", "main: error: no model", "bye"), "no model"),
        (("INFO:     error in nothing", "WARNING 11-23 04:28:42 [a.py:1] ValueError: harmless", "end"), "end"),
        (("INFO:     Traceback (most recent call last):", "no such model"), "no such model"),
        (("ERROR:    Traceback (most recent call last):", '  File "x"', "KeyError: 1"), "KeyError: 1"),
        (("ERROR:    one", "ERROR:    two"), "one"),
        (("ERROR:    one", "Traceback (most recent call last):", " x", "RuntimeError: See root cause above"), "one"),
        (("RuntimeError: Engine core failed. See root cause above",), ""),
        (("1 ValueError",), "1 ValueError"),
        (
            ("Traceback (most recent call last):", "  x", "During handling of it", "KeyboardInterrupt"),
            "KeyboardInterrupt",
        ),
    ],
)
def test_other_words(lines, expected):
    assert reason(*lines) == expected


TRACEBACK = ("Traceback (most recent call last):", '  File "/venv/x.py", line 1, in f', "    raise error")
CAUSED = ("", "The above exception was the direct cause of the following exception:", "")


@pytest.mark.parametrize(
    "marks", ["\x1b[1;36m(EngineCore_DP0 pid=413)\x1b[0;0m ", "(RayWorkerWrapper pid=4, ip=10.0.0.1) "]
)
def test_the_name_of_the_process_that_speaks_may_be_coloured_or_have_an_address(marks):
    prefix = f"{marks}ERROR 11-23 04:28:42 [core.py:708] "
    lines = ("Error executing method 'load_model'.", *TRACEBACK, "ValueError: no room", "and more")
    assert reason(*(prefix + line for line in lines)) == "ValueError: no room"


def test_torch_names_its_ranks():
    assert reason(*(f"[rank0]: {line}" for line in (*TRACEBACK, "torch.OutOfMemoryError: 1"))) == "OutOfMemoryError: 1"


def test_what_an_exception_led_to_is_told_too():
    """A gated model: the first says 401, the last what it means; what others say after it is nothing new."""
    chain = (
        *TRACEBACK, "requests.exceptions.HTTPError: 401 Client Error", *CAUSED,
        *TRACEBACK, "hub.errors.GatedRepoError: 401", "", "Cannot access gated repo", *CAUSED,
        *TRACEBACK, "OSError: You are trying to access a gated repo.", "Make sure to have access to it",
    )  # fmt: skip
    said = "HTTPError: 401 Client Error; it led to OSError: You are trying to access a gated repo."
    assert reason(*(f"(APIServer pid=1) {line}" for line in chain)) == said
    assert reason(*chain, *TRACEBACK, "RuntimeError: another", *CAUSED, *TRACEBACK, "RuntimeError: a third") == said
    again = (*CAUSED, *TRACEBACK, "RuntimeError: Engine core initialization failed. See root cause above.")
    assert reason(*TRACEBACK, "ValueError: one", *again) == "ValueError: one"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ("  + Exception Group Traceback (most recent call last):", '  |   File "x"', "  | ExceptionGroup: some",
             "  +-+------- 1 -------", *(f"    | {line}" for line in (*TRACEBACK, "ValueError: one")), "    +----"),
            "ValueError: one",
        ),
        (
            ("terminate called after throwing an instance of 'c10::Error'", "  what():  no GPU", "frame #0: c10"),
            "terminate called after throwing an instance of 'c10::Error': what(): no GPU",
        ),
        (
            ("usage: x", "vllm serve: error: argument --max-model-len: invalid value: '12x'"),
            "argument --max-model-len: invalid value: '12x'",
        ),
        (
            ("1 validation error for ModelSettings", "n_ctx", "  Input should be >= 0 [type=x, input=1",
             "    For further information visit x"),
            "1 validation error for ModelSettings: n_ctx: Input should be >= 0",
        ),
        (("loading", "!!!! Segfault encountered !!!!", '  File "<unknown>", line 0'), "!!!! Segfault encountered !!!!"),
    ],
)  # fmt: skip
def test_words_of_several_lines(lines, expected):
    assert reason(*lines) == expected


def test_only_errors_are_known_for_certain():
    assert first_error(["cudaMalloc failed"]).known == ""
    assert first_error(["ValueError: x"]).known == "ValueError: x"


def test_a_long_word_takes_no_long_time():
    began = time.process_time()
    assert first_error(["x" * 2000] * 200).text.startswith("xxx")
    assert time.process_time() - began < 1  # it took 20 s


def test_a_long_reason_is_cut():
    assert reason("ValueError: " + "x" * 1000) == "ValueError: " + "x" * (LONGEST - 13) + "…"


def test_what_an_exception_led_to_is_cut_sooner():
    """The first is worth more words."""
    chain = (*TRACEBACK, "ValueError: one", *CAUSED, *TRACEBACK, "RuntimeError: " + "x" * 1000)
    assert reason(*chain) == "ValueError: one; it led to RuntimeError: " + "x" * (LONGEST // 2 - 15) + "…"
