"""A running router as its clients see it: the models that it has, and answers of one of them."""

import argparse
import asyncio
import json
import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import aiohttp
import msgspec

from router.cli import running
from router.cli.exits import BAD_START, REFUSED, CommandError
from router.distribution import called
from router.telemetry.logs import printable

Message = dict[str, str]

SILENT: Final = 120.0
"""Seconds without a byte after which an answer is given up: the router sends a comment each few seconds."""


class Piece(NamedTuple):
    """A piece of an answer: what the model says, what it thinks before, or what the router says of the wait."""

    kind: Literal["text", "thought", "wait"]
    text: str


class Model(msgspec.Struct):
    """A model that can be asked for; `context_length` is the most tokens of a request with its answer, if known."""

    id: str
    context_length: int | None = None
    state: str = ""
    capabilities: list[str] = []


class _Listed(msgspec.Struct):
    data: list[Model]


@dataclass(frozen=True, slots=True)
class Client:
    """A router at `url`, asked with a client's `key`, which may be empty. Methods raise CommandError."""

    url: str
    key: str
    options: argparse.Namespace

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Client":
        """Find the router that the options mean. Raises ConfigError and CommandError."""
        key = (options.key or os.environ.get("ROUTER_KEY", "")).strip()
        if not key.isprintable():
            raise CommandError("the key has a line break in it, or another character that no key has", BAD_START)
        return cls(running.address(argparse.Namespace(**{**vars(options), "key": None}))[0], key, options)

    def models(self) -> list[Model]:
        """List its models, those first that take text; NoRouterError if no router answers."""
        try:
            found = msgspec.json.decode(self.text("/v1/models"), type=_Listed).data
        except msgspec.MsgspecError:
            raise CommandError(f"what answers at {self.url} is no router", BAD_START) from None
        return sorted(found, key=lambda each: "embeddings" in each.capabilities)

    def text(self, path: str) -> str:
        """Give what it answers at a path; NoRouterError if no router answers."""
        return asyncio.run(self._text(path))

    async def _text(self, path: str) -> str:
        timeout = aiohttp.ClientTimeout(running.ANSWER_WITHIN, sock_connect=running.CONNECT_WITHIN)
        try:
            async with self._session() as session, session.get(self.url + path, timeout=timeout) as answer:
                body = await answer.read()
                if answer.status != 200:
                    raise self._refused(answer.status, body)
                return body.decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise running.nobody(self.url, error, "") from None

    async def answer(self, model: str, messages: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        """Ask a model; give its answer as it comes."""
        ask = {"model": model, "messages": messages, "stream": True}
        timeout = aiohttp.ClientTimeout(None, sock_connect=running.CONNECT_WITHIN, sock_read=SILENT)
        try:
            async with (
                self._session() as session,
                session.post(f"{self.url}/v1/chat/completions", json=ask, timeout=timeout) as answer,
            ):
                if answer.status != 200:
                    raise self._refused(answer.status, await answer.read())
                async for line in _lines(answer.content):
                    for piece in pieces(line):
                        yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise running.nobody(self.url, error, "") from None

    def _session(self) -> aiohttp.ClientSession:
        opened, _ = running.session(self.options, self.url, self.key)
        return opened

    def _refused(self, status: int, body: bytes) -> CommandError:
        said = message_of(body) or f"it answers {status}"
        if status in {401, 403}:
            make = f"`{called()} key new --name NAME` makes one"
            return CommandError(f"{said} A key is said with --key or ROUTER_KEY; {make}.", BAD_START)
        return CommandError(said, REFUSED)


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Give the lines of a stream, however long they are."""
    begun = b""
    async for piece in content.iter_any():
        *whole, begun = (begun + piece).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r")


def pieces(line: bytes) -> list[Piece]:
    """Read a line of a stream. Raises CommandError for an error in it."""
    if line.startswith(b": "):
        return [Piece("wait", printable(line[2:].decode(errors="replace")))]
    if not line.startswith(b"data: ") or line == b"data: [DONE]":
        return []
    if said := message_of(line[6:]):
        raise CommandError(said, REFUSED)
    try:
        choices: Any = json.loads(line[6:]).get("choices") or [{}]
        delta = choices[0].get("delta") or {}
        thought, text = delta.get("reasoning_content") or delta.get("reasoning"), delta.get("content")
    except (ValueError, AttributeError, LookupError, TypeError):
        return []
    found = [Piece("thought", thought)] if isinstance(thought, str) and thought else []
    return [*found, Piece("text", text)] if isinstance(text, str) and text else found


def message_of(body: bytes) -> str:
    """Read the message of an error; "" if it is none."""
    try:
        error: Any = json.loads(body).get("error")
    except (ValueError, AttributeError):
        return ""
    said = error.get("message") if isinstance(error, dict) else error
    return printable(said) if isinstance(said, str) else ""
