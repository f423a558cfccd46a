"""The steps of a release as programs that run, and the environments that they run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHECKOUT: Final = Path(__file__).resolve().parents[2]
LAST_LINES: Final = 30
"""Lines of a failed step that are shown."""


class ReleaseError(Exception):
    """There can be no release, for the reason that it says."""


def run(
    command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, fails: str = ""
) -> str:
    """Run a program; give what it prints. Raises ReleaseError with its last lines, and what that means."""
    given = {**os.environ, **(env or {})}
    done = subprocess.run(
        command, cwd=cwd, env=given, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False, umask=0o022,  # modes of files get into archives
    )  # fmt: skip
    if done.returncode:
        said = "\n".join(f"    | {line}" for line in done.stdout.splitlines()[-LAST_LINES:])
        raise ReleaseError(f"{fails or ' '.join(map(str, command))} ({done.returncode}):\n{said}")
    return done.stdout


def tell(what: str, since: float) -> None:
    """Say that a step is done, and how long it took."""
    print(f"  {what}: {time.monotonic() - since:.0f} s", flush=True)


@dataclass(frozen=True)
class Toolbox:
    """Environments in .release/, made when they are first wanted: one with the tools, and one for each Python."""

    folder: Path
    sources: Path
    """Those of the commit: what builds it, and in which versions, it says itself."""
    environment: Mapping[str, str]
    """What each step gets, so that it makes the same bytes at any time."""

    def tools(self) -> Path:
        """Give the Python of the tools."""
        extras = self._described()["project"]["optional-dependencies"]
        return self._environment("tools", Path(sys.executable), extras["release"])

    def builder(self, python: Path | None = None, name: str = "sources") -> Path:
        """Give that of an environment that builds for this Python, or for any: pyproject.toml says what that takes."""
        return self._environment(name, python or Path(sys.executable), self._described()["build-system"]["requires"])

    def fresh(self, python: Path, folder: Path) -> Path:
        """Make an environment that has nothing but pip."""
        shutil.rmtree(folder, ignore_errors=True)
        run([python, "-m", "venv", folder])
        return folder / "bin" / "python"

    def install(self, python: Path, *what: str | Path) -> None:
        """Install packages, in the versions that the tests last passed with."""
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run([python, *pip, "-c", self.sources / "constraints.txt", *what])

    def _environment(self, name: str, python: Path, requirements: Sequence[str]) -> Path:
        folder = self.folder / name
        wanted = "\n".join([str(python), *requirements, (self.sources / "constraints.txt").read_text("utf-8")])
        stamp = folder / "made-of"
        if not stamp.exists() or stamp.read_text("utf-8") != wanted:
            since = time.monotonic()
            self.install(self.fresh(python, folder), *requirements)
            stamp.write_text(wanted, "utf-8")
            tell(f"the environment {folder}", since)
        return folder / "bin" / "python"

    def _described(self) -> dict[str, Any]:
        return tomllib.loads((self.sources / "pyproject.toml").read_text("utf-8"))
