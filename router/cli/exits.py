"""How a command ends: its exit code, and its output."""

import sys
from typing import Final

from router.telemetry.terminal import say

BAD_START: Final = 2
"""The exit code if something must be put right first: router.yaml, a port, an engine, a model."""

UNPRINTED: Final = 74
"""The exit code if the output of a command can't be printed, as on a full disk; `EX_IOERR` of sysexits.h."""

STOPPED_NOW: Final = 130
"""The exit code after a second Ctrl-C, as in shells."""


def printed(text: str) -> int:
    """Print the output of a command; give the exit code."""
    return 0 if say(text + "\n", sys.stdout) else UNPRINTED
