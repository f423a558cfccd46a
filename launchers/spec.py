"""What to launch, as plain values: a `LaunchSpec` is what was configured, a `Command` is what will be executed.

Both are frozen and know no process. An engine (launchers.engines) turns the one into the other.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launchers.gpus import Claim

Scalar = str | int | float | bool
ArgValue = Scalar | Sequence[Scalar] | Mapping[str, object] | None
"""One engine argument. `None` leaves it out, also where a profile sets it."""


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """One replica of one model, to be run by one engine.

    `name` is the replica's own: unique in this router, and safe as a file name.
    `served_name` is what clients call the model; the engine is told, so that its answers carry it.
    """

    name: str
    engine: str  # a key of launchers.engines.ENGINES
    model: str  # a path or a hub id, in the forms that the engine's find_model knows
    served_name: str
    args: Mapping[str, ArgValue]  # the profile's with the user's over them
    env: Mapping[str, str]
    start_timeout: float  # seconds from the spawn until it must be ready
    stop_timeout: float = 10.0  # seconds from SIGTERM until SIGKILL
    claim: Claim | None = None  # what it takes of GPUs that others use, too
    keep: bool = False  # whether it runs on when the router ends, and is adopted by the next one
    source: str = ""  # where the model was looked for, as a folder, if it is to be looked for again at each start


@dataclass(frozen=True, slots=True)
class Command:
    """A program to execute, and how its environment differs from the router's."""

    argv: tuple[str, ...]
    env: Mapping[str, str]  # set, over what is inherited
    unset: tuple[str, ...]  # not inherited; compared without regard to case, as pydantic-settings reads them

    @property
    def fingerprint(self) -> str:
        """A short name for this very program with these arguments and settings."""
        said = json.dumps([self.argv, sorted(self.env.items()), sorted(self.unset)])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of the program, where the router's is `inherited`."""
        unset = {name.lower() for name in self.unset}
        kept = {name: value for name, value in inherited.items() if name.lower() not in unset}
        return kept | dict(self.env)
