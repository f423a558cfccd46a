"""What was asked of a supervisor, and who waits for the end of its process."""

import asyncio
from collections import deque

from launchers.states import Event


class Orders:
    """Events that no step has taken yet, in order. Some callers wait until the process is gone."""

    def __init__(self) -> None:
        self._asked: deque[tuple[Event, asyncio.Future[None] | None]] = deque()
        # Those whose order was taken.
        self._waiting: list[asyncio.Future[None]] = []

    def __bool__(self) -> bool:
        return bool(self._asked)

    def add(self, event: Event, gone: asyncio.Future[None] | None = None) -> None:
        """Take in an order; `gone` is done when the process is gone."""
        self._asked.append((event, gone))

    def add_first(self, event: Event) -> None:
        """Have an event come before all that was asked: what an action has led to."""
        self._asked.appendleft((event, None))

    def take(self) -> Event:
        """Give the next one."""
        event, gone = self._asked.popleft()
        if gone is not None:
            self._waiting.append(gone)
        return event

    @property
    def start_asked(self) -> bool:
        """Whether a start is among them."""
        return any(event is Event.START for event, _ in self._asked)

    def release(self, error: BaseException | None = None) -> None:
        """Tell those whose order was taken that the process is gone, or the error that prevents knowing it."""
        waiting, self._waiting = self._waiting, []
        for gone in waiting:
            if gone.done():  # its caller was cancelled
                continue
            if error is None:
                gone.set_result(None)
            else:
                gone.set_exception(error)

    def fail(self, error: BaseException) -> None:
        """Drop all orders, and tell the error to all who wait."""
        self._waiting += [gone for _, gone in self._asked if gone is not None]
        self._asked.clear()
        self.release(error)
