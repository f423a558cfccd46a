"""What runs for as long as the router does: nothing of it ends without a word, and none of it ends the rest.

A mistake of ours in something that goes round and round (a watcher, a sweep) would otherwise end it silently: an
exception in a task that nobody waits for, or in a timer that arms itself, is told at most when the program ends.
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
"""Seconds until what has failed is begun again; twice as many each time, up to `LONGEST_PAUSE`."""

LONGEST_PAUSE = 60.0

log = structlog.get_logger("router")


async def for_ever(name: str, work: Callable[[], Awaitable[None]], pause: float = FIRST_PAUSE) -> None:
    """Do what has no end; where it fails, or ends, say so and begin again."""
    now, first = time.monotonic(), pause
    while True:
        began = now
        try:
            await work()
            log.error(f"{name} has ended, and begins again in {pause:g} s")
        except Exception:  # whatever it was: it is told, and the next try may do better
            log.exception(f"{name} failed by a mistake of the router's, and begins again in {pause:g} s")
        await asyncio.sleep(pause)
        now = time.monotonic()
        pause = min(pause * 2, LONGEST_PAUSE) if now - began < LONGEST_PAUSE else first


def unharmed(name: str, do: Callable[..., object], *arguments: object) -> None:
    """Call what may hold a mistake of ours; if it raises, that is told, and its caller goes on."""
    try:
        do(*arguments)
    except Exception:  # as above
        log.exception(f"{name} failed by a mistake of the router's")


async def heard(work: Awaitable[None]) -> None:
    """Do what nobody waits for; if it fails, that is told at once."""
    try:
        await work
    except Exception:  # as above
        log.exception("what nobody waits for failed by a mistake of the router's")


async def aside(do: Callable[..., T], *arguments: object) -> T:
    """Call what may block for ever, in a thread that nobody waits for at the end, as the loop's own would be."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]  # of this type, where nothing was raised
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = do(*arguments)
        except BaseException as raised:  # noqa: BLE001  (whoever waits for it gets it)
            error = raised
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=getattr(do, "__name__", "aside"), daemon=True).start()
    return await done
