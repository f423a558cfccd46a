"""What a supervisor says of its engine, and when there is something new to say. Pure."""

import re
from dataclasses import dataclass, field

from launchers import wording
from launchers.gpus import StartVerdict
from launchers.states import State, Supervision

_NUMBER = re.compile(r"[\d.]+")


@dataclass(frozen=True, slots=True)
class Status:
    """What the rest of the program, and people, may know of a supervised engine.

    `address` is where it serves, while RUNNING, and `key` what each request must show there. `detail` is a sentence for
    people, `last_lines` are what the engine said last. `since` is when it came into this state, in seconds since the
    epoch. `lacks`: while WAITING, it waits for memory, perhaps for ever. `next_try` is when it starts again, while in
    BACKOFF, by the loop's clock. `coming`: it starts, or is going to.

    `share` is how much of its model it has loaded, 0 to 1: 1 while RUNNING, 0 if unknown. `progressed` is when its
    start last showed progress, while STARTING, by the loop's clock; at first it is when the start began. `is_news`:
    people haven't read this yet; else only these two have changed.

    `restarts` is how often it was started again because it had ended unasked, or worked no more. `load_seconds` is how
    long its last start took until it was ready; None: it was never ready, or an earlier router has started it.

    `failure` is of what its process has ended, or why it could not be started, while in BACKOFF or FATAL.
    `out_of_memory` is told once, with the state that follows the end of a process that nobody wanted to end for good.
    It is the device whose memory that process ran out of: `footprints.parts.RAM`, a GPU's id, or "" where the device
    isn't known. None: its end was something else.
    """

    name: str
    state: State
    address: tuple[str, int] | None
    pid: int | None
    detail: str
    last_lines: tuple[str, ...]
    since: float
    key: str = field(default="", repr=False)
    lacks: bool = False
    next_try: float | None = None
    coming: bool = False
    share: float = 0.0
    progressed: float | None = None
    restarts: int = 0
    load_seconds: float | None = None
    failure: str = ""
    out_of_memory: str | None = None
    is_news: bool = True


def waiting_report(before: Status, verdict: StartVerdict, failures: int, why: str) -> str:
    """Say why an engine waits for its turn; nothing where that was said before, with other numbers perhaps.

    `failures` are the starts in a row that failed, `why` is the last one's reason. An engine that lacks memory may have
    to wait for a turn before it is looked at again: it is the memory that it lacks.
    """
    if not verdict.why or (before.lacks and not verdict.lacks):
        return ""
    report = verdict.why + wording.again(failures, why)
    said = before.detail if before.state is State.WAITING else ""
    return "" if _NUMBER.sub("", report) == _NUMBER.sub("", said) else report


def is_coming(now: Supervision, *, lacks: bool, start_asked: bool) -> bool:
    """Tell whether requests may wait for an engine: it starts, or is going to.

    `lacks`: it waits for memory. `start_asked`: a start was asked for that the machine has not seen yet.
    """
    match now.state:
        case State.STARTING | State.BACKOFF:
            return True
        case State.WAITING:
            return not lacks
        case State.STOPPING | State.STOPPED:
            return start_asked or now.then is not State.STOPPED
        case State.RUNNING | State.FATAL:
            return False


def progressed(now: Supervision) -> float | None:
    """Tell when a start showed progress last; None where nothing starts."""
    if now.state is not State.STARTING or now.deadline is None:
        return None
    return now.deadline - now.start_timeout
