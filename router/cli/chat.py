"""`run`: talk with a model in the terminal. Without a command the router starts: that is run.py beside this.

1. A router that runs and has the model answers.
2. Otherwise a model on this disk is found, by its path, by the name that `models --scan` gives it, or by its name on
   the hub, from which it is fetched if it isn't here; and a router is started for it, which ends with the chat.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from launchers.engines import ENGINES
from launchers.weights import hub_folder
from router.cli import models, own, pull
from router.cli.client import Client
from router.cli.exits import BAD_START, STOPPED_NOW, CommandError
from router.cli.running import NoRouterError
from router.cli.talk import Chat, once, talk
from router.config import ConfigError
from router.distribution import called
from router.fleet.planning import look
from router.hub import names
from router.scan.models import Machine, scan
from router.scan.models import Model as Found
from router.telemetry.logs import printable
from router.telemetry.terminal import say

MOST_NAMED: Final = 10
"""Models that an error names."""
MOST_PIPED: Final = 64 << 20
"""Bytes of standard input that are read with --prompt."""


def run(options: argparse.Namespace) -> int:
    """Talk with a model. Raises ConfigError and CommandError."""
    if options.model is None:
        sentence = f"say which model: run MODEL. The router starts without a command: {called()} --config FILE"
        raise CommandError(sentence, BAD_START)
    prompt = _prompt(options)
    try:
        with _asked(options) as (client, model):
            chat = Chat(client, model, options.system)
            return once(chat, prompt) if prompt is not None else talk(chat)
    except KeyboardInterrupt:
        say("\n", sys.stderr)
        return STOPPED_NOW


def _prompt(options: argparse.Namespace) -> str | None:
    """Give the one question that there is: that of --prompt, with what comes in by a pipe; None: it is a chat."""
    if sys.stdin.isatty():
        return options.prompt or None
    piped = sys.stdin.buffer.read(MOST_PIPED).decode(errors="replace")
    prompt = "\n\n".join(filter(None, (options.prompt, piped.strip())))
    if not prompt:
        raise CommandError("there is no question: say it with --prompt, or by a pipe", BAD_START)
    return prompt


# Which model


@contextmanager
def _asked(options: argparse.Namespace) -> Iterator[tuple[Client, str]]:
    """Find a router that has the model, or start one; give it with the model's name there."""
    client, there = _running(options)
    if client is not None and options.model in there:
        yield client, options.model
        return
    found = _found(options, there)
    if found.entry is None or found.entry.reason:
        raise CommandError(f"{printable(found.name)} can't be used: {printable(found.note)}", BAD_START)
    if sys.stderr.isatty():
        say(f"Starting a router with {printable(found.name)} …\n", sys.stderr)
    with own.started(found.entry) as url:
        here = argparse.Namespace(**{**vars(options), "url": url, "key": None, "ca": None})
        yield Client(url, "", here), found.name


def _running(options: argparse.Namespace) -> tuple[Client | None, list[str]]:
    """Give the router that runs, and the names of its models. One that was named with --url must have the model."""
    try:
        client = Client.of(options)
        there = [each.id for each in client.models()]
    except (ConfigError, NoRouterError):
        if options.url is not None:
            raise
        return None, []
    if options.model not in there and options.url is not None:
        _none(f"{client.url} has no {options.model}. It has {_some(there)}")
    return client, there


def _found(options: argparse.Namespace, served: list[str]) -> Found:
    """Find a model on this disk, or on the hub; `served` are those of the router that runs. Raises CommandError."""
    place, name = Path(options.model).expanduser(), names.name_of(options.model)
    # Nothing is below this folder, so each entry has its whole path: it goes into a file elsewhere.
    machine = Machine(Path(os.devnull), facts=look(ENGINES))
    if place.exists():
        found = list(scan([place.absolute()], machine, time.monotonic).models)
        usable = [each for each in found if each.entry is not None]
        if len(usable) <= 1:
            return next(iter(usable or found), None) or _none(f"{place} has no model")
        return _none(f"{place} has several models: name the file of one, {_several(usable)}")
    found = [each for each in models.search([], options.config, machine).models if each.entry is not None]
    matching = [each for each in found if _is_called(each, options.model, name)]
    if matching:
        return matching[0] if len(matching) == 1 else _none(f"{options.model} is several: {_several(matching)}")
    if name is None:
        there = f" The router that runs has {_some(served)}." if served else ""
        there += f" On this disk: {_some([each.name for each in found])}." if found else ""
        return _none(f"there is no model {options.model} here: say its path, its name, or ORG/NAME of the hub.{there}")
    if not options.yes and not pull.agreed(f"{name} isn't here. Fetch it? [Y/n]", usual=True):
        return _none(f"{name} isn't here; `pull {name}` fetches it, and so does --yes")
    return pull.fetched(options, name, machine)


def _none(why: str) -> NoReturn:
    """Say why there is no model to talk with. Raises CommandError."""
    raise CommandError(printable(why), BAD_START)


def _several(found: list[Found]) -> str:
    return _some([each.read.candidate.place for each in found])


def _some(called: list[str]) -> str:
    """Name some models, and say how many more there are."""
    more = len(called) - MOST_NAMED
    return ", ".join(called[:MOST_NAMED]) + (f", and {more} more" if more > 0 else "")


def _is_called(model: Found, said: str, name: names.Name | None) -> bool:
    """Whether a person means this model: by its name here, its file's or Ollama's, or that of the hub."""
    candidate = model.read.candidate
    if said.lower() in {model.name.lower(), candidate.name.lower(), candidate.hub.lower() or None}:
        return True
    if name is None or not candidate.is_gguf:
        return False
    place = Path(candidate.place)
    return hub_folder(name.repository) in place.parts and name.what.lower() in place.name.lower()
