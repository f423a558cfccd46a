"""llama_cpp.server, so that it stops when its client leaves.

Run as `python -P llama_cpp_server.py --model FILE ...`, with the arguments of `llama_cpp.server`. That one looks for
its client between the pieces of a stream alone; any other answer is generated to its end, for nobody, while all others
wait. Here each request is watched for its client, and the next token is not made once that has left.
"""

import asyncio
import importlib
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Any, Receive, Any], Awaitable[None]]

LEFT: ContextVar[threading.Event | None] = ContextVar("left", default=None)
"""Whether the client of the request that is worked on has left; the threads that work on it know it, too."""


def watched(app: App) -> App:
    """Have each request of an ASGI application know when its client has left."""

    async def watch(scope: Any, receive: Receive, send: Any) -> None:  # noqa: ANN401 -- ASGI's own types
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        left = threading.Event()
        LEFT.set(left)
        watching: list[asyncio.Task[None]] = []

        async def wait() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()

        async def received() -> Message:
            message = await receive()
            if not watching and not message.get("more_body", False):  # the body is whole: only a farewell can follow
                watching.append(asyncio.create_task(wait()))
            return message

        try:
            await app(scope, received, send)
        finally:
            for task in watching:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    return watch


def stopping(generate: Callable[..., Iterator[int]]) -> Callable[..., Iterator[int]]:
    """Have what makes tokens stop when nobody waits for them."""

    def until_left(*args: Any, **options: Any) -> Iterator[int]:  # noqa: ANN401 -- passed on as they are
        left = LEFT.get()
        for token in generate(*args, **options):
            if left is not None and left.is_set():
                return
            yield token

    return until_left


def main() -> None:
    """Serve until a signal ends it."""
    server: Any = importlib.import_module("llama_cpp.server.__main__")
    llama = importlib.import_module("llama_cpp").Llama
    create = server.create_app
    server.create_app = lambda **settings: watched(create(**settings))
    llama.generate = stopping(llama.generate)
    server.main()


if __name__ == "__main__":
    main()
