"""Launches as `router.core.memory` knows them: where each may be loaded, what it takes there, and how it is kept."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog

from launchers import devices as measuring
from launchers.devices import DeviceFigures, DeviceLimit
from launchers.footprints.errors import HeaderError
from launchers.footprints.files import read_model
from launchers.footprints.model import Model
from launchers.weights import size_of, weights
from router.config import Config
from router.core.memory.footprints import Placement
from router.core.memory.resident import Loadable
from router.fleet.launches import is_managed, parallel_of
from router.fleet.launching import Launch
from router.fleet.placements import EnginePlacement, key_of, placed
from router.fleet.placing import Placing
from router.telemetry.logs import MODELS

__all__ = ["EnginePlacement", "is_managed", "limits_of", "loadable_of", "placed"]

log = structlog.get_logger(MODELS)

DISK: Final = 500e6
"""Bytes a second at which a model is read, until a load has been measured."""

STARTS: Final[Mapping[str, float]] = MappingProxyType({"llama_cpp": 2.0, "llama_server": 0.5, "mlx": 3.0, "vllm": 40.0})
"""Seconds that an engine takes to start on a model of no size."""


def limits_of(figures: Iterable[DeviceFigures], config: Config) -> tuple[DeviceLimit, ...]:
    """Say what engines may hold of each device together, as router.yaml has it."""
    limit = config.memory.limit
    return measuring.limits(figures, ram=limit.ram, gpu=limit.gpu)


def loadable_of(
    launch: Launch,
    devices: Sequence[DeviceFigures],
    *,
    managed: bool = True,
    limits: Mapping[str, int] | None = None,
    environ: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> Loadable:
    """Tell where a launch may be loaded and what it takes there. Reads the headers of its files: call it in a thread.

    `devices` are RAM and the machine's GPUs. Nothing is reserved unless memory is `managed` (see `is_managed`).
    `limits` are the bytes of each device that our engines may hold together, by default those of `launchers.devices`.
    `environ` is the router's own environment. What was chosen because the model doesn't fit is a note of its
    placements, and a line of the log unless `quiet`.
    """
    config, spec = launch.backend.launch, launch.spec
    assert config is not None  # noqa: S101 -- a launch is made of one
    environ = {**(os.environ if environ is None else environ), **spec.env}
    files = weights(spec.model, environ) or []
    placements: tuple[Placement, ...]
    if managed:
        known = limits or {each.name: each.limit for each in measuring.limits(devices)}
        model, caveat = _read(spec.model, environ, files)
        named = {each.name: each for each in devices}
        placements = Placing(launch, config, named, known, environ, files, model, caveat).placements()
        for note in dict.fromkeys(each.note for each in placements if each.note and not quiet):
            log.info(f"{spec.name}: {note}")
    else:
        placements = (Placement(key_of(spec, (launch.version, launch.python), (), environ), {}, is_told=True),)
    return Loadable(
        spec.name,
        placements,
        slots=launch.backend.max_in_flight or parallel_of(launch),
        pinned=config.pinned,
        unload_after=config.unload_after,
        start_timeout=spec.start_timeout,
        load_seconds=STARTS.get(spec.engine, 1.0) + size_of(files) / DISK,
    )


def _read(name: str, environ: Mapping[str, str], files: Sequence[Path]) -> tuple[Model | None, str]:
    """Read the header of a model's files; tell what isn't known of it, and why."""
    if not files:
        return None, "its model is not on this disk: what it takes of memory is known once it has loaded"
    try:
        return read_model(name, environ), ""
    except (HeaderError, OSError) as error:
        return None, f"what it takes of memory is estimated from the size of its files: {error}"
