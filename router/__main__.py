"""`python -m router`, and the command `router`: see router.cli."""

import sys

from launchers import init

INTERRUPTED = 130


def main() -> int:
    """Do what the command line says; give the exit code."""
    init.stand_aside()  # before anything else: what follows is not to be process 1
    try:
        from router import cli  # noqa: PLC0415  (an interrupt of the imports is one, too)

        return cli.main()
    except KeyboardInterrupt:  # before there was a loop to hear of it
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
