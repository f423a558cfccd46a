"""How a command ends: its exit code, and its output."""

import sys
from typing import Final

from router.telemetry.terminal import failure, nobody_reads, say

REFUSED: Final = 1
"""The exit code if a running router couldn't do what it was asked for."""

BAD_START: Final = 2
"""The exit code if something must be put right first: router.yaml, a port, an engine, a model, a router that runs."""

UNPRINTED: Final = 74
"""The exit code if the output of a command can't be printed, as on a full disk; `EX_IOERR` of sysexits.h."""

STOPPED_NOW: Final = 130
"""The exit code after a second Ctrl-C, as in shells."""


class CommandError(Exception):
    """A command can't do its work: the message says why and what to do, `code` is its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def printed(text: str) -> int:
    """Print the output of a command; give the exit code."""
    return 0 if say(text + "\n", sys.stdout) else UNPRINTED


class NobodyReadsError(Exception):
    """Whoever read the output of a command that goes on (`| head`) has stopped: so does the command."""


def goes_on(text: str) -> None:
    """Print a line of an output that goes on. Raises NobodyReadsError, and CommandError where it can't be printed."""
    error = failure(text + "\n", sys.stdout)
    if error is None:
        return
    if nobody_reads(error):
        raise NobodyReadsError
    raise CommandError(f"the output can't be printed: {error}", UNPRINTED)
