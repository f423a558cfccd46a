"""Fresh Debian roots, made by debootstrap and kept in .roots/, and programs that run in them as on a new machine."""

import json
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router.distribution import NAME, VERSION
from scripts.release import wheels
from tests.running import REPOSITORY

DIST = REPOSITORY / "dist"
ROOTS = REPOSITORY / ".roots"
SUITES = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian 12 and 13, with the Python that each has."""

USER = 1000
HOME = "/home/user"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Root:
    """A root, and a Python in it."""

    suite: str
    python: str

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return ROOTS / self.suite

    @property
    def program(self) -> str:
        """Give the Python's path there: Debian's own, or this machine's, in the same place."""
        return "/usr/bin/python3" if SUITES[self.suite] == self.python else str(wheels.python(self.python).program)


def ran(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program; give what it prints."""
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def made(suite: str) -> Path:
    """Make a root with Debian's Python and nothing else, unless it is there."""
    folder, whole = ROOTS / suite, ROOTS / f"{suite}.made"
    if not whole.exists():
        shutil.rmtree(folder, ignore_errors=True)
        ROOTS.mkdir(exist_ok=True)
        ran("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", suite, folder)
        whole.touch()
    return folder


def downloaded(python: str) -> Path:
    """Download what the wheel needs on this Python; give the folder, which has the wheel itself, too."""
    folder, environment = ROOTS / f"wheels-{python}", ROOTS / f"pip-{python}"
    if not environment.exists():
        ran(wheels.python(python).program, "-m", "venv", environment)
    for old in folder.glob("llm_engine_router-*"):
        old.unlink()
    pip = (environment / "bin/python", "-m", "pip")
    what = (f"{NAME}[llama-server]=={VERSION}", "uv", "pipx", "pip")
    bounds = ("-c", REPOSITORY / "constraints.txt", "--find-links", DIST, "--only-binary=:all:")
    ran(*pip, "download", "--quiet", "-d", folder, *bounds, *what)
    return folder


def entering(
    root: Path, *command: str, binds: dict[Path, str], variables: dict[str, str], user: int | str
) -> list[str]:
    """Give the command that runs a program in a root, as process 1, with no network but loopback.

    `binds` says which folders of this machine are seen there, and where; nothing can be written to them.
    """
    lines = [
        *(f"mkdir -p {root}{place} && mount --bind -o ro {source} {root}{place}" for source, place in binds.items()),
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        "ip link set lo up",
        shlex.join([
            "exec", "chroot", f"--userspec={user}:{user}", str(root), "env", "-i", f"PATH={PATH}", "LANG=C.UTF-8",
            *(f"{name}={value}" for name, value in variables.items()), *command,
        ]),
    ]  # fmt: skip
    return ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-euc", "\n".join(lines)]


def first_answer(root: Root, how: str) -> dict[str, Any]:
    """Install the wheel in a root, as a user who has just come; give what tests/install/inside.py found."""
    folder = made(root.suite)
    home = folder / HOME[1:]
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    home.chmod(0o755)
    shutil.chown(home, USER, USER)
    binds = {
        downloaded(root.python): "/wheels",
        REPOSITORY / "tests/install": "/test",
        REPOSITORY / "models/demo": "/model",
    }
    if root.program != "/usr/bin/python3":
        (folder / "root").chmod(0o755)  # a Python of pyenv lies there, and knows its libraries by their path
        binds[Path(root.program).parents[1]] = str(Path(root.program).parents[1])
    command = entering(
        folder, root.program, "/test/inside.py", how, binds=binds, variables={"HOME": HOME, "USER": "user"}, user=USER
    )
    said = ran("timeout", "--kill-after=5", "600", *command)
    found: dict[str, Any] = json.loads(said.strip().rpartition("\n")[2])
    return found
