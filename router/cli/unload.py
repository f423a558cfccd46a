"""`unload`: have a running router unload models, and wait until their memory is free."""

import argparse
import asyncio
import json
import sys
from collections.abc import Collection

from router.cli import running
from router.cli.exits import BAD_START, STOPPED_NOW, CommandError, printed
from router.cli.running import Reply, Running
from router.telemetry.terminal import say


def run(options: argparse.Namespace) -> int:
    """Unload models. Raises ConfigError and CommandError."""
    names: Collection[str] = dict.fromkeys(options.names)
    if bool(names) is options.all:
        raise CommandError("say which models to unload: NAME..., or --all", BAD_START)
    try:
        replies = running.ask(options, lambda router: _unload(router, names))
    except KeyboardInterrupt:
        say("They are unloaded all the same, once their requests in flight are answered.\n", sys.stderr)
        return STOPPED_NOW
    for reply in replies:
        if reply.error:
            say(f"{reply.error}\n", sys.stderr)
    if options.json:
        return printed(json.dumps(running.together(replies), indent=1)) or running.code_of(replies)
    ended = {model.name: model.state for reply in replies if not reply.error for model in reply.models}
    lines = [f"{name} is {state}" for name, state in ended.items()]
    if not replies:
        lines = ["Nothing is loaded."]
    return (printed("\n".join(lines)) if lines else 0) or running.code_of(replies)


async def _unload(router: Running, names: Collection[str]) -> list[Reply]:
    """Unload what the names mean, all at once; without names, whatever isn't unloaded."""
    if not names:
        names = [model.name for model in (await router.models()).models if model.state not in {"unloaded", "failed"}]
    return await asyncio.gather(*(router.unload(name) for name in names))
