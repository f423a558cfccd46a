"""Keeps one engine running: feeds the state machine, and does what it says. The one writer of its Supervision.

The machine is level-triggered. One task asks in turn what is the case (somebody asked for something, the process is
gone, it is ready, a deadline has passed), makes one step of it, does the step's actions, and asks again; when nothing
is the case it sleeps until something may be. No event is queued that could be stale when it is read: the process and
the answer in question are always those of now.

The task lives from start() until the process is STOPPED; nothing runs before or after. While it is FATAL, it looks
some times a minute whether the model has changed, or a request wants it.
Should the supervisor itself fail (a bug), the engine is killed, the status says so, and stop() raises it.

Its parts, each of which knows nothing of states:

    starting    starts the process, or takes over what an earlier router left
    readiness   asks whether it is ready
    turns       waits for the turn of an engine that shares a GPU
    status      what the rest of the program may know; wording: what is said to people
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from launchers import wording
from launchers.engines import Engine
from launchers.errors import LaunchError
from launchers.files import Changes
from launchers.process import Keepers, Process
from launchers.readiness import Asked, Readiness
from launchers.reason import first_error
from launchers.spec import LaunchSpec
from launchers.starting import Started, Starter
from launchers.states import Action, Event, RestartPolicy, State, Supervision, step
from launchers.status import Status, is_coming, waiting_report
from launchers.tree import memory_of
from launchers.turns import Turn, Turns

PROGRESS_EVERY = 5.0
"""Seconds between two reports of an engine that starts."""

LOOK_EVERY = 2.0
"""Seconds between two looks at the model of an engine that was given up."""

log = structlog.get_logger("launchers")


@dataclass(frozen=True, slots=True)
class _Remains:
    """What is left to know of the process before: how it ended, the reason that the engine gave, what it said last."""

    end: str = ""
    why: str = ""
    last_lines: tuple[str, ...] = ()


class Supervisor:
    """Supervises one replica, whose process is kept by one of the `keepers`.

    `logs` is the folder for NAME.log and for run/NAME.json, where `files` may be another name: that of a replica which
    takes the place of one of its name, while both run. `python` is the interpreter that has the engine; `turns` are
    those that it takes with others on the same GPUs; `on_change` is called with each new Status, and every 5 s with the
    progress of a start. `is_wanted` tells whether requests ask for what it serves since it was given up, though nobody
    calls `want`, as others serve it.
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
        self._on_change = on_change
        self._is_wanted = is_wanted
        self._wake = asyncio.Event()
        self._readiness = Readiness(engine, self._wake.set)
        self._turn = Turn(turns, self.files, self._wake.set)
        self._now = Supervision(
            spec.start_timeout,
            spec.stop_timeout,
            policy or RestartPolicy(),
            takes_turns=self._turn.is_needed(spec.claim),
        )
        self._status = Status(spec.name, State.STOPPED, None, None, "not started", (), time.time())
        self._started: Started | None = None
        self._remains = _Remains()
        self._changes = Changes()  # of its model and its program, since the last start
        self._next_report = 0.0  # of a start's progress
        # What was asked and not yet looked at; who waits for the process to be gone; who does it all.
        self._asked: deque[tuple[Event, asyncio.Future[None] | None]] = deque()
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._left = False  # whether it is to run on, unwatched

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
        """The latest status, with what the engine said up to now."""
        return replace(self._status, last_lines=self._lines())

    def start(self) -> None:
        """Have it run, from now on until stop(). Nothing changes where it does already."""
        self._ask(Event.START)

    def set_up(self, spec: LaunchSpec) -> None:
        """Take another time to start, and another claim, from the next start on. All else takes another supervisor."""
        self._starter.spec = spec
        self._now = replace(self._now, start_timeout=spec.start_timeout, takes_turns=self._turn.is_needed(spec.claim))

    def restart(self) -> None:
        """End it now, and start it afresh: it doesn't work any more. Nothing happens while nobody wants it to run."""
        if self._now.state in {State.STARTING, State.RUNNING}:
            self._ask(Event.KILL)
            self._ask(Event.START)

    def want(self) -> bool:
        """Have it tried once more for a request, if it was given up some time ago; tell whether it is."""
        if time.monotonic() < self._now.rested_at:
            return False
        self._ask(Event.WANTED)
        return True

    def revive(self) -> None:
        """Start it afresh, if it was given up: something has changed."""
        if self._status.state is State.FATAL:  # which is also said of one whose supervisor failed
            self._ask(Event.START)

    async def stop(self) -> None:
        """End it well: SIGTERM, then SIGKILL after `stop_timeout`. Returns when the process is gone."""
        await self._ask_and_wait(Event.STOP)

    async def kill(self) -> None:
        """End it now. Returns when the process is gone."""
        await self._ask_and_wait(Event.KILL)

    async def leave(self) -> None:
        """Watch over it no more, and let it run on, if it is one that is kept; end it otherwise."""
        if not self._starter.spec.keep or (self._process is not None and not self._process.is_kept):
            await self.stop()
            return
        task, self._task = self._task, None
        if task is not None:
            self._left = True
            task.cancel()
            await asyncio.wait([task])

    # Asking: from outside, at any time.

    def _ask(self, event: Event, gone: asyncio.Future[None] | None = None) -> None:
        self._asked.append((event, gone))
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._supervise(), name=f"supervisor of {self._name}")
            self._task.add_done_callback(self._ended)

    async def _ask_and_wait(self, event: Event) -> None:
        gone = asyncio.get_running_loop().create_future()
        self._ask(event, gone)
        await gone

    # The task.

    async def _supervise(self) -> None:
        try:
            while self._asked or self._now.state is not State.STOPPED:
                event = self._what_is_the_case()
                if event is None:
                    await self._sleep()
                else:
                    await self._step(event)
        except BaseException as error:
            self._abandon(error)
            raise

    def _what_is_the_case(self) -> Event | None:
        """The first of what calls for a step, in this order."""
        # 1. The process is gone: whatever was asked of it meets that.
        if self._process is not None and self._process.gone:
            return Event.EXITED
        # 2. Somebody asked.
        if self._asked:
            event, gone = self._asked.popleft()
            if gone is not None:
                self._waiting.append(gone)
            return event
        # 3. Its turn may have come.
        if self._turn.called and self._now.state is State.WAITING:
            return Event.TIMED_OUT
        # 4. It is ready. What was asked wrong, by a bug, raises here.
        if self._readiness.ready:
            return Event.READY
        # 5. Time is up.
        if self._now.deadline is not None and time.monotonic() >= self._now.deadline:
            return Event.TIMED_OUT
        return None

    async def _sleep(self) -> None:
        """Until something may be the case; a start that takes long is spoken of meanwhile."""
        self._wake.clear()
        due = [] if self._now.deadline is None else [self._now.deadline]
        if self._now.state is State.STARTING:
            self._report_progress()
            due.append(self._next_report)
        elif self._now.state is State.FATAL:
            due.append(time.monotonic() + LOOK_EVERY)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(due) - time.monotonic()) if due else None):
                await self._wake.wait()
        if self._now.state is State.FATAL and not self._asked:
            await self._look_for_a_change()

    async def _look_for_a_change(self) -> None:
        """See whether there is a reason to try again: other files, or a request."""
        if self._changes.look(await self._starter.stamp()):
            log.info(f"{self._name}: its model or its program has changed")
            self.revive()
        elif self._is_wanted():
            self.want()

    async def _step(self, event: Event) -> None:
        before = self._now
        self._now, actions = step(before, event, time.monotonic())
        if event is Event.EXITED:
            self._bury(served=before.state is State.RUNNING)
        elif event is Event.READY and self._process is not None:
            self._process.look()
        if self._now.state is not State.STARTING:
            await self._readiness.stop()
        self._end_turn(event)
        if self._process is None:
            self._release()  # now: an action may start the next one
        for action in actions:
            await self._do(action)
        if self._now.state is State.WAITING:
            self._report_waiting()
        elif self._now is not before:
            self._announce(wording.change(before, event, self._now, self._remains.end, self._remains.why))

    # Actions.

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
            self._asked.appendleft((Event.TURN, None))

    def _end_turn(self, event: Event) -> None:
        """Let the next start, where this one has, or doesn't want to any more."""
        if not self._turn.is_needed(self._starter.spec.claim):
            return
        if event is Event.READY:
            self._turn.started()
        elif event in {Event.EXITED, Event.SPAWN_FAILED} or self._now.state is State.STOPPED:
            self._turn.gone()

    async def _spawn(self) -> None:
        self._changes.used(await self._starter.stamp())
        try:
            started = await self._starter.start(self._turn.verdict.share, self._wake.set)
        except (LaunchError, OSError) as error:
            self._remains = replace(self._remains, end=str(error))
            self._asked.appendleft((Event.SPAWN_FAILED, None))
            return
        self._started = started
        self._next_report = time.monotonic() + PROGRESS_EVERY
        self._readiness.begin(Asked(started.process.pid, started.port, started.key))

    def _bury(self, *, served: bool) -> None:
        """The process is gone: keep what it leaves to know, and drop it.

        Of one that `served`, an old error may be any request's: only its last words count.
        """
        if self._process is not None:
            said = self._process.last_lines
            why = first_error(said).known if served else self._process.reason
            self._remains = _Remains(wording.exit_in_words(self._process.exit_code), why, said)
            self._started = None

    # Telling.

    def _report_waiting(self) -> None:
        report = waiting_report(self._status, self._turn.verdict, self._now.failures, self._remains.why)
        if report:
            self._announce(report)

    def _lines(self) -> tuple[str, ...]:
        return self._remains.last_lines if self._process is None else self._process.last_lines

    def _report_progress(self) -> None:
        if time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + PROGRESS_EVERY
            memory = 0 if self._process is None else memory_of(self._process.pid)
            how_far = wording.progress(time.monotonic() - self._now.since, memory, self._lines())
            self._announce(how_far + wording.again(self._now.failures, self._remains.why))

    def _announce(self, detail: str) -> None:
        state, started, lacks = self._now.state, self._started, self._turn.verdict.lacks
        self._status = Status(
            name=self._name,
            state=state,
            address=("127.0.0.1", started.port) if started is not None and state is State.RUNNING else None,
            pid=None if started is None else started.process.pid,
            detail=detail,
            last_lines=self._lines(),
            since=self._status.since if state is self._status.state else time.time(),
            key="" if started is None else started.key,
            lacks=state is State.WAITING and lacks,
            next_try=self._now.deadline if state is State.BACKOFF else None,
            coming=is_coming(self._now, lacks=lacks, start_asked=any(event is Event.START for event, _ in self._asked)),
        )
        self._tell(self._status)

    def _tell(self, status: Status) -> None:
        """Tell whoever wants to know; what goes wrong there is no reason to end an engine that is well."""
        try:
            self._on_change(status)
        except Exception:
            log.exception("what an engine's status means to the rest of the program failed", name=self._name)

    # Endings.

    def _release(self, error: BaseException | None = None) -> None:
        """Tell those who wait that the process is gone, or why nobody can tell."""
        waiting, self._waiting = self._waiting, []
        for gone in waiting:
            if gone.done():  # its caller was cancelled
                continue
            if error is None:
                gone.set_result(None)
            else:
                gone.set_exception(error)

    def _abandon(self, error: BaseException) -> None:
        """The supervisor failed, or its loop is closing: leave no engine that nobody watches."""
        self._readiness.cancel()
        self._turn.gone()
        if self._process is not None and self._left:
            self._process.release()
        elif self._process is not None:
            self._process.kill()
        if not isinstance(error, asyncio.CancelledError):
            self._status = replace(
                self._status, state=State.FATAL, address=None, coming=False, detail=f"supervisor failed: {error!r}"
            )

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            return
        self._waiting += [gone for _, gone in self._asked if gone is not None]
        self._asked.clear()
        self._release(error)
        if not task.cancelled():
            log.error("a supervisor failed; its engine was killed", name=self._name, exc_info=error)
            self._tell(self.status)
