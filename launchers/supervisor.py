"""Keeps one engine running: feeds the state machine, and does what it says. The one writer of its Supervision.

The machine is level-triggered. One task asks in turn what is the case (somebody asked for something, the process is
gone, it is ready, a deadline has passed), makes one step of it, does the step's actions, and asks again; when nothing
is the case it sleeps until something may be. No event is queued that could be stale when it is read: the process and
the probe in question are always those of now.

The task lives from start() until the process is STOPPED; nothing runs before or after. While it is FATAL, it looks
some times a minute whether the model has changed, or a request wants it.
Should the supervisor itself fail (a bug), the engine is killed, the status says so, and stop() raises it.
"""

import asyncio
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from launchers import leftovers, wording
from launchers.engines import Engine
from launchers.errors import LaunchError
from launchers.files import Disk, Stamp, stamp
from launchers.gpus import StartVerdict, with_share
from launchers.keys import key_of
from launchers.probe import TIMEOUT, TIMEOUT_OF_A_REQUEST, is_ready
from launchers.process import Keepers, Process, free_port
from launchers.reason import first_error
from launchers.record import ProcessRecord
from launchers.spec import LaunchSpec
from launchers.states import Action, Event, RestartPolicy, State, Supervision, step
from launchers.tree import memory_of, owns_port
from launchers.turns import Turns

PROBE_FIRST, PROBE_SLOWEST = 0.05, 0.25  # seconds between two probes of an engine that starts
PROGRESS_EVERY = 5.0  # seconds between two words about an engine that starts
LOOK_EVERY = 2.0  # seconds between two looks at the model of an engine that was given up

_NUMBER = re.compile(r"[\d.]+")

log = structlog.get_logger("launchers")


@dataclass(frozen=True, slots=True)
class Status:
    """What the rest of the program, and people, may know of a supervised engine."""

    name: str
    state: State
    address: tuple[str, int] | None  # where it serves, while RUNNING
    pid: int | None
    detail: str  # a sentence for people
    last_lines: tuple[str, ...]  # what the engine said last
    since: float  # when it came into this state, in seconds since the epoch
    key: str = field(default="", repr=False)  # what it is to be shown with each request
    lacks: bool = False  # while WAITING: for memory, perhaps for ever
    next_try: float | None = None  # while in BACKOFF: when it starts again, by time.monotonic(), the loop's clock
    coming: bool = False  # whether it starts, or is going to


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
        self._spec = spec
        self._engine = engine
        self._keepers = keepers
        self.files = files or spec.name
        self._log = logs / f"{self.files}.log"
        self._record = logs / "run" / f"{self.files}.json"
        self._on_change = on_change
        self._python = python
        self._turns = turns
        self._now = Supervision(
            spec.start_timeout, spec.stop_timeout, policy or RestartPolicy(), takes_turns=self._takes_turns(spec)
        )
        self._status = Status(spec.name, State.STOPPED, None, None, "not started", (), time.time())
        # The process of now, its port, its key and its probe; and of the last one, how it ended and what it said.
        self._process: Process | None = None
        self._port = 0
        self._key = ""
        self._probe: asyncio.Task[None] | None = None
        self._end = ""
        self._why = ""
        # While it waits for its turn: why, and whether to ask again; and the share of GPUs that it got with it.
        self._verdict = StartVerdict()
        self._called = False
        self._last_lines: tuple[str, ...] = ()
        self._next_word = 0.0  # when to speak of a start's progress
        # What was asked and not yet looked at; who waits for the process to be gone; who does it all.
        self._asked: deque[tuple[Event, asyncio.Future[None] | None]] = deque()
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_wanted = is_wanted
        self._stamp: Stamp = ()  # of its model and its program, before the last start; and at the last look since
        self._last_stamp: Stamp = ()
        self._left = False  # whether it is to run on, unwatched

    def __repr__(self) -> str:
        return f"<Supervisor {self._spec.name} {self._now.state.name} {self._process}>"

    @property
    def status(self) -> Status:
        """The latest status, with what the engine said up to now."""
        return replace(self._status, last_lines=self._lines())

    def start(self) -> None:
        """Have it run, from now on until stop(). Nothing changes where it does already."""
        self._ask(Event.START)

    def set_up(self, spec: LaunchSpec) -> None:
        """Take another time to start, from the next start on; what else a spec says takes another supervisor."""
        self._spec = spec
        self._now = replace(self._now, start_timeout=spec.start_timeout, takes_turns=self._takes_turns(spec))

    def _takes_turns(self, spec: LaunchSpec) -> bool:
        return self._turns is not None and spec.claim is not None

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
        if not self._spec.keep or (self._process is not None and not self._process.is_kept):
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
            self._task = asyncio.create_task(self._supervise(), name=f"supervisor of {self._spec.name}")
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
        if self._called and self._now.state is State.WAITING:
            return Event.TIMED_OUT
        # 4. It is ready. A probe that failed by a bug of its own raises here.
        if self._probe is not None and self._probe.done():
            self._probe.result()
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
            self._speak_of_progress()
            due.append(self._next_word)
        elif self._now.state is State.FATAL:
            due.append(time.monotonic() + LOOK_EVERY)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(due) - time.monotonic()) if due else None):
                await self._wake.wait()
        if self._now.state is State.FATAL and not self._asked:
            await self._look_for_a_change()

    async def _look_for_a_change(self) -> None:
        """See whether there is a reason to try again. A model that is being written waits until it is whole."""
        now = await self._stamp_of_model()
        if now != self._stamp and now == self._last_stamp:
            log.info(f"{self._spec.name}: its model or its program has changed")
            self.revive()
        elif self._is_wanted():
            self.want()
        self._last_stamp = now

    async def _stamp_of_model(self) -> Stamp:
        given = [value for value in self._spec.args.values() if isinstance(value, str) and "/" in value]
        paths = [self._spec.source or self._spec.model, *given, self._python]  # given: an adapter, a template
        return await asyncio.to_thread(stamp, paths)

    async def _step(self, event: Event) -> None:
        before = self._now
        self._now, actions = step(before, event, time.monotonic())
        if event is Event.EXITED:
            self._bury(served=before.state is State.RUNNING)
        elif event is Event.READY and self._process is not None:
            self._process.look()
        if self._now.state is not State.STARTING:
            await self._stop_probing()
        self._end_turn(event)
        if self._process is None:
            self._release()  # now: an action may start the next one
        for action in actions:
            await self._do(action)
        if self._now.state is State.WAITING:
            self._speak_of_waiting()
        elif self._now is not before:
            self._announce(wording.change(before, event, self._now, self._end, self._why))

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
        self._called = False
        claim = self._spec.claim
        assert self._turns is not None  # noqa: S101 -- it takes turns
        assert claim is not None  # noqa: S101
        if await self._left_running() is not None:  # that one has its memory
            self._turns.adopted(self.files, claim)
            self._verdict = StartVerdict(share=claim.share)
        else:
            self._verdict = await self._turns.ask(self.files, claim, self._call)
        if not self._verdict.why:
            self._asked.appendleft((Event.TURN, None))

    def _call(self) -> None:
        self._called = True
        self._wake.set()

    def _end_turn(self, event: Event) -> None:
        """Let the next start, where this one has, or doesn't want to any more."""
        if self._turns is None or self._spec.claim is None:
            return
        if event is Event.READY:
            self._turns.started(self.files)
        elif event in {Event.EXITED, Event.SPAWN_FAILED} or self._now.state is State.STOPPED:
            self._turns.gone(self.files)

    def _found(self) -> LaunchSpec:
        """Look for the model afresh: another file may be in its folder by now. Raises ModelNotFoundError."""
        return replace(self._spec, model=self._engine.find_model(self._spec.source or self._spec.model, Disk()))

    def _executed(self, spec: LaunchSpec) -> LaunchSpec:
        """What is started of what was planned: with a lower share of the GPUs, where no more is free."""
        claim, share = spec.claim, self._verdict.share
        if claim is None or share is None or share == claim.share:
            return spec
        log.warning(f"{spec.name}: takes {share:g} of its GPU's memory, instead of {claim.share:g}: no more is free")
        return replace(spec, args=with_share(spec.args, claim, share))

    async def _spawn(self) -> None:
        self._stamp = self._last_stamp = await self._stamp_of_model()
        try:
            spec = self._found()
            if not await self._adopt():
                self._port, self._key = free_port(), key_of(self._record.parents[1] / "engines.key", spec.name)
                command = self._engine.command(spec, self._port, self._python)
                executed = self._engine.command(self._executed(spec), self._port, self._python)
                self._process = await self._keepers.spawn(
                    replace(executed, env={**executed.env, self._engine.key_variable: self._key}),
                    self._log,
                    self._record,
                    self._wake.set,
                    port=self._port,
                    keep=spec.keep,
                    fingerprint=command.fingerprint,
                    key=self._key,
                )
        except (LaunchError, OSError) as error:
            self._end = str(error)
            self._asked.appendleft((Event.SPAWN_FAILED, None))
            return
        self._next_word = time.monotonic() + PROGRESS_EVERY
        self._probe = asyncio.create_task(self._until_ready(), name=f"probe of {self._spec.name}")
        self._probe.add_done_callback(lambda _: self._wake.set())

    async def _left_running(self) -> ProcessRecord | None:
        """Give what an earlier router left running, if it is what would be started now; else end it.

        Its memory is wanted.
        """
        record = leftovers.left_running(self._record.parent, self._spec.name) if self._spec.keep else None
        if record is None:
            return None
        with suppress(LaunchError):
            spec = self._found()
            if self._engine.command(spec, record.port, self._python).fingerprint == record.fingerprint:
                return record
        await asyncio.to_thread(leftovers.end, record)
        return None

    async def _adopt(self) -> bool:
        """Take over the engine that an earlier router left running, if there is one that will do."""
        record = await self._left_running()
        if record is None:
            return False
        try:
            self._process = await self._keepers.adopt(record, self._wake.set)
        except OSError as error:  # it ended meanwhile, or can't be spoken to
            log.warning(f"{self._spec.name}: can't be taken over from an earlier router, and is started anew: {error}")
            await asyncio.to_thread(leftovers.end, record)
            return False
        self._port, self._key = record.port, record.key
        log.info(f"{self._spec.name}: took over the engine that an earlier router left running", pid=record.pid)
        return True

    async def _until_ready(self) -> None:
        await self._until_answered(self._engine.ready_path)
        if self._engine.ready_request is not None:
            path, body = self._engine.ready_request
            await self._until_answered(path, body, TIMEOUT_OF_A_REQUEST)

    async def _until_answered(self, path: str, body: bytes = b"", patience: float = TIMEOUT) -> None:
        pause = PROBE_FIRST
        while not (await is_ready(self._port, path, body, patience, self._key) and await self._has_the_port()):
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, PROBE_SLOWEST)

    async def _has_the_port(self) -> bool:
        """Tell whether it is the engine that answers, and not a stranger who was quicker to take its port."""
        return self._process is not None and await asyncio.to_thread(owns_port, self._process.pid, self._port)

    async def _stop_probing(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.cancel()
            await asyncio.wait([probe])

    def _bury(self, *, served: bool) -> None:
        """The process is gone: keep what it leaves to know, and drop it.

        Of one that `served`, an old error may be any request's: only its last words count.
        """
        if self._process is not None:
            self._end = wording.exit_in_words(self._process.exit_code)
            self._last_lines = self._process.last_lines
            self._why = first_error(self._last_lines).known if served else self._process.reason
            self._process = None

    # Telling.

    def _speak_of_waiting(self) -> None:
        """Once, until what it waits for changes; the numbers in it may change each time.

        One that lacks memory may have to wait for a turn before it is looked at again: it is the memory that it lacks.
        """
        if self._status.lacks and not self._verdict.lacks:
            return
        why = self._verdict.why + wording.again(self._now.failures, self._why)
        said = self._status.detail if self._status.state is State.WAITING else ""
        if self._verdict.why and _NUMBER.sub("", why) != _NUMBER.sub("", said):
            self._announce(why)

    def _lines(self) -> tuple[str, ...]:
        return self._last_lines if self._process is None else self._process.last_lines

    def _speak_of_progress(self) -> None:
        if time.monotonic() >= self._next_word:
            self._next_word = time.monotonic() + PROGRESS_EVERY
            memory = 0 if self._process is None else memory_of(self._process.pid)
            how_far = wording.progress(time.monotonic() - self._now.since, memory, self._lines())
            self._announce(how_far + wording.again(self._now.failures, self._why))

    def _announce(self, detail: str) -> None:
        state = self._now.state
        self._status = Status(
            name=self._spec.name,
            state=state,
            address=("127.0.0.1", self._port) if state is State.RUNNING else None,
            pid=None if self._process is None else self._process.pid,
            detail=detail,
            last_lines=self._lines(),
            since=self._status.since if state is self._status.state else time.time(),
            key=self._key,
            lacks=state is State.WAITING and self._verdict.lacks,
            next_try=self._now.deadline if state is State.BACKOFF else None,
            coming=self._coming(),
        )
        self._tell(self._status)

    def _tell(self, status: Status) -> None:
        """Tell whoever wants to know; what goes wrong there is no reason to end an engine that is well."""
        try:
            self._on_change(status)
        except Exception:
            log.exception("what an engine's status means to the rest of the program failed", name=self._spec.name)

    def _coming(self) -> bool:
        now = self._now
        again = now.then is not State.STOPPED or any(event is Event.START for event, _ in self._asked)
        starts = now.state in {State.STARTING, State.BACKOFF} or (
            now.state is State.WAITING and not self._verdict.lacks
        )
        return starts or (again and now.state in {State.STOPPING, State.STOPPED})

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
        if self._probe is not None:
            self._probe.cancel()
        if self._turns is not None:
            self._turns.gone(self.files)
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
            log.error("a supervisor failed; its engine was killed", name=self._spec.name, exc_info=error)
            self._tell(self.status)
