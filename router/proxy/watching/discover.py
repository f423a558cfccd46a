"""Asks a backend whose models router.yaml doesn't list what it serves, beside its probes.

The list may take long, where a server asks others for it: so it has a task and a patience of its own, and a server that
took long is left alone for ten times as long. A list that is the same as before isn't read again. One that can't be
used is told once, and again each `TOLD_AGAIN` seconds. What a backend serves stays as it was until it says otherwise.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from launchers.abilities import Abilities
from router.core.catalog import Backend
from router.proxy.dialling import Address
from router.proxy.plane import Plane
from router.proxy.watching.asking import NO_ANSWER, Asker, read
from router.proxy.watching.listed import Listed, listed, listed_in_part
from router.telemetry.tasks import heard
from router.tls.faults import why_not

log = structlog.get_logger("router")

PATIENCE = 30.0
"""Seconds for a list: as long as a gateway waits for the servers behind it."""

SLOW_LIST_FACTOR = 10.0
"""How long a backend isn't asked again, as a multiple of the time that its list took."""

SELDOM = 600.0
"""Seconds between two lists of a backend that is to be asked for as little as can be."""

TOLD_AGAIN = 600.0
"""Seconds until it is told again that a backend's list can't be used."""

MOST_BYTES = 4 * 1024 * 1024
"""Of a list; of a longer one the beginning is used."""

_WRONG = 500
"""The least status of a server that may not be ready yet."""


class Discoverer:
    """Asks one backend for its models, at most one time at once. `seldom`: it is asked as little as can be.

    `on_learned` hears of each list that is new.
    """

    def __init__(
        self,
        plane: Plane,
        backend: Backend,
        asker: Asker,
        *,
        seldom: bool = False,
        on_learned: Callable[[Backend, Mapping[str, Abilities]], None] = lambda *_: None,
    ) -> None:
        self._plane = plane
        self._backend = backend
        self._asker = asker
        self._least = SELDOM if seldom else 0.0
        self._on_learned = on_learned
        self._task: asyncio.Task[None] | None = None
        # When it may be asked again, and when it may be told again that the list can't be used.
        self._next = 0.0
        self._tell = 0.0
        # Of the list that was learned; comparing it is cheaper than reading a long list.
        self._known: int | None = None

    def look(self, address: Address) -> None:
        """Ask for the models, unless that is under way or it isn't time yet."""
        if self._task is None and self._plane.loop.time() >= self._next:
            self._task = asyncio.create_task(heard(self._ask(address)), name=f"models of {self._backend.name}")
            self._task.add_done_callback(self._asked)

    def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()

    def _asked(self, _: object) -> None:
        self._task = None

    async def _ask(self, address: Address) -> None:
        began = self._plane.loop.time()
        try:
            status, data, whole = await self._page(address)
        except NO_ANSWER as error:
            self._fail(why_not(error) or str(error) or f"no answer in {PATIENCE:g} s")
            return
        if self._plane.connections.address(self._backend) != address:
            return
        now = self._plane.loop.time()
        if status != 200:
            self._fail(f"status {status}", answered=status < _WRONG)
        elif hash(data) != self._known:
            self._learn(data, whole=whole)
        if self._known is not None:
            self._next = now + max(self._least, SLOW_LIST_FACTOR * (now - began))

    async def _page(self, address: Address) -> tuple[int, bytes, bool]:
        async with self._asker.get(self._backend, address, "/v1/models", PATIENCE) as answer:
            page = await read(answer, MOST_BYTES)
            return answer.status, page.data, page.whole

    def _learn(self, data: bytes, *, whole: bool) -> None:
        try:
            found: Listed = listed(data) if whole else listed_in_part(data)
        except (ValueError, RecursionError) as error:
            self._fail(str(error), answered=True)
            return
        self._known, plane, backend = hash(data), self._plane, self._backend
        plane.learn_models(backend, {name: name for name in found.models})
        plane.directory.tell(backend, found.models)
        self._on_learned(backend, found.models)
        if found.mends != backend.apis.mends:
            plane.ledger.learn_apis(backend, replace(backend.apis, mends=found.mends))
        if not whole:
            self._say(f"a list of more than {MOST_BYTES} bytes: its first {len(found.models)} models are used")

    def _fail(self, why: str, *, answered: bool = False) -> None:
        if answered:
            # Nobody need wait for another answer.
            self._plane.directory.discovered(self._backend)
        if not self._backend.models:
            self._say(why)

    def _say(self, why: str) -> None:
        now = self._plane.loop.time()
        if now >= self._tell:
            self._tell = now + TOLD_AGAIN
            log.warning("can't tell all that a backend serves", backend=self._backend.name, why=why)
