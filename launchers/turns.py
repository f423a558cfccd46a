"""The turns of engines that start on the same GPUs: `launchers.gpus` decides, here the GPUs are looked at.

One for all supervisors of a router. A supervisor asks before it spawns, and again when it is called (its turn may have
come) or some time later (memory may have been freed); it says so when its engine is ready, and when it is gone.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from launchers.gpus import Claim, Line, StartVerdict
from profiles.facts import gpus_now
from profiles.parsers import Gpu


class Turns:
    """Whose turn it is to start. `look` tells what is free of each GPU; it may block."""

    def __init__(self, look: Callable[[], Sequence[Gpu]] = gpus_now) -> None:
        self._look = look
        self._line = Line(time.monotonic())
        self._calls: dict[str, Callable[[], None]] = {}

    async def ask(self, name: str, claim: Claim, call: Callable[[], None]) -> StartVerdict:
        """Tell whether `name` may start now; where it may not, `call` is called when it should ask again."""
        self._calls[name] = call
        why = self._line.ask(name, claim)
        if why:
            return StartVerdict(why)
        gpus = () if claim.share is None else await asyncio.to_thread(self._look)
        verdict = self._line.look(name, gpus, time.monotonic())
        if verdict.why:
            self._call_others(name)
        return verdict

    def started(self, name: str) -> None:
        """Its engine is ready: the next may start."""
        self._line.started(name)
        self._call_others(name)

    def adopted(self, name: str, claim: Claim) -> None:
        """It took over an engine that has its memory already."""
        self._line.adopted(name, claim)

    def gone(self, name: str) -> None:
        """Its engine has ended, or it is not to start any more."""
        self._line.gone(name, time.monotonic())
        self._calls.pop(name, None)
        self._call_others(name)

    def _call_others(self, name: str) -> None:
        for other in self._line.waiting:
            if other != name and other in self._calls:
                self._calls[other]()
