"""Reads what an engine publishes of its load, so that what others send there counts, too (`router.core.load`).

A page is read after each probe; and each second while requests come, and there is a choice between this backend and
others. The engine has to write it beside its work: so one that is slow to answer is left alone for ten times as long as
it took. Where a page tells nothing, it is asked for again after `AGAIN` probes, or when the backend has been out.
Whatever fails here says nothing of a backend's health.

What of an engine's load is this router's own can't be known to the request: a page is as old as the engine's last step,
and as its way here. So all that were in flight at any time since shortly before (`SETTLES`) are taken for our own.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

import aiohttp

from router.core.catalog import Backend
from router.core.load import PATH, load_of
from router.proxy.plane import Plane
from router.proxy.pool import Address

EVERY = 1.0
"""Seconds between two looks while it matters. With five, two routers would hardly know of each other any more."""

SETTLES = 0.2
"""Seconds by which an engine may be late to count what has come and gone: a step of one that reads long prompts."""

AGAIN = 60
"""Probes until a page that told nothing is asked for again."""

SLOW_READ_FACTOR = 10.0
"""Times that an answer took, for which the engine is left alone then."""

_MAX_PAGE = 2 * 1024 * 1024


class Listener:
    """Reads one backend's page. `timeout`, in seconds, is how long an answer may take.

    `headers` gives what a backend wants to be shown: its key of then, as an engine that is started may have another.
    """

    def __init__(
        self,
        plane: Plane,
        backend: Backend,
        session: aiohttp.ClientSession,
        timeout: float,
        headers: Callable[[Backend], Mapping[str, str]],
    ) -> None:
        self._plane = plane
        self._backend = backend
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._headers = headers
        self._silent = 0  # probes for which it isn't asked
        self._asked = 0  # exchanges that the router had had at the last look
        self._next = 0.0  # when it may be asked again

    async def listen(self, until: float, least: float) -> None:
        """Read the page now, and until then as often as it is of use; at most each `least` seconds.

        Times are `time.monotonic`'s.
        """
        if self._silent and self._backend.health.usable:
            self._silent -= 1
            return
        self._silent, first = 0, True
        while not self._silent and (start := max(time.monotonic(), self._next)) < until:
            await asyncio.sleep(start - time.monotonic())
            began = time.monotonic()
            if first or (self._plane.asked != self._asked and self._plane.catalog.has_rivals(self._backend)):
                self._asked = self._plane.asked
                took = await self._look(min(SETTLES, (until - began) / 2))
                self._next = max(began + max(EVERY, least), time.monotonic() + SLOW_READ_FACTOR * took)
            else:
                self._next = began + EVERY
            first = False

    async def _look(self, settles: float) -> float:
        """Read the page once, and tell what it says. Gives the seconds that the engine took to answer."""
        plane, backend, ended = self._plane, self._backend, self._backend.ended
        await asyncio.sleep(settles)
        address, began = plane.connections.address(backend), time.monotonic()
        if address is None or not backend.health.usable:
            plane.published(backend, None, 0)
            return 0.0
        page = await self._read(address)
        took = time.monotonic() - began
        # Else it was restarted meanwhile: this page is of one that is gone.
        if plane.connections.address(backend) == address:
            found = None if page is None else load_of(page)
            self._silent = AGAIN if page is not None and found is None else 0
            plane.published(backend, found, backend.in_flight + backend.ended - ended)
        return took

    async def _read(self, address: Address) -> bytes | None:
        """Fetch the page: empty where there is none, or one that is too long; None where there was no answer."""
        page = bytearray()
        try:
            async with self._session.get(
                f"{address}{PATH}",
                headers={
                    **self._headers(self._backend),
                    "accept-encoding": "identity",
                },  # compressing would be its work
                allow_redirects=False,
                timeout=self._timeout,
            ) as answer:
                if answer.status != 200:
                    return b""
                async for piece in answer.content.iter_any():
                    page += piece
                    if len(page) > _MAX_PAGE:
                        return b""
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None
        return bytes(page)
