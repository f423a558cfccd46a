"""Keeps the latest Status of an engine, and tells each new one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from launchers.starting import Started
from launchers.states import State, Supervision
from launchers.status import Status, is_coming, progressed

log = structlog.get_logger("launchers")


class Announcer:
    """Tells one engine's Status. `on_change` is called with each."""

    def __init__(self, name: str, on_change: Callable[[Status], None]) -> None:
        self.status = Status(name, State.STOPPED, None, None, "not started", (), time.time())
        self.on_change = on_change
        self.restarts = 0
        # Whether its last process ended unasked, and when its last start began, by the loop's clock.
        self._fell = False
        self._began = 0.0

    def announce(
        self,
        now: Supervision,
        started: Started | None,
        detail: str,
        last_lines: Sequence[str],
        *,
        lacks: bool,
        start_asked: bool,
        share: float,
        is_news: bool,
        failure: str,
        out_of_memory: str | None,
    ) -> None:
        """Tell what is so `now`; `share` is that of the load. See Status and `is_coming` for the others."""
        state = now.state
        load_seconds = self.status.load_seconds
        if state is not self.status.state:
            load_seconds = self._count(now, load_seconds, adopted=started is not None and started.adopted)
        status = Status(
            name=self.status.name,
            state=state,
            address=("127.0.0.1", started.port) if started is not None and state is State.RUNNING else None,
            pid=None if started is None else started.process.pid,
            detail=detail,
            last_lines=tuple(last_lines),
            since=self.status.since if state is self.status.state else time.time(),
            key="" if started is None else started.key,
            lacks=state is State.WAITING and lacks,
            next_try=now.deadline if state is State.BACKOFF else None,
            coming=is_coming(now, lacks=lacks, start_asked=start_asked),
            share=1.0 if state is State.RUNNING else share if state is State.STARTING else 0.0,
            progressed=progressed(now),
            restarts=self.restarts,
            load_seconds=load_seconds,
            failure=failure,
            out_of_memory=out_of_memory,
            is_news=is_news,
        )
        self.tell(status)

    def _count(self, now: Supervision, load_seconds: float | None, *, adopted: bool) -> float | None:
        """Count a restart, where the new state is one; give the seconds of the last load."""
        if now.state in {State.BACKOFF, State.FATAL}:
            self._fell = True
        elif now.state is State.STOPPED:
            self._fell = False
        elif now.state is State.STARTING:
            self.restarts += self._fell
            self._fell, self._began = False, now.since
        elif now.state is State.RUNNING:
            return None if adopted else now.since - self._began
        return load_seconds

    def tell(self, status: Status) -> None:
        """Keep a status, and call `on_change`. An error there is logged: it is no reason to end a working engine."""
        self.status = status
        try:
            self.on_change(status)
        except Exception:
            log.exception("what an engine's status means to the rest of the program failed", name=status.name)

    def failed(self, error: BaseException) -> None:
        """Note that the supervisor itself has failed; nothing is told yet."""
        self.status = replace(
            self.status,
            state=State.FATAL,
            address=None,
            coming=False,
            share=0.0,
            progressed=None,
            is_news=True,
            detail=f"supervisor failed: {error!r}",
        )
