"""What to launch, as plain values: a `LaunchSpec` is what was configured, a `Command` what will be executed.

Both are frozen and know no process. An engine (launchers.engines) makes a command of a spec.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launchers.gpus import Claim

Scalar = str | int | float | bool
ArgValue = Scalar | Sequence[Scalar] | Mapping[str, object] | None
"""One argument of an engine. `None` leaves it out, even if a profile sets it."""


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """One replica of one model, to be run by one engine.

    `name` is the replica's own: unique in this router, and safe as a file name. `engine` is a key of ENGINES.
    `model` is a path or a hub id, in the forms that the engine's find_model knows; `source` is where it was looked for,
    if it is to be looked for again at each start. `served_name` is the clients' name of the model; the engine gets it,
    so that its answers have it. `args` are the profile's, with the user's over them.

    `start_timeout` is in seconds from the spawn until it must be ready, `stop_timeout` from SIGTERM until SIGKILL.
    `claim` is what it takes of GPUs that others use, too. `keep`: it runs on when the router ends, and the next router
    adopts it. `calls`: whether this model's calls come as calls; None: it isn't known. It is for `Engine.put_right`,
    which knows the engine alone; no plan has it. The same is true of `allow`, the private fields and paths that
    clients' requests may have, and of `media_hosts`, the hosts from which the engine may fetch media.
    """

    name: str
    engine: str
    model: str
    served_name: str
    args: Mapping[str, ArgValue]
    env: Mapping[str, str]
    start_timeout: float
    stop_timeout: float = 10.0
    claim: Claim | None = None
    keep: bool = False
    source: str = ""
    calls: bool | None = None
    allow: frozenset[str] = frozenset()
    media_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A program to execute, and how its environment differs from the router's.

    `env` is set over what is inherited. `unset` is not inherited; case doesn't count, as pydantic-settings ignores it.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    unset: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """A short digest of the program with its arguments and settings."""
        said = json.dumps([self.argv, sorted(self.env.items()), sorted(self.unset)])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of the program, made from the router's, which is `inherited`."""
        unset = {name.lower() for name in self.unset}
        kept = {name: value for name, value in inherited.items() if name.lower() not in unset}
        return kept | dict(self.env)
