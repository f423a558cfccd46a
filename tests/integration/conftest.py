"""A router inside the test's own loop, in front of whatever backends the test names, and clients of it."""

import asyncio
import json as json_module
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
import uvloop

from router.app import App
from router.cli import own
from router.cli.exits import CommandError
from router.config import Config
from router.scan.entries import Entry
from router.telemetry import feed
from tests.fakes.engine import FakeEngine
from tests.integration.raw import LANES, Raw, connect
from tests.running import RunningRouter

StartRouter = Callable[..., Awaitable[App]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def fake() -> AsyncIterator[FakeEngine]:
    """Give a fake engine of the model `demo`, which does as each request's own body asks."""
    async with FakeEngine() as engine:
        yield engine


@pytest.fixture
def entries(monkeypatch) -> list[Entry]:
    """Give the entries for which routers would be started; none is."""
    found: list[Entry] = []

    @contextmanager
    def started(entry: Entry) -> Iterator[str]:
        found.append(entry)
        raise CommandError("enough", 7)
        yield ""

    monkeypatch.setattr(own, "started", started)
    return found


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """Give a file that holds the answers of fake engines that are told of it (`held_by`), until it is removed."""
    file = tmp_path / "held"
    file.touch()
    return file


@pytest.fixture
async def start_router(tmp_path: Path) -> AsyncIterator[StartRouter]:
    """Give a function that starts routers: backends, then sections. Probes come once, unless asked for."""
    async with AsyncExitStack() as stack:

        async def start(backends: list[dict[str, object]], **sections: object) -> App:
            sections.setdefault("health", {"interval": "1h"})
            config = Config.model_validate({"server": {"port": 0}, "backends": backends, **sections})
            app = App(config, tmp_path)
            await app.start()
            stack.push_async_callback(app.kill)
            return app

        yield start


@pytest.fixture
def logs_as_at_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log as a router at work does, for one test alone; followers get each line at once."""
    monkeypatch.setattr(feed, "GATHER", 0.0)
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> str:
    """Run the test once in each lane: with plain requests, and with chunked ones that announce trailers."""
    return str(request.param)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client without limits of its own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        yield client


@pytest.fixture
async def asking(lane: str) -> AsyncIterator["aiohttp.ClientSession | Chunked"]:
    """Such a client in each lane: its POSTs say their length, or go out in chunks and announce trailers."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        yield client if lane == "fast" else Chunked(client)


class Chunked:
    """A client whose POSTs don't say how long they are."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def post(self, url: str, *, json: object = None, data: Any = None, **options: Any) -> Any:
        """Send a body in chunks."""
        if json is not None:
            data = json_module.dumps(json).encode()
        options["headers"] = {**(options.get("headers") or {}), "trailer": "x-sum"}
        return self._session.post(url, data=_pieces(data) if isinstance(data, bytes) else data, **options)

    def get(self, url: str, **options: Any) -> Any:
        """Send what has no body."""
        return self._session.get(url, **options)

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Send either."""
        return self.post(url, **options) if method == "post" else self._session.request(method, url, **options)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    half = len(data) // 2
    for piece in filter(None, (data[:half], data[half:])):
        yield piece


@pytest.fixture
async def raw() -> AsyncIterator[Callable[..., Awaitable[Raw]]]:
    """Give a function that connects to a router, for raw bytes."""
    made: list[Raw] = []

    async def to(router: App | RunningRouter, **options: Any) -> Raw:
        made.append(await connect(router.url, **options))
        return made[-1]

    yield to
    for each in made:
        each.leave()


@pytest.fixture
async def engine() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Give a function that starts an engine, each of its connections played by a coroutine; it gives the URL."""
    servers: list[asyncio.Server] = []
    playing: set[asyncio.Task[None]] = set()

    async def start(handle: Handler) -> str:
        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            playing.add(task)
            try:
                with suppress(ConnectionError, asyncio.IncompleteReadError):
                    await handle(reader, writer)
            finally:
                writer.transport.abort()

        servers.append(await asyncio.start_server(play, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
    for task in playing:
        task.cancel()
    await asyncio.gather(*playing, return_exceptions=True)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop that the router itself runs on."""
    return {"uvloop": uvloop.new_event_loop}
