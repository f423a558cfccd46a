"""`memory`: how much of this machine's memory engines may take, and how long requests may be overtaken for it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from router.config.keys.section import Section, setting
from router.config.keys.units import Duration, SizeOrShare, lasting, sized
from router.config.keys.values import absent_if_empty

_Limit = Annotated[Annotated[SizeOrShare, sized("64MiB", "1024TiB")] | None, absent_if_empty]


class MemoryLimitConfig(Section):
    """The most memory that all launched engines together may take, by kind of device."""

    example: ClassVar[str] = """\
memory:
  limit: {ram: 48GiB, gpu: 90%}
"""

    # What other programs take is measured, and left to them in any case. The defaults and their reasons are in
    # `launchers.devices`; a bound here keeps memory free for programs that are started later.
    ram: _Limit = setting(
        None,
        "Most memory of the machine, in bytes or as a share of all it has. If left out, all but the larger of a "
        "tenth and 2 GiB; below 8 GiB, all but a quarter.",
    )
    gpu: _Limit = setting(
        None,
        "Most memory of each GPU, in bytes or as a share of all it has. If left out, all but the larger of 2 % "
        "and 1 GiB; below 16 GiB, all but a sixteenth.",
    )


class MemoryConfig(Section):
    """Memory for models that load and unload by themselves."""

    example: ClassVar[str] = """\
memory:
  limit: {gpu: 20GiB}
  max_wait: 5m             # loading takes long here: swap less often
"""

    limit: MemoryLimitConfig = Field(default_factory=MemoryLimitConfig, description=MemoryLimitConfig.__doc__)
    # Two minutes: four times a swap of 30 s, so that models of some 20 GB from a disk still get whole turns, and people
    # who wait for an answer haven't given up yet.
    max_wait: Annotated[Duration, lasting("1s", "24h")] = setting(
        "2m",
        "The longest time that a request waiting for an unloaded model is overtaken by requests for loaded ones. A "
        "longer time means fewer swaps.",
    )
