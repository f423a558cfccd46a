"""Compare what models are estimated to take of memory with what the real engines take for them.

    python -m scripts.measure_footprints [--engines llama_server,mlx] [--sizes 0.3,1,2] [--kinds f16,q8_0]

For each engine it starts the server as the router would, first on the demo model, which is as good as none, then on
models of each size, which it writes and deletes. It sends one prompt that is longer than a step, and measures the
processes. The difference to the demo model is what the model takes; the estimate is made of the file's header alone.
Engines that aren't installed are left out: vllm is looked for in .venv-vllm. All on the CPU, one engine at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from launchers.engines import ENGINES
from launchers.footprints.estimate import estimate
from launchers.footprints.files import read_model
from launchers.footprints.lines import read_lines
from launchers.footprints.parts import RAM, Breakdown, Device, Parts
from launchers.footprints.resident import Resident, measure
from launchers.ports import RANGE, Ports
from launchers.spec import LaunchSpec
from scripts.footprint_models import SHAPES, write_folder, write_gguf
from scripts.make_demo_model import build_files, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from launchers.spec import ArgValue

CONTEXT: Final = 4096
MIB: Final = 1 << 20
STARTS_WITHIN: Final = 300.0
ANSWERS_WITHIN: Final = 600.0
WORDS: Final = 540
"""Of the prompt: a token each, and more than llama.cpp reads at once."""
PORTS: Final = Ports(RANGE)


@dataclass(frozen=True)
class Case:
    """How an engine is run: its arguments and variables, the types of weights that it is given, and its Python."""

    args: Mapping[str, ArgValue]
    kinds: tuple[str, ...]
    env: Mapping[str, str]
    python: str = sys.executable
    reserved: int = 0
    """Bytes of cache that an engine without a model is told to reserve, too; the demo model's own are next to none."""


CASES: Final[Mapping[str, Case]] = {
    "llama_cpp": Case({"n_ctx": CONTEXT, "n_threads": 2, "verbose": True}, ("f16", "q8_0", "q4_0"), {}),
    "llama_server": Case(
        {"ctx-size": CONTEXT, "parallel": 2, "threads": 2, "log-verbosity": 4}, ("f16", "q8_0", "q4_0"), {}
    ),
    "mlx": Case({}, ("bf16",), {}),
    "vllm": Case(
        {"max-model-len": CONTEXT, "max-num-seqs": 16, "enforce-eager": True, "kv-cache-memory-bytes": "512M"},
        ("bf16",),
        {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"},
        ".venv-vllm/bin/python",
        512 * MIB,
    ),
}


@dataclass(frozen=True)
class Measured:
    """What an engine took after its prompt, and what it said while it loaded."""

    resident: Resident
    tokens: int
    said: Breakdown


def run(engine: str, case: Case, model: Path, log: Path, words: int) -> Measured:
    """Start an engine on a model, send it a prompt, measure, end it. Raises RuntimeError where it doesn't answer."""
    port = PORTS.free()
    spec = LaunchSpec("footprint", engine, str(model), "footprint", case.args, case.env, STARTS_WITHIN)
    command = ENGINES[engine].command(spec, port, case.python)
    environment = command.environment(os.environ)
    with log.open("wb") as out, _ended(
        subprocess.Popen(
            command.argv, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    ) as process:  # fmt: skip
        _wait(process, f"http://127.0.0.1:{port}{ENGINES[engine].ready_path}")
        tokens = _ask(f"http://127.0.0.1:{port}/v1/completions", "the of and to in is " * (words // 6), 8)
        resident = measure(process.pid)
        if resident is None:
            raise RuntimeError(f"{engine} is gone")
    return Measured(resident, tokens, read_lines(engine, log.read_text(errors="replace").splitlines()))


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End a process and all of its session, whatever happens."""
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 -- our own address
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("it did not get ready")


def _ask(url: str, prompt: str, tokens: int) -> int:
    """Ask for a completion; give the tokens of the prompt and of the answer."""
    body = json.dumps({"prompt": prompt, "max_tokens": tokens, "temperature": 0}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 -- as above
    with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN) as answer:  # noqa: S310
        return int(json.load(answer)["usage"]["total_tokens"])


def report(name: str, parts: Parts, measured: Measured, empty: Measured, kept: int) -> str:
    """Write a line of the table: MiB that were estimated, said and measured beyond an empty engine; the difference.

    `kept` are the bytes that the prompt's tokens add.
    """
    taken = measured.resident - empty.resident
    expected = parts.model + parts.spare + kept
    off = 100 * (expected / taken.total - 1)
    cells = [
        name, parts.weights, parts.cache, parts.compute, kept, parts.spare, expected,
        measured.said.devices.get(RAM, Parts()).model, taken.private, taken.mapped, taken.shared, taken.total,
    ]  # fmt: skip
    told = [f"{cell / MIB:.0f}" if isinstance(cell, int) else str(cell) for cell in cells]
    return f"| {' | '.join(told)} | {off:+.0f} % |"


HEAD: Final = (
    "| model | weights | cache | compute | kept | spare | estimate | engine said | private | mapped | shared"
    " | measured | estimate off by |\n" + "|---|" + "--:|" * 12
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="measure_footprints", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engines", default=",".join(CASES), help="names, with commas")
    parser.add_argument("--sizes", default=",".join(SHAPES), help="decimal gigabytes, with commas")
    parser.add_argument("--kinds", default="", help="types of weights, with commas; all that are known if left out")
    parser.add_argument("--words", type=int, default=WORDS, help="of the prompt; with fewer, not all buffers are used")
    options = parser.parse_args(arguments)
    devices = [Device(RAM, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 0)]
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory(prefix="footprints-") as made:
        folder = Path(made)
        demo = folder / "demo"
        write_files(demo, build_files())
        for engine in options.engines.split(","):
            case = CASES[engine]
            if not shutil.which(case.python):
                continue
            gguf = engine.startswith("llama")
            empty = run(engine, case, demo / "demo.gguf" if gguf else demo, folder / "log", options.words)
            empty = replace(empty, resident=empty.resident - Resident(private=case.reserved))
            print(f"| {engine}, empty |{' |' * 10} {empty.resident.total / MIB:.0f} | |", flush=True)
            kinds = [kind for kind in case.kinds if not options.kinds or kind in options.kinds.split(",")]
            for size in options.sizes.split(","):
                for kind in kinds:
                    path = folder / (f"{size}.gguf" if gguf else size)
                    (write_gguf(path, size, kind) if gguf else write_folder(path, size))
                    model = read_model(str(path), {})
                    if model is None:
                        raise RuntimeError(f"{path} can't be read")
                    parts = estimate(model, engine, case.args, devices, case.env).devices[RAM]
                    measured = run(engine, case, path, folder / "log", options.words)
                    # llama_server saves a context when another request needs its slot: not after the first.
                    kept = 0 if engine == "llama_server" else parts.kept(measured.tokens)
                    print(report(f"{engine}, {size} GB {kind}", parts, measured, empty, kept), flush=True)
                    (path.unlink() if gguf else shutil.rmtree(path))


if __name__ == "__main__":
    main()
