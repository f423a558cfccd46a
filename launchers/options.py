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
        return _listed(options, _read(engine.module, options.files))
    is_program = engine.program is not None and python.rpartition("/")[2].startswith(engine.program)
    return _listed(options, _printed((python, *(() if is_program else ("-P", options.script)), "--help")))


def _listed(options: Options, text: str) -> frozenset[str]:
    names = frozenset(options.pattern.findall(text))
    return names if ALWAYS in names else frozenset()


@lru_cache(maxsize=16)
def _read(module: str, files: tuple[str, ...]) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    folder = Path(spec.origin).parent
    with suppress(OSError):
        return "\n".join(read_ordinary(folder / file).decode(errors="replace") for file in files)
    return ""


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
