"""`logging`: what is logged, and where engines' output goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from router.config.keys.section import Section, setting
from router.config.keys.units import DurationOrNever, Size, lasting, sized
from router.config.keys.values import TEXT, Whole, choice, text

FORMATS = ("auto", "json", "text")
LEVELS = ("debug", "info", "warning", "error")


class LoggingConfig(Section):
    """What is logged, and where."""

    example: ClassVar[str] = """\
logging:
  level: warning
  format: json             # for a program that reads standard error, and access.log
  dir: /var/log/router
  max_size: 64MiB
  max_age: 1d
  keep: 30
"""

    level: Annotated[Literal["debug", "info", "warning", "error"], choice("a level", *LEVELS)] = setting(
        "info", "The least important level that is logged."
    )
    format: Annotated[Literal["auto", "json", "text"], choice("a format", *FORMATS)] = setting(
        "auto",
        "Which form lines have: json, text, or auto: text on the terminal and in access.log, JSON in the other files.",
    )
    dir: Annotated[Path, BeforeValidator(text), WithJsonSchema(TEXT)] = setting(
        "logs",
        "Folder of router.log, access.log, models.log, system.log, audit.log, and of the output of launched engines. "
        "It has one router at a time.",
    )
    # A file of 16 MiB has about 100,000 lines of access.log, and takes 2 MiB once it is compressed.
    max_size: Annotated[Size, sized("64KiB", "64GiB")] = setting(
        "16MiB", "At this size a log file is rotated, and compressed; an engine's own output has bounds of its own."
    )
    max_age: Annotated[DurationOrNever, lasting("1m", "3650d")] = setting(
        "never", "At this age of its first line a log file is rotated, with the next line that is written."
    )
    keep: Annotated[Whole, Field(ge=0, le=1000)] = setting(8, "How many rotated files of each log are kept.")
