"""`logging`: what is logged, and where engines' output goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, WithJsonSchema

from router.config.keys.section import Section, setting
from router.config.keys.values import TEXT, choice, text

LEVELS = ("debug", "info", "warning", "error")


class LoggingConfig(Section):
    """What is logged, and where."""

    example: ClassVar[str] = """\
logging:
  level: warning
  dir: /var/log/router
"""

    level: Annotated[Literal["debug", "info", "warning", "error"], choice("a level", *LEVELS)] = setting(
        "info", "The least important level that is logged."
    )
    dir: Annotated[Path, BeforeValidator(text), WithJsonSchema(TEXT)] = setting(
        "logs", "Folder of router.log, access.log and the output of launched engines. It has one router at a time."
    )
