"""`load`: have a running router load models, and show how far they are until they are loaded."""

import argparse
import asyncio
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from router.api.admin.models import LOAD, MODELS, ModelsTold, ModelTold
from router.cli import running, shown
from router.cli.running import Reply, Running
from router.telemetry.logs import printable

LOOK_EVERY: Final = 0.5
"""Seconds between two looks how far the loads are."""


def run(options: argparse.Namespace) -> int:
    """Load models. Raises ConfigError and CommandError."""
    names: Collection[str] = dict.fromkeys(options.names)
    return running.tell(
        options, lambda router: _load(router, names), _lines, "The load goes on; `unload` ends it."
    )  # fmt: skip


def _lines(replies: Sequence[Reply[ModelsTold]]) -> list[str]:
    models = {model.name: model for reply in replies for model in running.models_of(reply)}
    return [shown.loaded(model) for model in models.values() if shown.is_loaded(model)]


async def _load(router: Running, names: Collection[str]) -> list[Reply[ModelsTold]]:
    """Load what the names mean, one after the other. Where not all fit, the last ones stay."""
    replies = []
    with ExitStack() as stack:
        bars = stack.enter_context(_Bars()) if sys.stderr.isatty() else None
        for name in names:
            load = asyncio.create_task(router.call(LOAD, within=None, name=name))
            while bars is not None and not (await asyncio.wait({load}, timeout=LOOK_EVERY))[0]:
                bars.show(
                    [model for model in running.models_of(await router.call(MODELS)) if shown.is_on_its_way(model)]
                )
            replies.append(_checked(await load))
    if len(replies) > 1:
        now = {model.name: model for model in running.models_of(await router.call(MODELS))}
        replies = [_with_what_left(reply, now) for reply in replies]
    return replies


def _checked(reply: Reply[ModelsTold]) -> Reply[ModelsTold]:
    """Give an answer that says that all is loaded; what says so with other words isn't believed."""
    models = running.models_of(reply)
    other = ", ".join(f"{each.name} is {each.state}" for each in models if not shown.is_loaded(each))
    if reply.error or (models and not other):
        return reply
    return running.doubted(reply, f"not loaded: {printable(other) or 'nothing'}")


def _with_what_left(reply: Reply[ModelsTold], now: Mapping[str, ModelTold]) -> Reply[ModelsTold]:
    """Give an answer as things are now: a model may have left for one that was loaded after it."""
    gone = [each.name for each in running.models_of(reply) if each.name in now and not shown.is_loaded(now[each.name])]
    if reply.error or not gone:
        return reply
    error = f"{printable(', '.join(gone))} left for models that were loaded later: there isn't memory for all."
    models = tuple(now.get(each.name, each) for each in running.models_of(reply))
    plain = [
        {**each, "state": now[each["name"]].state} if each["name"] in gone else each for each in reply.plain["models"]
    ]
    failure = {"message": error, "code": "insufficient_memory"}
    return Reply(ModelsTold(models=models), {"models": plain, "error": failure}, error)


class _Bars:
    """A bar on the terminal for each backend that is being loaded."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, models: Collection[ModelTold]) -> None:
        """Move each bar; one whose share isn't known runs to and fro."""
        for model in models:
            if model.name not in self._bars:
                self._bars[model.name] = self._progress.add_task("", total=None)
            share = 1.0 if shown.is_loaded(model) else model.share
            self._progress.update(
                self._bars[model.name],
                description=printable(f"{model.name}: {shown.state_of(model)}"),
                total=1.0 if share else None,
                completed=share or 0.0,
            )
