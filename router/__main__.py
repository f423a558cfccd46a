"""`python -m router`, and the command `router`: see router.cli.main."""

import sys

BAD_START = 2
INTERRUPTED = 130

NOT_ON_WINDOWS = """\
The router runs on Linux and macOS: it owns its engines by sessions, signals and sockets that Windows itself lacks.
On Windows, run it inside WSL (`wsl --install`), which is Linux; engines use the GPU from there.
"""


def main() -> int:
    """Do what the command line says; give the exit code."""
    # First, as the imports below fail there, in words that help nobody.
    if sys.platform == "win32":
        sys.stderr.write(NOT_ON_WINDOWS)
        return BAD_START
    from launchers import init  # noqa: PLC0415

    # Before anything else: the rest must not run as process 1.
    init.stand_aside()
    try:
        from router.interrupts import held  # noqa: PLC0415

        with held():
            # structlog loads rich wherever that is installed, to draw tracebacks. The router draws none: 6 MiB for
            # nothing.
            sys.modules["rich"] = None  # type: ignore[assignment]
            import structlog  # noqa: F401, PLC0415

            del sys.modules["rich"]
            # Here, so that Ctrl-C during the imports ends like any other.
            from router.cli.main import main as command_line  # noqa: PLC0415

        return command_line()
    except KeyboardInterrupt:
        # There was no event loop yet to handle it.
        return INTERRUPTED
    except RuntimeError as error:
        # Python 3.11 says so of whatever comes while it makes a class.
        if isinstance(error.__cause__, KeyboardInterrupt):
            return INTERRUPTED
        raise


if __name__ == "__main__":
    sys.exit(main())
