"""Two routers before one engine: one has launched it; to the other it is a server of chat completions alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import aiohttp
from anthropic import Anthropic, AsyncAnthropic
from ollama import AsyncClient as AsyncOllama
from ollama import Client as Ollama
from openai import AsyncOpenAI, OpenAI

from launchers.engines import ENGINES, Engine
from launchers.errors import UnfitRequestError
from router.app import App
from router.config import Config
from router.core.apis import TRANSLATABLE
from router.core.errors import BadRequestError
from tests.running import RunningRouter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

MODEL = "public"
STARTS_WITHIN = 180.0

HELLO = [{"role": "user", "content": "Hello"}]
TURNS = [*HELLO, {"role": "assistant", "content": "the cat"}, {"role": "user", "content": "Go on"}]
WORDS = re.compile(r"[ a-z.,!?]+")
"""What the demo model says."""
MOST = 12
"""Tokens of an answer."""


def inside(text: str) -> str:
    """Give a piece of a text that comes first some words after its beginning."""
    return next(text[at : at + 4] for at in range(8, len(text)) if text.index(text[at : at + 4]) == at)


@dataclass(frozen=True)
class Front:
    """One address, and clients of it that don't try again by themselves."""

    url: str

    def anthropic(self) -> AsyncAnthropic:
        """Anthropic's own client."""
        return AsyncAnthropic(base_url=self.url, api_key="none", max_retries=0)

    def openai(self) -> AsyncOpenAI:
        """OpenAI's own client."""
        return AsyncOpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)

    def ollama(self) -> AsyncOllama:
        """Ollama's own client."""
        return AsyncOllama(self.url)

    def sync_anthropic(self) -> Anthropic:
        """Anthropic's own client, for threads."""
        return Anthropic(base_url=self.url, api_key="none", max_retries=0)

    def sync_openai(self) -> OpenAI:
        """OpenAI's own client, for threads."""
        return OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)

    def sync_ollama(self) -> Ollama:
        """Ollama's own client, for threads."""
        return Ollama(self.url)

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        """Give the status, the headers and the words of an answer."""
        async with aiohttp.ClientSession() as session, session.post(self.url + path, json=body) as answer:
            return answer.status, dict(answer.headers), await answer.text()

    async def given(self, path: str, body: dict[str, Any]) -> Any:
        """Give a good answer."""
        status, _, words = await self.post(path, {"model": MODEL, **body})
        assert status == 200, words
        return json.loads(words)

    async def events(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Give the events, or lines, of a stream."""
        status, headers, words = await self.post(path, {"model": MODEL, **body, "stream": True})
        assert status == 200, words
        if headers["Content-Type"].startswith("application/x-ndjson"):
            return [json.loads(line) for line in words.splitlines()]
        assert headers["Content-Type"].startswith("text/event-stream")
        lines = words.splitlines()
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


class Fronts:
    """`native` has launched an engine, `translated` speaks chat completions with it; from entering to leaving."""

    def __init__(self, folder: Path, config: str, engine: str) -> None:
        self._folder = folder
        self._engine = ENGINES[engine]
        self.router = RunningRouter(folder, config)

    async def __aenter__(self) -> Self:
        await self.router.__aenter__()
        try:
            await self.router.ready(STARTS_WITHIN)
            self.native = Front(self.router.url)
            # Engines of several processes listen at ports of their own, too.
            words = [process.cmdline() for process in self.router.engines]
            port = next(line[line.index("--port") + 1] for line in words if "--port" in line)
            key = self.router.key()["authorization"].removeprefix("Bearer ")
            backend = {"url": f"http://127.0.0.1:{port}", "name": "server", "models": {MODEL: "demo"}, "api_key": key}
            config = {"server": {"port": 0}, "health": {"interval": "1h"}, "backends": [backend]}
            (self._folder / "translated").mkdir()
            self.app = App(Config.model_validate(config), self._folder / "translated")
            await self.app.start()
        except BaseException as error:
            await self.router.__aexit__(type(error), error, error.__traceback__)
            raise
        self.translated = Front(f"http://{urlsplit(self.app.url).netloc}")
        server = self.app.plane.backends["server"]
        # What the router knows of an engine that it launches itself: the forms that it must be sent.
        server.put_right = _fit_for(self._engine)
        for path in TRANSLATABLE:
            self.app.plane.ledger.learn_api(server, path, speaks=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.app.kill()
        await self.router.__aexit__(kind, error, trace)


def _fit_for(engine: Engine) -> Callable[[str, bytes], bytes]:
    """Put requests right as the router does for an engine that it has launched."""

    def put_right(path: str, body: bytes) -> bytes:
        try:
            return engine.put_right(path, body)
        except UnfitRequestError as error:
            raise BadRequestError(error.message, param=error.param) from error

    return put_right
