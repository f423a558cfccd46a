"""What a launch takes of each device, and where it may be loaded: made for `router.core.memory`, before it is loaded.

What a launch takes is what a person wrote (`launch.memory`), or an estimate from its model's header, or, where that
can't be read, from the size of its files. Of a model that is not on this disk nothing is known. What was learned from
earlier loads is found under a placement's key: a digest of the model's files, the engine, its arguments, its variables
and its devices.

vllm on a GPU takes the share that it is told to take, so its placements count as told.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import structlog

from launchers.footprints.errors import HeaderError
from launchers.footprints.estimate import estimate
from launchers.footprints.files import read_model
from launchers.footprints.parts import RAM, Breakdown, Device, Parts
from launchers.footprints.vllm import BASE as VLLM_BASE
from launchers.gpus import SHARE, Claim
from launchers.spec import ArgValue, LaunchSpec
from launchers.weights import size_of, weights
from router.core.memory.devices import Footprint
from router.core.memory.footprints import Placement
from router.core.memory.resident import Loadable
from router.fleet.launches import Launch, is_managed, parallel_of

__all__ = ["EnginePlacement", "is_managed", "loadable_of", "over", "placed"]

log = structlog.get_logger("router")

DISK: Final = 500e6
"""Bytes a second at which a model is read, until a load has been measured."""

STARTS: Final[Mapping[str, float]] = MappingProxyType({"llama_cpp": 2.0, "llama_server": 0.5, "mlx": 3.0, "vllm": 40.0})
"""Seconds that an engine takes to start on a model of no size."""

UNREAD: Final = 512 << 20
"""Bytes beside the weights of a model whose header can't be read: the engine, and what a step works in."""

CACHE_PART: Final = 8
"""The cache of such a model is taken for this part of its weights."""

EXTRAS: Final = frozenset(
    {"mmproj", "clip-model-path", "model-draft", "lora", "lora-path", "adapter-path", "draft-model"}
)
"""Arguments that name files which are loaded beside the model."""

_SECRET = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$", re.IGNORECASE)


class DeviceSize(Protocol):
    """A device as it is now."""

    @property
    def name(self) -> str:
        """RAM, or the GPU's id."""

    @property
    def total(self) -> int:
        """Bytes that it has."""

    @property
    def free(self) -> int:
        """Bytes that are free."""


@dataclass(frozen=True, slots=True)
class EnginePlacement(Placement):
    """A placement of an engine, with what its launch gets there in the place of its own.

    `args` and `env` go over the launch's; a `claim` replaces its claim. `grows` is what the engine may come to take of
    each device beyond what it has when it has loaded: caches of prompts, logits.
    """

    args: Mapping[str, ArgValue] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    claim: Claim | None = None
    grows: Footprint = field(default_factory=dict)


def loadable_of(
    launch: Launch, devices: Sequence[DeviceSize], *, managed: bool = True, environ: Mapping[str, str] | None = None
) -> Loadable:
    """Tell where a launch may be loaded and what it takes there. Reads the headers of its files: call it in a thread.

    `devices` are RAM and the machine's GPUs. Nothing is reserved unless memory is `managed` (see `is_managed`).
    `environ` is the router's own environment.
    """
    config = launch.backend.launch
    assert config is not None  # noqa: S101 -- a launch is made of one
    environ = {**(os.environ if environ is None else environ), **launch.spec.env}
    files = weights(launch.spec.model, environ) or []
    placement = _placement(launch, devices, environ) if managed else _unreserved(launch, environ)
    return Loadable(
        launch.spec.name,
        (placement,),
        slots=launch.backend.max_in_flight or parallel_of(launch),
        pinned=config.pinned,
        unload_after=config.unload_after,
        start_timeout=launch.spec.start_timeout,
        load_seconds=STARTS.get(launch.spec.engine, 1.0) + size_of(files) / DISK,
    )


def placed(spec: LaunchSpec, placement: Placement) -> LaunchSpec:
    """Give a launch as it is to be started at a placement."""
    if not isinstance(placement, EnginePlacement):
        return spec
    args = over(spec.args, placement.args)
    return replace(spec, args=args, env={**spec.env, **placement.env}, claim=placement.claim or spec.claim)


def over(args: Mapping[str, ArgValue], more: Mapping[str, ArgValue]) -> dict[str, ArgValue]:
    """Lay arguments over others, which keep their spelling: n-ctx and n_ctx are the same."""
    said = {name.replace("_", "-"): value for name, value in more.items()}
    found = {name: said.pop(name.replace("_", "-"), value) for name, value in args.items()}
    return found | {name: value for name, value in more.items() if name.replace("_", "-") in said}


def _unreserved(launch: Launch, environ: Mapping[str, str]) -> Placement:
    return Placement(key_of(launch.spec, launch, (), environ), {}, is_told=True)


def _placement(launch: Launch, devices: Sequence[DeviceSize], environ: Mapping[str, str]) -> Placement:
    spec = launch.spec
    used = _used(spec, devices)
    found = _estimated(spec, used, environ)
    footprint, is_told = _told(launch, found, used)
    return EnginePlacement(
        key_of(spec, launch, [device.name for device in used], environ),
        footprint,
        is_told=is_told,
        grows={name: found.devices[name].most - found.devices[name].loaded for name in found.devices},
    )


def _used(spec: LaunchSpec, devices: Sequence[DeviceSize]) -> list[Device]:
    """Give the devices that an engine may use. A GPU without memory of its own is none."""
    gpus = () if spec.claim is None else spec.claim.gpus
    return [Device(each.name, each.total, each.free) for each in devices if each.name == RAM or each.name in gpus]


# What it takes


def _told(launch: Launch, found: Breakdown, used: Sequence[Device]) -> tuple[Footprint, bool]:
    """Give what is to be reserved, and whether a person said it, or the engine's arguments do."""
    config = launch.backend.launch
    assert config is not None  # noqa: S101 -- a launch is made of one
    gpus = [device.name for device in used if device.name != RAM]
    said = config.memory
    if said is None:
        # 1. An estimate, or vllm's share.
        return found.most, launch.spec.engine == "vllm" and bool(gpus)
    if not isinstance(said, Mapping):
        # 2. One size, of the devices that the model is on.
        said = {"gpu" if gpus else RAM: said}
    # 3. Sizes by kind of device; those of GPUs are all GPUs' together.
    told = dict(found.most)
    if RAM in said:
        told[RAM] = said[RAM]
    if "gpu" in said:
        told |= {name: ceil(said["gpu"] / len(gpus)) for name in gpus}
    return told, True


def _estimated(spec: LaunchSpec, used: Sequence[Device], environ: Mapping[str, str]) -> Breakdown:
    """Estimate what each device will hold; nothing of a model that is not on this disk."""
    files = weights(spec.model, environ)
    if not files:
        log.info(
            f"{spec.name}: what {spec.model} takes of memory isn't known before its first load: it is not on this disk"
        )
        return _share_alone(spec, used)
    try:
        model = read_model(spec.model, environ)
    except (HeaderError, OSError) as error:
        log.warning(f"{spec.name}: what it takes of memory is estimated from the size of its files: {error}")
        model = None
    if model is None:
        return _by_size(spec, size_of(files), used)
    found = estimate(model, spec.engine, spec.args, used, environ)
    return _with_extras(found, _extras(spec))


def _share_alone(spec: LaunchSpec, used: Sequence[Device]) -> Breakdown:
    """Give the share of vllm, which doesn't depend on its model."""
    share = next((value for name, value in spec.args.items() if name.replace("_", "-") == SHARE), None)
    gpus = [device for device in used if device.name != RAM]
    if spec.engine != "vllm" or not gpus or not isinstance(share, int | float | str):
        return Breakdown({})
    return Breakdown(
        {RAM: Parts(base=VLLM_BASE)} | {gpu.name: Parts(cache=int(float(share) * gpu.total)) for gpu in gpus}
    )


def _by_size(spec: LaunchSpec, size: int, used: Sequence[Device]) -> Breakdown:
    """Estimate by the size of a model's files alone, on the GPUs if the engine uses any."""
    gpus = [device for device in used if device.name != RAM]
    if spec.engine == "vllm" and gpus:
        return _share_alone(spec, used)
    there = gpus or [device for device in used if device.name == RAM]
    part = size // max(len(there), 1)
    found = {device.name: Parts(part, part // CACHE_PART, base=UNREAD) for device in there}
    return Breakdown({RAM: Parts(base=UNREAD)} | found, ("its header can't be read",))


def _extras(spec: LaunchSpec) -> int:
    """Give the bytes of the files that are loaded beside the model."""
    names = [value for name, value in spec.args.items() if name.replace("_", "-") in EXTRAS]
    return size_of(Path(name).expanduser() for name in names if isinstance(name, str))


def _with_extras(found: Breakdown, size: int) -> Breakdown:
    """Count files that are loaded beside the model where most of the model is."""
    if not size:
        return found
    most = max(found.devices, key=lambda name: found.devices[name].weights)
    parts = found.devices[most]
    return replace(found, devices={**found.devices, most: replace(parts, weights=parts.weights + size)})


# The key


def key_of(spec: LaunchSpec, launch: Launch, devices: Iterable[str], environ: Mapping[str, str]) -> str:
    """Give the key under which is stored what was learned: a digest of all that decides what a load takes.

    It is the same in the next run, unless a file, the engine, an argument or a variable of the launch has changed.
    """
    files = [_identity(path) for path in weights(spec.model, environ) or ()]
    named = [Path(value) for value in spec.args.values() if isinstance(value, str) and "/" in value]
    said = [
        files or spec.model,
        [_identity(path) for path in named],
        spec.engine,
        launch.version,
        _identity(Path(launch.python)) if launch.version.startswith("at ") else "",
        sorted((name.replace("_", "-"), repr(value)) for name, value in spec.args.items()),
        sorted((name, value) for name, value in spec.env.items() if not _SECRET.search(name)),
        list(devices),
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:24]


def _identity(path: Path) -> tuple[str, int, int]:
    """Give what shows that a file is the same: its place, its size, and when it was written."""
    with suppress(OSError, ValueError):
        found = path.stat()
        return (str(path.resolve()), found.st_size, found.st_mtime_ns)
    return (str(path), 0, 0)
