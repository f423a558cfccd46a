"""Logging: sentences on the terminal, JSON lines in files (`telemetry.files`); `Form` may say otherwise.

The terminal's lines are for people: the time, the sentence, its details. Files are for programs and for later:

    router.log   the same events as on the terminal
    models.log   those that are about models: loads, unloads, restarts, and their figures
    system.log   this machine and this process, each minute
    audit.log    what admins did, and how that ended
    access.log   a line a request (`telemetry.access`)

A logger's name says where its lines go. Those of `FILES_ALONE` are for a file alone: a sentence elsewhere has said the
same, or people need not read it.
"""

import atexit
import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import IO, Final

import structlog
from structlog.typing import EventDict, Processor

from launchers.files import own_folder
from router.telemetry.files import LogFile, Rotation
from router.telemetry.repeats import Repeats
from router.telemetry.terminal import DIM, RED, YELLOW, Terminal, painter

AUDIT: Final = "router.audit"
MODELS: Final = "router.models"
FIGURES: Final = "router.figures"
SYSTEM: Final = "router.system"
UPSTREAM: Final = "router.upstream"

FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "models": (MODELS, FIGURES, "launchers"),
    "system": (SYSTEM,),
    "audit": (AUDIT, UPSTREAM),
}
"""The files beside router.log, each with the loggers whose lines it has."""

FILES_ALONE: Final = (AUDIT, FIGURES, SYSTEM)

for _name in FILES_ALONE:
    # Whoever uses this package hears no more of them than the terminal does.
    logging.getLogger(_name).propagate = False

NAMES: Final = frozenset({"access", "router", *FILES})
"""The names of all files, which no engine's log may have."""

_MARKS = {"warning": "! ", "error": "! ", "critical": "! "}
_COLOURS = {"warning": YELLOW, "error": RED, "critical": RED}


class Form(Enum):
    """Which form lines have. AUTO: sentences on the terminal and in access.log, JSON in the other files."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class FileHandler(logging.Handler):
    """Writes records to a log file, whose thread does the waiting."""

    def __init__(self, file: LogFile) -> None:
        super().__init__()
        self.file = file

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written."""
        try:
            self.file.put(self.format(record))
        except Exception as error:  # noqa: BLE001  (as below)
            self.file.put(f"a log record can't be rendered: {type(error).__name__}")


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


def _for_people(stream: IO[str] | None) -> Processor:
    """Give a renderer of `12:34:56 ! sentence  key=value …`; a traceback follows on its own lines.

    In a file (None), the day stands before the time.
    """
    paint, part = painter(stream), slice(0 if stream is None else 11, 19)
    return lambda _, __, event: _in_words(event, paint, part)


def _in_words(event: EventDict, paint: Callable[[str, str], str], part: slice) -> str:
    said_at = paint(DIM, str(event.pop("timestamp", ""))[part].replace("T", " "))
    level = str(event.pop("level", ""))
    mark = _MARKS.get(level, "")
    event.pop("logger", None)
    trace = event.pop("exception", None)
    said = "\n".join(printable(line) for line in str(event.pop("event", "")).split("\n"))
    said = paint(_COLOURS[level], mark + said) if level in _COLOURS else mark + said
    details = paint(DIM, "".join(f"  {key}={_shown(value)}" for key, value in event.items()))
    return f"{said_at} {said}{details}" + (f"\n{trace}" if trace else "")


def moment() -> str:
    """Write the present time in the form of all logs in JSON (RFC 3339): local, with its offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def _stamp(_: object, __: str, event: EventDict) -> EventDict:
    event["timestamp"] = moment()
    return event


_IN_JSON: Final = structlog.processors.JSONRenderer()

_SHARED: list[Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    _stamp,
    structlog.processors.format_exc_info,
]


class Outputs:
    """Where the lines of this process go: the terminal, and a folder's files; without a folder, the terminal alone."""

    def __init__(self, stream: IO[str], folder: Path | None) -> None:
        self._stream = stream
        self._terminal = TerminalHandler(stream)
        self._files: dict[str, FileHandler] = {}
        root = logging.getLogger()
        root.addHandler(self._terminal)
        if folder is None:
            return
        self._files = {name: FileHandler(LogFile(folder / f"{name}.log")) for name in ("router", *FILES)}
        root.addHandler(self._files["router"])
        for file, loggers in FILES.items():
            for name in loggers:
                logging.getLogger(name).addHandler(self._files[file])

    def set_up(self, form: Form, rotation: Rotation) -> None:
        """Take settings."""
        self._terminal.setFormatter(_formatter(_IN_JSON if form is Form.JSON else _for_people(self._stream)))
        for each in self._files.values():
            each.file.rotation = rotation
            each.setFormatter(_formatter(_for_people(None) if form is Form.TEXT else _IN_JSON))

    def close(self) -> None:
        """Write what waits, and end; what is told of the files is for the terminal."""
        root = logging.getLogger()
        for logger in (root, *(logging.getLogger(name) for names in FILES.values() for name in names)):
            for each in self._files.values():
                logger.removeHandler(each)
        for each in self._files.values():
            each.close()
            each.file.close()
        root.removeHandler(self._terminal)
        self._terminal.close()


_OUTPUTS: Final[list[Outputs]] = []
"""Those of `configure`: one, or none where the router is a part of another program."""


def _formatter(renderer: Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def configure(
    level: str,
    folder: Path | None,
    stream: IO[str] = sys.stderr,
    form: Form = Form.AUTO,
    rotation: Rotation | None = None,
) -> None:
    """Send all logs of this process, including those of libraries, to the stream and to the folder's files.

    If the folder can't be created, that is logged, and the files are left out.
    """
    repeats = Repeats()
    structlog.configure(
        processors=[repeats, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    trouble: OSError | None = None
    if folder is not None:
        try:
            own_folder(folder)
        except OSError as error:
            trouble = error
    while _OUTPUTS:
        _OUTPUTS.pop().close()
    _OUTPUTS.append(Outputs(stream, folder if trouble is None else None))
    set_up(level, form, rotation or Rotation())
    # Before the files' own end, as it was registered later.
    atexit.register(repeats.tell)
    for noisy in ("asyncio", "aiohttp.access", "watchfiles"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if trouble is not None:
        structlog.get_logger("router").warning("no log file can be written", folder=str(folder), why=str(trouble))


def set_up(level: str, form: Form, rotation: Rotation) -> None:
    """Take settings, now and after a reload; what is for a file alone is written whatever the level is."""
    logging.getLogger().setLevel(level.upper())
    for name in FILES_ALONE:
        logging.getLogger(name).setLevel(logging.INFO)
    for outputs in _OUTPUTS:
        outputs.set_up(form, rotation)
