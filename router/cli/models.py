"""`models --scan`: find the models on this disk, print entries for router.yaml, and add them with --write."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launchers.scan import places
from profiles import ProfileError
from profiles.detect import gibibytes
from router.cli import ps, tables
from router.cli.exits import BAD_START, REFUSED, CommandError, printed
from router.config import Config, ConfigError, load
from router.config.inserting import InsertError, inserted
from router.config.replacing import ReplaceError, backup_of, replace
from router.scan.models import Machine, Model, Scan, modality_of, scan
from router.telemetry.logs import printable
from router.telemetry.terminal import say

NUMBERS = frozenset({"SIZE", "CONTEXT"})
WHOLE = frozenset({"SIZE", "FITS"})
SPARE = frozenset({"PLACE", "ROUTER.YAML"})
FITS = {True: "yes", False: "no", None: ""}
NOTHING = "No models were found."
WHERE = "Name their folders: `models --scan FOLDER`."


def run(options: argparse.Namespace) -> int:
    """Print the models on this disk. Raises ConfigError and CommandError."""
    if not options.scan:
        if options.write or options.folders:
            raise CommandError("a FOLDER and --write are for --scan: say that, too", BAD_START)
        return ps.run(options)
    path: Path = options.config
    config = config_of(path, must_be_right=options.write)
    found = search(options.folders, path, Machine(path.resolve().parent, config))
    if found.cut:
        say(f"There may be more: the search ended early ({found.cut}). {WHERE}\n", sys.stderr)
    new = [each for each in found.models if each.is_new]
    added = written(path, new) if options.write and new else ""
    if options.json:
        code = printed(json.dumps({"models": [_plain(each) for each in found.models]}, indent=1))
    else:
        said = added or _entries(found.models, new, path)
        code = printed("\n".join([*table(found.models), *(["", said] if said else [])]))
    return code or (REFUSED if found.cut else 0)


def search(folders: Sequence[Path], path: Path, machine: Machine, taken: Sequence[str] = ()) -> Scan:
    """Search these folders, or those where programs keep models, and beside `path`. Raises CommandError."""
    for each in folders:
        if each.is_file():
            raise CommandError(f"{each}: this is a file; name the folder that it is in", BAD_START)
        if not os.access(each, os.R_OK):
            raise CommandError(f"{each}: there is no such folder, or it can't be read", BAD_START)
    known = places.known(path.resolve().parent, os.environ, Path.home(), is_mac=sys.platform == "darwin")
    try:
        return scan(folders or known, machine, time.monotonic, taken)
    except ProfileError as error:
        raise CommandError(f"profile: {error}", BAD_START) from None


def config_of(path: Path, *, must_be_right: bool) -> Config | None:
    """Read router.yaml, if there is one: what it has already isn't new."""
    try:
        return load(path, os.environ).config
    except ConfigError:
        if must_be_right:
            raise
        if path.exists():
            sentence = f"{path} has mistakes (`check` tells them), so it isn't known which models it has already."
            say(f"{sentence}\n", sys.stderr)
        return None


def written(path: Path, new: Sequence[Model]) -> str:
    """Add entries to router.yaml; say what was done. Raises ConfigError and CommandError, and then it is as it was."""
    old = path.read_bytes()
    mark = "\ufeff"
    text = old.decode()
    try:
        changed = inserted(
            text.removeprefix(mark),
            lambda layout: [line for each in new if each.entry for line in ("", *each.entry.lines(layout))],
        )
        loaded = replace(path, old, (mark * text.startswith(mark) + changed).encode(), os.environ)
    except (InsertError, ReplaceError) as error:
        raise CommandError(f"{path}: {error}", BAD_START) from None
    names = ", ".join(each.name for each in new)
    assert {each.name for each in new} <= {each.name for each in loaded.config.backends}  # noqa: S101
    return f"{path} has them now: {names}. What it was is in {_beside(path)}."


def _beside(path: Path) -> str:
    """Name the backup: in full, where the file is elsewhere than it seems."""
    backup = backup_of(path)
    return str(backup) if path.is_symlink() else backup.name


def table(models: Sequence[Model]) -> list[str]:
    """Draw the models, and a line for each note."""
    if not models:
        return [f"{NOTHING} {WHERE}"]
    usable = [each for each in models if each.engine is not None]
    lines = tables.table([_row(each) for each in usable], numbers=NUMBERS, whole=WHOLE, spare=SPARE)
    notes = [f"{printable(_called(each))}: {printable(each.note)}" for each in models if each.note]
    return [*lines, *([""] if lines and notes else []), *notes]


def _called(model: Model) -> str:
    """Name a model; one that can't be used by its place, as it isn't in the table."""
    return model.name if model.engine is not None else model.read.candidate.place


def _row(model: Model) -> dict[str, str]:
    described, engine = model.read.described, model.engine
    return {
        "MODEL": model.name,
        "SIZE": gibibytes(described.size),
        "QUANTISATION": described.quantization,
        "CONTEXT": str(described.context or ""),
        "FOR": modality_of(described),
        "ENGINE": "" if engine is None else engine.name,
        "FITS": FITS[model.fits],
        "ROUTER.YAML": "has it" if model.is_there else "",
        "PLACE": printable(model.read.candidate.hub or model.read.candidate.place),
    }


def _entries(models: Sequence[Model], new: Sequence[Model], path: Path) -> str:
    """Write the entries of new models, as they would stand in router.yaml."""
    if not new:
        return f"Nothing here is new for {path}." if any(each.is_there for each in models) else ""
    lines = [f"# for {path}, below `backends:`; --write adds them there"]
    for each in new:
        lines += [] if each.entry is None else each.entry.lines()
    return "\n".join(lines)


def _plain(model: Model) -> dict[str, Any]:
    """Give all that is known of a model, for programs."""
    described, candidate, engine = model.read.described, model.read.candidate, model.engine
    return {
        "name": model.name,
        "place": candidate.place,
        "hub": candidate.hub or None,
        "files": [str(each) for each in candidate.files],
        "size": described.size or None,
        "architecture": described.architecture or None,
        "parameters": described.parameters or None,
        "quantization": described.quantization or None,
        "context": described.context,
        "modality": modality_of(described) if engine else None,
        "tools": described.tools,
        "engine": engine.name if engine else None,
        "installed": not engine.install if engine else None,
        "fits": model.fits,
        "note": model.note or None,
        "in_router_yaml": model.is_there,
        "entry": dict(model.entry.keys) if model.entry and not model.entry.reason else None,
    }
