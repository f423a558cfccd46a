"""Finds backends that hold requests and have stopped working. `router.core.stall` has the rule."""

from collections.abc import Callable, Iterable
from math import inf

from router.core.catalog import Backend
from router.core.ledger import Ledger
from router.core.stall import StallVerdict
from router.proxy.roles import UnderWay


class StallWatch:
    """Judges the silence of backends, and acts on the verdict. `stall_after` is in seconds; inf: never.

    `on_stalled` gets a backend that has stopped working, and why. `on_quiet` gets one to be looked into.
    """

    def __init__(
        self,
        ledger: Ledger,
        exchanges: set[UnderWay],
        on_stalled: Callable[[Backend, str], None],
        on_quiet: Callable[[Backend], None],
    ) -> None:
        self.stall_after = inf
        self._ledger = ledger
        self._exchanges = exchanges
        self._on_stalled = on_stalled
        self._on_quiet = on_quiet

    def look(self, now: float) -> None:
        """Judge each backend that holds requests."""
        if self.stall_after == inf:
            return
        at_work: dict[Backend, list[UnderWay]] = {}
        for each in self._exchanges:
            if each.backend is not None:
                at_work.setdefault(each.backend, []).append(each)
        for backend, exchanges in at_work.items():
            self._judge(backend, exchanges, now, 0.0)

    def judge(self, backend: Backend, now: float, token: float) -> StallVerdict:
        """Judge one backend. `token`: for so many seconds it has owed a token that a probe asked for."""
        return self._judge(backend, self.held_by(backend), now, token)

    def held_by(self, backend: Backend) -> list[UnderWay]:
        """Give the exchanges whose attempt is at a backend."""
        return [each for each in self._exchanges if each.backend is backend]

    def _judge(self, backend: Backend, exchanges: Iterable[UnderWay], now: float, token: float) -> StallVerdict:
        heard = [each.silence(now) for each in exchanges]
        silences = [each for each in heard if each is not None]
        held_up = len(heard) - len(silences)
        verdict = self._ledger.judge(backend, silences, now, self.stall_after, held_up=held_up, token=token)
        if backend.stalled:
            return verdict
        if verdict is StallVerdict.STALLED:
            progress = backend.progress
            why, seconds = progress.why(now, self.stall_after), progress.silence(now)
            self._on_stalled(backend, f"stalled: {why} for {seconds:.0f} s with requests in flight")
        elif verdict is StallVerdict.SILENT:
            for each in exchanges:
                each.leave(now)
        if verdict is not StallVerdict.WORKS:
            self._on_quiet(backend)
        return verdict
