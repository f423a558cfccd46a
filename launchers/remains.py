"""What is known of a process that has ended, or that could not be started."""

from collections.abc import Sequence
from dataclasses import dataclass

from launchers import wording
from launchers.footprints.parts import RAM
from launchers.kills import Kills
from launchers.process import Process
from launchers.reason import first_error
from launchers.shortage import UNKNOWN, by_the_kernel, device_of, shortage_in


@dataclass(frozen=True, slots=True)
class Remains:
    """How it ended, the engine's reason, its last lines, and the memory that it ran out of (see Status)."""

    end: str = ""
    why: str = ""
    last_lines: tuple[str, ...] = ()
    out_of_memory: str | None = None

    def not_started(self, why: str) -> "Remains":
        """The same, for the start that came to nothing after that; the engine's words are still the last ones."""
        return Remains(why, self.why, self.last_lines, shortage_in(why))


def remains_of(process: Process, kills: Kills, gpus: Sequence[str], *, served: bool, asked: bool) -> Remains:
    """Tell what is known of a process that is gone; `gpus` are the ids of the GPUs that it saw.

    If it `served`, an early error may be that of any request: only its last lines count. `asked`: it was told to end.
    """
    said = process.last_lines
    why = first_error(said).known if served else process.reason
    short = device_of(process.shortages.recent if served else process.shortages.any, gpus)
    if short in {None, UNKNOWN} and not asked and by_the_kernel(process.exit_code, said, kills_rose=kills.rose):
        short = RAM
    end = wording.exit_in_words(process.exit_code) + (" (out of memory)" if short is not None else "")
    return Remains(end, why, said, short)
