"""A talk with a model in the terminal: what was said, and how answers are shown."""

import asyncio
import sys
from contextlib import suppress
from typing import Final

from router.cli.client import Client, Message, Piece
from router.cli.exits import UNPRINTED, CommandError, NobodyReadsError
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


def once(chat: Chat, prompt: str) -> int:
    """Ask one thing; give the exit code. Raises CommandError."""
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
