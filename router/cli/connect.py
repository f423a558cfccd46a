"""`connect`: say what a program needs to be told of this router, or start it so."""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from launchers.files import FOR_US_ALONE
from router.cli.client import Client
from router.cli.exits import BAD_START, CommandError, printed
from router.cli.recipes import FILE, NONE, RECIPES, VARIABLE, Recipe, Told
from router.telemetry.logs import printable
from router.telemetry.terminal import say

PROGRAMS: Final = {
    "claude": "npm install -g @anthropic-ai/claude-code", "codex": "npm install -g @openai/codex",
    "opencode": "npm install -g opencode-ai", "aider": "pip install aider-chat", "open-webui": "pip install open-webui",
    "cn": "npm install -g @continuedev/cli",
}  # fmt: skip
"""What installs each program."""


def run(options: argparse.Namespace) -> int:
    """Say it, or start the program. Raises ConfigError and CommandError."""
    if options.rest and not options.exec:
        raise CommandError(f"{options.rest[0]}: what stands behind the program's name is for --exec", BAD_START)
    client = Client.of(options)
    contexts = {each.id: each.context_length for each in client.models()}
    there = list(contexts)
    model = options.model or next(iter(there), "")
    if model not in there:
        what = f"no {model}: it has {', '.join(there)}" if there else "no models yet"
        raise CommandError(printable(f"the router at {client.url} has {what}"), BAD_START)
    # Clients may write a key to disk, and screens are looked at: it is named, not shown.
    is_shown = options.exec or options.show_key
    shown = NONE if not client.key else client.key if is_shown else f"${VARIABLE}"
    recipe = RECIPES[options.client](Told(client.url, model, shown, bool(client.key), str(Path.home())))
    context = contexts[model]
    if context is not None and context < recipe.context:
        say(
            f"{printable(model)} has a context of {context} tokens, and {options.client} needs {recipe.context}: its "
            "first prompts would be refused. Raise it by `args` of the model's `launch`: n_ctx of llama_cpp, ctx-size "
            "of llama_server, max-model-len of vllm.\n",
            sys.stderr,
        )
    if options.exec:
        _start(recipe, client, options)
    others = ", ".join(printable(each) for each in there if each != model)
    said = [f"# its other models: {others}"] if others else []
    if client.key and not options.show_key and VARIABLE not in os.environ:
        said.append(f"# {VARIABLE} has to be the key; --show-key writes it out")
    return printed("\n".join([*said, *recipe.lines()]))


def _start(recipe: Recipe, client: Client, options: argparse.Namespace) -> None:
    """Become the program. Raises CommandError where it isn't there."""
    name = recipe.command[0]
    program = shutil.which(name)
    if program is None:
        raise CommandError(f"{name} isn't installed: {PROGRAMS[name]}", BAD_START)
    arguments = list(recipe.arguments)
    if recipe.written:
        text = client.text(recipe.written) if recipe.written.startswith("/") else recipe.written
        place = _written(options.client, text)
        arguments = [each.replace(FILE, place) for each in arguments]
    env = {**os.environ, **recipe.env, **recipe.more}
    sys.stdout.flush()
    try:
        os.execve(program, [*recipe.command, *arguments, *options.rest], env)  # noqa: S606  (a person has asked for it)
    except OSError as error:
        raise CommandError(f"{program} can't be started: {error.strerror or error}", BAD_START) from None


def _written(name: str, text: str) -> str:
    """Keep what a program is told in a file of ours, which its own settings don't notice; give its place."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "router"
    place = folder / f"connect-{name}{'.json' if text.startswith('{') else '.yaml'}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(place, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, FOR_US_ALONE)) as file:
            file.write(text)
    except OSError as error:
        raise CommandError(f"{place} can't be written: {error.strerror or error}", BAD_START) from None
    return str(place)
