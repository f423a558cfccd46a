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

from launchers.engines import ENGINES
from router.app import App
from router.config import ConfigError, Loaded, load
from router.fleet.launches import StartError
from router.fleet.reload import Reloader
from router.telemetry import logs
from router.telemetry.terminal import say, secure_standard_streams

log = structlog.get_logger("router")

BAD_START = 2
"""The exit code where something must be put right first: router.yaml, a port, an engine, a model."""

UNSAID = 74
"""The exit code where what was asked for can't be printed, as on a full disk; `EX_IOERR` of sysexits.h."""

MOST_FILES = 65536
"""File descriptors that are asked for, where the system allows more than it gives."""

STOPPED_NOW = 130
"""The exit code after a second Ctrl-C, as shells have it."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    name = "router" if Path(sys.argv[0]).stem == "router" else "python -m router"
    described = argparse.ArgumentParser(
        prog=name,
        usage=f"{name} [--config FILE] [--version]\n       {name} {{doctor,check}} [--config FILE]\n"
        f"       {name} plan --config NEW [--running FILE]\n       {name} schema",
        description="Start the engines that router.yaml names, and route OpenAI clients' requests to them.",
        epilog="Ctrl-C lets requests in flight end; a second one stops now.",
    )
    _takes_file(described, Path("router.yaml"))
    described.add_argument("--version", action="version", version=f"router {version('router')}")
    commands = described.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog=name)
    examined = commands.add_parser(
        "doctor",
        help="say what this machine is and what the router would run, and start nothing",
        description="Say what this machine is, what the router would run on it, and what would be in its way.",
        epilog="Exit code: 0, or 1 where something would stop the router.",
    )
    _takes_file(examined)
    checked = commands.add_parser(
        "check",
        help="say all that is wrong with router.yaml, and start nothing",
        description="Read router.yaml, and say all that is wrong with it: where, and what would be right.",
        epilog="Exit code: 0, or 2 where the file can't be used.",
    )
    _takes_file(checked)
    commands.add_parser("schema", help="print the JSON Schema of router.yaml, for editors")
    planned = commands.add_parser(
        "plan",
        help="say what a running router would do to go over to another configuration, and do nothing",
        description="Compare the configuration that runs with another, and print what a reload would do.",
        epilog="Exit code: 0, or 2 where one of the two can't be used.",
    )
    planned.add_argument("--config", type=Path, required=True, metavar="NEW", help="what it would be")
    planned.add_argument(
        "--running", type=Path, default=Path("router.yaml"), metavar="FILE", help="what runs; default: router.yaml"
    )
    return described


def _takes_file(described: argparse.ArgumentParser, default: Path | str = argparse.SUPPRESS) -> None:
    """Add the option that names router.yaml; a command's own, where it is given, goes over the one before it."""
    described.add_argument(
        "--config", type=Path, default=default, metavar="FILE", help="default: router.yaml, in this folder"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    secure_standard_streams()
    options = parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except (ConfigError, StartError) as error:
        say(f"{error}\n", sys.stderr)
        return BAD_START


def run(options: argparse.Namespace) -> int:
    """Run the router until it is told to stop."""
    loaded = load(options.config, os.environ)
    folder = options.config.resolve().parent
    files = raise_file_limit()
    logs.configure(loaded.config.logging.level, folder / loaded.config.logging.dir)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve(loaded, folder, files))


def check(options: argparse.Namespace) -> int:
    """Say that a configuration can be used, and what of it has no effect yet."""
    # Here, as a router at work needs nothing of it: half a megabyte.
    from router.doctor.findings import Mark  # noqa: PLC0415
    from router.doctor.judging import of_doors  # noqa: PLC0415

    loaded = load(options.config, os.environ)
    for problem in loaded.not_yet:
        say(f"{problem}\n", sys.stderr)
    config = loaded.config
    told = [f"{loaded.path} can be used. Backends: {len(config.backends)}, routes: {len(config.routes)}."]
    told += [f"{each.what}: {each.text}" for each in of_doors(config) if each.mark is Mark.LOOK]
    return _printed("\n".join(told))


def examine(options: argparse.Namespace) -> int:
    """Print the doctor's findings."""
    from router.doctor import findings, looking  # noqa: PLC0415  (as above)

    sections = asyncio.run(looking.examine(options.config, os.environ))
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = findings.render(sections).encode(encoding, errors="replace").decode(encoding)  # not every terminal has a ✗
    return max(_printed(text), findings.exit_code(sections))


def plan(options: argparse.Namespace) -> int:
    """Print what it takes to get from the configuration that runs to another."""
    from router.fleet import planning  # noqa: PLC0415  (as above)

    old, new = load(options.running, os.environ), load(options.config, os.environ)
    facts = planning.look(ENGINES)
    for note in () if facts.gpus else facts.notes:
        say(f"{note}\n", sys.stderr)
    found = planning.preview(old.config, new.config, options.running.resolve().parent, ENGINES, facts)
    return _printed(f"{options.running} → {options.config}\n{planning.told(found)}")


def print_schema(_: argparse.Namespace) -> int:
    """Print the JSON Schema of router.yaml."""
    from router.config.schema import schema  # noqa: PLC0415  (as above)

    return _printed(json.dumps(schema(), indent=1))


def _printed(text: str) -> int:
    """Print what a command is asked for; give the exit code."""
    return 0 if say(text + "\n", sys.stdout) else UNSAID


COMMANDS: dict[str | None, Callable[[argparse.Namespace], int]] = {
    None: run,
    "check": check,
    "doctor": examine,
    "plan": plan,
    "schema": print_schema,
}


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

    def on_hangup() -> None:
        if by_hand and not sys.stderr.isatty():
            on_signal()  # the terminal was closed
        else:
            reloader.ask()

    by_hand = sys.stderr.isatty()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, on_signal)
    loop.add_signal_handler(signal.SIGTERM, on_signal)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    for problem in loaded.not_yet:
        log.warning(str(problem))
    reloader = Reloader(loaded, lambda: load(loaded.path, os.environ))
    app = App(loaded.config, folder, files=files, reloader=reloader)
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
