"""`top`: show what a running router does, drawn anew about once a second: backends, requests, GPUs, last events.

On a terminal it has the screen for itself until Ctrl-C. Where frames can't be drawn over each other (a pipe,
`TERM=dumb`) they are printed one below the other. A router that doesn't answer any more is waited for.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live

from router.api.admin.logs import LOGS
from router.api.admin.requests import REQUESTS
from router.api.admin.status import STATUS
from router.cli import running
from router.cli.exits import REFUSED, CommandError, goes_on
from router.cli.running import Reply, Running
from router.cli.screen import Seen, frame

LINES: Final = 60
"""Requests, and events, that are asked for: more than most terminals have lines for."""

ANSWER_WITHIN: Final = 5.0
"""Seconds without an answer after which the router counts as lost."""

Show = Callable[["Look"], None]


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one look, and as `plain` data; without an answer, what was seen before and why it is lost."""

    seen: Seen
    plain: dict[str, Any]


def run(options: argparse.Namespace) -> int:
    """Show it until Ctrl-C, or once. Raises ConfigError and CommandError."""
    console = Console(markup=False, emoji=False, highlight=False)
    if options.json:
        return _until_the_end(options, lambda look: goes_on(json.dumps(look.plain)))
    if options.once or not console.is_terminal or console.is_dumb_terminal:
        return _until_the_end(options, lambda look: goes_on(_plain(look.seen, console)))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    # SIGTERM, too, gives the screen back.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        return _until_the_end(options, lambda look: live.update(_drawn(look.seen, console), refresh=True))


def _until_the_end(options: argparse.Namespace, show: Show) -> int:
    return running.follow(options, lambda router: watch(router, show, options.interval, once=options.once))


def _plain(seen: Seen, console: Console) -> str:
    return "\n".join(line.plain.rstrip() for line in frame(seen, console.width, console.height)) + "\n"


def _drawn(seen: Seen, console: Console) -> Group:
    return Group(*frame(seen, console.width, console.height))


async def watch(router: Running, show: Show, interval: float, *, once: bool = False) -> None:
    """Look each `interval` seconds, and show it. Raises CommandError where the first look fails."""
    look, answered = await _look(router), time.monotonic()
    while True:
        show(look)
        if once:
            return
        await asyncio.sleep(interval)
        try:
            look, answered = await _look(router), time.monotonic()
        except CommandError as error:
            lost = f"LOST for {time.monotonic() - answered:.0f} s, and waited for: {error}"
            look = Look(replace(look.seen, lost=lost), {"lost": lost})


async def _look(router: Running) -> Look:
    """Ask the router. Raises CommandError."""
    status = await router.call(STATUS, within=ANSWER_WITHIN)
    requests = await router.call(REQUESTS, within=ANSWER_WITHIN, limit=LINES)
    logs = await router.call(LOGS, within=ANSWER_WITHIN, limit=LINES)
    told = Seen(_told(status), _told(requests), _told(logs).events)
    return Look(told, {"status": status.plain, "requests": requests.plain, **logs.plain})


def _told(reply: Reply[running.T]) -> running.T:
    if reply.told is None:
        raise CommandError(reply.error, REFUSED)
    return reply.told
