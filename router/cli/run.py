"""Without a command: start the engines, route requests, and stop at a signal."""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from router import settings
from router.api.surface import servable
from router.app import App
from router.cli.exits import STOPPED_NOW
from router.cli.lock import FolderLock
from router.config import Loaded, load
from router.fleet.reload import Reloader
from router.service.notify import Notifier, sentence
from router.telemetry import logs

log = structlog.get_logger("router")

MOST_FILES = 65536
"""Open files to ask for, if the system's hard limit allows them."""


def run(options: argparse.Namespace) -> int:
    """Run the router until it is told to stop. Raises ConfigError and StartError."""
    with Notifier(os.environ) as manager:
        return run_for(manager, options.config)


def run_for(manager: Notifier, config: Path) -> int:
    """Run the router, and tell a service manager how it is. Raises ConfigError and StartError."""
    loaded = load(config, os.environ)
    folder = config.resolve().parent
    files = raise_file_limit()
    kept = folder / loaded.config.logging.dir
    with FolderLock(kept, loaded.path) as lock:
        said = loaded.config.logging
        logs.configure(said.level, kept, form=logs.Form(said.format), rotation=settings.rotation(loaded.config))
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(serve(loaded, folder, lock.serves_at, manager, files))


def raise_file_limit() -> int | None:
    """Raise the limit of open files as far as this user may: each stream needs two, and defaults are as low as 256.

    Gives the limit; None if there is none.
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
    """Let the collector skip everything that the start allocated, and run seldom.

    The objects of an exchange are freed by their reference counts; by default the collector would walk over all modules
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


def terminals() -> tuple[bool, bool]:
    """Tell whether errors are shown on a terminal, and whether a terminal controls this process."""
    controlled = False
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        controlled = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return sys.stderr.isatty(), controlled


def words_of(app: App, asked: asyncio.Event) -> str:
    """Tell how the router is, in a sentence; `asked`: whether it was asked to stop."""
    last = app.reloader.last if app.reloader is not None else None
    mistakes = len(last.problems) if last is not None else 0
    models, in_flight = len(servable(app.plane)), len(app.plane.exchanges)
    drain = app.plan.config.limits.drain_timeout if asked.is_set() else None
    stops_in = drain if app.stops_in is None else app.stops_in
    return sentence(app.url, models, in_flight, mistakes=mistakes, stops_in=stops_in)


async def serve(
    loaded: Loaded, folder: Path, on_url: Callable[[str], None], manager: Notifier, files: int | None = None
) -> int:
    """Start, wait for a signal, stop; a second signal stops now. `on_url` is told where the router can be reached.

    SIGHUP is a reload, but the end of the terminal in which the router was started is a signal to stop, as Ctrl-C is.
    Under nohup, which ignores that end, it isn't.
    """
    asked, insisted = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (insisted if asked.is_set() else asked).set()

    def on_hangup() -> None:
        if any(was and not is_now for was, is_now in zip(started_in, terminals(), strict=True)):
            log.info("the terminal is gone")
            on_signal()
        else:
            reloader.ask()

    started_in = terminals()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, on_signal)
    loop.add_signal_handler(signal.SIGTERM, on_signal)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    reloader = Reloader(loaded, lambda: load(loaded.path, os.environ))
    reloader.on_begin, reloader.on_end = manager.reloading, manager.reloaded
    app = App(loaded.config, folder, files=files, reloader=reloader)
    try:
        await app.start()
        on_url(app.url)
        manager.ready(partial(words_of, app, asked))
        settle_garbage_collector()
        app.watch_loop()
        await asked.wait()
    except BaseException:
        # Whatever went wrong, no engine stays behind.
        await app.kill()
        raise
    log.info("stopping")
    manager.stopping(app.plan.config.limits.drain_timeout)
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
