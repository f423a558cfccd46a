"""Which options an installed engine has: read in its package's files, or asked of its program."""

import importlib.util
import subprocess
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from launchers.engines import Engine
from launchers.engines.base import Options
from launchers.files import read_ordinary

PATIENCE = 10.0
"""Seconds that a program may take to say what it knows."""

ALWAYS = "port"
"""An option of every engine: a text without it isn't the one that was looked for."""


def options_of(engine: Engine, python: str) -> frozenset[str]:
    """Give the names of an engine's options, as it writes them; `python` as for its command. Empty: not known."""
    options = engine.options
    if options is None:
        return frozenset()
    if not options.script:
        return _listed(options, _read(_folder(engine.module, python), options.files))
    is_program = engine.program is not None and python.rpartition("/")[2].startswith(engine.program)
    return _listed(options, _printed((python, *(() if is_program else ("-P", options.script)), "--help")))


def _listed(options: Options, text: str) -> frozenset[str]:
    names = frozenset(options.pattern.findall(text))
    return names if ALWAYS in names else frozenset()


def _folder(module: str, python: str) -> Path | None:
    """Find a module in the router's own Python, or beside a program that has an environment of its own."""
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent
    environment = Path(python).resolve().parent.parent
    return next(environment.glob(f"lib/python3*/site-packages/{module}"), None)


def _read(folder: Path | None, files: tuple[str, ...]) -> str:
    text = ""
    if folder is None:
        return text
    for file in files:
        with suppress(OSError):
            text += read_ordinary(folder / file).decode(errors="replace")
    return text


@lru_cache(maxsize=16)
def _printed(argv: tuple[str, ...]) -> str:
    with suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        ).stdout
    return ""
