"""`load`: have a running router load models, and show how far they are until they are loaded."""

import argparse
import asyncio
import json
import sys
from collections.abc import Collection
from contextlib import ExitStack
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from router.cli import running, shown
from router.cli.exits import STOPPED_NOW, printed
from router.cli.running import Model, Reply, Running
from router.telemetry.terminal import say

LOOK_EVERY: Final = 0.5
"""Seconds between two looks how far the loads are."""


def run(options: argparse.Namespace) -> int:
    """Load models. Raises ConfigError and CommandError."""
    names: Collection[str] = dict.fromkeys(options.names)
    try:
        replies = running.ask(options, lambda router: _load(router, names))
    except KeyboardInterrupt:
        say("The load goes on; `unload` ends it.\n", sys.stderr)
        return STOPPED_NOW
    for reply in replies:
        if reply.error:
            say(f"{reply.error}\n", sys.stderr)
    if options.json:
        return printed(json.dumps(running.together(replies), indent=1)) or running.code_of(replies)
    loaded = {model.name: model for reply in replies for model in reply.models if shown.is_loaded(model)}
    lines = [
        f"{name} is loaded: {shown.memory_of(model) or 'its memory is not known'}" for name, model in loaded.items()
    ]
    return (printed("\n".join(lines)) if lines else 0) or running.code_of(replies)


async def _load(router: Running, names: Collection[str]) -> list[Reply]:
    """Load what the names mean. The first answers say which backends that are."""
    begun = [await router.load(name, wait=False) for name in names]
    if failed := [reply for reply in begun if reply.error]:
        return failed
    backends = {model.name for reply in begun for model in reply.models}
    with ExitStack() as stack:
        bars = stack.enter_context(_Bars()) if sys.stderr.isatty() else None
        loads = [asyncio.create_task(router.load(name)) for name in names]
        left: Collection[asyncio.Task[Reply]] = loads
        while left:
            _, left = await asyncio.wait(left, timeout=LOOK_EVERY)
            if left and bars is not None:
                bars.show([model for model in (await router.models()).models if model.name in backends])
    return [load.result() for load in loads]


class _Bars:
    """A bar on the terminal for each backend that is loading."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, models: Collection[Model]) -> None:
        """Move each bar; one whose share isn't known runs to and fro."""
        for model in models:
            if model.name not in self._bars:
                self._bars[model.name] = self._progress.add_task("", total=None)
            share = 1.0 if shown.is_loaded(model) else model.share
            self._progress.update(
                self._bars[model.name],
                description=f"{model.name}: {shown.state_of(model)}",
                total=1.0 if share else None,
                completed=share or 0.0,
            )
