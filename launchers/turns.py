"""The turns of engines that start on the same GPUs: `launchers.gpus` decides, this module reads the GPUs.

`Turns` is shared by all supervisors of a router, `Turn` is one supervisor's side of it. A supervisor asks before it
spawns. It asks again when it is called, as its turn may have come, or some time later, as memory may have been freed.
It reports when its engine is ready, and when it is gone.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from launchers.gpus import Claim, Line, StartVerdict
from profiles.facts import gpus_now
from profiles.parsers import Gpu


class Turns:
    """Gives turns to start. `look` reads the GPUs with their free memory; it may block."""

    def __init__(self, look: Callable[[], Sequence[Gpu]] = gpus_now) -> None:
        self._look = look
        self._line = Line(time.monotonic())
        self._calls: dict[str, Callable[[], None]] = {}

    async def ask(self, name: str, claim: Claim, call: Callable[[], None]) -> StartVerdict:
        """Tell whether `name` may start now. If it may not, `call` is called when it should ask again."""
        self._calls[name] = call
        why = self._line.ask(name, claim)
        if why:
            return StartVerdict(why)
        gpus = () if claim.share is None else await asyncio.to_thread(self._look)
        verdict = self._line.look(name, gpus, time.monotonic())
        if verdict.why:
            self._call_who_waits()
        return verdict

    def started(self, name: str) -> None:
        """Note that the engine of `name` is ready: the next one may start."""
        self._line.started(name)
        self._call_who_waits()

    def adopted(self, name: str, claim: Claim) -> None:
        """Note that `name` took over an engine, which has its memory already."""
        self._line.adopted(name, claim)

    def gone(self, name: str) -> None:
        """Note that the engine of `name` has ended, or won't start any more."""
        self._line.gone(name, time.monotonic())
        self._calls.pop(name, None)
        self._call_who_waits()

    def _call_who_waits(self) -> None:
        for name in self._line.waiting:
            self._calls[name]()


class Turn:
    """One engine's turn: what its supervisor was told last, and whether it is to ask again.

    `turns` are those that it takes with others, None where it takes none; `name` is its own there; `wake` is called
    when it is to ask again.
    """

    def __init__(self, turns: Turns | None, name: str, wake: Callable[[], None]) -> None:
        self.verdict = StartVerdict()
        self.called = False
        self._turns = turns
        self._name = name
        self._wake = wake

    def is_needed(self, claim: Claim | None) -> bool:
        """Whether an engine with this claim has to wait for its turn."""
        return self._turns is not None and claim is not None

    async def ask(self, claim: Claim, *, has_memory: bool) -> bool:
        """Ask for it, and tell whether it has come. One that runs already has its memory, and needs none."""
        assert self._turns is not None  # noqa: S101 -- only who needs a turn asks
        self.called = False
        if has_memory:
            self._turns.adopted(self._name, claim)
            self.verdict = StartVerdict(share=claim.share)
        else:
            self.verdict = await self._turns.ask(self._name, claim, self._call)
        return not self.verdict.why

    def _call(self) -> None:
        self.called = True
        self._wake()

    def started(self) -> None:
        """Let the next one start: this engine is ready."""
        if self._turns is not None:
            self._turns.started(self._name)

    def gone(self) -> None:
        """Let the next one start: this engine has ended, or is not to start any more."""
        if self._turns is not None:
            self._turns.gone(self._name)
