"""The command line: `python -m scripts.gpu_memory swap|short|taken`."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from launchers import devices
from launchers.footprints.parts import RAM
from scripts.footprint_models import write_folder, write_gguf
from scripts.gpu_memory.watching import GpuWatch, footprint, gpu_of
from scripts.instruments.processes import ROOT
from scripts.residency_load.asking import Outcomes, ask
from scripts.residency_load.fleet import RouterFailedError, RouterProcess, Settings
from scripts.residency_load.models import ModelFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

GIB: Final = 1 << 30
NAMES: Final = ("a", "b")

SHARE: Final = 0.3
"""vllm's share of the GPU. Two fit into it, and with the holder beside them one."""

LLAMA: Final = 3 << 30
"""Somewhat more than a llama-server takes of the GPU for a model of 2 GB."""

ARGS: Final[Mapping[str, Mapping[str, object]]] = {
    "vllm": {"gpu-memory-utilization": SHARE, "max-model-len": 1024, "max-num-seqs": 16, "enforce-eager": True},
    "llama_server": {"ctx-size": 8192, "parallel": 1, "cache-ram": 0, "n-gpu-layers": 999},
}

SEEN_WITHIN: Final = 12.0
"""Seconds until the router has surely read a GPU on which nothing happens."""

HOLDER: Final = (sys.executable, "-m", "scripts.gpu_memory.holder")


@dataclass(frozen=True)
class GpuSettings(Settings):
    """As `Settings`, with limits of the GPU in bytes in the place of RAM's; `told` is each backend's memory, if any."""

    told: Mapping[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """Write it as data; JSON is YAML."""
        document: dict[str, Any] = super().document()
        document["memory"]["limit"] = {"gpu": self.limit}
        for backend in document["backends"]:
            backend["launch"]["args"] = dict(ARGS[self.engine])
            if backend["name"] in self.told:
                backend["launch"]["memory"] = {"gpu": self.told[backend["name"]]}
        return document


class Report:
    """What was found, said at once; `faults` are what is not as it should be."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._began = time.time()

    def say(self, text: str) -> None:
        """Say something, with the seconds since the start."""
        print(f"[{time.time() - self._began:6.1f}] {text}", flush=True)

    def check(self, holds: bool, text: str) -> None:  # noqa: FBT001  (it is what is checked)
        """Say whether something is as it should be."""
        self.say(f"{'ok  ' if holds else 'FAIL'} {text}")
        if not holds:
            self.faults.append(text)

    def since(self, epoch: float) -> str:
        """Write a moment as the seconds since the start."""
        return f"{epoch - self._began:.2f} s"


class Holder:
    """Another program with memory of the GPU, while it is entered."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, cwd=ROOT, stdin=pipe, stdout=pipe)
        await self._said("ready")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None  # noqa: S101  (it is a pipe)
        self._process.stdin.close()
        await self._process.wait()

    async def take(self, size: int) -> None:
        """Take so many bytes. Raises RuntimeError where they aren't free."""
        assert self._process.stdin is not None  # noqa: S101  (it is a pipe)
        self._process.stdin.write(f"{size}\n".encode())
        await self._process.stdin.drain()
        await self._said("took")

    async def _said(self, word: str) -> None:
        assert self._process.stdout is not None  # noqa: S101  (it is a pipe)
        line = (await self._process.stdout.readline()).decode()
        if not line.startswith(word):
            raise RuntimeError(f"the holder of memory said {line.strip() or 'nothing'}")


# The runs


async def swap(asked: argparse.Namespace, models: Sequence[ModelFile], folder: Path, report: Report) -> None:
    """Ask for A, B and A, of which one fits."""
    gpu = gpu_of(devices.look())
    each = int(SHARE * gpu.total) if asked.engine == "vllm" else LLAMA
    async with _router(asked, models, folder, gpu, limit=each * 3 // 2) as (router, watch):
        for name in ("a", "b", "a"):
            await _asked(router, watch, name, report)
            _tell(watch, name, report)
            await _told(router, report)
        _tell_log(router, report)
    _check_order(watch, ["a", "b", "a"], report)
    together = watch.together(engine.pid for engine in watch.engines)
    report.check(not together, f"{together} of {len(watch.samples)} samples had two of them in memory")
    _tell_end(gpu, report)


async def short(asked: argparse.Namespace, models: Sequence[ModelFile], folder: Path, report: Report) -> None:
    """Have B's load fail for lack of memory: it is loaded once more when A has left.

    vllm is shown enough, and another program takes it while vllm imports its modules. A llama-server makes its context
    too soon for that; B's is told to need less than it does, and so much is left that this fits, and B doesn't.
    """
    gpu = gpu_of(devices.look())
    told = {} if asked.engine == "vllm" else {"b": asked.told}
    async with Holder(asked.holder) as holder, _router(asked, models, folder, gpu, told) as (router, watch):
        await _asked(router, watch, "a", report)
        _tell(watch, "a", report)
        if asked.engine == "vllm":
            asking = asyncio.create_task(_asked(router, watch, "b", report))
            await asyncio.to_thread(watch.until_seen, "b")
            await _leave(holder, gpu.name, int(SHARE / 2 * gpu.total), report)
            await asking
        else:
            await _leave(holder, gpu.name, asked.told * 11 // 10, report)
            await asyncio.sleep(SEEN_WITHIN)
            await _asked(router, watch, "b", report)
        _tell(watch, "b", report)
        await _told(router, report)
        _tell_log(router, report)
    _check_order(watch, ["a", "b", "b"], report)
    _tell_end(gpu, report)


async def taken(asked: argparse.Namespace, models: Sequence[ModelFile], folder: Path, report: Report) -> None:
    """Have another program take what B needs just before B is asked for: A leaves, and B starts once.

    A vllm is started only where its share is free, even if the router has seen more. Others need that the router knows.
    """
    gpu = gpu_of(devices.look())
    left = int(SHARE / 2 * gpu.total) if asked.engine == "vllm" else LLAMA // 2
    async with Holder(asked.holder) as holder, _router(asked, models, folder, gpu) as (router, watch):
        await _asked(router, watch, "a", report)
        await _leave(holder, gpu.name, left, report)
        if asked.engine != "vllm":
            await asyncio.sleep(SEEN_WITHIN)
        await _asked(router, watch, "b", report)
        _tell_log(router, report)
    _check_order(watch, ["a", "b"], report)
    _tell_end(gpu, report)


@asynccontextmanager
async def _router(
    asked: argparse.Namespace,
    models: Sequence[ModelFile],
    folder: Path,
    gpu: devices.DeviceFigures,
    told: Mapping[str, int] | None = None,
    limit: int | None = None,
) -> AsyncIterator[tuple[RouterProcess, GpuWatch]]:
    """Run a router on the two models, and watch the GPU."""
    settings = GpuSettings(asked.engine, models, limit or gpu.total, told=told or {})
    async with RouterProcess(folder, settings) as router:
        with GpuWatch(router, gpu.name, {str(model.path): model.name for model in models}) as watch:
            yield router, watch


def _check_order(watch: GpuWatch, names: Sequence[str], report: Report) -> None:
    """Check which engines were started, and that the memory of one was free before the next began, but for failures."""
    engines = watch.engines
    found = [engine.name for engine in engines]
    report.check(found == names, f"started were {' '.join(found)}; expected were {' '.join(names)}")
    for before, after in pairwise(engines[:1] + engines[-1:] if "b b" in " ".join(names) else engines):
        freed = watch.freed(before)
        when = "never" if freed is None else report.since(freed)
        report.check(
            freed is not None and freed <= after.began,
            f"{before.name} had {_gib(watch.most(before))}, free after {when}; "
            f"{after.name} began at {report.since(after.began)}",
        )


async def _leave(holder: Holder, name: str, size: int, report: Report) -> None:
    """Have another program take all but so much of what is free."""
    free = next(each.free for each in devices.look() if each.name == name)
    await holder.take(free - size)
    report.say(f"another program has taken {_gib(free - size)} of the GPU; {_gib(size)} are free")


async def _asked(router: RouterProcess, watch: GpuWatch, name: str, report: Report) -> None:
    outcomes, began = Outcomes(), time.monotonic()
    await ask(router, name, 0, outcomes)
    said = outcomes.failures[0] if outcomes.failures else "answered"
    report.check(not outcomes.failures, f"{name} after {time.monotonic() - began:.1f} s: {said}")
    if not watch.running(name):
        report.check(holds=False, text=f"{name} has an engine")


def _tell(watch: GpuWatch, name: str, report: Report) -> None:
    for engine in watch.running(name):
        measured, by_smi = footprint(watch, engine)
        told = ", ".join(f"{_gib(size)} of {device}" for device, size in measured.items())
        report.say(f"     {name}: {told}; nvidia-smi says {'nothing' if by_smi is None else _gib(by_smi)}")
        ours = measured.get(watch.gpu)
        if ours is not None and by_smi is not None:
            report.check(abs(ours - by_smi) <= 2 << 20, "NVML and nvidia-smi agree")


async def _told(router: RouterProcess, report: Report) -> None:
    """Say what the router tells of its models."""
    models = await router.models()
    for each in models["models"] if isinstance(models, dict) else models:
        words = {key: each.get(key) for key in ("name", "state", "footprint", "reserved", "source", "failure")}
        report.say(f"     {json.dumps(words)}")


def _tell_log(router: RouterProcess, report: Report) -> None:
    for line in router.lines:
        if any(word in line for word in ("load", "memory", "ready", "start", "ended")):
            report.say(f"  r> {line[:260]}")


def _tell_end(gpu: devices.DeviceFigures, report: Report) -> None:
    now = next(each for each in devices.look() if each.name == gpu.name)
    report.check(abs(now.free - gpu.free) < GIB, f"{_gib(gpu.free)} were free before, {_gib(now.free)} are afterwards")


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


RUNS: Final = {"swap": swap, "short": short, "taken": taken}


# The command


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="gpu_memory", description="Two models on one GPU of which one fits.")
    parser.add_argument("run", choices=tuple(RUNS))
    parser.add_argument("--engine", choices=tuple(ARGS), default="vllm", help="(default: vllm)")
    parser.add_argument("--size", choices=("0.3", "1", "2"), default=None, help="gigabytes of a model's weights")
    parser.add_argument(
        "--told", type=float, default=1.5, metavar="GIB", help="what B is told to need, of what it takes (llama_server)"
    )
    parser.add_argument("--holder", nargs="+", default=HOLDER, help="the program that takes memory (default: ours)")
    asked = parser.parse_args(arguments)
    asked.told = int(asked.told * GIB)
    asked.size = asked.size or ("0.3" if asked.engine == "vllm" else "2")
    return asked


@contextmanager
def work(asked: argparse.Namespace) -> Iterator[tuple[Path, list[ModelFile]]]:
    """Have a folder with the two models; it is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="gpu-memory-"))
    try:
        paths = [folder / (name if asked.engine == "vllm" else f"{name}.gguf") for name in NAMES]
        for path in paths:
            if asked.engine == "vllm":
                write_folder(path, asked.size)
            else:
                write_gguf(path, asked.size, "f16")
        yield folder, [ModelFile(name, path, 0) for name, path in zip(NAMES, paths, strict=True)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run(asked: argparse.Namespace) -> list[str]:
    """Run what was asked for; give what is not as it should be."""
    report = Report()
    for device in devices.look():
        report.say(f"{device.name}: {_gib(device.free)} of {_gib(device.total)} free, by process: {device.by_pid}")
        if device.name != RAM:
            limit = devices.limits([device])[0].limit
            report.say(f"     default limit {_gib(limit)}")
    with work(asked) as (folder, models):
        report.say("the models are written")
        try:
            await RUNS[asked.run](asked, models, folder, report)
        except (RouterFailedError, RuntimeError, TimeoutError) as error:
            report.check(holds=False, text=str(error))
        for log in [folder / "logs" / f"{name}.log" for name in NAMES] if report.faults else ():
            if log.exists():
                lines = log.read_text(errors="replace").splitlines()[-15:]
                report.say(f"the end of {log.name}:\n" + "\n".join(line[:300] for line in lines))
    report.say(f"{len(report.faults)} faults" if report.faults else "all as it should be")
    return report.faults


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(run(options())) else 0)
