"""Set up .venv with what `make run` needs, or, with --dev, what tests and benches need, too; say how far it is.

    python3 scripts/set_up.py [--dev]

It needs the standard library alone, as there is nothing else yet. Packages are fetched while llama.cpp compiles. Each
task writes a log into .venv, and what the log says of its progress is shown; the end of a failed task's log is, too.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHECKOUT: Final = Path(__file__).resolve().parent.parent
VENV: Final = CHECKOUT / ".venv"
PYTHON: Final = VENV / "bin" / "python"

LLAMA_CPP, LLAMA_SERVER, MLX = "llama-cpp", "llama-server", "mlx"
"""The extras of pyproject.toml that bring an engine."""

SERVER_NEEDS: Final = ("diskcache", "fastapi", "jinja2", "numpy", "pydantic-settings", "sse-starlette",
                       "starlette-context", "uvicorn")  # fmt: skip
"""The dependencies of llama-cpp-python[server], fetched while it compiles. The last step makes sure of them."""

COMPILE_SECONDS: Final = 110
"""Seconds that llama.cpp takes to compile on one core; half as much again on a slow one."""

EVERY: Final = 10.0
"""Seconds between two lines of progress, where they can't be written over each other."""

_STEP = re.compile(r"^\s*\[ *(\d+)(?:/(\d+)\]|%\])", re.MULTILINE)  # of ninja, of make
_PIP = re.compile(r"^ *(Collecting|Downloading|Installing collected packages|Building wheel)\b:? *(\S*)", re.MULTILINE)


# Which engine


@dataclass(frozen=True)
class EngineToInstall:
    """The engine that is installed: the extra that brings it, and why this one."""

    extra: str
    why: str


def choose(system: str, machine: str, *, compiler: bool, nvidia: bool = False) -> EngineToInstall:
    """Choose the engine for `make run`: the first of the platform's profile that a minute can bring."""
    # 1. Its profile's first, and a wheel.
    if (system, machine) == ("Darwin", "arm64"):
        return EngineToInstall(MLX, "mlx, which is made for this Mac's chip")
    # 2. The CPU profile's first. vllm is gigabytes, which nobody should get unasked.
    gpu = "; this machine's NVIDIA GPU is for vllm: .venv/bin/python -m pip install vllm (some GB)" if nvidia else ""
    if compiler:
        return EngineToInstall(LLAMA_CPP, f"llama_cpp, which is compiled here{gpu}")
    # 3. The same library in another server, as a wheel.
    what = "xcode-select --install" if system == "Darwin" else "apt install build-essential"
    why = f"llama_server, a wheel: there is no C++ compiler here for llama_cpp ({what} brings one){gpu}"
    return EngineToInstall(LLAMA_SERVER, why)


def has_compiler(environ: Mapping[str, str]) -> bool:
    """Whether C and C++ can be compiled, as CMake looks for it."""
    of_c, of_cpp = (environ.get("CC"), "cc", "gcc", "clang"), (environ.get("CXX"), "c++", "g++", "clang++")
    return all(any(name and shutil.which(name.split()[0]) for name in names) for names in (of_c, of_cpp))


# How far a task is


def progress(log: str) -> str:
    """Read from a task's log how far it is; empty where the log doesn't say."""
    if steps := _STEP.findall(log):
        done, of = map(int, (steps[-1][0], steps[-1][1] or 100))
        return f"{100 * done // of} % compiled"
    if found := _PIP.findall(log):
        did, what = found[-1]
        return {"Downloading": f"downloading {Path(what).name}", "Collecting": f"looking for {what}"}.get(
            did, "installing"
        )
    return ""


@dataclass
class Task:
    """A program that runs, with its log."""

    name: str
    command: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start it, as the leader of a group of its own: what it starts must not outlive this program."""
        self.log = VENV / f"{self.name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=CHECKOUT, env={**os.environ, **self.env}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, process_group=0,
            )  # fmt: skip

    def said(self) -> str:
        """Give its output so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it and what it has started."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()


def run(*tasks: Task) -> list[Task]:
    """Run tasks beside each other, and show how far they are. The first that fails ends the others; give it."""
    began = shown = time.monotonic()
    again, end = ("\r\033[K", "") if sys.stdout.isatty() else ("", "\n")  # over the line before, or below it
    try:
        for task in tasks:
            task.start()
        while (running := [task for task in tasks if task.process.poll() is None]) and not failed(tasks):
            time.sleep(0.2)
            if time.monotonic() - shown >= (EVERY if end else 1.0):
                shown = time.monotonic()
                told = "; ".join(f"{task.name}: {progress(task.said()) or 'begins'}" for task in running)
                print(f"{again}  {told[:100]}", end=end, flush=True)
        found = failed(tasks)
    finally:
        for task in tasks:
            task.stop()
    if not found:
        print(f"{again}  {' and '.join(task.name for task in tasks)}: {time.monotonic() - began:.0f} s", flush=True)
    return found


def failed(tasks: Sequence[Task]) -> list[Task]:
    """Give the tasks that failed."""
    return [task for task in tasks if task.process.poll()]


def tell(task: Task) -> None:
    """Show the end of a failed task's output."""
    print(f"\n{task.name} failed; its last words ({task.log} has all):", file=sys.stderr)
    print("\n".join(f"    | {line}" for line in task.said().splitlines()[-20:]), file=sys.stderr, flush=True)


# The tasks


def pip(name: str, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Task:
    """Describe a task of .venv's pip."""
    always = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1", "ROUTER_PURE": "1"}
    return Task(name, (PYTHON, "-m", "pip", *arguments), {**always, **(env or {})})


def environment() -> Task:
    """Make .venv."""
    return Task("an environment", (sys.executable, "-m", "venv", VENV))


def after(first: Task, then: Task) -> Task:
    """Give the second task, with the first before it."""
    words = (*first.command, "&&", *then.command)
    script = " ".join(word if word == "&&" else shlex.quote(str(word)) for word in words)
    return Task(then.name, ("sh", "-c", script), then.env)


def compiling(version: str, folder: Path, python: Path | str) -> Task:
    """Compile llama-cpp-python into a wheel, with a Python's pip.

    What its server doesn't need is left out; the code fits CPUs of the last ten years.
    """
    less = CHECKOUT / "scripts/llama_cpp_fast_build.cmake"
    flags = f"-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE={less}"
    env = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1), "CMAKE_ARGS": flags}
    wanted = f"llama-cpp-python=={version}"
    task = pip("llama.cpp", "wheel", "-v", "--no-deps", "--progress-bar=off", "-w", folder, wanted, env=env)
    return replace(task, command=(python, *task.command[1:]))


def install(*what: str | Path, name: str = "the router", more: Sequence[str] = ()) -> Task:
    """Install into .venv, in the versions that the tests last passed with."""
    return pip(name, "install", "--progress-bar=off", "--no-build-isolation", *more, "-c", "constraints.txt", *what)


def set_up(*, dev: bool) -> int:
    """Do all steps; give the exit code."""
    compiler = has_compiler(os.environ)
    if dev and not compiler:
        print("Tests need a C/C++ compiler: apt install build-essential, or xcode-select --install", file=sys.stderr)
        return 2
    nvidia = shutil.which("nvidia-smi") is not None
    choice = choose(platform.system(), platform.machine(), compiler=compiler, nvidia=nvidia)
    extra = LLAMA_CPP if dev else choice.extra
    print(f"Setting up .venv for {'tests' if dev else 'the router'}. Engine: {choice.why}.", flush=True)
    VENV.mkdir(exist_ok=True)
    beside = not PYTHON.exists() and find_spec("pip") is not None  # then llama.cpp needn't wait for .venv's pip
    if not PYTHON.exists() and not beside:
        made = environment()
        if run(made):
            tell(made)
            return 2
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = ["setuptools", *project["dependencies"], *(project["optional-dependencies"]["dev"] if dev else ())]
    tasks = []
    wheels = VENV / "wheels"
    if extra == LLAMA_CPP:
        packages += SERVER_NEEDS
        constraints = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")
        (version,) = re.findall(r"^llama_cpp_python==(\S+)$", constraints, re.MULTILINE)
        if not list(VENV.glob(f"lib/*/site-packages/llama_cpp_python-{version}.dist-info")):
            cores = os.cpu_count() or 1
            print(f"  llama.cpp compiles: {COMPILE_SECONDS // cores} s and more on {cores} cores", flush=True)
            tasks.append(compiling(version, wheels, sys.executable if beside else PYTHON))
    fetching = install(*packages, name="packages", more=("--no-compile",))
    bad = run(*tasks, after(environment(), fetching) if beside else fetching)
    if tasks and tasks[0] in bad and not dev:
        tell(tasks[0])
        print("llama.cpp can't be compiled here; llama_server, a wheel, takes its place.", flush=True)
        extra, tasks, bad = LLAMA_SERVER, [], []
    if not bad:
        extras = f"{extra},dev" if dev else extra
        built = [f"{wheel}[server]" for wheel in wheels.glob("llama_cpp_python-*.whl")] if tasks else []
        bad = run(install(*built, "-e", f".[{extras}]"))
    for task in bad:
        tell(task)
    shutil.rmtree(wheels, ignore_errors=True)
    return 2 if bad else 0


def main() -> int:
    """Read the command line and do what it says; give the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: sys.exit(128 + got))  # by way of `run`, which ends the tasks
    try:
        return set_up(dev="--dev" in sys.argv[1:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
