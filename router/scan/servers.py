"""Asks the servers that may run on this machine for their models: all at once, this machine alone, and not for long."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec

from router.proxy.watching.listed import listed, listed_in_part
from router.scan.entries import Entry

USUAL: Final = ((11434, "Ollama", "ollama"), (1234, "LM Studio", "lm-studio"), (8080, "llama-server", "llama-server"))
"""Ports, whose they usually are, and what the backend is called."""

WITHIN: Final = 2.0
"""Seconds that a server may take."""
MOST_BODY: Final = 1 << 20
MOST_MODELS: Final = 500


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answered. `problem` says why its models aren't known."""

    port: int
    whose: str
    name: str
    models: tuple[str, ...] = ()
    problem: str = ""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def entry(self) -> Entry:
        """Its entry in router.yaml."""
        about = f"What answers at port {self.port}, which is usually {self.whose}"
        if self.problem:
            return Entry({"name": self.name, "url": self.url}, about, self.problem)
        return Entry({"name": self.name, "url": self.url, "models": list(self.models)}, about)


async def ask(ports: Iterable[tuple[int, str, str]], within: float = WITHIN) -> list[Server]:
    """Ask all for their models; those that don't answer are left out."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(within), trust_env=False) as session:
        found = await asyncio.gather(*(_ask(session, Server(*each)) for each in ports))
    return [each for each in found if each is not None]


async def _ask(session: aiohttp.ClientSession, server: Server) -> Server | None:
    try:
        async with session.get(f"{server.url}/v1/models", allow_redirects=False) as answer:
            return told(server, answer.status, await _body(answer))
    except TimeoutError:
        return told(server, 0, b"")
    except (aiohttp.ClientError, OSError):
        return None


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """Read what it says, up to a bound."""
    body = bytearray()
    async for part in answer.content.iter_chunked(MOST_BODY):
        body += part
        if len(body) >= MOST_BODY:
            break
    return bytes(body[:MOST_BODY])


def told(server: Server, status: int, body: bytes) -> Server | None:
    """Read its answer, 0 if it gave none in time; None for what is no server of models."""
    if status == 0:
        return _with(server, problem="It took the connection, but said nothing: take the # away if it is one")
    if status in {401, 403}:
        problem = "It asks for a key: take the # away, and add `api_key: ${KEY}`"
        return _with(server, problem=problem)
    if status != 200:
        return None
    try:
        models = (listed if len(body) < MOST_BODY else listed_in_part)(body).models
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    if b'"owned_by":"router"' in body.replace(b" ", b""):
        return _with(server, problem="It is a router itself, perhaps this one")
    # A name with a * is a pattern in router.yaml.
    names = tuple(name for name in models if "*" not in name and name.strip())[:MOST_MODELS]
    return _with(server, names) if names else _with(server, problem="It has no models yet: take the # away then")


def _with(server: Server, models: tuple[str, ...] = (), problem: str = "") -> Server:
    return Server(server.port, server.whose, server.name, models, problem)
