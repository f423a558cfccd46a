"""What happened, and what engines write."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Final

from launchers.output import without
from router.api.admin.endpoint import Sent, Stream
from router.api.admin.logs import (
    EventsAsked,
    EventsTold,
    EventTold,
    FollowAsked,
    LatestAsked,
    LinesAsked,
    LinesTold,
    LineTold,
)
from router.core.errors import ConflictError, RouterError
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.management.backends import meant, member_of
from router.management.elsewhere import Elsewhere
from router.telemetry.feed import Entry, Feed, Once
from router.telemetry.tasks import aside, heard

AT_ONCE: Final = 256 * 1024
"""Bytes that are read of a log at a time; of a flood, a follower gets the latest."""

LOOK_EVERY: Final = 0.5
"""Seconds between two looks whether an engine has written more, while somebody follows it."""

LONGEST: Final = 4096
"""Bytes of a line that followers are given: a thousand lines are kept for them."""

Source = Callable[[Feed], Awaitable[None]]
"""Adds lines to a feed, until nobody follows it or there are no more."""


class Logs:
    """Answers `router.api.admin.logs`. `folder` has the engines' logs."""

    def __init__(self, fleet: Fleet, feed: Feed, folder: Path, elsewhere: Elsewhere) -> None:
        self._fleet = fleet
        self._elsewhere = elsewhere
        self._feed = feed
        self._folder = folder
        self._events = Once(_sent)
        self._followed: dict[Path | str, Followed] = {}

    async def logs(self, asked: LatestAsked, _: Admin) -> EventsTold:
        """Give the latest lines of the router's log."""
        return EventsTold(events=tuple(_told(each) for each in self._feed.latest(asked.limit)))

    async def events(self, asked: EventsAsked, _: Admin) -> Stream[EventTold]:
        """Give each line as it comes. Raises UnavailableError where too many follow."""
        return Stream(self._events.following(self._feed.follow(asked.after, asked.every)))

    async def lines(self, asked: LinesAsked, _: Admin) -> LinesTold:
        """Give the last lines of an engine's log. Raises NotFoundError and ConflictError."""
        name = meant(self._fleet, self._elsewhere, asked.name)
        if self._elsewhere.peer(name) is not None:
            return await self._elsewhere.lines(name, asked.limit)
        path, secrets = self._log_of(name)
        hidden = await aside(secrets)
        lines = await aside(last_lines, path)
        # The last one may be half written.
        told = [without(hidden, line, is_whole=at < len(lines)) for at, line in enumerate(lines, 1)]
        return LinesTold(lines=tuple(told[-asked.limit :]))

    async def follow(self, asked: FollowAsked, _: Admin) -> Stream[LineTold]:
        """Give each line of an engine's log as it comes. Raises NotFoundError, ConflictError and UnavailableError."""
        name = meant(self._fleet, self._elsewhere, asked.name)
        if self._elsewhere.peer(name) is not None:
            return Stream(await self._follow_there(name))
        path, secrets = self._log_of(name)
        hidden = await aside(secrets)
        return Stream(self._follow(path, lambda: Written(path, hidden).read))

    async def _follow_there(self, name: str) -> AsyncGenerator[Sequence[Sent[LineTold]], None]:
        """Follow a peer's log: it is asked for it once for all who follow."""
        if name not in self._followed:
            following = await self._elsewhere.log(name)
            if name not in self._followed:
                return self._follow(name, lambda: partial(_pass_on, following))
            await following.aclose()
        return self._followed[name].lines()

    def _follow(self, log: Path | str, source: Callable[[], Source]) -> AsyncGenerator[Sequence[Sent[LineTold]], None]:
        followed = self._followed.get(log)
        if followed is None:
            followed = self._followed[log] = Followed(source(), lambda: self._followed.pop(log, None))
        return followed.lines()

    def _log_of(self, name: str) -> tuple[Path, Callable[[], Collection[str]]]:
        """Give a backend's log, and what gives the secrets that its engine knows."""
        member = member_of(self._fleet, name)
        if member.supervisor is None or member.planned.launch is None:
            raise ConflictError(f"'{name}' is not launched by this router, which has no log of it.")
        return self._folder / f"{member.files}.log", member.supervisor.secrets


def _said(entry: Entry) -> dict[str, object]:
    """Give an entry's data, and how many before it were gone, if any were."""
    return {**entry.data, "missed": entry.missed} if entry.missed else {**entry.data}


def _told(entry: Entry) -> EventTold:
    told = {**_said(entry), "id": entry.id, "at": round(entry.at, 3), "kind": entry.kind}
    return EventTold.model_validate(told)


def _sent(entry: Entry) -> Sent[EventTold]:
    return Sent(entry.id, entry.kind, _told(entry))


def _line(entry: Entry) -> Sent[LineTold]:
    return Sent(entry.id, "line", LineTold.model_validate(_said(entry)))


def last_lines(path: Path) -> list[str]:
    """Read the last lines of a file; none where there is none. Blocks."""
    data, size = _behind(path, 0)
    text = data.decode("utf-8", "replace").removesuffix("\n")
    # Nothing but \n ends a line, as for those who follow: a bar of progress is written over and over with \r.
    lines = [line.rstrip("\r") for line in text.split("\n")] if data else []
    # The first one lacks its beginning.
    return lines[1:] if size > AT_ONCE else lines


class Followed:
    """A log that somebody follows: read once for all of them, until the last one has left, or it has ended."""

    def __init__(self, read: Source, on_end: Callable[[], object]) -> None:
        self._source = read
        self._on_end = on_end
        self._feed = Feed()
        self._lines = Once(_line)
        self._task: asyncio.Task[None] | None = None

    def lines(self) -> AsyncGenerator[Sequence[Sent[LineTold]], None]:
        """Give each line from now on. Raises UnavailableError where too many follow."""
        entries = self._feed.follow()
        if self._task is None:
            self._task = asyncio.create_task(heard(self._read()), name="follow a log")
        return self._lines.following(entries)

    async def _read(self) -> None:
        try:
            await self._source(self._feed)
        finally:
            self._on_end()
            self._feed.close()


class Written:
    """An engine's log on this disk. What is told of it has none of the `hidden` texts."""

    def __init__(self, path: Path, hidden: Collection[str]) -> None:
        self._path = path
        self._hidden = hidden

    async def read(self, feed: Feed) -> None:
        """Add what is written from now on, until nobody follows any more."""
        position, left = await aside(_end_of, self._path), b""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if not feed.followers:
                break
            data, position = await aside(_behind, self._path, position)
            *lines, left = (left + data).split(b"\n")
            left = left[-AT_ONCE:]
            for line in lines:
                feed.add("line", {"line": self._told(line)})

    def _told(self, line: bytes) -> str:
        text = line[:LONGEST].decode("utf-8", "replace").rstrip("\r")
        if len(line) <= LONGEST:
            return without(self._hidden, text)
        return without(self._hidden, text, is_whole=False) + " …"


async def _pass_on(following: AsyncGenerator[list[LineTold], None], feed: Feed) -> None:
    """Add a peer's lines, until nobody follows any more, or the peer tells no more."""
    reading = asyncio.create_task(heard(_add_all(following, feed)))
    try:
        while not (await asyncio.wait([reading], timeout=LOOK_EVERY))[0] and feed.followers:
            pass
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def _add_all(following: AsyncGenerator[list[LineTold], None], feed: Feed) -> None:
    async with aclosing(following):
        with suppress(RouterError):
            async for some in following:
                for each in some:
                    feed.add("line", each.model_dump(exclude_unset=True))


def _end_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _behind(path: Path, position: int) -> tuple[bytes, int]:
    """Read what stands behind a position; of much, the end. A file that is shorter now is another one."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            begin = 0 if size < position else position
            file.seek(max(begin, size - AT_ONCE))
            data = file.read(AT_ONCE)
            return data, file.tell()
    except OSError:
        return b"", position
