"""What is done with requests that have ended: lines in logs, figures, and what is remembered of them.

Who only counts hears of them many at a time, when their lines are written (`telemetry.access`), off the hot path. Only
what a key with limits has used is counted at once, in the turn of the loop in which the request ends: the key's next
request is judged by it.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from router.core.ending import Ending, told_by
from router.core.latest import Latest
from router.core.over_limit import AGAIN, AT_LIMIT, LimitError
from router.core.record import ANSWERED, Record
from router.management.budgets import Budgets
from router.management.requests import Recent
from router.management.usage import Usage
from router.proxy.charging import Charging
from router.telemetry.access import AccessLog
from router.telemetry.files import Rotation
from router.telemetry.logs import Form, printable, terminal_of
from router.telemetry.refusals import RefusalLog
from router.telemetry.tasks import unharmed
from router.telemetry.traces import Traces

log = structlog.get_logger("router")

Counter = Callable[[Record, Ending], None]
"""Gets each record with what the end of its answer says."""


class Ended:
    """Takes the records of requests; `counters` hear of each within a quarter of a second."""

    # Set by `count`, before there are any.
    usage: Usage
    budgets: Budgets

    def __init__(self) -> None:
        self._latest = Latest(time.time())
        self.recent = Recent(self._latest)
        self.counters: list[Counter] = []
        # Those of keys at their limits: anybody with a key can send as many as they like.
        self._at_limit = RefusalLog()
        self.traces = Traces()
        self.counters.append(self.traces.ended)
        self._access: AccessLog | None = None
        self._settings = Form.AUTO, Rotation()

    def count(self, usage: Usage, charging: Charging) -> None:
        """Have it hear of all that is used, and limits of keys of what each has used."""
        self.usage, self.budgets = usage, Budgets(charging, usage)
        self.counters.append(self._count_use)

    def start(self, folder: Path) -> None:
        """Write the access log from now on: in this folder, and on the terminal, if there is one."""
        terminal = terminal_of(sys.stderr) if sys.stderr.isatty() else None
        self._access = AccessLog(folder, terminal, self._count)
        self._access.set_up(*self._settings)

    def set_up(self, form: Form, rotation: Rotation) -> None:
        """Take settings of the access log."""
        self._settings = form, rotation
        if self._access is not None:
            self._access.set_up(form, rotation)

    def take(self, record: Record) -> None:
        """Write a line for a request, and a warning for one that went wrong."""
        said: Ending | None = None
        if record.charge is not None:
            said = told_by(record)
            unharmed("usage", self.usage.count, record, said)
        self._latest.add(record, time.time())
        if self._access is not None:
            self._access.write(record, said)
        if record.error in AT_LIMIT:
            refusal = LimitError(record.outcome.partition(AGAIN)[0])
            self._at_limit.note(refusal, record.client, record.path, asyncio.get_running_loop().time(), record.id)
        elif record.outcome != ANSWERED:
            log.warning(
                f"POST {record.path}: {printable(record.outcome)}",
                status=record.status,
                model=record.model,
                backend=record.backend,
                client=record.client,
                seconds=round(record.duration, 3),
                attempts=record.attempts,
                request_id=record.id,
            )

    def _count_use(self, record: Record, said: Ending) -> None:
        """Count what a request has used that was not settled at its end."""
        if record.charge is None:
            self.usage.count(record, said)

    def _count(self, record: Record, said: Ending) -> None:
        for each in self.counters:
            each(record, said)

    def flush(self) -> None:
        """Have all that has ended until now counted: for whoever reads what was counted."""
        if self._access is not None:
            self._access.flush()

    def close(self) -> None:
        """Write the waiting records, and stop."""
        if self._access is not None:
            self._access.close()
        self.traces.close()
