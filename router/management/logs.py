"""What happened, and what engines write."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
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
from router.core.errors import ConflictError
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.management.backends import member_of
from router.telemetry.feed import Entry, Feed, Once
from router.telemetry.tasks import aside

AT_ONCE: Final = 256 * 1024
"""Bytes that are read of a log at a time; of a flood, a follower gets the latest."""

LOOK_EVERY: Final = 0.5
"""Seconds between two looks whether an engine has written more, while somebody follows it."""

LONGEST: Final = 4096
"""Bytes of a line that followers are given: a thousand lines are kept for them."""


class Logs:
    """Answers `router.api.admin.logs`. `folder` has the engines' logs."""

    def __init__(self, fleet: Fleet, feed: Feed, folder: Path) -> None:
        self._fleet = fleet
        self._feed = feed
        self._folder = folder
        self._events = Once(_sent)
        self._followed: dict[Path, Followed] = {}

    async def logs(self, asked: LatestAsked, _: Admin) -> EventsTold:
        """Give the latest lines of the router's log."""
        return EventsTold(events=tuple(_told(each) for each in self._feed.latest(asked.limit)))

    async def events(self, asked: EventsAsked, _: Admin) -> Stream[EventTold]:
        """Give each line as it comes. Raises UnavailableError where too many follow."""
        return Stream(self._events.following(self._feed.follow(asked.after, asked.every)))

    async def lines(self, asked: LinesAsked, _: Admin) -> LinesTold:
        """Give the last lines of an engine's log. Raises NotFoundError and ConflictError."""
        path, secrets = self._log_of(asked.name)
        hidden = await aside(secrets)
        lines = await aside(last_lines, path)
        # The last one may be half written.
        told = [without(hidden, line, is_whole=at < len(lines)) for at, line in enumerate(lines, 1)]
        return LinesTold(lines=tuple(told[-asked.limit :]))

    async def follow(self, asked: FollowAsked, _: Admin) -> Stream[LineTold]:
        """Give each line of an engine's log as it comes. Raises NotFoundError, ConflictError and UnavailableError."""
        path, secrets = self._log_of(asked.name)
        hidden = await aside(secrets)
        followed = self._followed.get(path)
        if followed is None:
            followed = self._followed[path] = Followed(path, hidden, lambda: self._followed.pop(path, None))
        return Stream(followed.lines())

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
    """An engine's log that somebody follows: read once for all of them, until the last one has left.

    What they get has none of the `hidden` texts.
    """

    def __init__(self, path: Path, hidden: Collection[str], on_end: Callable[[], object]) -> None:
        self._path = path
        self._hidden = hidden
        self._on_end = on_end
        self._feed = Feed()
        self._lines = Once(_line)
        self._task: asyncio.Task[None] | None = None

    def lines(self) -> AsyncGenerator[Sequence[Sent[LineTold]], None]:
        """Give each line from now on. Raises UnavailableError where too many follow."""
        entries = self._feed.follow()
        if self._task is None:
            self._task = asyncio.create_task(self._read(), name=f"follow {self._path.name}")
        return self._lines.following(entries)

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
                self._feed.add("line", {"line": self._told(line)})
        self._on_end()

    def _told(self, line: bytes) -> str:
        text = line[:LONGEST].decode("utf-8", "replace").rstrip("\r")
        if len(line) <= LONGEST:
            return without(self._hidden, text)
        return without(self._hidden, text, is_whole=False) + " …"


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
