"""The program beside the router that speaks with Ray (`ray_helper`): started when it is needed, and again when it ends.

It is a process of its own with the Python of the cluster's environment. What it is told and tells are lines of JSON on
its pipes. It ends when its stdin does, so none outlives the router.
"""

import asyncio
import json
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog

from launchers.wording import exit_in_words
from router.telemetry.tasks import for_ever

HELPER: Final = Path(__file__).with_name("ray_helper.py")

FIRST_PAUSE: Final = 1.0
"""Seconds until a helper that ended is started again; they double, to LONGEST_PAUSE."""

LONGEST_PAUSE: Final = 30.0

ENDS_WITHIN: Final = 8.0
"""Seconds that a helper has to end by itself: it gives itself 5."""

MOST_LINE: Final = 8 << 20
"""Bytes of a message at most: a thousand nodes, with all that they have."""

log = structlog.get_logger("router")

Message = dict[str, Any]


class Link:
    """Keeps a helper running. `on_message` hears what it says, `on_end` why there is none any more."""

    def __init__(self, on_message: Callable[[Message], None], on_end: Callable[[str], None]) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._failed = ""

    @property
    def pid(self) -> int | None:
        """Its process; None: there is none now."""
        return None if self._process is None else self._process.pid

    def start(self, python: str | None, address: str) -> None:
        """Keep one running that speaks with the cluster at this address."""
        if self._task is None:
            work = for_ever("the link to Ray", lambda: self._keep(python or sys.executable, address))
            self._task = asyncio.create_task(work, name="ray")

    def send(self, message: Message) -> None:
        """Tell it something; without one, nobody hears it."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")

    async def stop(self) -> None:
        """End it, and with it all that it has placed."""
        if self._task is None:
            return
        task, self._task = self._task, None
        process = self._process
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if process is not None and process.returncode is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(ENDS_WITHIN):
                    await process.wait()
            with suppress(ProcessLookupError):
                process.kill()

    async def _keep(self, python: str, address: str) -> None:
        pause = FIRST_PAUSE
        while True:
            why, connected = await self._run(python, address)
            pause = FIRST_PAUSE if connected else min(pause * 2, LONGEST_PAUSE)
            log.warning(f"Ray at {address}: {why}; it is tried again in {pause:g} s")
            self._on_end(why)
            await asyncio.sleep(pause)

    async def _run(self, python: str, address: str) -> tuple[str, bool]:
        """Run one until it ends; tell why it did, and whether it had found the cluster."""
        connected, self._failed = False, ""
        self._said.clear()
        try:
            process = await asyncio.create_subprocess_exec(
                python, str(HELPER), address, limit=MOST_LINE, start_new_session=True,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            return f"ray.python: {python} can't be run: {error.strerror}", False
        self._process = process
        listening = asyncio.create_task(self._listen(process), name="ray's words")
        try:
            assert process.stdout is not None  # noqa: S101  (it is a pipe)
            async for line in process.stdout:
                message: Message = json.loads(line)
                connected |= message["is"] == "connected"
                if message["is"] == "failed":
                    self._failed = message["why"]
                else:
                    self._on_message(message)
            code = await process.wait()
            await listening
        finally:
            self._process = None
            listening.cancel()
            if process.stdin is not None:
                process.stdin.close()
        # What it printed before a signal ended it is no reason for that.
        last = "" if code < 0 else self._last()
        return self._failed or last or f"its helper {exit_in_words(code)}", connected

    def _last(self) -> str:
        """Give the last line of an error that it printed."""
        lines = [line for line in self._said if line and not line.startswith((" ", "["))]
        return lines[-1] if lines else ""

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None  # noqa: S101
        async for line in process.stderr:
            said = line.decode(errors="replace").rstrip()
            self._said.append(said)
            log.debug(f"ray: {said}")
