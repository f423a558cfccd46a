"""`python -m router`, and the command `router`: see router.cli.main."""

import sys

from launchers import init

INTERRUPTED = 130


def main() -> int:
    """Do what the command line says; give the exit code."""
    # Before anything else: the rest must not run as process 1.
    init.stand_aside()
    try:
        # Here, so that Ctrl-C during the imports ends like any other.
        from router.cli.main import main as command_line  # noqa: PLC0415

        return command_line()
    except KeyboardInterrupt:
        # There was no event loop yet to handle it.
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
