"""Builds and runs an image without docker: the steps of the Dockerfile, in copies of a Debian root.

The root stands for `python:3.13-slim-trixie`: the same Debian, with its own Python 3.13 in the place of that image's.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template

from tests.dockerfile import Stage, is_sent, stages
from tests.install.roots import PATH, ROOTS, ran
from tests.running import REPOSITORY

PACKAGES = "python3,python3-dev,python3-pip,python3-venv,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PASSED = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
"""What this machine knows of the way to the package registries."""


@dataclass(frozen=True)
class Image:
    """A root with what an image says of its processes."""

    root: Path
    variables: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    user: str = "0"
    folder: str = "/"
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()

    def running(self, *command: str, network: bool, more: dict[str, str] | None = None) -> list[str]:
        """Give the command that runs a program in it, as process 1; without a network, it has loopback."""
        variables = [f"{name}={value}" for name, value in {**self.variables, **(more or {})}.items()]
        lines = [
            f"mount -t proc proc {self.root}/proc",
            f"mount --rbind /dev {self.root}/dev",
            *([] if network else ["ip link set lo up"]),
            shlex.join([
                "exec", "chroot", f"--userspec={self.user}:{self.user}", str(self.root),
                "env", "-i", f"--chdir={self.folder}", *variables, *command,
            ]),
        ]  # fmt: skip
        spaces = ["--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        return ["unshare", *spaces, "sh", "-euc", "\n".join(lines)]

    def beside(self, process: int, *command: str) -> list[str]:
        """Give the command that runs a program beside its process 1, as `docker exec` does."""
        inside = ["nsenter", f"--target={process}", "--mount", "--pid", "--net", "--root"]
        who = [f"--setgid={self.user}", f"--setuid={self.user}"]
        variables = (f"{name}={value}" for name, value in self.variables.items())
        return [*inside, *who, "env", "-i", f"--chdir={self.folder}", *variables, *command]


def build(target: str, arguments: dict[str, str]) -> Image:
    """Do all steps that an image needs; give it. `arguments` stand for those of the Dockerfile's ARG."""
    return _Builder(arguments).build(target)


class _Builder:
    def __init__(self, arguments: dict[str, str]) -> None:
        self._arguments = arguments
        self._stages = stages()
        self._built: dict[str, Image] = {}

    def build(self, name: str) -> Image:
        if name not in self._built:
            stage = self._stages[name]
            below = self.build(stage.base) if stage.base in self._stages else Image(_python())
            root = ROOTS / "images" / name
            shutil.rmtree(root, ignore_errors=True)
            root.parent.mkdir(exist_ok=True)
            ran("cp", "-a", "--reflink=auto", below.root, root)
            self._built[name] = self._steps(stage, replace(below, root=root))
        return self._built[name]

    def _steps(self, stage: Stage, image: Image) -> Image:
        arguments: dict[str, str] = {}
        for word, rest in stage.instructions:
            if word == "ARG":
                name, _, default = rest.partition("=")
                arguments[name] = self._arguments.get(name, default)
            elif word == "RUN":
                more = {**_registries(), **arguments}
                ran(*image.running("sh", "-c", rest, network=True, more=more))
            elif word == "COPY":
                self._copy(rest, image)
            else:
                image = _described(image, word, rest)
        return image

    def _copy(self, rest: str, image: Image) -> None:
        *options, source, target = rest.split()
        to = (
            image.root / os.path.normpath(f"{image.folder}/{target}")[1:]
            if target[0] != "/"
            else image.root / target[1:]
        )
        if options:
            (name,) = options
            of = self.build(name.removeprefix("--from=")).root
            ran("cp", "-a", of / source[1:], to)
            return
        listed = ran("git", "ls-files", "--cached", "--others", "--exclude-standard", source, cwd=REPOSITORY)
        for name in filter(is_sent, listed.splitlines()):
            if (REPOSITORY / name).is_file():
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, to / name)


def _described(image: Image, word: str, rest: str) -> Image:
    match word:
        case "ENV":
            pairs = (each.partition("=") for each in shlex.split(rest))
            variables = {name: Template(value).safe_substitute(image.variables) for name, _, value in pairs}
            return replace(image, variables={**image.variables, **variables})
        case "USER":
            return replace(image, user=rest)
        case "WORKDIR":
            (image.root / rest[1:]).mkdir(parents=True, exist_ok=True)
            return replace(image, folder=rest)
        case "ENTRYPOINT":
            return replace(image, command=tuple(json.loads(rest)))
        case "HEALTHCHECK":
            return replace(image, health=tuple(json.loads(rest[rest.index("[") :])))
        case "EXPOSE":
            return image
    raise NotImplementedError(word)


def _python() -> Path:
    """Make the root that stands for the image that the Dockerfile begins with, unless it is there."""
    folder, whole = ROOTS / "python", ROOTS / "python.made"
    if not whole.exists():
        shutil.rmtree(folder, ignore_errors=True)
        ran("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", folder)
        for name in ("python", "python3"):
            (folder / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
        (folder / "usr/local/bin/pip").symlink_to("/usr/bin/pip3")
        for said in folder.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            said.unlink()  # it is Debian's; that image's pip installs beside its Python
        whole.touch()
    # How this machine finds others, and whom it trusts there.
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    shutil.copy(CERTIFICATES, folder / CERTIFICATES.relative_to("/"))
    return folder


def _registries() -> dict[str, str]:
    known = {name: os.environ[name] for name in PASSED if name in os.environ}
    return {"PIP_CERT": str(CERTIFICATES), **known}


def started(image: Image, said: Path) -> subprocess.Popen[bytes]:
    """Run an image as `docker run` does; its end is that of its process 1."""
    with said.open("wb") as file:
        return subprocess.Popen(image.running(*image.command, network=False), stdout=file, stderr=file)
