"""The access log: a line for each request. Lines are written together, four times a second, which is cheap.

    2026-11-30 05:11:58 10.0.0.7 200 POST /v1/chat/completions demo gpu-box 1.204s ttft=0.036s 1418B 12+40tok stop 003c…

Date, time and the address of the client's connection; status, path, model, backend, duration, TTFT, bytes; the engine's
counts of tokens (prompt + completion) and its reason to stop; the id. Then, if there is something to tell: why the
answer was cut, the number of attempts, whether a hedge won or lost, the time in the queue, the name of the key. Of a
stream that was cut, the tokens are about as many as its events. What a client chooses (path, model, id) stands in
quotes if it could be taken for several fields. As JSON, a line has the same by name (`in_json`). Lines go to
`<dir>/access.log`, which is rotated like router.log, and to the terminal if there is one. Failures are in router.log as
well, with their reasons; so are requests that were refused before they could be sent anywhere (`telemetry.refusals`),
which have no line here.
"""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from router.core.apis import api_of
from router.core.ending import Ending, told_by
from router.core.record import Record, tokens_in
from router.telemetry.files import LogFile, Rotation
from router.telemetry.lines import line
from router.telemetry.logs import Form, moment
from router.telemetry.tasks import unharmed
from router.telemetry.terminal import Terminal

FLUSH_EVERY = 0.25
"""Seconds after which records are written, from the first one."""

MANY_RECORDS = 1024
"""Records at which that begins sooner."""

MOST_RECORDS = 4096
"""Records that may wait; at this many, all are written at once."""

SLICE = 32
"""Records that are read in one turn of the loop: 0.2 ms. Of 250, requests that came meanwhile waited 1.5 ms."""


class AccessLog:
    """Writes lines to a folder's access.log and to a terminal; either may be None.

    `on_ended` gets each record with what the end of its answer says, when its line is written.
    """

    def __init__(
        self,
        folder: Path | None,
        terminal: Terminal | None,
        on_ended: Callable[[Record, Ending], None] = lambda _, _said: None,
    ) -> None:
        self._file = None if folder is None else LogFile(folder / "access.log")
        self._form = Form.AUTO
        self._terminal = terminal
        self._on_ended = on_ended
        # What is known of each already of its answer's end stands at the same place of the second list.
        self._records: list[Record] = []
        self._said: list[Ending | None] = []
        self._lines: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle | None = None

    def set_up(self, form: Form, rotation: Rotation) -> None:
        """Take settings, now and after a reload."""
        self._form = form
        if self._file is not None:
            self._file.rotation = rotation

    def write(self, record: Record, said: Ending | None = None) -> None:
        """Take a record, and what the end of its answer says, if that was read already."""
        self._records.append(record)
        self._said.append(said)
        waiting = len(self._records)
        if self._next is None:
            self._next = self._loop.call_later(FLUSH_EVERY, self._go_on)
        elif waiting == MANY_RECORDS:
            self._next.cancel()
            self._next = self._loop.call_soon(self._go_on)
        elif waiting >= MOST_RECORDS:
            self.flush()

    def flush(self) -> None:
        """Write the waiting records; an error costs only their lines."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        unharmed("access.log", self._read, len(self._records))
        self._put()

    def _go_on(self) -> None:
        """Read a slice of the waiting records; write the lines of all once there are no more."""
        self._next = None
        unharmed("access.log", self._read, SLICE)
        if self._records:
            self._next = self._loop.call_soon(self._go_on)
        else:
            self._put()

    def _read(self, most: int) -> None:
        """Make lines of the first records. The time of each line is now: a little more than `FLUSH_EVERY` late."""
        records, known = self._records[:most], self._said[:most]
        del self._records[:most], self._said[:most]
        as_json, on_ended, lines = self._form is Form.JSON, self._on_ended, self._lines
        at = moment() if as_json else time.strftime("%Y-%m-%d %H:%M:%S ")
        for record, read in zip(records, known, strict=True):
            said = read or told_by(record)
            lines.append(in_json(record, said, at) if as_json else at + line(record, said))
            on_ended(record, said)

    def _put(self) -> None:
        if not self._lines:
            return
        text = "\n".join(self._lines)
        self._lines = []
        if self._file is not None:
            self._file.put(text)
        if self._terminal is not None:
            self._terminal.write(text + "\n")

    def close(self) -> None:
        """Write the waiting records, and stop."""
        self.flush()
        if self._file is not None:
            self._file.close()


def in_json(record: Record, said: Ending, at: str) -> str:
    """Write an exchange as a line of JSON. Times are in seconds; what isn't known is null.

    `tpot` is the mean time from one token to the next. `error`: an answer says that it is one, whatever its status.
    """
    ttft, tokens = record.ttft, said.completion_tokens
    count = tokens_in(record.path, record.events) if tokens is None else tokens
    tpot = None if ttft is None or not record.events or count < 2 else (record.duration - ttft) / (count - 1)
    return _encoded({
        "timestamp": at,
        "id": record.id,
        "key": record.key,
        "client": record.client,
        "api": api_of(record.path),
        "path": record.path,
        "model": record.model,
        "backend": record.backend,
        "attempts": record.attempts,
        "hedge": record.hedge,
        "status": record.status,
        "outcome": record.outcome,
        "finish_reason": said.finish_reason,
        "error": said.error,
        "stream": record.events > 0,
        "ttft": None if ttft is None else round(ttft, 4),
        "tpot": None if tpot is None else round(tpot, 5),
        "duration": round(record.duration, 4),
        "queued": round(record.waited, 4),
        "prompt_tokens": said.prompt_tokens,
        "cached_tokens": said.cached_tokens,
        "tokens": tokens,
        "bytes": record.sent,
    })  # fmt: skip


_encode = msgspec.json.Encoder().encode


def _encoded(fields: dict[str, object]) -> str:
    try:
        return _encode(fields).decode()
    except UnicodeEncodeError:
        # A client named half a character.
        return json.dumps(fields)
