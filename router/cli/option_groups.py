"""Options that several commands take."""

import argparse
from pathlib import Path


def asks(described: argparse.ArgumentParser) -> None:
    """Add what each command takes that asks a running router."""
    takes_file(described)
    finds(described)
    described.add_argument(
        "--key",
        metavar="KEY",
        help="an admin key; default: ROUTER_ADMIN_KEY, or the first of auth.admin_keys in the file",
    )
    described.add_argument("--json", action="store_true", help="print all of it, for programs")
    described.epilog = described.epilog or (
        "Exit code: 0; 1 where the router couldn't do it; 2 where no router answers, or it doesn't take the key."
    )


def whole(text: str) -> int:
    """Read a whole number. Raises ArgumentTypeError."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def finds(described: argparse.ArgumentParser) -> None:
    """Add what says where a router is."""
    described.add_argument("--url", metavar="URL", help="where the router is; default: ROUTER_URL, or as the file says")
    described.add_argument(
        "--ca",
        metavar="FILE",
        help="with an https --url: the certificate of its CA, or its own; default: ROUTER_CA, or those of this system",
    )


def takes_file(described: argparse.ArgumentParser, default: Path | str = argparse.SUPPRESS) -> None:
    """Add the option that names router.yaml; given behind a command, it replaces the one before it."""
    described.add_argument(
        "--config", type=Path, default=default, metavar="FILE", help="default: router.yaml, in this folder"
    )
