"""A hub, and what asks it, with a clock that doesn't wait."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from yarl import URL

from router.hub import asking
from router.hub.asking import Hub
from router.hub.cache import Cache
from router.hub.fetching import Fetch, Told
from router.hub.listing import RemoteFile, Repository
from tests.fakes.hub import FakeHub

NAME = "org/tiny-GGUF"
CONTENT = bytes(range(256)) * 4096


@dataclass
class Downloads:
    """Fetches of one repository of a fake hub. `lost` has why connections were lost, `pauses` the waits after that."""

    fake: FakeHub
    hub: Hub
    folder: Path
    lost: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    at: list[int] = field(default_factory=list)

    async def repository(self) -> Repository:
        """List it."""
        return await self.hub.repository(NAME)

    async def cache(self) -> Cache:
        """Give its part of the cache."""
        return Cache(self.folder, await self.repository())

    async def file(self, name: str = "tiny.gguf") -> RemoteFile:
        """Give what is known of a file."""
        found = (await self.repository()).file(name)
        assert found is not None
        return found

    async def fetch(self, name: str = "tiny.gguf") -> Path:
        """Fetch a file; give where it lies then."""
        repository = await self.repository()
        cache = Cache(self.folder, repository)
        told = Told(lambda _, at: self.at.append(at), lambda _, why: self.lost.append(why))
        file = await self.file(name)
        await Fetch(self.hub, repository, cache, told, self._pause).file(file)
        return cache.place(file)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest_asyncio.fixture
async def downloads(tmp_path: Path) -> AsyncIterator[Downloads]:
    """Give downloads of a repository with a large file, and a small one."""
    files = {"tiny.gguf": CONTENT, "config.json": b'{"a": 1}', "sub/b.json": b"{}"}
    async with FakeHub({NAME: files}) as fake, asking.session() as session:
        yield Downloads(fake, Hub(session, URL(fake.url), "secret"), tmp_path / "hub")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the proxies of whoever runs the tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
