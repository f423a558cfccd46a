"""Whether the user of a service can run it: what isn't theirs is said before systemd tries it every ten seconds."""

import os
import pwd
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from router.service.units import Service

WITHIN: Final = 30.0
"""Seconds that the router may take to tell its version."""


class Lack(NamedTuple):
    """What the user of a service can't do. `stops`: the router can't start for it."""

    sentence: str
    stops: bool


def as_user(name: str, words: Sequence[str], folder: Path) -> bool:
    """Run a command as another user, which needs root's rights; tell whether that one could."""
    who = pwd.getpwnam(name)
    try:
        done = subprocess.run(
            words,
            user=who.pw_uid,
            group=who.pw_gid,
            extra_groups=os.getgrouplist(name, who.pw_gid),
            cwd=folder,
            env={"PATH": os.defpath, "HOME": who.pw_dir},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=WITHIN,
            check=False,
        )
    except OSError as error:
        # Else it is this process that can't become that user, which says nothing.
        return bool(error.filename != words[0])
    except subprocess.TimeoutExpired:
        # A busy machine; it could be begun.
        return True
    return done.returncode == 0


def lacks(service: Service, could: Callable[[str, Sequence[str], Path], bool] = as_user) -> Iterator[Lack]:
    """Try as the service's user what a start needs."""
    user, folder = service.user, service.config.parent
    if user is None:
        return
    if not could(user, (*service.command, "--version"), folder):
        yield Lack(
            f"{user} can't run {service.command[0]}: install the router where {user} may read it, outside of /root, "
            "with the Python that it runs on",
            stops=True,
        )
    for path, flag, word in ((service.config, "-r", "read"), *((each, "-w", "write to") for each in service.written)):
        # Folders that aren't there are made for this user; router.yaml's own may be read-only.
        if path == folder or not path.exists():
            continue
        if not could(user, ("/bin/sh", "-c", f'test {flag} "$0"', str(path)), folder):
            yield Lack(f"{user} can't {word} {path}: chown it, or name another user, with --as", stops=flag == "-r")
