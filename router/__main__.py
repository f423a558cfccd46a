"""`python -m router`: see router.cli."""

import sys

INTERRUPTED = 130

if __name__ == "__main__":
    try:
        from router.cli import main

        code = main()
    except KeyboardInterrupt:  # before there was a loop to hear of it
        code = INTERRUPTED
    sys.exit(code)
