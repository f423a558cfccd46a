"""Logging: sentences on the terminal, JSON lines in a bounded file.

Both get the same events. The terminal's lines are for people: the time, the sentence, its details. The file,
`<dir>/router.log`, is for programs and for later: at most `FILES` files of `FILE_SIZE` bytes. If a log can't be written
(a full disk), that is reported once and costs no request.
"""

import json
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import IO

import structlog
from structlog.typing import EventDict, Processor

from launchers.files import at_once
from router.telemetry.terminal import DIM, RED, YELLOW, Terminal, painter

FILE_SIZE = 16 * 1024 * 1024
FILES = 4
_MARKS = {"warning": "! ", "error": "! ", "critical": "! "}
_COLOURS = {"warning": YELLOW, "error": RED, "critical": RED}


class BoundedFile(logging.handlers.RotatingFileHandler):
    """A rotating file that reports only once that it can't be written.

    If the file or its folder was removed, it is created again.
    """

    _complained = False

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, maxBytes=FILE_SIZE, backupCount=FILES - 1, encoding="utf-8", delay=True, errors="backslashreplace"
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the file of this name, even if the open one was removed."""
        if not os.path.exists(self.baseFilename):  # noqa: PTH110  (this handler's path is text)
            try:
                if self.stream is not None:
                    self.stream.close()
                    self.stream = None
                os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)  # noqa: PTH103, PTH120
            except OSError:
                self._complain()
                return
        super().emit(record)

    def _open(self) -> IO[str]:  # type: ignore[override]
        """Open the file without blocking, as a FIFO in its place would."""
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=at_once)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  (logging's name)
        """Report the first failure."""
        self._complain()

    def close(self) -> None:
        """Flush and close; a failure is reported like any other."""
        try:
            super().close()
        except OSError:
            self._complain()

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            error = sys.exc_info()[1]
            terminal_of(sys.stderr).write(
                f"! the log {self.baseFilename} can't be written: {error}; what belongs there is lost until it can\n"
            )


class TerminalHandler(logging.Handler):
    """Writes records to a terminal. A failure is reported once, and never raised into the code that logs."""

    _complained = False

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._terminal = terminal_of(stream)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            self._terminal.write(self.format(record) + "\n")
        except Exception as error:  # noqa: BLE001  (repr of a logged value may raise anything)
            if not self._complained:
                self._complained = True
                self._terminal.write(f"! a log record can't be rendered: {type(error).__name__}\n")

    def flush(self) -> None:
        """Wait until everything is written, but not for long."""
        self._terminal.flush()


@lru_cache(maxsize=4)
def terminal_of(stream: IO[str]) -> Terminal:
    """Give the one terminal of a stream; there is only one, so that lines keep their order."""
    return Terminal(stream)


def tell(text: str) -> None:
    """Write a line to standard output, past the log; never raises, never waits."""
    terminal_of(sys.stdout).write(text + "\n")


def printable(text: str) -> str:
    """Escape text, so that it can neither forge a log line nor control a terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _shown(value: object) -> str:
    """Write a detail; two spaces and `=` would begin the next one."""
    text = printable(str(value))
    return json.dumps(text, ensure_ascii=False) if "  " in text or "=" in text or text.startswith('"') else text


def _for_people(stream: IO[str]) -> Processor:
    """Give a renderer of `12:34:56 ! sentence  key=value …`; a traceback follows on its own lines."""
    paint = painter(stream)
    return lambda _, __, event: _in_words(event, paint)


def _in_words(event: EventDict, paint: Callable[[str, str], str]) -> str:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    moment = paint(DIM, str(event.pop("timestamp", ""))[11:19])
    level = str(event.pop("level", ""))
    mark = _MARKS.get(level, "")
    event.pop("logger", None)
    trace = event.pop("exception", None)
    said = "\n".join(printable(line) for line in str(event.pop("event", "")).split("\n"))
    said = paint(_COLOURS[level], mark + said) if level in _COLOURS else mark + said
    details = paint(DIM, "".join(f"  {key}={_shown(value)}" for key, value in event.items()))
    return f"{moment} {said}{details}" + (f"\n{trace}" if trace else "")


def _handler(handler: logging.Handler, renderer: Processor) -> logging.Handler:
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    return handler


_SHARED: list[Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=False),
    structlog.processors.format_exc_info,
]


def configure(level: str, folder: Path | None, stream: IO[str] = sys.stderr) -> None:
    """Send all logs of this process, including those of libraries, to the stream and to the folder's router.log.

    If the folder can't be created or written, that is logged, and the file is left out.
    """
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handlers = [_handler(TerminalHandler(stream), _for_people(stream))]
    trouble: OSError | None = None
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handlers.append(_handler(BoundedFile(folder / "router.log"), structlog.processors.JSONRenderer()))
        except OSError as error:
            trouble = error
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level.upper())
    for noisy in ("asyncio", "aiohttp.access", "watchfiles"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if trouble is not None:
        structlog.get_logger("router").warning("no log file can be written", folder=str(folder), why=str(trouble))
