"""/api/events: what happens, as llama-swap tells it.

Nothing here hangs on what a request does: while somebody follows, a task looks twice a second at how things are, and
tells what has changed, once for all who follow.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from router.api.admin.activity import ActivitiesTold, Activity
from router.api.admin.endpoint import Sent
from router.api.admin.llama_swap import SwapEvent
from router.telemetry.feed import Entry, Feed, Once
from router.telemetry.tasks import heard

LOOK_EVERY: Final = 0.5
"""Seconds between two looks, while somebody follows."""

MOST_LINES: Final = 1000
"""Lines of the log that a follower gets at first, and that a look tells at most."""

MOST_ENDED: Final = 200
"""Requests that a follower gets at first, and that a look tells at most."""


@dataclass(frozen=True)
class Sources:
    """What is looked at.

    `models` and `under_way` give what the events of these kinds say, the latter with `requests` that have an `id`.
    `ended` gives the last requests that have ended, behind a number, the first one first, with the number of the last.
    `log` is the router's; `line` writes an entry of it.
    """

    models: Callable[[], list[dict[str, object]]]
    under_way: Callable[[], Awaitable[dict[str, Any]]]
    ended: Callable[[int | None, int], Awaitable[tuple[int, list[Activity]]]]
    log: Feed
    line: Callable[[Entry], str]


class SwapEvents:
    """Tells those who follow. Its numbers say nothing to clients: who comes back gets all anew."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._feed = Feed()
        self._written = Once(lambda entry: Sent(entry.id, "message", SwapEvent.model_validate(entry.data)))
        self._task: asyncio.Task[None] | None = None
        # What was told last: None and 0 while nobody follows.
        self._models = b""
        self._under_way: tuple[object, ...] = ()
        self._number: int | None = None
        self._line = 0

    async def follow(self) -> AsyncGenerator[Sequence[Sent[SwapEvent]], None]:
        """Give how things are, and each change from then on. Raises UnavailableError where too many follow."""
        entries = self._feed.follow()
        if self._task is None:
            self._models, self._line = msgspec.json.encode(self._sources.models()), self._sources.log.last
            self._task = asyncio.create_task(heard(self._look_on()), name="what llama-swap's events tell")
        # What a look tells from here on, this follower hears.
        first = await self._first(self._models, self._line, self._number)
        return self._following(first, self._written.following(entries))

    async def _following(
        self, first: Sequence[Sent[SwapEvent]], entries: AsyncGenerator[Sequence[Sent[SwapEvent]], None]
    ) -> AsyncGenerator[Sequence[Sent[SwapEvent]], None]:
        async with aclosing(entries) as following:
            yield first
            async for some in following:
                yield some

    async def _first(self, models: bytes, line: int, number: int | None) -> list[Sent[SwapEvent]]:
        """Tell how things are, up to what was told last."""
        log = [each for each in self._sources.log.latest(MOST_LINES) if each.id <= line]
        last, ended = await self._sources.ended(None, MOST_ENDED)
        if self._number is None:
            self._number = last
        until = self._number if number is None else number
        told = [
            self._log(log),
            ("modelStatus", models),
            ("metrics", _json(each for each in ended if each.id <= until)),
            ("inflight", msgspec.json.encode(await self._sources.under_way())),
        ]
        return [Sent(self._feed.last, "message", SwapEvent(type=kind, data=data.decode())) for kind, data in told]

    async def _look_on(self) -> None:
        """Look until nobody follows any more, or the router ends."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                if self._sources.log.is_closed:
                    self._feed.close()
                if not self._feed.followers or self._sources.log.is_closed:
                    break
                await self._look()
        finally:
            self._task = self._number = None

    async def _look(self) -> None:
        """Tell what has changed since the last look."""
        if log := [each for each in self._sources.log.latest(MOST_LINES) if each.id > self._line]:
            self._line = log[-1].id
            self._tell(*self._log(log))
        models = msgspec.json.encode(self._sources.models())
        if models != self._models:
            self._models = models
            self._tell("modelStatus", models)
        if self._number is not None:
            self._number, ended = await self._sources.ended(self._number, MOST_ENDED)
            if ended:
                self._tell("metrics", _json(ended))
                # Who gets these asks for the rest.
                self._tell("activity", msgspec.json.encode({"id": ended[-1].id}))
        told = await self._sources.under_way()
        under_way = (told["total"], *(each["id"] for each in told["requests"]))
        if under_way != self._under_way:
            self._under_way = under_way
            self._tell("inflight", msgspec.json.encode(told))

    def _log(self, entries: Iterable[Entry]) -> tuple[str, bytes]:
        lines = "".join(f"{self._sources.line(each)}\n" for each in entries)
        return "logData", msgspec.json.encode({"source": "proxy", "data": lines})

    def _tell(self, kind: str, data: bytes) -> None:
        self._feed.add("message", {"type": kind, "data": data.decode()})


def _json(activities: Iterable[Activity]) -> bytes:
    return ActivitiesTold(tuple(activities)).model_dump_json().encode()
