"""What has happened lately, for those who follow it: each entry with a number, from which one who left goes on.

All followers read the same entries, of which only the latest are kept. So a slow one costs nothing: it misses those
that are gone when it comes to read them, and is told how many. A hundred of them aren't felt by requests: they come
one by one, a millisecond apart, each takes all that is new at once, and what is made of an entry is made once. One that
draws what it is told, as a page does, says how long entries are to be gathered for it: each gathering is sent as one.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from itertools import count, islice
from typing import ClassVar, Final, Generic, NamedTuple, TypeVar

from router.core.errors import UnavailableError

MOST_KEPT: Final = 1000
MOST_FOLLOWERS: Final = 200
GATHER: Final = 0.05
"""Seconds for which entries are gathered before followers are woken: a burst of them is sent at once."""

MOST_AT_ONCE: Final = 100
"""Entries that a follower is given at a time, unless it has them gathered, and that are made without a pause."""

SLOWEST: Final = 10.0
"""Seconds for which entries are gathered at most, where a follower wants that."""

TURNS: Final = 50
TURN: Final = 0.001
"""Seconds between one follower and the next, of so many: the loop has requests to look after between them."""

QUIET: Final = 15.0
"""Seconds without an entry after which a follower gets a sign of life, so that no proxy closes its connection."""


class TooManyFollowersError(UnavailableError):
    """As many follow as may."""

    code: ClassVar[str] = "too_many_followers"


class Entry(NamedTuple):
    """One thing that happened, at `at` in seconds since the epoch. `missed`: so many before it were gone already."""

    id: int
    at: float
    kind: str
    data: Mapping[str, object]
    missed: int = 0


class Feed:
    """Keeps the latest entries. `add` may be called by any thread, all else by the loop's alone."""

    def __init__(self, most: int = MOST_KEPT, clock: Callable[[], float] = time.time) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._kept: deque[Entry] = deque(maxlen=most)
        # Numbers go on from one start to the next, so that none means two things.
        self._first = self._next = int(clock() * 1000)
        # What followers wait for; None while none of them does.
        self._news: asyncio.Future[None] | None = None
        self._end = asyncio.Event()
        self._turns = count()
        self.followers = 0

    def add(self, kind: str, data: Mapping[str, object]) -> None:
        """Add an entry."""
        # A router that didn't come up may leave its handler behind.
        if not self._end.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._add, self._clock(), kind, data)

    def _add(self, at: float, kind: str, data: Mapping[str, object]) -> None:
        self._kept.append(Entry(self._next, at, kind, data))
        self._next += 1
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            news.set_result(None)

    @property
    def is_closed(self) -> bool:
        """Whether nobody follows any more."""
        return self._end.is_set()

    def close(self) -> None:
        """End whoever follows."""
        self._end.set()
        self._wake()

    @property
    def last(self) -> int:
        """The number of the last entry."""
        return self._next - 1

    def latest(self, most: int) -> list[Entry]:
        """Give the last entries, the first one first."""
        return list(islice(self._kept, max(0, len(self._kept) - most), None))

    def follow(self, after: int | None = None, every: float = 0.0) -> AsyncGenerator[Sequence[Entry], None]:
        """Give all entries behind the number `after`, or from now on, as they come; none at all as a sign of life.

        With `every`, they are gathered for so many seconds. Raises TooManyFollowersError.
        """
        check_room(self.followers)
        if after is None:
            after = self.last
        elif after > self.last:
            # A number of another router's, or of before the clock went back: all is new.
            after = self._first - 1
        return self._follow(after, min(every, SLOWEST))

    async def _follow(self, after: int, every: float) -> AsyncGenerator[Sequence[Entry], None]:
        self.followers += 1
        turn = next(self._turns) % TURNS * TURN
        try:
            while not self._end.is_set():
                found = self._behind(after)
                if found:
                    most = len(found) if every else MOST_AT_ONCE
                    for begin in range(0, len(found), most):
                        yield found[begin : begin + most]
                    after = found[-1].id
                    await (self._gather(every) if every > GATHER else asyncio.sleep(GATHER))
                elif await self._heard():
                    await asyncio.sleep(turn)
                else:
                    yield ()
        finally:
            self.followers -= 1

    async def _gather(self, seconds: float) -> None:
        """Let so many seconds go by, or fewer where the end comes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end.wait()

    async def _heard(self) -> bool:
        """Wait for news; False: there was none for long."""
        news = self._news = self._news or self._loop.create_future()
        try:
            async with asyncio.timeout(QUIET):
                await asyncio.shield(news)
        except TimeoutError:
            return False
        return True

    def _behind(self, after: int) -> list[Entry]:
        """Give what is kept behind a number; the first one says how many were gone already."""
        found = self.latest(max(0, self.last - after))
        if found:
            # A number of an earlier start says nothing of how many there were since.
            gone = found[0].id - max(after + 1, self._first)
            found[0] = found[0]._replace(missed=gone)
        return found


def check_room(followers: int) -> None:
    """Raise TooManyFollowersError where so many are as many as may be."""
    if followers >= MOST_FOLLOWERS:
        raise TooManyFollowersError(f"{MOST_FOLLOWERS} followers are here already: close some of them.", retry_after=5)


M = TypeVar("M")


class Once(Generic[M]):
    """What is made of a feed's entries, once for all who follow it."""

    def __init__(self, make: Callable[[Entry], M], most: int = MOST_KEPT) -> None:
        self._make = make
        self._most = most
        self._made: dict[int, M] = {}

    def of(self, entries: Sequence[Entry]) -> list[M]:
        """Give what is made of each."""
        return [self._of(each) for each in entries]

    async def following(self, entries: AsyncGenerator[Sequence[Entry], None]) -> AsyncGenerator[Sequence[M], None]:
        """Give what is made of a follower's entries, as they come. Once this is closed, it follows no more."""
        async with aclosing(entries):
            async for some in entries:
                made: list[M] = []
                for begin in range(0, len(some), MOST_AT_ONCE):
                    made += self.of(some[begin : begin + MOST_AT_ONCE])
                    await asyncio.sleep(0)
                yield made

    def _of(self, entry: Entry) -> M:
        if entry.missed:
            # That is one follower's alone.
            return self._make(entry)
        made = self._made.get(entry.id)
        if made is None:
            made = self._made[entry.id] = self._make(entry)
            if len(self._made) > self._most:
                del self._made[next(iter(self._made))]
        return made


class FeedHandler(logging.Handler):
    """Has the router's own log lines followed. Each is an entry, with its details; its kind says what it is about."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(logging.INFO)
        self.feed = feed

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a line on."""
        if not isinstance(record.msg, dict):
            return
        said = {name: value for name, value in record.msg.items() if name not in _OF_THE_LINE}
        fields = {name: value if isinstance(value, int | float) else str(value) for name, value in said.items()}
        message = str(record.msg.get("event", ""))
        self.feed.add(
            kind_of(message, fields), {"level": record.levelname.lower(), "message": message, "details": fields}
        )


_OF_THE_LINE: Final = frozenset({
    "event", "level", "logger", "timestamp", "exception", "exc_info", "_record", "_from_structlog", "_logger", "_name"
})  # fmt: skip


def kind_of(message: str, fields: Mapping[str, object]) -> str:
    """Say what a line is about: `admin`, `reload`, `backend`, `request`, or else `log`."""
    if message.startswith("admin: "):
        return "admin"
    if message.startswith(("reload", "router.yaml")):
        return "reload"
    if "request_id" in fields:
        return "request"
    return "backend" if "backend" in fields else "log"
