"""llama.cpp's server from the package xllamacpp, as a program with llama-server's flags.

Run as `python -P xllamacpp_server.py --model FILE --port PORT ...`. The package takes its parameters as an object,
whose attributes have llama.cpp's inner names: most are a flag's name with underscores, and NAMES has the others. A
value gets the type of the attribute's default.

It installs no handler of signals: SIGTERM ends it at once, busy or not.
"""

import ctypes
import enum
import importlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

NAMES = {
    "alias": "model_alias",
    "batch-size": "n_batch",
    "cache-ram": "cache_ram_mib",
    "context-shift": "ctx_shift",
    "ctx-size": "n_ctx",
    "embeddings": "embedding",
    "fit": "fit_params",
    "flash-attn": "flash_attn_type",
    "frequency-penalty": "sampling.penalty_freq",
    "gpu-layers": "n_gpu_layers",
    "host": "hostnames",
    "jinja": "use_jinja",
    "keep": "n_keep",
    "log-verbosity": "verbosity",
    "metrics": "endpoint_metrics",
    "mmproj": "mmproj.path",
    "model": "model.path",
    "n-predict": "n_predict",
    "parallel": "n_parallel",
    "pooling": "pooling_type",
    "predict": "n_predict",
    "presence-penalty": "sampling.penalty_present",
    "props": "endpoint_props",
    "repeat-penalty": "sampling.penalty_repeat",
    "slots": "endpoint_slots",
    "threads": "cpuparams.n_threads",
    "threads-batch": "cpuparams_batch.n_threads",
    "threads-http": "n_threads_http",
    "timeout": "timeout_read",
    "ubatch-size": "n_ubatch",
    **{name: f"sampling.{name.replace('-', '_')}" for name in ("min-p", "seed", "temp", "top-k", "top-p")},
}
OWN_ORIGIN = "http://127.0.0.1"
"""The origin whose pages may read answers, by default every one. No page has this one, as its port is another."""

WORDS = {"on": "enabled", "off": "disabled"}
"""A flag's word → the end of an enumeration member's name."""
TRUE, FALSE = ("on", "true", "1"), ("off", "false", "0")


OPENMP = "libgomp.so.1"
"""OpenMP's library, which the package is linked with and doesn't bring. Small systems, and images, lack it."""


def main() -> None:
    """Serve until a signal ends it; a model that can't be loaded is exit code 1."""
    if sys.platform == "linux":
        find_openmp()
    # Here, as the tests import this file where the package isn't installed.
    xllamacpp = importlib.import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    if sys.argv[1:] == ["--help"]:
        print(*(f"--{name}" for name in sorted(options(parameters))), sep="\n")  # noqa: T201
        return
    if hasattr(parameters, "cors_origins"):
        parameters.cors_origins = OWN_ORIGIN
    parameters.api_keys = [os.environ["LLAMA_API_KEY"]] if "LLAMA_API_KEY" in os.environ else []
    for flag, value in read(sys.argv[1:]):
        if flag.startswith("hf-"):
            sys.exit("xllamacpp loads files: download the model and name its file, or install llama-server")
        try:
            put(parameters, flag, value)
        except (AttributeError, ValueError) as error:
            sys.exit(f"--{flag}: {error}")
    try:
        server = xllamacpp.Server(parameters)
    # Whatever the package raises, there is no server: this process ends and says why.
    except Exception as error:  # noqa: BLE001
        sys.exit(f"the server did not start: {error}")
    print(f"serving at {server.listening_address}", flush=True)  # noqa: T201
    threading.Event().wait()


def find_openmp() -> None:
    """Make sure of OpenMP's library: the system's, else that of the package cmeel-libomp.

    The dynamic linker reads where else to look before a program begins, so this program begins anew with that.
    """
    try:
        ctypes.CDLL(OPENMP)
    except OSError:
        folders = (Path(folder) / "cmeel.prefix/lib" for folder in sys.path)
        found = next((str(folder) for folder in folders if (folder / OPENMP).exists()), None)
        before = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
        if found is None or found in before:
            sys.exit(f"xllamacpp needs {OPENMP}, which is missing: apt install libgomp1, or pip install cmeel-libomp")
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [*before, found]))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  (this very program)


def read(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`--a 1 --b --no-c` → (a, 1), (b, true), (c, false)."""
    for i, word in enumerate(words):
        if word.startswith("--"):
            value = words[i + 1] if i + 1 < len(words) and not words[i + 1].startswith("--") else None
            negative = value is None and word.startswith("--no-")
            yield word[5 if negative else 2 :], value or ("false" if negative else "true")


def options(parameters: object) -> set[str]:
    """Give the names of all flags: those of NAMES, and those that are an attribute's name."""
    return {*NAMES, *(name.replace("_", "-") for name in dir(parameters) if not name.startswith("_"))}


def put(parameters: object, flag: str, value: str) -> None:
    """Set a flag's attribute. Raises AttributeError for an unknown flag, ValueError for a wrong value."""
    *owners, name = NAMES.get(flag, flag.replace("-", "_")).split(".")
    for owner in owners:
        parameters = getattr(parameters, owner)
    if not hasattr(parameters, name):
        raise AttributeError("the server of xllamacpp has no such option")
    setattr(parameters, name, as_was(getattr(parameters, name), value))


def as_was(default: object, value: str) -> object:
    """Convert a value to the type of its default."""
    match default:
        case bool():
            if value.lower() not in TRUE + FALSE:
                raise ValueError(f"{value} is neither on nor off")
            return value.lower() in TRUE
        case enum.Enum():
            return member(type(default), WORDS.get(value, value))
        case set():
            return {value}
        case list():
            return [as_was(default[0], each) if default else each for each in value.split(",")]
        case int() | float():
            return type(default)(value)
        case str():
            return value
    raise ValueError("this option can't be set by a word")


def member(kind: type[enum.Enum], word: str) -> enum.Enum:
    """Find the member whose name ends with a word: q8_0 → GGML_TYPE_Q8_0."""
    for each in kind:
        if each.name.lower().endswith(f"_{word.lower()}"):
            return each
    raise ValueError(f"{word} is none of its values")


if __name__ == "__main__":
    main()
