"""`service`: have this system start the router, keep it running, and say how it is."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from launchers.files import own_folder, read_ordinary
from router.cli.exits import BAD_START, REFUSED, CommandError, printed
from router.config import Config, ConfigError, load
from router.service.installing import Command, Installation, by_launchd, by_systemd, place, state_of, user_in
from router.service.looking import ServiceError, service_of
from router.service.rights import lacks
from router.service.units import MARK, Service
from router.telemetry.logs import printable
from router.telemetry.terminal import say

WITHIN: Final = 60.0
"""Seconds that a manager may take, beside those in which the service may stop."""

AGAIN: Final = 1.0
"""Seconds between two tries of a command that waits."""

_PATH: Final = re.compile(r"^Environment=.*$|<key>PATH</key>\s*<string>.*?</string>", re.MULTILINE)


def run(options: argparse.Namespace) -> int:
    """Install the service, or tell of it, or remove it. Raises ConfigError and CommandError."""
    system = os.geteuid() == 0 if options.scope is None else options.scope == "system"
    if options.user is not None and not system:
        raise CommandError("--as USER is for --system: a user's own service runs as that user", BAD_START)
    mac = sys.platform == "darwin"
    path = place(options.name, Path.home(), os.environ, system=system, mac=mac)
    there = _there(path)
    try:
        service = service_of(
            _config(options),
            options.config,
            os.environ,
            name=options.name,
            system=system,
            user=options.user or user_in(there or ""),
            starts=options.what == "install",
        )
    except ServiceError as error:
        raise CommandError(str(error), BAD_START) from None
    made = by_launchd(service, path, os.getuid()) if mac else by_systemd(service, path)
    if options.what == "status":
        return status(made, there, options.name)
    if options.what == "install":
        _try_as_user(service, is_refused=not options.dry_run)
    if options.dry_run:
        return printed(_preview(made, remove=options.what == "remove"))
    if system and os.geteuid() != 0:
        raise CommandError(f"a service of the system is root's to {options.what}: use sudo, or --user", BAD_START)
    if there is not None and MARK not in there:
        raise CommandError(f"{made.path} is somebody else's: take another --name", BAD_START)
    if options.what == "remove":
        return remove(made, service, there)
    return install(made, service)


def _config(options: argparse.Namespace) -> Config:
    """Read router.yaml. To remove a service, it needn't be right, or there. Raises ConfigError."""
    try:
        return load(options.config, os.environ).config
    except ConfigError:
        if options.what != "remove":
            raise
        return Config.model_validate({"backends": [{"url": "http://localhost"}]})


def install(made: Installation, service: Service) -> int:
    """Write the file, and start the service. Raises CommandError."""
    try:
        make_folders(service)
        made.path.parent.mkdir(parents=True, exist_ok=True)
        made.path.write_text(made.text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{made.path} can't be written: {error.strerror or error}", REFUSED) from None
    _all(made.begin, service.stops_within)
    return printed("\n".join([f"{made.path} is written, and the service runs.", *made.notes]))


def _try_as_user(service: Service, *, is_refused: bool) -> None:
    """Say what the service's user can't do, where this one may try it. Raises CommandError."""
    if os.geteuid() != 0:
        return
    found = [*lacks(service)]
    if is_refused and (stops := [each.sentence for each in found if each.stops]):
        raise CommandError("; ".join(stops), BAD_START)
    for each in found:
        say(f"! {each.sentence}\n", sys.stderr)


def make_folders(service: Service) -> None:
    """Make the folders of logs and state, for who runs the service: beside a router.yaml of root's it couldn't."""
    for each in service.written:
        if not each.exists():
            own_folder(each)
            if service.user is not None:
                shutil.chown(each, service.user)


def remove(made: Installation, service: Service, there: str | None) -> int:
    """Stop the service, and remove its file. Raises CommandError."""
    if there is None:
        raise CommandError(f"there is no {made.path}: nothing is removed", REFUSED)
    say(f"It stops; requests in flight may end within {service.drain_timeout:g} s.\n", sys.stderr)
    _all(made.end, service.stops_within)
    made.path.unlink(missing_ok=True)
    _all(made.ended, service.stops_within)
    return printed(f"{made.path} is removed.")


def status(made: Installation, there: str | None, name: str) -> int:
    """Tell whether the service runs; 1 if it doesn't."""
    if there is None:
        raise CommandError(f"{name} is no service here: there is no {made.path}", REFUSED)
    code, said = _run(made.shows, WITHIN)
    runs, rows = state_of(said)
    rows = [("file", str(made.path)), *(rows if rows or not code else [("state", "not known to its manager")])]
    # PATH is that of whoever installs it.
    if _PATH.sub("", there) != _PATH.sub("", made.text):
        rows.append(("but", "`service install` would write it otherwise now: router.yaml or this machine has changed"))
    width = max(len(what) for what, _ in rows)
    wrong = printed("\n".join(f"{what:<{width}}  {printable(text)}" for what, text in rows))
    return wrong or (0 if runs else REFUSED)


def _preview(made: Installation, *, remove: bool) -> str:
    """What would be done, as commands; the file stands below, so that it can be piped into a check."""
    if remove:
        doing = [*made.end, Command(("rm", str(made.path))), *made.ended]
        return "\n".join(" ".join(each.words) for each in doing)
    done = [str(made.path), *(f"then: {' '.join(each.words)}" for each in made.begin)]
    if made.text.startswith("<?"):
        # Nothing may stand before a plist's first line.
        return "\n".join([made.text.rstrip("\n"), *(f"<!-- {each} -->" for each in done)])
    return "\n".join([*(f"# {each}" for each in done), made.text.rstrip("\n")])


def _there(path: Path) -> str | None:
    """Read the service's file, if there is one."""
    try:
        return read_ordinary(path).decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror or error}", REFUSED) from None


def _all(commands: Iterable[Command], stops_within: float) -> None:
    """Run commands. Raises CommandError at the first one that mustn't fail, and does."""
    for each in commands:
        code, said = _run(each, stops_within + WITHIN)
        until = time.monotonic() + stops_within
        while code and each.waits and time.monotonic() < until:
            time.sleep(AGAIN)
            code, said = _run(each, WITHIN)
        if code and each.else_say is None:
            raise CommandError(
                f"`{' '.join(each.words)}` failed: {printable(said.strip()) or f'exit code {code}'}", REFUSED
            )
        if code and each.else_say:
            say(f"! {each.else_say}\n", sys.stderr)


def _run(command: Command, within: float) -> tuple[int, str]:
    """Run a command of the service manager; give its exit code and what it says. Raises CommandError."""
    try:
        done = subprocess.run(
            command.words, capture_output=True, text=True, timeout=within, check=False, errors="replace"
        )
    except FileNotFoundError:
        which = "launchd" if command.words[0] == "launchctl" else "systemd"
        sentence = f"there is no {command.words[0]} here: this system has no {which}; see docs/services.md for others"
        raise CommandError(sentence, BAD_START) from None
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {within:g} s"
    return done.returncode, done.stdout + done.stderr
