"""`import`: make a router.yaml of another program's configuration, and say what can't be carried over."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from launchers.engines import ENGINES
from profiles import ProfileError
from router.cli.exits import BAD_START, CommandError, printed
from router.config import ConfigError
from router.config.reading.files import read
from router.config.replacing import BACKUP, ReplaceError, replace, there
from router.distribution import called
from router.fleet.planning import look
from router.importing import accepting, stores
from router.importing.imported import Imported, mapping
from router.importing.recognising import imported
from router.importing.writing import told
from router.telemetry.logs import printable
from router.telemetry.terminal import say

_AT = "at "


def run(options: argparse.Namespace) -> int:
    """Print it, or write it with --output. Raises ConfigError and CommandError."""
    found = _found(options)
    try:
        text = accepting.accepted(found)
    except ConfigError as error:
        told_of = "\n".join([*told(found), "", *(each.message for each in error.problems)])
        raise CommandError(f"{found.file}: nothing of it can be used here.\n{told_of}", BAD_START) from None
    path: Path | None = options.output
    if path is None:
        say("\n".join([*_told(found), ""]), sys.stderr)
        return printed(text.rstrip("\n"))
    _write(path, text, found, is_forced=options.force)
    used = sum(not each.reason for each in found.entries)
    lines = [f"{path} is written. Backends: {used}, routes: {len(found.routes)}.", "", *_told(found)]
    return printed("\n".join([*lines, "", f"Check it: {called()} check --config {shlex.quote(str(path))}"]))


def _found(options: argparse.Namespace) -> Imported:
    """Read what the command line names. Raises ConfigError and CommandError."""
    if (options.file is not None) + options.ollama + options.lmstudio != 1:
        raise CommandError("name one: the file of another program, --ollama or --lmstudio", BAD_START)
    if options.file is None:
        folder = (options.output or Path("router.yaml")).absolute().parent
        reading = stores.of_ollama if options.ollama else stores.of_lm_studio
        try:
            return reading(folder, os.environ, Path.home())
        except stores.NoStoreError as error:
            raise CommandError(printable(str(error)), BAD_START) from None
        except ProfileError as error:
            raise CommandError(f"profile: {error}", BAD_START) from None
    path: Path = options.file
    version = look(ENGINES).engines.get("llama_server", "")
    # A program has its path in the place of a version.
    program = Path(version.removeprefix(_AT)).resolve() if version.startswith(_AT) else None
    text = read(path, of_another=True)
    found = imported(text, str(path), lambda name: program is not None and Path(name).resolve() == program)
    if found is None:
        raise CommandError(
            f"{path}: this is no configuration that is known here: of llama-swap, LiteLLM or llama.cpp's presets. For "
            "Ollama's models say --ollama, for LM Studio's --lmstudio",
            BAD_START,
        )
    launches = [mapping(each.keys.get("launch")) for each in found.entries]
    if version and program is None and any("model" in each and "engine" in each for each in launches):
        # The package goes before the program, which may be built for a GPU.
        found.advice.append(f"`engine: llama_server` is the package xllamacpp {version} here, not the program on PATH.")
    return found


def _told(found: Imported) -> list[str]:
    """Say what is to be done, and what is left out."""
    lines = told(found)
    unset = [name for name in found.variables if name not in os.environ]
    if unset:
        lines += ["", f"Set before the start: {', '.join(unset)}. router.yaml says what each is."]
    return lines or ["Nothing is left out."]


def _write(path: Path, text: str, found: Imported, *, is_forced: bool) -> None:
    """Write the file. Raises CommandError."""
    try:
        old = there(path)
        if old is not None and not is_forced:
            sentence = f"{path} is there already: --force replaces it, and keeps it as {path.name}{BACKUP}"
            raise CommandError(sentence, BAD_START)
        replace(path, old, text.encode(), accepting.stand_ins(found.variables))
    except ReplaceError as error:
        raise CommandError(printable(str(error)), BAD_START) from None
