"""Finds out when an engine that starts is ready: it is asked again and again until it says so.

Two answers are needed, in this order:

1. The engine's `ready_path` says 200, and the one that answers is the engine, not a stranger who was quicker to take
   its port. Of a command (`launchers.engines.command`) this can't be told: a container's server is no child of it.
2. Where the engine has a `ready_request`, that is answered with 200, too: its model then works.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from launchers.engines import Engine
from launchers.engines.command import AnyCommand
from launchers.probe import TIMEOUT, TIMEOUT_OF_A_REQUEST, is_ready
from launchers.tree import owns_port

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.25
"""Seconds between two questions: few at first, as small models load in a fraction of a second."""

FACTOR = 1.5
"""By how much each pause is longer than the one before."""


def pauses() -> Iterator[float]:
    """Give the pauses between the questions, in seconds, without an end."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * FACTOR, LONGEST_PAUSE)


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom to ask: the port, the key to show there, and the engine's first process."""

    pid: int
    port: int
    key: str


class Readiness:
    """Asks one engine at a time. `on_ready` is called when it is ready, and when the asking has failed by a mistake."""

    def __init__(self, engine: Engine, on_ready: Callable[[], None]) -> None:
        self._engine = engine
        self._on_ready = on_ready
        self._task: asyncio.Task[None] | None = None

    def begin(self, asked: Asked) -> None:
        """Ask this engine from now on."""
        self._task = asyncio.create_task(self._ask(asked), name=f"readiness of port {asked.port}")
        self._task.add_done_callback(lambda _: self._on_ready())

    @property
    def ready(self) -> bool:
        """Whether the engine is ready. Raises what the asking failed by, if it did by a mistake of its own."""
        if self._task is None or not self._task.done():
            return False
        self._task.result()
        return True

    async def stop(self) -> None:
        """Ask no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def cancel(self) -> None:
        """Ask no more, without waiting for the last question to end."""
        if self._task is not None:
            self._task.cancel()

    async def _ask(self, asked: Asked) -> None:
        # The server of a command may be no child of it: a container's isn't.
        anybody = isinstance(self._engine, AnyCommand)
        await _until_answered(asked, self._engine.ready_path, anybody=anybody)
        if self._engine.ready_request is not None:
            path, body = self._engine.ready_request
            await _until_answered(asked, path, body, TIMEOUT_OF_A_REQUEST)


async def _until_answered(
    asked: Asked, path: str, body: bytes = b"", patience: float = TIMEOUT, *, anybody: bool = False
) -> None:
    for pause in pauses():
        if await is_ready(asked.port, path, body, patience, asked.key) and (anybody or await _is_it(asked)):
            return
        await asyncio.sleep(pause)


async def _is_it(asked: Asked) -> bool:
    """Tell whether it is the engine that answers at its port."""
    return await asyncio.to_thread(owns_port, asked.pid, asked.port)
