"""`state`: what the router remembers when it stops."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, WithJsonSchema

from router.config.keys.section import Section, setting
from router.config.keys.values import TEXT, text


class StateConfig(Section):
    """What the router remembers when it stops: what each model took to load, and what was used of it."""

    example: ClassVar[str] = """\
state:
  dir: /var/lib/router
"""

    # Beside router.yaml, as `logs` is: two routers with two files don't share it, and a copy of the folder has it all.
    dir: Annotated[Path, BeforeValidator(text), WithJsonSchema(TEXT)] = setting(
        "state", "Folder of state.db and usage.db, relative to router.yaml. The router works without them, too."
    )
