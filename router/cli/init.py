"""`init`: write a router.yaml for this machine, of the models on its disk and the servers that run on it."""

import argparse
import asyncio
import os

from launchers.engines import ENGINES
from profiles import detect, load_profiles
from router.cli.exits import BAD_START, CommandError, printed
from router.cli.models import search, table
from router.config.replacing import BACKUP, ReplaceError, replace, there
from router.distribution import called
from router.fleet.planning import look
from router.scan import servers
from router.scan.first import first_file
from router.scan.models import Machine, Model
from router.telemetry.logs import printable

NOTHING = """\
No model was found on this disk, and no server that has some: nothing is written.
Fetch a model: `{called} pull Qwen/Qwen3-4B-GGUF` does, and offers its entry for router.yaml.
Or put a GGUF file into {folder}/models, or start Ollama, LM Studio or llama-server, and say `init` again."""


def run(options: argparse.Namespace) -> int:
    """Write it. Raises CommandError."""
    path = options.config
    try:
        old = there(path)
    except ReplaceError as error:
        raise CommandError(str(error), BAD_START) from None
    if old is not None and not options.force:
        sentence = f"{path} is there already: `models --scan --write` adds models to it, --force replaces it"
        raise CommandError(sentence, BAD_START)
    answered = asyncio.run(servers.ask(servers.USUAL))
    elsewhere = [name for each in answered for name in (each.name, *each.models)]
    here = Machine(path.resolve().parent)
    found = [each for each in search([], path, here, elsewhere).models if not _is_served(each, answered)]
    usable = [each.entry for each in found if each.entry is not None]
    entries = [*(each.entry for each in answered), *usable]
    if all(each.reason for each in entries):
        notes = "\n".join(["", *table(found)]) if found else ""
        raise CommandError(NOTHING.format(folder=path.resolve().parent, called=called()) + notes, BAD_START)
    why = detect(look(ENGINES), load_profiles()).why
    # Those that can't be used stand last.
    entries.sort(key=lambda each: bool(each.reason))
    text = first_file(entries, printable(why), printable(str(path)), called())
    try:
        loaded = replace(path, old, text.encode(), os.environ)
    except ReplaceError as error:
        raise CommandError(str(error), BAD_START) from None
    names = ", ".join(each.name for each in loaded.config.backends)
    said = [*(table(found) if found else []), "", f"{path} is written. Backends: {names}."]
    said += [f"What it was is in {path.name}{BACKUP}."] if old is not None else []
    return printed("\n".join([*said, f"Start them: {called()} --config {path}"]).strip())


def _is_served(model: Model, answered: list[servers.Server]) -> bool:
    """Whether a model is Ollama's, and Ollama serves it itself."""
    name = model.read.candidate.name
    served = {each for server in answered for each in server.models}
    return model.read.candidate.of_ollama and not served.isdisjoint({name, f"{name}:latest"})
