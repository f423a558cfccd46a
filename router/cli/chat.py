"""`run`: talk with a model in the terminal. Without a command the router starts: that is run.py beside this.

1. A router that runs and has the model answers.
2. Otherwise a model on this disk is found, by its path, by the name that `models --scan` gives it, or by its name on
   the hub, from which it is fetched if it isn't here; and a router is started for it, which ends with the chat.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from launchers.engines import ENGINES
from router.cli import models, own, pull
from router.cli.client import Client, Message, Piece
from router.cli.exits import BAD_START, STOPPED_NOW, UNPRINTED, CommandError, NobodyReadsError
from router.cli.running import NoRouterError
from router.config import ConfigError
from router.distribution import called
from router.fleet.planning import look
from router.hub import names
from router.scan.models import Machine, scan
from router.scan.models import Model as Found
from router.telemetry.logs import printable
from router.telemetry.terminal import DIM, failure, nobody_reads, painter, say

HELP: Final = """\
  /bye            end (so does Ctrl-D)
  /clear          forget what was said
  /system TEXT    say who the model is to be; without TEXT: nobody
  \"\"\"             begin and end a text of several lines
  Ctrl-C          end an answer
"""
QUOTES: Final = '"""'
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
            return _once(chat, prompt) if prompt is not None else talk(chat)
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
    client = _running(options)
    if client is not None:
        yield client, options.model
        return
    found = _found(options)
    if found.entry is None or found.entry.reason:
        raise CommandError(f"{printable(found.name)} can't be used: {printable(found.note)}", BAD_START)
    if sys.stderr.isatty():
        say(f"Starting a router with {printable(found.name)} …\n", sys.stderr)
    with own.started(found.entry) as url:
        here = argparse.Namespace(**{**vars(options), "url": url, "key": None, "ca": None})
        yield Client(url, "", here), found.name


def _running(options: argparse.Namespace) -> Client | None:
    """Give the router that runs, if it has the model. One that was named with --url must be there."""
    try:
        client = Client.of(options)
        there = [each.id for each in client.models()]
    except (ConfigError, NoRouterError):
        if options.url is not None:
            raise
        return None
    if options.model not in there and options.url is not None:
        raise CommandError(f"{client.url} has no {options.model}. It has {', '.join(map(printable, there))}", BAD_START)
    return client if options.model in there else None


def _found(options: argparse.Namespace) -> Found:
    """Find a model on this disk, or on the hub. Raises CommandError."""
    place, name = Path(options.model).expanduser(), names.name_of(options.model)
    # Nothing is below this folder, so each entry has its whole path: it goes into a file elsewhere.
    machine = Machine(Path(os.devnull), facts=look(ENGINES))
    if place.exists():
        found = list(scan([place.absolute()], machine, time.monotonic).models)
        usable = [each for each in found if each.entry is not None]
        if len(usable) == 1 or not usable:
            return next(iter(usable or found), None) or _none(f"{place} has no model")
        return _none(f"{place} has several models: name the file of one, {_several(usable)}")
    found = [each for each in models.search([], options.config, machine).models if each.entry is not None]
    matching = [each for each in found if _is_called(each, options.model, name)]
    if matching:
        return matching[0] if len(matching) == 1 else _none(f"{options.model} is several: {_several(matching)}")
    if name is None:
        there = f" Here are {', '.join(each.name for each in found[:MOST_NAMED])}." if found else ""
        return _none(f"there is no model {options.model} here: say its path, its name, or ORG/NAME of the hub.{there}")
    if not options.yes and not pull.agreed(f"{name} isn't here. Fetch it? [Y/n]", usual=True):
        return _none(f"{name} isn't here; `pull {name}` fetches it, and so does --yes")
    return pull.fetched(options, name, machine)


def _none(why: str) -> Found:
    raise CommandError(printable(why), BAD_START)


def _several(found: list[Found]) -> str:
    return ", ".join(each.read.candidate.place for each in found[:MOST_NAMED])


def _is_called(model: Found, said: str, name: names.Name | None) -> bool:
    """Whether a person means this model: by its name here, its file's or Ollama's, or that of the hub."""
    candidate = model.read.candidate
    if said.lower() in {model.name.lower(), candidate.name.lower(), candidate.hub.lower() or None}:
        return True
    if name is None or not candidate.is_gguf:
        return False
    folder = f"models--{name.repository.replace('/', '--')}"
    return folder in Path(candidate.place).parts and name.what.lower() in candidate.place.rpartition("/")[2].lower()


# The talk


class Chat:
    """What was said so far, and what the model is to be."""

    def __init__(self, client: Client, model: str, system: str | None) -> None:
        self._client = client
        self._said: list[Message] = []
        self.model = model
        self.system = system or ""

    def clear(self) -> None:
        """Forget what was said."""
        self._said.clear()

    def ask(self, text: str) -> None:
        """Ask the model, and print its answer as it comes; Ctrl-C ends it, and what came of it counts as said.

        Raises CommandError where there is no answer; then the question was never asked.
        """
        answer: list[str] = []
        asked = {"role": "user", "content": text}
        system = [{"role": "system", "content": self.system}] if self.system else []
        try:
            asyncio.run(self._print([*system, *self._said, asked], answer))
        finally:
            if answer:
                self._said += [asked, {"role": "assistant", "content": "".join(answer)}]

    async def _print(self, messages: list[Message], answer: list[str]) -> None:
        screen = _Screen()
        try:
            async for piece in self._client.answer(self.model, messages):
                if piece.kind == "text":
                    answer.append(piece.text)
                screen.show(piece)
        finally:
            screen.end()


class _Screen:
    """Prints an answer: what it says on standard output; what goes before it, dimmed, on a terminal alone."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._paint = painter(sys.stderr)
        self._waits = self._thinks = self._said = False

    def show(self, piece: Piece) -> None:
        """Show a piece. Raises NobodyReadsError and CommandError, where it can't be printed."""
        if piece.kind == "text":
            self._before()
            self._said = True
            self._write(safe(piece.text) if self._is_terminal else piece.text)
        elif sys.stderr.isatty() and piece.kind == "wait":
            say(f"\r\x1b[K{self._paint(DIM, piece.text)}", sys.stderr)
            self._waits = True
        elif sys.stderr.isatty() and piece.kind == "thought":
            if self._waits:
                self._before()
            self._thinks = True
            say(self._paint(DIM, safe(piece.text)), sys.stderr)

    def end(self) -> None:
        """End the answer's last line."""
        self._before()
        if self._said:
            self._write("\n")

    def _before(self) -> None:
        """Take away what stands before the answer."""
        if self._waits:
            say("\r\x1b[K", sys.stderr)
        if self._thinks:
            say("\n\n", sys.stderr)
        self._waits = self._thinks = False

    def _write(self, text: str) -> None:
        error = failure(text, sys.stdout)
        if error is None:
            return
        if nobody_reads(error):
            raise NobodyReadsError
        raise CommandError(f"the output can't be printed: {error}", UNPRINTED)


def safe(text: str) -> str:
    """Take out what could control a terminal: a model may say anything."""
    return "".join(each for each in text if each.isprintable() or each in "\n\t")


def _once(chat: Chat, prompt: str) -> int:
    with suppress(NobodyReadsError):
        chat.ask(prompt)
    return 0


def talk(chat: Chat) -> int:
    """Talk until the person ends it."""
    with suppress(ImportError):
        # Arrows, and earlier lines.
        import readline  # noqa: F401, PLC0415
    say(f"Talk with {printable(chat.model)}. /help says what else can be said; /bye ends it.\n", sys.stderr)
    while (text := _line(">>> ")) is not None:
        try:
            if text.startswith(QUOTES):
                text = _rest(text.removeprefix(QUOTES))
            elif text.startswith("/"):
                if not _do(chat, text):
                    return 0
                continue
            if text.strip():
                chat.ask(text)
        except KeyboardInterrupt:
            say("\n", sys.stderr)
        except NobodyReadsError:
            return 0
        except CommandError as error:
            say(f"{error}\n", sys.stderr)
            if error.code == UNPRINTED:
                return UNPRINTED
    say("\n", sys.stderr)
    return 0


def _do(chat: Chat, text: str) -> bool:
    """Do what a line that begins with / says; False ends the talk."""
    word, _, rest = text.partition(" ")
    if word in {"/bye", "/exit", "/quit"}:
        return False
    if word == "/clear":
        chat.clear()
        say("What was said is forgotten.\n", sys.stderr)
    elif word == "/system":
        chat.system = rest.strip()
        say("From now on.\n", sys.stderr)
    else:
        say(HELP if word in {"/help", "/?"} else f"There is no {printable(word)}:\n{HELP}", sys.stderr)
    return True


def _line(prompt: str) -> str | None:
    """Read a line; None at the end of the input. Ctrl-C begins it anew."""
    while True:
        try:
            return input(prompt)
        except KeyboardInterrupt:
            say("\n(/bye or Ctrl-D ends the chat.)\n", sys.stderr)
        except EOFError:
            return None


def _rest(text: str) -> str:
    """Read a text of several lines up to its closing quotes, or the end of the input."""
    lines = [text]
    while QUOTES not in lines[-1]:
        try:
            lines.append(input("... "))
        except EOFError:
            break
    lines[-1] = lines[-1].partition(QUOTES)[0]
    return "\n".join(lines).strip("\n")
