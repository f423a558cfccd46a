"""One place where a launch may be loaded: what it takes there, and how it is started there. Pure, but for `key_of`."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from launchers.errors import LaunchError
from launchers.gpus import Claim
from launchers.record import ProcessRecord
from launchers.spec import ArgValue, LaunchSpec
from launchers.weights import weights
from router.core.memory.devices import Footprint
from router.core.memory.footprints import Placement
from router.core.memory.resident import Loadable
from router.fleet.launching import Launch

THREADS = frozenset({"threads", "threads-batch", "threads-http", "n-threads", "n-threads-batch", "omp-num-threads"})
"""Arguments and variables that change with the number of other models, and what a load takes doesn't."""

_SECRET = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class EnginePlacement(Placement):
    """A placement of an engine, with what its launch gets there in the place of its own.

    `args` and `env` go over the launch's; a `claim` replaces its claim. `grows` is what the engine may come to take of
    each device beyond what it has when it has loaded: caches of prompts, logits. It is part of the estimate.
    """

    args: Mapping[str, ArgValue] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    claim: Claim | None = None
    grows: Footprint = field(default_factory=dict)


def placed(spec: LaunchSpec, placement: Placement) -> LaunchSpec:
    """Give a launch as it is to be started at a placement."""
    if not isinstance(placement, EnginePlacement):
        return spec
    args = over(spec.args, placement.args)
    return replace(spec, args=args, env={**spec.env, **placement.env}, claim=placement.claim or spec.claim)


def running_first(loadable: Loadable, launch: Launch, record: ProcessRecord) -> Loadable:
    """Put the placement first at which an engine runs that an earlier router left; unchanged if it is none of them."""
    for placement in loadable.placements:
        # LaunchError: arguments that the engine refuses now.
        with suppress(LaunchError):
            command = launch.engine.command(placed(launch.spec, placement), record.port, launch.python)
            if command.fingerprint == record.fingerprint:
                others = (each for each in loadable.placements if each is not placement)
                return replace(loadable, placements=(placement, *others))
    return loadable


def over(args: Mapping[str, ArgValue], more: Mapping[str, ArgValue]) -> dict[str, ArgValue]:
    """Lay arguments over others, which keep their spelling: n-ctx and n_ctx are the same."""
    said = {name.replace("_", "-"): value for name, value in more.items()}
    found = {name: said.pop(name.replace("_", "-"), value) for name, value in args.items()}
    return found | {name: value for name, value in more.items() if name.replace("_", "-") in said}


def key_of(spec: LaunchSpec, engine: tuple[str, str], devices: Iterable[str], environ: Mapping[str, str]) -> str:
    """Give the key under which is stored what was learned: a digest of all that decides what a load takes.

    `engine` is its version, and the Python or the program that runs it. The key is the same in the next run, unless a
    file, the engine, an argument, a variable of the launch or a device is another.
    """
    version, program = engine
    files = [_identity(path) for path in weights(spec.model, environ) or ()]
    named = [Path(value) for value in spec.args.values() if isinstance(value, str) and "/" in value]
    said = [
        files or spec.model,
        [_identity(path) for path in named],
        spec.engine,
        version,
        _identity(Path(program)) if version.startswith("at ") else "",
        sorted((_dashed(name), repr(value)) for name, value in spec.args.items() if _dashed(name) not in THREADS),
        sorted(
            (name, value)
            for name, value in spec.env.items()
            if not _SECRET.search(name) and _dashed(name) not in THREADS
        ),
        list(devices),
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:24]


def _dashed(name: str) -> str:
    return name.replace("_", "-").lower()


def _identity(path: Path) -> tuple[str, int, int]:
    """Give what shows that a file is the same: its place, its size, and when it was written."""
    with suppress(OSError, ValueError):
        found = path.stat()
        return (str(path.resolve()), found.st_size, found.st_mtime_ns)
    return (str(path), 0, 0)
