"""The supervisor's sentences for people: one for each step and for each long wait. Decides nothing."""

import signal
from collections.abc import Sequence

from launchers.states import Event, State, Supervision


def exit_in_words(code: int | None) -> str:
    """`exited with code 1`, `was ended by SIGKILL`."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def change(before: Supervision, event: Event, now: Supervision, end: str, why: str = "") -> str:
    """Describe a step. `end` is how the process ended, or why it could not be started; `why` is the engine's reason."""
    match now.state:
        case State.STOPPED | State.WAITING:
            return str(now.state.value)
        case State.STARTING:
            return f"starting{again(now.failures, why)}"
        case State.RUNNING:
            return f"ready after {now.since - before.since:.1f} s"
        case State.STOPPING:
            return _stopping(before, event, now)
        case State.BACKOFF:
            delay = (now.deadline or now.since) - now.since
            return f"{failure(before, event, now, end, why)}; next try in {delay:.1f} s"
        case State.FATAL:
            is_vain = event is Event.UNFIT
            tries = "" if is_vain else f"gave up after {now.failures} failed starts in a row; the last: "
            return f"{tries}{failure(before, event, now, end, why)}; {_revived_by(now)}"


def _revived_by(now: Supervision) -> str:
    return f"a reload or a change of its model starts it again, as does a request after {now.rested_at - now.since:g} s"


def again(failures: int, why: str) -> str:
    """Describe the failed starts before this one; `why` is the last one's reason."""
    if not failures:
        return ""
    because = f"; the last: {why}" if why else ""
    return f", after {failures} failed start{'s' * (failures > 1)} in a row{because}"


def progress(seconds: float, memory: int, last_lines: Sequence[str]) -> str:
    """Describe the progress of a long start; `memory` is what its processes have, in bytes."""
    said = f"the engine last said: {last_lines[-1]}" if last_lines else "the engine has said nothing yet"
    return f"loading for {seconds:.0f} s, {memory / 2**30:.1f} GiB in memory; {said}"


def _stopping(before: Supervision, event: Event, now: Supervision) -> str:
    if now.then is State.BACKOFF:
        return f"not ready within {_allowed(now)}; killed"
    if now.then is State.STARTING:
        return "stopping, to start again"
    if event is Event.TIMED_OUT:
        return f"did not end within {round((before.deadline or before.since) - before.since, 3):g} s; killed"
    return "killed" if event is Event.KILL else "stopping"


def failure(before: Supervision, event: Event, now: Supervision, end: str, why: str) -> str:
    """Say of what a process has ended, or why it could not be started; see `change`."""
    if event in {Event.SPAWN_FAILED, Event.UNFIT}:
        return end
    because = f": {why}" if why else ""
    if before.state is State.RUNNING:
        return f"{end} after serving for {now.since - before.since:.0f} s{because}"
    if before.state is State.STOPPING:
        return f"was not ready within {_allowed(before)}{because}"
    return f"{end} while starting{because}"


def _allowed(now: Supervision) -> str:
    """Tell how long a start could take, `600 s`; of one that has shown progress, why that was all."""
    if now.allowed <= now.start_timeout:
        return f"{now.start_timeout:g} s"
    if now.allowed >= now.policy.longest_start * now.start_timeout:
        return f"{now.allowed:.0f} s, though it went on"
    return f"{now.allowed:.0f} s, the last {now.start_timeout:g} s without progress"
