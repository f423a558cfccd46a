"""Keeps one engine running: feeds the state machine, and does what it says. The one writer of its Supervision.

The machine is level-triggered. One task looks for a due event (a request from outside, the process is gone, it is
ready, a deadline has passed), makes one step of it, does the step's actions, and looks again. If no event is due, it
sleeps until one may be. No event waits in a queue where it could become stale: a check is always about the process of
now.

The task lives from start() until the process is STOPPED; nothing runs before or after. While FATAL, it looks some times
a minute whether the model has changed, or a request wants it. If the supervisor itself fails (a bug), the engine is
killed, the status says so, and stop() raises the error.

Its parts know nothing of states:

    starting    starts the process, or takes over one that an earlier router left
    readiness   asks whether it is ready
    loads       looks how far its load has come
    turns       waits for the turn of an engine that shares a GPU
    remains     tells how a process ended, and why
    orders      what was asked of it
    announcer   tells the rest of the program what it may know
    wording     the sentences for people
"""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from launchers import kills, wording
from launchers.announcer import Announcer
from launchers.engines import Engine
from launchers.errors import LaunchError, UnfitModelError
from launchers.files import Changes
from launchers.loads import LoadWatch
from launchers.orders import Orders
from launchers.process import Keepers, Process
from launchers.readiness import Asked, Readiness
from launchers.remains import Remains, remains_of
from launchers.spec import LaunchSpec
from launchers.starting import Started, Starter
from launchers.states import ENDS, Action, Event, RestartPolicy, State, Supervision, step
from launchers.status import Status, waiting_report
from launchers.turns import Turn, Turns

PROGRESS_EVERY = 5.0
"""Seconds between two reports of an engine that starts."""

LOOK_EVERY = 2.0
"""Seconds between two looks at the model of an engine that was given up."""

log = structlog.get_logger("launchers")


class Supervisor:
    """Supervises one replica, whose process is kept by one of the `keepers`.

    `logs` is the folder for NAME.log and run/NAME.json. NAME is the spec's, or `files` for a successor that runs beside
    a replica of the same name. `python` is the interpreter that has the engine. `turns` are shared with other engines
    on the same GPUs. `on_change` is called with each new Status. While it starts, that is every 5 s for people, and
    each second in which its load has come further (not `is_news`). `is_wanted` tells whether requests have asked for
    its model since it was given up. That is for a model that others serve, too, so that nobody calls `want`.
    """

    def __init__(
        self,
        spec: LaunchSpec,
        engine: Engine,
        *,
        keepers: Keepers,
        logs: Path,
        on_change: Callable[[Status], None],
        python: str = sys.executable,
        policy: RestartPolicy | None = None,
        files: str | None = None,
        turns: Turns | None = None,
        is_wanted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.files = files or spec.name
        self._starter = Starter(spec, engine, keepers, logs=logs, name=self.files, python=python)
        self._announcer = Announcer(spec.name, on_change)
        self._is_wanted = is_wanted
        self._wake = asyncio.Event()
        self._readiness = Readiness(engine, self._wake.set)
        self._watch = LoadWatch(self._wake.set)
        self._turn = Turn(turns, self.files, self._wake.set)
        self._now = Supervision(
            spec.start_timeout,
            spec.stop_timeout,
            policy or RestartPolicy(),
            takes_turns=self._turn.is_needed(spec.claim),
        )
        self._started: Started | None = None
        # Of the kernel's, since this process was started.
        self._kills: kills.Kills | None = None
        self._served = False
        self._remains = Remains()
        # Of its model and its program, since the last start.
        self._changes = Changes()
        # When the progress of a start is reported next.
        self._next_report = 0.0
        self._orders = Orders()
        self._task: asyncio.Task[None] | None = None
        # Whether the engine must run on when the task ends.
        self._left = False

    def __repr__(self) -> str:
        return f"<Supervisor {self._name} {self._now.state.name} {self._process}>"

    @property
    def _name(self) -> str:
        return self._starter.spec.name

    @property
    def _process(self) -> Process | None:
        return None if self._started is None else self._started.process

    @property
    def status(self) -> Status:
        """The latest status, with the engine's last lines up to now."""
        return replace(self._announcer.status, last_lines=self._lines())

    def secrets(self) -> list[str]:
        """Give the texts that nothing may tell of what the engine writes. Blocks."""
        return self._starter.secrets()

    @property
    def is_ahead(self) -> bool:
        """Whether it was asked for something, or has done something, that its status doesn't show yet."""
        works = self._task is not None and not self._task.done()
        return works and (bool(self._orders) or self._now.state is not self._announcer.status.state)

    def start(self) -> None:
        """Run it from now on until stop(). Nothing changes if it runs already."""
        self._ask(Event.START)

    def set_up(self, spec: LaunchSpec) -> None:
        """Take another start timeout and claim, from the next start on. Other changes need another supervisor."""
        self._starter.spec = spec
        self._now = replace(self._now, start_timeout=spec.start_timeout, takes_turns=self._turn.is_needed(spec.claim))

    def restart(self) -> None:
        """Kill it and start it afresh, as it doesn't work any more. Nothing happens unless it starts or runs."""
        if self._now.state in {State.STARTING, State.RUNNING}:
            self._ask(Event.KILL)
            self._ask(Event.START)
            self._announcer.restarts += 1

    def want(self) -> bool:
        """Try it once more for a request, if it was given up some time ago; tell whether it is tried."""
        if time.monotonic() < self._now.rested_at:
            return False
        self._ask(Event.WANTED)
        return True

    def revive(self) -> None:
        """Start it afresh, if it was given up: something has changed."""
        # The status is also FATAL if the supervisor itself failed.
        if self._announcer.status.state is State.FATAL:
            self._ask(Event.START)

    async def stop(self) -> None:
        """End it well: SIGTERM, then SIGKILL after `stop_timeout`. Returns when the process is gone."""
        await self._ask_and_wait(Event.STOP)

    async def kill(self) -> None:
        """End it now. Returns when the process is gone."""
        await self._ask_and_wait(Event.KILL)

    async def leave(self) -> None:
        """Stop supervising it. A kept engine runs on; another one is ended."""
        if not self._starter.spec.keep or (self._process is not None and not self._process.is_kept):
            await self.stop()
            return
        task, self._task = self._task, None
        if task is not None:
            self._left = True
            task.cancel()
            await asyncio.wait([task])

    # Requests from outside, at any time

    def _ask(self, event: Event, gone: asyncio.Future[None] | None = None) -> None:
        self._orders.add(event, gone)
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._supervise(), name=f"supervisor of {self._name}")
            self._task.add_done_callback(self._ended)

    async def _ask_and_wait(self, event: Event) -> None:
        gone = asyncio.get_running_loop().create_future()
        self._ask(event, gone)
        await gone

    # The task

    async def _supervise(self) -> None:
        try:
            while self._orders or self._now.state is not State.STOPPED:
                event = self._due_event()
                if event is None:
                    await self._sleep()
                else:
                    await self._step(event)
        except BaseException as error:
            self._abandon(error)
            raise

    def _due_event(self) -> Event | None:
        """Give the first event that is due, in this order."""
        # 1. The process is gone. Requests from outside come after that.
        if self._process is not None and self._process.gone:
            return Event.EXITED
        # 2. A request from outside.
        if self._orders:
            return self._orders.take()
        # 3. Its turn may have come.
        if self._turn.called and self._now.state is State.WAITING:
            return Event.TIMED_OUT
        # 4. It is ready. If the check failed by a bug, that raises here.
        if self._readiness.ready:
            return Event.READY
        # 5. It has come further.
        if self._watch.take_move():
            return Event.PROGRESS
        # 6. Time is up.
        is_late = self._now.deadline is not None and time.monotonic() >= self._now.deadline
        return Event.TIMED_OUT if is_late else None

    async def _sleep(self) -> None:
        """Sleep until an event may be due; report the progress of a long start meanwhile."""
        self._wake.clear()
        due = [] if self._now.deadline is None else [self._now.deadline]
        if self._now.state is State.STARTING:
            self._report_progress()
            due.append(self._next_report)
        elif self._now.state is State.FATAL:
            due.append(time.monotonic() + LOOK_EVERY)
        elif self._now.state is State.RUNNING and self._kills is not None:
            self._kills.look(time.monotonic())
            due.append(time.monotonic() + kills.LOOK_EVERY)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(due) - time.monotonic()) if due else None):
                await self._wake.wait()
        if self._now.state is State.FATAL and not self._orders:
            await self._look_for_changes()

    async def has_changed(self) -> bool:
        """Tell whether its model or its program has changed since the last start, and isn't being written any more."""
        return self._changes.look(await self._starter.stamp())

    async def _look_for_changes(self) -> None:
        """Try again if its files have changed, or if a request wants it."""
        if await self.has_changed():
            log.info(f"{self._name}: its model or its program has changed")
            self.revive()
        elif self._is_wanted():
            self.want()

    async def _step(self, event: Event) -> None:
        before = self._now
        self._now, actions = step(before, event, time.monotonic())
        if event is Event.EXITED:
            self._bury(asked=before.state is State.STOPPING)
        elif event is Event.READY and self._process is not None:
            self._served = True
            self._process.look()
        if self._now.state is not State.STARTING:
            await self._readiness.stop()
            await self._watch.stop()
        self._end_turn(event)
        if self._process is None:
            # Before the actions, one of which may start the next process.
            self._orders.release()
        for action in actions:
            await self._do(action)
        if self._now.state is State.WAITING:
            self._report_waiting()
        elif event is Event.PROGRESS:
            self._announce(self._announcer.status.detail, is_news=False)
        elif self._now is not before:
            detail = wording.change(before, event, self._now, self._remains.end, self._remains.why)
            goes_on = self._now.state is not State.STOPPED or self._orders.start_asked
            ended = goes_on and event in ENDS
            if ended:
                failure = wording.failure(before, event, self._now, self._remains.end, self._remains.why)
                self._announce(detail, failure=failure, out_of_memory=self._remains.out_of_memory)
            else:
                self._announce(detail)

    # Actions

    async def _do(self, action: Action) -> None:
        if action is Action.SPAWN:
            await self._spawn()
        elif action is Action.ASK:
            await self._ask_for_turn()
        elif self._process is not None and action is Action.TERMINATE:
            self._process.terminate()
        elif self._process is not None:
            self._process.kill()

    async def _ask_for_turn(self) -> None:
        claim = self._starter.spec.claim
        assert claim is not None  # noqa: S101 -- without one it takes no turns
        runs = await self._starter.left_running() is not None
        if await self._turn.ask(claim, has_memory=runs):
            self._orders.add_first(Event.TURN)

    def _end_turn(self, event: Event) -> None:
        """Pass the turn on if this engine has started, or doesn't want to any more."""
        if not self._turn.is_needed(self._starter.spec.claim):
            return
        if event is Event.READY:
            self._turn.started()
        elif event in ENDS or self._now.state is State.STOPPED:
            self._turn.gone()

    async def _spawn(self) -> None:
        self._changes.used(await self._starter.stamp())
        try:
            started = await self._starter.start(self._turn.verdict.share, self._wake.set)
        except (LaunchError, OSError) as error:
            self._remains = self._remains.not_started(str(error))
            self._orders.add_first(Event.UNFIT if isinstance(error, UnfitModelError) else Event.SPAWN_FAILED)
            return
        self._served = False
        self._started, self._kills = started, kills.Kills(started.process.pid, time.monotonic())
        self._next_report = time.monotonic() + PROGRESS_EVERY
        self._readiness.begin(Asked(started.process.pid, started.port, started.key))
        self._watch.begin(self._starter.spec.engine, started.process, self._starter.size)

    def _bury(self, *, asked: bool) -> None:
        """Drop a process that is gone, and keep what is known of its end; `asked`: it was told to end."""
        if self._process is not None and self._kills is not None:
            claim = self._starter.spec.claim
            gpus = () if claim is None else claim.gpus
            self._remains = remains_of(self._process, self._kills, gpus, served=self._served, asked=asked)
            self._started = self._kills = None

    # Reports

    def _report_waiting(self) -> None:
        report = waiting_report(self._announcer.status, self._turn.verdict, self._now.failures, self._remains.why)
        if report:
            self._announce(report)

    def _lines(self) -> tuple[str, ...]:
        return self._remains.last_lines if self._process is None else self._process.last_lines

    def _report_progress(self) -> None:
        if time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + PROGRESS_EVERY
            how_far = wording.progress(time.monotonic() - self._now.since, self._watch.resident, self._lines())
            self._announce(how_far + wording.again(self._now.failures, self._remains.why))
        elif self._watch.share != self._announcer.status.share:
            self._announce(self._announcer.status.detail, is_news=False)

    def _announce(
        self, detail: str, *, is_news: bool = True, failure: str = "", out_of_memory: str | None = None
    ) -> None:
        self._announcer.announce(
            self._now,
            self._started,
            detail,
            self._lines(),
            lacks=self._turn.verdict.lacks,
            start_asked=self._orders.start_asked,
            share=self._watch.share,
            is_news=is_news,
            failure=failure,
            out_of_memory=out_of_memory,
        )

    # The end

    def _abandon(self, error: BaseException) -> None:
        """End or release the engine, as the supervisor failed or its loop closes: none may run unsupervised."""
        self._readiness.cancel()
        self._watch.cancel()
        self._turn.gone()
        if self._process is not None and self._left:
            self._process.release()
        elif self._process is not None:
            self._process.kill()
        if not isinstance(error, asyncio.CancelledError):
            self._announcer.failed(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            return
        self._orders.fail(error)
        if not task.cancelled():
            log.error("a supervisor failed; its engine was killed", name=self._name, exc_info=error)
            self._announcer.tell(self.status)
