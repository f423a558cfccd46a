"""Do what the command line says."""

import sys
from collections.abc import Sequence
from importlib import import_module

from router.cli.exits import BAD_START, CommandError
from router.cli.mistakes import told
from router.cli.options import parse
from router.config import ConfigError
from router.fleet.launches import StartError
from router.telemetry.terminal import say, secure_standard_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    secure_standard_streams()
    options = parse(sys.argv[1:] if arguments is None else arguments)
    # Only the module of the command itself: a router at work has no memory to spare for those of the others.
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
