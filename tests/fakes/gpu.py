"""A machine with NVIDIA GPUs that isn't one: an `nvidia-smi`, a `vllm` and a program that takes memory, for PATH.

They share the memory of a folder.

The fake vllm treats the memory as the real one was seen to on an H200 (0.26.0): it makes a context, looks at what is
free, fails if its share isn't, loads its weights, profiles, and takes the rest of its share for the cache. What others
take between the look and the profiling it counts as its own; what others free by then has it fail. With
--kv-cache-memory-bytes it doesn't profile. Each start writes a line to `starts`.

`install` puts them into a folder; `MACHINE/total` has the GPUs' MiB, `MACHINE/held/PID` what a process has of GPU 0.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
FOLDER = "FAKE_GPU"  # the variable that names the machine's folder
IMPORTS = "FAKE_VLLM_IMPORTS"  # the variable with the seconds until it makes its context; ten of the real one
CONTEXT = 512  # MiB
RESERVED = 480  # MiB, of the driver
WEIGHTS = 2048  # MiB
LOADING, PROFILING = 0.2, 0.3  # seconds


def install(machine: Path, total: int, count: int = 1) -> dict[str, str]:
    """Make a machine with `count` GPUs of so many MiB; give the variables with which a router runs on it."""
    (machine / "held").mkdir(parents=True)
    (machine / "bin").mkdir()
    (machine / "total").write_text(f"{total} {count}")
    for name in ("vllm", "nvidia-smi", "holder"):
        program = machine / "bin" / name
        program.write_text(f"#!{sys.executable}\nimport sys\nsys.path[:0] = [{str(ROOT)!r}]\n"
                           f"from tests.fakes import gpu\nsys.exit(gpu.main({name!r}))\n")  # fmt: skip
        program.chmod(0o755)
    path = f"{machine / 'bin'}{os.pathsep}{os.environ['PATH']}"
    shown = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return {**shown, "PATH": path, FOLDER: str(machine)}


def hold(machine: Path, mebibytes: int, pid: int) -> None:
    """Have a process hold memory of GPU 0, until it is gone."""
    new = machine / "held" / f".{pid}"
    new.write_text(str(mebibytes))
    new.rename(machine / "held" / str(pid))


def free(machine: Path) -> int:
    """MiB of GPU 0 that nobody holds."""
    total = int((machine / "total").read_text().split()[0])
    return total - RESERVED - sum(int(path.read_text()) for path in holders(machine))


def holders(machine: Path) -> list[Path]:
    """The files of those that hold memory: each is named by its pid, and has its MiB."""
    return [path for path in (machine / "held").iterdir() if path.name.isdecimal() and lives(int(path.name))]


def lives(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def starts(machine: Path) -> list[dict[str, object]]:
    """What each start came to: name, share, and the MiB of its cache, or why it failed."""
    path = machine / "starts"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main(name: str) -> int:
    """Run one of them."""
    machine = Path(os.environ[FOLDER])
    return {"nvidia-smi": nvidia_smi, "vllm": vllm, "holder": holder}[name](machine)


def holder(machine: Path) -> int:
    """Take memory as `scripts.gpu_memory.holder` does: so many bytes for each line."""
    print("ready", flush=True)  # noqa: T201
    taken = 0
    for line in sys.stdin:
        taken += int(line)
        hold(machine, taken >> 20, os.getpid())
        print(f"took {line.strip()}", flush=True)  # noqa: T201
    return 0


def nvidia_smi(machine: Path) -> int:
    """Say what was asked for of each GPU, or of each process on GPU 0."""
    total, count = map(int, (machine / "total").read_text().split())
    asked = sys.argv[1] if len(sys.argv) > 1 else "--query-gpu=name,driver_version"
    if asked == "--query-compute-apps=gpu_uuid,pid,used_gpu_memory":
        for path in holders(machine):
            print(f"GPU-0, {path.name}, {path.read_text()}")  # noqa: T201
        return 0
    fields = asked.removeprefix("--query-gpu=").split(",")
    for index in range(count):
        known = {
            "index": index, "name": "NVIDIA H200", "memory.total": total, "driver_version": "580.159.04",
            "compute_cap": "9.0", "memory.free": total - RESERVED if index else free(machine), "uuid": f"GPU-{index}",
            "utilization.gpu": 37, "temperature.gpu": 41, "power.draw": 212.35, "enforced.power.limit": "700.00",
        }  # fmt: skip
        print(", ".join(str(known[field]) for field in fields))  # noqa: T201
    return 0


def vllm(machine: Path) -> int:
    """Take memory as vllm does, then serve."""
    parser = argparse.ArgumentParser(prog="vllm", allow_abbrev=False)
    parser.add_argument("serve")
    parser.add_argument("model")
    parser.add_argument("--served-model-name")
    parser.add_argument("--host")
    parser.add_argument("--port")
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.92)
    parser.add_argument("--kv-cache-memory-bytes", type=int, default=0)
    parser.add_argument("--allowed-origins")
    parser.add_argument("--disable-access-log-for-endpoints")
    for option in ("max-num-seqs", "shutdown-timeout", "tensor-parallel-size", "max-model-len"):
        parser.add_argument(f"--{option}", type=int)
    parser.add_argument("--enforce-eager", action="store_true")
    options = parser.parse_args()
    total = int((machine / "total").read_text().split()[0])
    said: dict[str, object] = {"name": options.served_model_name, "share": options.gpu_memory_utilization}
    time.sleep(float(os.environ.get(IMPORTS, "0")))
    try:
        hold(machine, CONTEXT, os.getpid())
        said["cache"] = _take(machine, options.gpu_memory_utilization, total, options.kv_cache_memory_bytes >> 20)
    except (ValueError, AssertionError) as error:
        said["error"] = str(error)
        print(f"(EngineCore pid=1) ERROR 11-23 04:28:42 [core.py:1100] {type(error).__name__}: {error}", flush=True)  # noqa: T201
        print("RuntimeError: Engine core initialization failed. See root cause above.", flush=True)  # noqa: T201
        return 1
    finally:
        with (machine / "starts").open("a") as file:
            file.write(json.dumps(said) + "\n")
    from tests.fakes import engine  # noqa: PLC0415 -- nvidia-smi answers sooner without it

    return engine.main(["--port", options.port, "--model", options.served_model_name, "--publishes"])


def _take(machine: Path, share: float, total: int, cache: int) -> int:
    """Give the MiB that are left for the cache."""
    at_first, wanted = free(machine), int(share * total)
    if at_first < wanted:
        raise ValueError(
            f"Free memory on device cuda:0 ({at_first / 1024:.2f}/{total / 1024:.2f} GiB) on startup is less than "
            f"desired GPU memory utilization ({share}, {wanted / 1024:.2f} GiB)."
        )
    time.sleep(LOADING)
    hold(machine, CONTEXT + WEIGHTS, os.getpid())
    time.sleep(PROFILING)
    if not cache:
        gone = at_first - free(machine)
        assert gone >= 0, "Error in memory profiling. Initial free memory is less than current free memory."
        cache = wanted - gone
    if cache < 256 or free(machine) < cache:
        raise ValueError(f"No available memory for the cache blocks: {cache} MiB")
    hold(machine, CONTEXT + WEIGHTS + cache, os.getpid())
    return cache
