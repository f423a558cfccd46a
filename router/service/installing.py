"""Where a service's file lies, and which commands install, show and remove it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from router.service.units import Service, label, plist, unit

STATES: Final = (
    "LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "MainPID", "NRestarts", "StatusText",
)  # fmt: skip
"""What systemd is asked for of a service."""


_USER: Final = re.compile(r"^User=(.+)$|<key>UserName</key>\s*<string>(.*?)</string>", re.MULTILINE)


class Command(NamedTuple):
    """A command to run. `else_say`: it may fail, and then this is said; empty: nothing is, None: it mustn't fail.

    `waits`: it fails as long as the service still stops, and is tried again.
    """

    words: tuple[str, ...]
    else_say: str | None = None
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Installation:
    """A service's file with its text, and the commands that go with it.

    `begin` comes after the file is written, `end` before it is removed, and `ended` after that. `shows` prints the
    service's state. `notes` are what a person should know.
    """

    path: Path
    text: str
    begin: tuple[Command, ...]
    end: tuple[Command, ...]
    ended: tuple[Command, ...]
    shows: Command
    notes: tuple[str, ...]


def place(name: str, home: Path, environ: Mapping[str, str], *, system: bool, mac: bool) -> Path:
    """Give the path of a service's file."""
    if mac:
        folder = Path("/Library/LaunchDaemons") if system else home / "Library/LaunchAgents"
        return folder / f"{label(name)}.plist"
    users = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "systemd/user"
    return (Path("/etc/systemd/system") if system else users) / f"{name}.service"


def user_in(text: str) -> str | None:
    """Give the user that a service of the system runs as, by its file."""
    found = _USER.search(text)
    return found and (found[1] or found[2])


def by_systemd(service: Service, path: Path) -> Installation:
    """Install it as a unit of systemd: the system's, or the user's."""
    file = path.name
    if service.user is not None:
        base: tuple[str, ...] = ("systemctl",)
        lasting: tuple[Command, ...] = ()
        notes = [f"Its log: journalctl -u {service.name}"]
    else:
        base = ("systemctl", "--user")
        alone = "it runs only while you are logged in: `sudo loginctl enable-linger` with your name lets it stay"
        lasting = (Command(("loginctl", "enable-linger"), alone),)
        notes = [f"Its log: journalctl --user -u {service.name}"]
    said = " ".join(base)
    notes.append(f"After an edit of router.yaml nothing need be done. To restart it: {said} restart {service.name}")
    read_anew = Command((*base, "daemon-reload"))
    return Installation(
        path,
        unit(service),
        (read_anew, Command((*base, "enable", "--now", file)), *lasting),
        (Command((*base, "disable", "--now", file), ""),),
        (read_anew,),
        Command((*base, "show", file, f"--property={','.join(STATES)}")),
        tuple(notes),
    )


def by_launchd(service: Service, path: Path, uid: int) -> Installation:
    """Install it as a job of launchd: of the system, or of the user, where it runs while that one is logged in."""
    domain = f"gui/{uid}" if service.user is None else "system"
    job = f"{domain}/{label(service.name)}"
    out = Command(("launchctl", "bootout", job), "")
    notes = [
        f"Its log: {service.logs}/router.log; what it said before it had one: {service.logs}/service.out",
        f"After an edit of router.yaml nothing need be done. To restart it: launchctl kickstart -k {job}",
    ]
    return Installation(
        path,
        plist(service),
        # A job that is there already has to go first, which takes as long as its requests do.
        (out, Command(("launchctl", "bootstrap", domain, str(path)), waits=True)),
        (out,),
        (),
        Command(("launchctl", "print", job)),
        tuple(notes),
    )


def state_of(said: str) -> tuple[bool, list[tuple[str, str]]]:
    """Read what `shows` has printed: whether the service runs, and what there is to tell, each with its subject."""
    told = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in said.splitlines())}
    if "ActiveState" not in told:
        # launchd's has more of each word further down, about other things.
        first: dict[str, str] = {}
        for line in said.splitlines():
            key, equals, value = line.strip().partition(" = ")
            if equals:
                first.setdefault(key, value)
        told = {key: first[key] for key in ("state", "pid", "runs", "last exit code") if key in first}
        return first.get("state") == "running", list(told.items())
    state = told["ActiveState"]
    rows = [("state", f"{state} ({told.get('SubState', '')})"), ("at boot", told.get("UnitFileState", ""))]
    if told.get("MainPID", "0") != "0":
        rows.append(("pid", told["MainPID"]))
    if told.get("Result", "success") != "success":
        rows.append(("ended by", told["Result"]))
    if told.get("NRestarts", "0") != "0":
        rows.append(("restarts", told["NRestarts"]))
    rows.append(("says", told.get("StatusText", "")))
    return state in {"active", "reloading"}, [row for row in rows if row[1]]
