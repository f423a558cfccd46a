"""The command line: options, a configuration, a running router, an exit code."""

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import structlog

from router import doctor
from router.app import App
from router.config import ConfigError, Loaded, load, schema
from router.launches import StartError
from router.telemetry import logs

log = structlog.get_logger("router")

BAD_START = 2
"""The exit code where something must be put right first: router.yaml, a port, an engine, a model."""

MOST_FILES = 65536
"""File descriptors that are asked for, where the system allows more than it gives."""

STOPPED_NOW = 130
"""The exit code after a second Ctrl-C, as shells have it."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    described = argparse.ArgumentParser(
        prog="python -m router",
        usage="python -m router [--config FILE] [--version]\n       python -m router {doctor,check} [--config FILE]\n"
        "       python -m router schema",
        description="Start the engines that router.yaml names, and route OpenAI clients' requests to them.",
        epilog="Ctrl-C lets requests in flight end; a second one stops now.",
    )
    described.add_argument(
        "--config", type=Path, default=Path("router.yaml"), metavar="FILE", help="default: router.yaml, in this folder"
    )
    described.add_argument("--version", action="version", version=f"router {version('router')}")
    commands = described.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog="python -m router")
    examined = commands.add_parser(
        "doctor",
        help="say what this machine is and what the router would run, and start nothing",
        description="Say what this machine is, what the router would run on it, and what would be in its way.",
        epilog="Exit code: 0, or 1 where something would stop the router.",
    )
    examined.add_argument(
        "--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="default: router.yaml, in this folder"
    )
    checked = commands.add_parser(
        "check",
        help="say all that is wrong with router.yaml, and start nothing",
        description="Read router.yaml, and say all that is wrong with it: where, and what would be right.",
        epilog="Exit code: 0, or 2 where the file can't be used.",
    )
    checked.add_argument(
        "--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="default: router.yaml, in this folder"
    )
    commands.add_parser("schema", help="print the JSON Schema of router.yaml, for editors")
    return described


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; give the exit code."""
    options = parser().parse_args(arguments)
    if options.command == "doctor":
        return examine(options.config)
    if options.command == "schema":
        print(json.dumps(schema(), indent=1))
        return 0
    try:
        loaded = load(options.config, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_START
    if options.command == "check":
        return approve(loaded)
    folder = options.config.resolve().parent
    files = raise_file_limit()
    logs.configure(loaded.config.logging.level, folder / loaded.config.logging.dir)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(serve(loaded, folder, files))
    except StartError as error:
        print(error, file=sys.stderr)
        return BAD_START


def approve(loaded: Loaded) -> int:
    """Say that a configuration can be used, and what of it has no effect yet."""
    for problem in loaded.not_yet:
        print(problem, file=sys.stderr)
    config = loaded.config
    print(f"{loaded.path} can be used. Backends: {len(config.backends)}, routes: {len(config.routes)}.")
    return 0


def examine(config: Path) -> int:
    """Print the doctor's findings; give the exit code."""
    sections = asyncio.run(doctor.examine(config, os.environ))
    encoding = sys.stdout.encoding or "utf-8"
    print(doctor.render(sections).encode(encoding, errors="replace").decode(encoding))  # not every terminal has a ✗
    return doctor.exit_code(sections)


def raise_file_limit() -> int | None:
    """Take as many file descriptors as this user may: each stream needs two, and defaults are as low as 256.

    Gives how many there are, where that is bounded.
    """
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  (Windows has none)

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return max(soft, wanted)
    return None


def settle_garbage_collector() -> None:
    """Have the collector look at what requests leave, seldom, and never again at what the start made.

    What an exchange makes is freed by its counts of references; by default the collector would walk over all modules
    every few hundred requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  (Windows has none)
    except ImportError:
        return None
    return uvloop.new_event_loop


async def serve(loaded: Loaded, folder: Path, files: int | None = None) -> int:
    """Start, wait for a signal, stop; a second signal stops now."""
    asked, insisted = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (insisted if asked.is_set() else asked).set()

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the last, when a terminal is closed
        asyncio.get_running_loop().add_signal_handler(signal.Signals[name], on_signal)
    for problem in loaded.not_yet:
        log.warning(str(problem))
    app = App(loaded.config, folder, files=files)
    try:
        await app.start()
        settle_garbage_collector()
        await asked.wait()
    except BaseException:
        await app.kill()  # whatever it was, no engine stays behind
        raise
    log.info("stopping")
    stopping = asyncio.create_task(app.stop(), name="stop")
    insisting = asyncio.create_task(insisted.wait(), name="second signal")
    await asyncio.wait({stopping, insisting}, return_when=asyncio.FIRST_COMPLETED)
    insisting.cancel()
    if stopping.done():
        stopping.result()
        return 0
    log.warning("stopping now")
    stopping.cancel()
    await app.kill()
    return STOPPED_NOW
