"""What the router says: sentences on the terminal, JSON lines in a bounded file.

Both get the same events. The terminal's lines are for a person: the time, the sentence, its details. The file,
`<dir>/router.log`, is for machines and for later: at most `FILES` files of `FILE_SIZE` bytes. A log that can't be
written (a full disk) is said once and costs no request.
"""

import logging
import logging.handlers
import sys
from pathlib import Path
from typing import IO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

FILE_SIZE = 16 * 1024 * 1024
FILES = 4
_MARKS = {"warning": "! ", "error": "! ", "critical": "! "}


class BoundedFile(logging.handlers.RotatingFileHandler):
    """A file of bounded size and number that complains once, and then not again, when it can't be written."""

    _complained = False

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_SIZE, backupCount=FILES - 1, encoding="utf-8", delay=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  (logging's name)
        """Say it the first time."""
        self._complain()

    def close(self) -> None:
        """Write what still waits, if it can be written."""
        try:
            super().close()
        except OSError:
            self._complain()

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            error = sys.exc_info()[1]
            print(f"! the log {self.baseFilename} can't be written: {error}", file=sys.stderr)  # noqa: T201


def printable(text: str) -> str:
    """Give text that can't forge a line or steer a terminal, whoever chose it."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _for_people(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Render `12:34:56 ! sentence  key=value …`; a traceback follows on its own lines."""
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    moment = str(event.pop("timestamp", ""))[11:19]
    mark = _MARKS.get(str(event.pop("level", "")), "")
    event.pop("logger", None)
    trace = event.pop("exception", None)
    said = "\n".join(printable(line) for line in str(event.pop("event", "")).split("\n"))
    details = "".join(f"  {key}={printable(str(value))}" for key, value in event.items())
    return f"{moment} {mark}{said}{details}" + (f"\n{trace}" if trace else "")


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
    """Send all logs of this process, the libraries' too, to the stream and to the folder's router.log.

    A folder that can't be made or written is said, and left out.
    """
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handlers = [_handler(logging.StreamHandler(stream), _for_people)]
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
