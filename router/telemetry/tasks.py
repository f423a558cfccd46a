"""Background tasks: none fails silently, and none takes others down.

An exception in a task that nobody awaits, or in a timer that arms itself, is reported at the program's end at most.
So a bug of ours in a loop (a watcher, a sweep) would end it silently; here it is logged, and the loop begins again.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

T = TypeVar("T")

FIRST_PAUSE = 1.0
"""Seconds until a failed loop begins again; doubled each time, up to `LONGEST_PAUSE`."""

LONGEST_PAUSE = 60.0

log = structlog.get_logger("router")


async def for_ever(name: str, work: Callable[[], Awaitable[None]], pause: float = FIRST_PAUSE) -> None:
    """Run work that never ends; if it fails or ends, log that and begin again after `pause` seconds."""
    now, first = time.monotonic(), pause
    while True:
        began = now
        try:
            await work()
            log.error(f"{name} has ended, and begins again in {pause:g} s")
        except Exception:
            # Any bug: it is logged, and the next try may succeed.
            log.exception(f"{name} failed because of a bug in the router, and begins again in {pause:g} s")
        await asyncio.sleep(pause)
        now = time.monotonic()
        pause = min(pause * 2, LONGEST_PAUSE) if now - began < LONGEST_PAUSE else first


def unharmed(name: str, do: Callable[..., object], *arguments: object) -> None:
    """Call a function; if it raises, log that, and let the caller go on."""
    try:
        do(*arguments)
    except Exception:  # as above
        log.exception(f"{name} failed because of a bug in the router")


async def heard(work: Awaitable[None]) -> None:
    """Run work that nobody awaits; if it fails, log that at once."""
    try:
        await work
    except Exception:  # as above
        log.exception("a background task failed because of a bug in the router")


async def heard_of(do: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Do the same with work that begins with the task: what is cancelled before leaves nothing that nobody awaits."""
    await heard(do(*arguments))


async def aside(do: Callable[..., T], *arguments: object) -> T:
    """Call a function that may block for ever, in a thread of its own.

    The end of the program doesn't wait for it, as it would for a thread of the loop's executor.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]  # not None: nothing was raised
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = do(*arguments)
        except BaseException as raised:  # noqa: BLE001  (the caller gets it)
            error = raised
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=getattr(do, "__name__", "aside"), daemon=True).start()
    return await done
