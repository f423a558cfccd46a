"""`unload`: have a running router unload models, and wait until their memory is free."""

import argparse
import asyncio
from collections.abc import Collection, Sequence

from router.api.admin.models import MODELS, UNLOAD, ModelsTold
from router.cli import running
from router.cli.exits import BAD_START, CommandError
from router.cli.running import Reply, Running


def run(options: argparse.Namespace) -> int:
    """Unload models. Raises ConfigError and CommandError."""
    names: Collection[str] = dict.fromkeys(options.names)
    if bool(names) is options.all:
        raise CommandError("say which models to unload: NAME..., or --all", BAD_START)
    stopped = "They are unloaded all the same, once their requests in flight are answered."
    return running.tell(options, lambda router: _unload(router, names), _lines, stopped)


def _lines(replies: Sequence[Reply[ModelsTold]]) -> list[str]:
    if not replies:
        return ["Nothing is loaded."]
    ended = {model.name: model.state for reply in replies if not reply.error for model in running.models_of(reply)}
    return [f"{name} is {state}" for name, state in ended.items()]


async def _unload(router: Running, names: Collection[str]) -> list[Reply[ModelsTold]]:
    """Unload what the names mean, all at once; without names, whatever isn't unloaded."""
    if not names:
        names = [
            model.name
            for model in running.models_of(await router.call(MODELS))
            if model.state not in {"unloaded", "failed"}
        ]
    return await asyncio.gather(*(router.call(UNLOAD, within=None, name=name) for name in names))
