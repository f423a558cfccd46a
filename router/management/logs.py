"""What happened, and what engines write."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final

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
from router.core.errors import ConflictError
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.management.backends import member_of
from router.telemetry.feed import Entry, Feed
from router.telemetry.tasks import aside

AT_ONCE: Final = 256 * 1024
"""Bytes that are read of a log at a time; of a flood, a follower gets the latest."""

LOOK_EVERY: Final = 0.5
"""Seconds between two looks whether an engine has written more, while somebody follows it."""

FOLLOWERS: Final = 100
"""Lines that are kept of a log for those who follow it."""


class Logs:
    """Answers `router.api.admin.logs`. `folder` has the engines' logs."""

    def __init__(self, fleet: Fleet, feed: Feed, folder: Path) -> None:
        self._fleet = fleet
        self._feed = feed
        self._folder = folder
        self._followed: dict[Path, Followed] = {}

    async def logs(self, asked: LatestAsked, _: Admin) -> EventsTold:
        """Give the latest lines of the router's log."""
        return EventsTold(events=tuple(_told(each) for each in self._feed.latest(asked.limit)))

    async def events(self, asked: EventsAsked, _: Admin) -> Stream[EventTold]:
        """Give each line as it comes. Raises UnavailableError where too many follow."""
        return Stream(_events(self._feed.follow(asked.after)))

    async def lines(self, asked: LinesAsked, _: Admin) -> LinesTold:
        """Give the last lines of an engine's log. Raises NotFoundError and ConflictError."""
        return LinesTold(lines=tuple((await aside(last_lines, self._log_of(asked.name)))[-asked.limit :]))

    async def follow(self, asked: FollowAsked, _: Admin) -> Stream[LineTold]:
        """Give each line of an engine's log as it comes. Raises NotFoundError, ConflictError and UnavailableError."""
        path = self._log_of(asked.name)
        followed = self._followed.get(path)
        if followed is None:
            followed = self._followed[path] = Followed(path, lambda: self._followed.pop(path, None))
        return Stream(followed.lines())

    def _log_of(self, name: str) -> Path:
        member = member_of(self._fleet, name)
        if member.files is None:
            raise ConflictError(f"'{name}' is not launched by this router, which has no log of it.")
        return self._folder / f"{member.files}.log"


def _told(entry: Entry) -> EventTold:
    missed = {"missed": entry.missed} if entry.missed else {}
    return EventTold.model_validate(
        {**entry.data, "id": entry.id, "at": round(entry.at, 3), "kind": entry.kind, **missed}
    )


async def _events(entries: AsyncGenerator[Entry | None, None]) -> AsyncGenerator[Sent[EventTold] | None, None]:
    async for each in entries:
        yield None if each is None else Sent(each.id, each.kind, _told(each))


def last_lines(path: Path) -> list[str]:
    """Read the last lines of a file; none where there is none. Blocks."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - AT_ONCE))
            lines = file.read(AT_ONCE).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[1:] if size > AT_ONCE else lines


class Followed:
    """An engine's log that somebody follows: read once for all of them, until the last one has left."""

    def __init__(self, path: Path, on_end: Callable[[], object]) -> None:
        self._path = path
        self._on_end = on_end
        self._feed = Feed()
        self._task: asyncio.Task[None] | None = None

    async def lines(self) -> AsyncGenerator[Sent[LineTold] | None, None]:
        """Give each line from now on."""
        entries = self._feed.follow()
        if self._task is None:
            self._task = asyncio.create_task(self._read(), name=f"follow {self._path.name}")
        async for each in entries:
            if each is None:
                yield None
            else:
                missed = {"missed": each.missed} if each.missed else {}
                yield Sent(each.id, "line", LineTold.model_validate({**each.data, **missed}))

    async def _read(self) -> None:
        """Read what is written, until nobody follows it any more."""
        position, left = await aside(_end_of, self._path), b""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if not self._feed.followers:
                break
            data, position = await aside(_behind, self._path, position)
            *lines, left = (left + data).split(b"\n")
            left = left[-AT_ONCE:]
            for line in lines:
                self._feed.add("line", {"line": line.decode("utf-8", "replace").rstrip("\r")})
        self._on_end()


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
