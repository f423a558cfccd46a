"""Do what the command line says."""

import os
import pwd
import sys
from collections.abc import MutableMapping, Sequence
from importlib import import_module

from router.cli.exits import BAD_START, CommandError
from router.cli.mistakes import told
from router.cli.options import parse
from router.config import ConfigError
from router.fleet.launches import StartError
from router.interrupts import held
from router.telemetry.terminal import say, secure_standard_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    secure_standard_streams()
    settle_home(os.environ)
    options = parse(sys.argv[1:] if arguments is None else arguments)
    # Only the module of the command itself: a router at work has no memory to spare for those of the others.
    with held():
        command = import_module(f"router.cli.{options.command or 'run'}")
    try:
        code: int = command.run(options)
    except ConfigError as error:
        say(told(error.problems, sys.stderr), sys.stderr)
        return BAD_START
    except StartError as error:
        say(f"{error}\n", sys.stderr)
        return BAD_START
    except CommandError as error:
        say(f"{error}\n", sys.stderr)
        return error.code
    return code


def settle_home(environ: MutableMapping[str, str]) -> None:
    """Give an empty or missing HOME its value, for this process and its engines: the home that the system knows.

    Taken as it is, an empty one means /, where root would write; without one, Python knows none for a user whom the
    system doesn't know, as in containers.
    """
    if not environ.get("HOME"):
        try:
            environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir or "/"
        except KeyError:
            environ["HOME"] = "/"
