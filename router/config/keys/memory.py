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

    # No bound by default: free memory is measured before each load, and what other programs take is left to them. A
    # bound is for those who want to keep memory free for programs that they start later.
    ram: _Limit = setting(
        None, "Most memory of the machine, in bytes or as a share of all it has. If left out, what others leave free."
    )
    gpu: _Limit = setting(
        None, "Most memory of each GPU, in bytes or as a share of all it has. If left out, what others leave free."
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
