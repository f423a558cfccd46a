"""Reads the load that an engine publishes, so that requests of others count too (`router.core.load`).

The page is read after each probe, and each second while requests come and there is a choice between this backend and
others. Writing the page takes the engine from its work, so after a slow answer it is left alone for ten times as long
as the answer took. A page that shows no load is read again after `SKIPPED_PROBES` probes, or once the backend has been
out. No failure here says anything about a backend's health.

A page is as old as the engine's last step, so it can't be told exactly which of its requests are this router's. All
that were in flight at any time since shortly before (`SETTLES`) are taken for this router's own.
"""

import asyncio
import time

from router.core.catalog import Backend
from router.core.load import PATH, load_of
from router.proxy.dialling import Address
from router.proxy.plane import Plane
from router.proxy.watching.asking import NO_ANSWER, Asker, read

EVERY = 1.0
"""Seconds between two reads while they matter. With five, two routers would hardly notice each other's load."""

SETTLES = 0.2
"""Seconds by which an engine may be late to count a request: one step of an engine that reads long prompts."""

SKIPPED_PROBES = 60
"""Probes until a page that told nothing is read again."""

SLOW_READ_FACTOR = 10.0
"""How long the engine is left alone after an answer, as a multiple of the time that the answer took."""

_MAX_PAGE = 2 * 1024 * 1024


class Listener:
    """Reads one backend's page. `timeout` bounds each read, in seconds."""

    def __init__(self, plane: Plane, backend: Backend, asker: Asker, timeout: float) -> None:
        self._plane = plane
        self._backend = backend
        self._asker = asker
        self._timeout = timeout
        # Probes until the page is read again, after it told nothing.
        self._skip = 0
        # `Plane.asked` at the last read: unchanged, it means that no request has come since.
        self._asked = 0
        # When the page may be read again.
        self._next = 0.0

    async def listen(self, until: float, least: float) -> None:
        """Read the page now, and again until `until` as often as it is of use, but at most each `least` seconds.

        Times are `time.monotonic`'s.
        """
        if self._skip and self._backend.health.usable:
            self._skip -= 1
            return
        self._skip, first = 0, True
        while not self._skip and (start := max(time.monotonic(), self._next)) < until:
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
        """Read the page once, and report what it says. Gives the seconds that the engine took to answer."""
        plane, backend, ended = self._plane, self._backend, self._backend.ended
        await asyncio.sleep(settles)
        address, began = plane.connections.address(backend), time.monotonic()
        if address is None or not backend.health.usable:
            plane.published(backend, None, 0)
            return 0.0
        page = await self._read(address)
        took = time.monotonic() - began
        # If the address has changed, the engine was restarted meanwhile: the page is of one that is gone.
        if plane.connections.address(backend) == address:
            found = None if page is None else load_of(page)
            self._skip = SKIPPED_PROBES if page is not None and found is None else 0
            plane.published(backend, found, backend.in_flight + backend.ended - ended)
        return took

    async def _read(self, address: Address) -> bytes | None:
        """Read the page: empty if there is none or it is too long; None if there was no answer."""
        # Compressing the page would be work for the engine.
        headers = {"accept-encoding": "identity"}
        try:
            async with self._asker.get(self._backend, address, PATH, self._timeout, headers) as answer:
                if answer.status != 200:
                    return b""
                page = await read(answer, _MAX_PAGE)
        except NO_ANSWER:
            return None
        return page.data if page.whole else b""
