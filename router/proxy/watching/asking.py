"""The router's own requests to backends: pages of bounded length, and single tokens."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple

import aiohttp
import msgspec

from router.core.catalog import Backend
from router.proxy.connections import Connections
from router.proxy.dialling import Address
from router.proxy.resolve import Resolver

NO_ANSWER: Final = (TimeoutError, aiohttp.ClientError, OSError)
"""What a request raises that isn't answered."""

CONNECTS_WITHIN: Final = 0.8
"""Share of a page's time in which its connection must be there: so it is known that nobody answers at all."""

_CHAT = "/v1/chat/completions"


class Page(NamedTuple):
    """A body. Of one that is longer than its bound, `whole` is False and `data` is the beginning."""

    data: bytes
    whole: bool


async def read(answer: aiohttp.ClientResponse, most: int) -> Page:
    """Read an answer's body, at most about `most` bytes."""
    data = bytearray()
    async for piece in answer.content.iter_any():
        data += piece
        if len(data) > most:
            return Page(bytes(data), whole=False)
    return Page(bytes(data), whole=True)


class Asker:
    """Sends requests to backends, each on a connection of its own. Times are in seconds."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, force_close=True, resolver=Resolver(connections.names), use_dns_cache=False
            )
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def get(
        self, backend: Backend, address: Address, path: str, timeout: float, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """GET a path, and follow no redirect. Raises `NO_ANSWER`."""
        return self._session.get(
            address.url(path),
            headers=self._headers(backend, address) | dict(headers or {}),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECTS_WITHIN * timeout),
            **address.secured,
        )

    async def ask_for_token(self, backend: Backend, address: Address, within: float | None) -> None:
        """Ask for one token, and wait `within` seconds for any answer. Raises `NO_ANSWER`."""
        model = next(iter(backend.models.values()), "")
        body = msgspec.json.encode({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]})
        if backend.put_right is not None:
            body = backend.put_right(_CHAT, body)
        async with self._session.post(
            address.url(_CHAT),
            data=body,
            headers=self._headers(backend, address) | {"content-type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=within),
            **address.secured,
        ) as answer:
            await answer.read()

    def _headers(self, backend: Backend, address: Address) -> dict[str, str]:
        """Give the backend's headers and its key. That is read each time: a restarted engine may have another."""
        key = self._connections.api_key(backend)
        return dict(address.headers) | ({"authorization": f"Bearer {key}"} if key else {})
