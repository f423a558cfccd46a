"""A warning that repeats is said once a minute, with its count: a structlog processor.

Two warnings are alike if they differ in nothing but what is of one request or moment alone (`VARIES`). The first one
is said at once. Those like it are counted, and after `WINDOW` the last of them is said, with `repeated`: how many there
were. Clients choose what warnings about their requests say. Of more than `MOST_KINDS` of these within a window only the
number is told; all others are said.
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from structlog.typing import EventDict

WINDOW: Final = 60.0
"""Seconds after which what was counted is told."""

MOST_KINDS: Final = 200

VARIES: Final = frozenset({"attempts", "exc_info", "lost", "opentelemetry", "pid", "request_id", "seconds"})

ALWAYS: Final = frozenset({"backend is down"})
"""Said each time: what was true in between was said, too."""

_OF_CLIENTS: Final = ("request_id", "client")

Key = tuple[str, ...]


class Repeats:
    """What was said within the present window, and how often. Any thread may log.

    `later` calls a function after so many seconds; `tell` logs what was counted.
    """

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], None] | None = None,
        tell: Callable[[EventDict], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._later = later or _later
        self._tell = tell or _tell
        self._clock = clock
        self._lock = threading.Lock()
        # Guarded by it: the kinds, each with its latest and how many were not said.
        self._seen: dict[Key, tuple[EventDict, int]] = {}
        self._others = 0
        self._ends = 0.0
        self._is_due = False

    def __call__(self, logger: Any, name: str, event: EventDict) -> EventDict:  # noqa: ANN401  (structlog's)
        """Let a line pass. Raises structlog.DropEvent if it is to be counted alone."""
        if (name != "warning" and not ("exc_info" in event and name in {"error", "exception"})) or "repeated" in event:
            return event
        if event.get("event") in ALWAYS:
            return event
        level = "warning" if name == "warning" else "error"
        if self._is_new(_key(event), {**event, "level": level, "logger": getattr(logger, "name", "router")}):
            return event
        raise structlog.DropEvent

    def _is_new(self, key: Key, event: EventDict) -> bool:
        with self._lock:
            now = self._clock()
            if not self._is_due and now >= self._ends:
                self._seen.clear()
            if not self._seen:
                self._ends = now + WINDOW
            known = self._seen.get(key)
            if known is None and len(self._seen) < MOST_KINDS:
                self._seen[key] = event, 0
                return True
            if known is None and not any(name in event for name in _OF_CLIENTS):
                return True
            if known is None:
                self._others += 1
            else:
                self._seen[key] = event, known[1] + 1
            starts, self._is_due = not self._is_due, True
        if starts:
            self._later(max(0.0, self._ends - now), self.tell)
        return False

    def tell(self) -> None:
        """Tell what was counted; kinds that were go on being counted."""
        with self._lock:
            counted = [(event, count) for event, count in self._seen.values() if count]
            self._seen = {key: (event, 0) for key, (event, count) in self._seen.items() if count}
            others, self._others, self._is_due = self._others, 0, False
            self._ends = self._clock() + WINDOW
        for event, count in counted:
            self._tell({**event, "repeated": count})
        if others:
            said = f"{others} more warnings about requests, of other kinds, within {WINDOW:g} s"
            self._tell({"event": said, "level": "warning", "logger": "router", "repeated": others})


def _key(event: EventDict) -> Key:
    error = event.get("exc_info")
    if error is True:
        error = sys.exc_info()[1]
    kind = type(error[1] if isinstance(error, tuple) else error).__name__
    return kind, *(f"{name}={value}" for name, value in event.items() if name not in VARIES)


def _later(seconds: float, do: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.name = "repeats"
    try:
        timer.start()
    except RuntimeError:
        # No thread can be started: what is counted is told at the end.
        return


def _tell(event: EventDict) -> None:
    said = {name: value for name, value in event.items() if name != "exc_info"}
    level, logger = said.pop("level"), structlog.get_logger(said.pop("logger"))
    getattr(logger, level)(said.pop("event"), **said)
