"""What a service is made of, on this machine."""

import grp
import os
import pwd
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from router.config import Config
from router.distribution import NAME
from router.service.units import Service

DEVICES: Final = ("dev/kfd", "dev/dri/renderD*")
"""What engines open of AMD's and Intel's GPUs; their owners are groups. NVIDIA's are open to all."""

_NAME: Final = re.compile(r"[\w-]{1,64}", re.ASCII)


class ServiceError(Exception):
    """A service can't be made as asked for; the message says why, and what to do."""


def service_of(
    config: Config, path: Path, environ: Mapping[str, str], *, name: str, system: bool, user: str | None, starts: bool
) -> Service:
    """Look at all that a service of this router.yaml needs. `starts`: it will be started. Raises ServiceError."""
    folder = path.resolve().parent
    if _NAME.fullmatch(name) is None:
        raise ServiceError(f"--name {name!r}: letters, digits, - and _ alone")
    if not str(folder).isprintable():
        raise ServiceError(f"a service's file can't name this folder: {str(folder)!a}")
    who = _user(user or environ.get("SUDO_USER") or _owner(path)) if system else None
    if starts and who is not None and who.pw_uid == 0:
        raise ServiceError(
            "this would be a service of the machine (--system), and engines should not run as root: name whose they "
            "are, with --as USER"
        )
    logs, state = folder / config.logging.dir, folder / config.state.dir
    server = config.server
    return Service(
        name,
        _command(),
        path.absolute(),
        Path(who.pw_dir) if who is not None else Path.home(),
        _path(environ),
        config.limits.drain_timeout,
        logs,
        user=who.pw_name if who is not None else None,
        written=tuple(dict.fromkeys((folder, logs, state))),
        keeps_engines=server.keep_engines,
        ports=(server.port, server.ollama_port or 0),
        groups=_groups(),
        modprobe=shutil.which("nvidia-modprobe", path="/usr/bin:/usr/sbin:/sbin:/bin"),
    )


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ServiceError(f"there is no user {name}; who should run it: --as USER") from None


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        raise ServiceError(
            f"{path} belongs to nobody that has a name: name who should run it, with --as USER"
        ) from None


def _command() -> tuple[str, ...]:
    """What starts the router again: the program that was started now, whose path outlives upgrades, or this Python."""
    program = shutil.which(sys.argv[0])
    if program is not None and Path(program).name in {"router", NAME}:
        return (os.path.abspath(program),)  # noqa: PTH100  (a link stays one: it leads to the next version, too)
    return (sys.executable, "-m", "router")


def _path(environ: Mapping[str, str]) -> str:
    """Give the folders in which programs are looked for, such as llama-server: a manager's own are few."""
    folders = [str(Path(sys.executable).parent), *environ.get("PATH", os.defpath).split(":")]
    return ":".join(dict.fromkeys(each for each in folders if each.startswith("/") and Path(each).is_dir()))


def _groups(root: Path = Path("/")) -> tuple[str, ...]:
    """Give the groups that own the devices of GPUs."""
    found = set()
    for pattern in DEVICES:
        for device in root.glob(pattern):
            with suppress(KeyError, OSError):
                found.add(grp.getgrgid(device.stat().st_gid).gr_name)
    return tuple(sorted(found - {"root"}))
