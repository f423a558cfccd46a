"""/api/events: what happens, as llama-swap tells it.

Nothing here hangs on what a request does: while somebody follows, a task looks twice a second at how things are, and
tells what has changed, once for all who follow.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from router.api.admin.activity import ActivitiesTold, Activity
from router.api.admin.endpoint import Sent
from router.api.admin.llama_swap import SwapEvent
from router.telemetry.feed import Entry, Feed, Once, check_room
from router.telemetry.tasks import heard

LOOK_EVERY: Final = 0.5
"""Seconds between two looks, while somebody follows."""

MOST_LINES: Final = 1000
"""Lines of the log that a follower gets at first, and that a look tells at most."""

MOST_ENDED: Final = 200
"""Requests that a follower gets at first, and that a look tells at most."""


MOST_KEPT: Final = 100
"""Events that are kept for slow followers, of about ten seconds: some have 70 KB."""


@dataclass(frozen=True)
class Sources:
    """What is looked at.

    `models` and `under_way` give what the events of these kinds say, the latter with `requests` that have an `id`.
    `ended` gives the last requests that have ended, behind a number, the first one first, with the number of the last.
    `log` is the router's; `line` writes an entry of it.
    """

    models: Callable[[], Sequence[Mapping[str, object]]]
    under_way: Callable[[], Awaitable[dict[str, Any]]]
    ended: Callable[[int | None, int], Awaitable[tuple[int, list[Activity]]]]
    log: Feed
    line: Callable[[Entry], str]


class SwapEvents:
    """Tells those who follow. Its numbers say nothing to clients: who comes back gets all anew."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._feed = Feed(MOST_KEPT)
        self._written = Once(lambda entry: Sent(entry.id, "message", SwapEvent.model_validate(entry.data)), MOST_KEPT)
        self._task: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        # The feed doesn't count one who hasn't taken yet what there was at first.
        self._followers = 0
        # As it was at the last look: all that is told from then on, those hear who follow.
        self._line = self._number = 0
        self._ended: deque[Activity] = deque(maxlen=MOST_ENDED)
        self._models = self._under_way = b""
        self._ids: tuple[object, ...] = ()
        # What a follower gets at first, made once for all who come between two looks that tell something.
        self._first: list[Sent[SwapEvent]] = []

    async def follow(self) -> AsyncGenerator[Sequence[Sent[SwapEvent]], None]:
        """Give how things are, and each change from then on. Raises TooManyFollowersError."""
        check_room(self._followers)
        if self._task is None:
            self._begun.clear()
            self._task = asyncio.create_task(heard(self._look_on()), name="what llama-swap's events tell")
        await self._begun.wait()
        entries = self._feed.follow()
        self._first = self._first or self._as_it_is()
        return self._following(self._first, self._written.following(entries))

    async def _following(
        self, first: Sequence[Sent[SwapEvent]], entries: AsyncGenerator[Sequence[Sent[SwapEvent]], None]
    ) -> AsyncGenerator[Sequence[Sent[SwapEvent]], None]:
        self._followers += 1
        try:
            async with aclosing(entries) as following:
                yield first
                async for some in following:
                    yield some
        finally:
            self._followers -= 1

    def _as_it_is(self) -> list[Sent[SwapEvent]]:
        log = [each for each in self._sources.log.latest(MOST_LINES) if each.id <= self._line]
        told = [
            self._log(log),
            ("modelStatus", self._models),
            ("metrics", _json(self._ended)),
            ("inflight", self._under_way),
        ]
        return [Sent(self._feed.last, "message", SwapEvent(type=kind, data=data.decode())) for kind, data in told]

    async def _look_on(self) -> None:
        """Look until nobody follows any more, or the router ends."""
        try:
            self._line = self._sources.log.last
            self._number, ended = await self._sources.ended(None, MOST_ENDED)
            self._ended = deque(ended, MOST_ENDED)
            self._first = []
            await self._look()
            self._begun.set()
            while True:
                await asyncio.sleep(LOOK_EVERY)
                if self._sources.log.is_closed:
                    self._feed.close()
                if not self._followers or self._sources.log.is_closed:
                    break
                await self._look()
        finally:
            # Whoever waits for it finds the next one's task, or what was known.
            self._begun.set()
            self._task = None

    async def _look(self) -> None:
        """Tell what has changed since the last look."""
        if log := [each for each in self._sources.log.latest(MOST_LINES) if each.id > self._line]:
            self._line = log[-1].id
            self._tell(*self._log(log))
        models = msgspec.json.encode(self._sources.models())
        if models != self._models:
            self._models = models
            self._tell("modelStatus", models)
        self._number, ended = await self._sources.ended(self._number, MOST_ENDED)
        if ended:
            self._ended.extend(ended)
            self._tell("metrics", _json(ended))
            # Who gets these asks for the rest.
            self._tell("activity", msgspec.json.encode({"id": ended[-1].id}))
        told = await self._sources.under_way()
        ids = (told["total"], *(each["id"] for each in told["requests"]))
        self._under_way = msgspec.json.encode(told)
        if ids != self._ids:
            self._ids = ids
            self._tell("inflight", self._under_way)

    def _log(self, entries: Iterable[Entry]) -> tuple[str, bytes]:
        lines = "".join(f"{self._sources.line(each)}\n" for each in entries)
        return "logData", msgspec.json.encode({"source": "proxy", "data": lines})

    def _tell(self, kind: str, data: bytes) -> None:
        self._first = []
        self._feed.add("message", {"type": kind, "data": data.decode()})


def _json(activities: Iterable[Activity]) -> bytes:
    return ActivitiesTold(tuple(activities)).model_dump_json().encode()
