"""`unload`: have a running router unload models, and wait until their memory is free."""

import argparse
import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from router.api.admin.models import MODELS, UNLOAD, ModelsTold
from router.cli import running
from router.cli.exits import BAD_START, CommandError
from router.cli.running import Reply, Running
from router.core.memory.states import State
from router.telemetry.logs import printable

_KNOWN: Final = frozenset(each.value for each in State)


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
    return [printable(f"{name} is {state}") for name, state in ended.items()]


async def _unload(router: Running, names: Collection[str]) -> list[Reply[ModelsTold]]:
    """Unload what the names mean, all at once; without names, whatever isn't unloaded of this router's own."""
    if not names:
        names = [
            model.name
            for model in running.models_of(await router.call(MODELS))
            if model.state not in {"unloaded", "failed"} and model.peer is None
        ]
    return [_checked(each) for each in await asyncio.gather(*(router.call(UNLOAD, within=None, name=n) for n in names))]


def _checked(reply: Reply[ModelsTold]) -> Reply[ModelsTold]:
    """Give an answer that says that all is unloaded. A request may have had it loaded again meanwhile."""
    models = running.models_of(reply)
    other = ", ".join(f"{each.name} is {each.state}" for each in models if each.state not in _KNOWN)
    if reply.error or (models and not other):
        return reply
    return running.doubted(reply, f"not unloaded: {printable(other) or 'nothing'}")
