"""Where a launch may be loaded, and what it takes there.

What it takes is what a person wrote (`launch.memory`), or an estimate from its model's header, or, where that can't be
read, from the size of its files. Of a model that is not on this disk nothing is known. vllm on a GPU takes the share
that it is told to take, so its placements count as told.

Where a launch may choose its GPUs, there is a placement for each group of the fewest GPUs on which the whole model
fits. A model that fits nowhere is fitted (`launchers.footprints.fitting`): with fewer layers on GPUs, or less context.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from launchers.devices import DeviceFigures
from launchers.engines.common import number
from launchers.footprints.estimate import estimate
from launchers.footprints.fitting import Fitted, fit_llama, fit_vllm, frugal, spelled, vllm_room, vllm_token
from launchers.footprints.model import Model
from launchers.footprints.parts import RAM, Breakdown, Device, Parts
from launchers.footprints.share import LITTLE
from launchers.footprints.vllm import BASE as VLLM_BASE
from launchers.footprints.vllm import PARTS
from launchers.gpus import CACHE, LEAST_SHARE, SHARE, Claim, floored, raised
from launchers.spec import ArgValue, LaunchSpec
from launchers.weights import size_of
from profiles.parsers import Gpu
from router.config.keys.launches import SELECTORS, LaunchConfig
from router.core.memory.devices import Footprint
from router.core.memory.footprints import ESTIMATE_MARGIN
from router.fleet.gpus import groups, showing
from router.fleet.launching import Launch
from router.fleet.placements import EnginePlacement, key_of, over
from router.fleet.shares import SPREAD, SPREADS, share_said, width_of

UNREAD: Final = 512 << 20
"""Bytes beside the weights of a model whose header can't be read: the engine, and what a step works in."""

CACHE_PART: Final = 8
"""The cache of such a model is taken for this part of its weights. vllm gets another GPU rather than less than that."""

EXTRAS: Final = frozenset({
    "mmproj", "clip-model-path", "model-draft", "draft-model", "lora", "lora-path", "adapter-path",
})  # fmt: skip
"""Arguments that name files which are loaded beside the model."""

CHOICES: Final = frozenset({"tensor-split", "main-gpu", "device", "split-mode", *SPREADS})
"""Arguments that choose GPUs, or divide a model among them."""

LOWERED: Final = 0.75
"""The part of its share that vllm must find free when it starts: with much less it would serve badly, silently."""

MLX_GROWS: Final = 16
"""An mlx that can't be told a bound for its cache is taken to come to this part of RAM."""

BESIDE_SHARE: Final = 0.1
"""The part of RAM for what vllm takes beside its share of it."""

_LLAMA = frozenset({"llama_cpp", "llama_server"})


@dataclass(frozen=True, slots=True)
class Placing:
    """What decides where a launch may be loaded.

    `devices` are RAM and the machine's GPUs, by name; `limits` are the bytes of each that our engines may hold
    together. `environ` are the engine's variables. `files` are the model's, none if it is not on this disk; `model` is
    what their headers say, None if they can't be read, and `caveat` says so.
    """

    launch: Launch
    config: LaunchConfig
    devices: Mapping[str, DeviceFigures]
    limits: Mapping[str, int]
    environ: Mapping[str, str]
    files: Sequence[Path]
    model: Model | None
    caveat: str = ""

    def placements(self) -> tuple[EnginePlacement, ...]:
        """Find all placements that are worth the same."""
        last: Sequence[Sequence[Gpu]] = ()
        # 1. On the fewest GPUs on which all of it fits.
        for alternatives in self._alternatives():
            last = alternatives
            all_of_it = [self._placement(group, self._usual(group)) for group in alternatives]
            if whole := [each for each in all_of_it if self._has_room(each) and self._has_cache(each)]:
                return tuple(whole)
        # 2. It fits nowhere: as much of it as fits.
        parts = [self._fitted(group) for group in last]
        if found := [each for each in parts if each is not None and self._has_room(each)]:
            return tuple(found)
        # 3. Nor does that: it is refused when it is wanted, with the figures.
        return tuple(self._placement(group, self._usual(group)) for group in last)

    # GPUs

    def _alternatives(self) -> Iterator[Sequence[Sequence[Gpu]]]:
        """Give groups of GPUs that are worth the same, those of the fewest GPUs first."""
        spec, gpus = self.launch.spec, self._gpus
        claimed = () if spec.claim is None else spec.claim.gpus
        if not self._chooses or (not self.files and spec.engine != "vllm"):
            yield [[gpu for gpu in gpus if gpu.id in claimed]]
            return
        first, sizes = zlib.crc32(spec.name.encode()), self._sizes(len(gpus))
        # An engine that takes the same of each GPU is bounded by the smallest: of several kinds, only if there are no
        # others.
        alike = [groups(gpus, size, alike=spec.engine == "vllm", first=first) for size in sizes]
        yield from filter(None, alike if any(alike) else [groups(gpus, size, alike=False) for size in sizes])

    @property
    def _gpus(self) -> list[Gpu]:
        """The GPUs with memory of their own that it may use."""
        return [gpu for gpu in self.launch.gpus if gpu.id in self.devices]

    @property
    def _chooses(self) -> bool:
        """Whether it is open which GPUs it uses. vllms that start with the router were given theirs by its plan."""
        wish, spec = self.config.gpus, self.launch.spec
        if spec.claim is None or not self._gpus or not isinstance(wish, str | int):
            return False
        if isinstance(wish, int) and wish > len(self._gpus):
            # Some can't be read now.
            return False
        if spec.engine == "vllm" and self.config.load == "startup":
            return False
        return self.launch.written.isdisjoint(CHOICES) and self.config.env.keys().isdisjoint(SELECTORS)

    def _sizes(self, most: int) -> Sequence[int]:
        """Give the numbers of GPUs that a model can be spread over, the least first."""
        if isinstance(self.config.gpus, int):
            return (self.config.gpus,)
        if self.launch.spec.engine != "vllm":
            return range(1, most + 1)
        if self.model is None:
            return (min(width_of(self.launch.spec.args), most),)
        return [size for size in (1, 2, 4, 8, 16) if size <= most and self.model.heads % size == 0]

    def _used(self, group: Sequence[Gpu]) -> list[Device]:
        """Give RAM and these GPUs, as estimates take them."""
        names = [RAM, *(gpu.id for gpu in group)]
        found = [self.devices[name] for name in names if name in self.devices]
        return [Device(each.name, each.total, self.limits.get(each.name, 0)) for each in found]

    # Arguments

    def _usual(self, group: Sequence[Gpu]) -> Fitted:
        """Give the arguments and the variables for these GPUs, with bounded caches."""
        spec = self.launch.spec
        bounded = frugal(spec.engine, self.launch.version, spec.args, self.environ, self._used(group), self.model)
        args, env = dict(bounded.args), dict(bounded.env)
        if spec.engine == "vllm" and (share := self._share(group)):
            args[SHARE] = share
        if self._chooses and group:
            env |= showing(group, self.launch.gpus, self.environ)
            if spec.engine == "vllm":
                args[SPREAD] = len(group)
            elif len(group) > 1 and (spec.engine == "llama_cpp" or self.launch.version.startswith("at ")):
                # Else it would divide its layers by what is free when it starts, and not as it was reserved.
                args["tensor-split"] = [round(self.limits[gpu.id] / (1 << 30), 1) for gpu in group]
        return Fitted(args, env)

    def _share(self, group: Sequence[Gpu]) -> float:
        """Give the share that vllm is told to take of each device; 0 where a person wrote one, or it takes none."""
        claim = self.launch.spec.claim
        if claim is None or not claim.share or claim.written:
            return 0.0
        devices = [device for device in self._used(group) if device.name != RAM]
        most = min((device.free / device.total for device in devices), default=1.0)
        if not devices:
            # A GPU that shares the machine's memory: what the engine has beside its share is there, too.
            devices = self._used(())
            most = min((device.free / device.total for device in devices), default=1.0) - BESIDE_SHARE
        said = self._said("gpu")
        if said is not None:
            # What a person said of its memory is its share.
            return max(min(1.0, *(floored(said / len(devices) / device.total) for device in devices)), LEAST_SHARE)
        planned = claim.share
        if claim.sized:
            # The share of the smallest GPU that it may use, which has all that the model can use.
            least = min((self.devices[gpu.id].total for gpu in self._gpus), default=0)
            planned = min((raised(planned * least / device.total) for device in devices), default=planned)
        return max(min(planned, floored(most)), LEAST_SHARE)

    def _said(self, kind: str) -> int | None:
        """Give the bytes that a person wrote in launch.memory for RAM or for GPUs."""
        memory = self.config.memory
        if isinstance(memory, Mapping):
            return memory.get(kind)
        return memory if kind == ("gpu" if self._on_gpus else RAM) else None

    @property
    def _on_gpus(self) -> bool:
        return self.launch.spec.claim is not None and bool(self._gpus)

    def _fitted(self, group: Sequence[Gpu]) -> EnginePlacement | None:
        """Give the placement on these GPUs of as much of the model as fits there."""
        if self.model is None or self.config.memory is not None:
            return None
        usual, spec = self._usual(group), self.launch.spec
        args, more = over(spec.args, usual.args), None
        if spec.engine in _LLAMA:
            extras = _extras(spec)
            rooms = {name: int(limit / ESTIMATE_MARGIN) - extras for name, limit in self.limits.items()}
            more = fit_llama(self.model, spec.engine, args, self._used(group), rooms, self.launch.written, usual.env)
        elif spec.engine == "vllm" and group:
            room = _room_for_cache(args, [self.devices[gpu.id].total for gpu in group], self.model)
            more = fit_vllm(self.model, args, room, _width(args), self.launch.written)
        if more is None:
            return None
        note = f"it doesn't fit as it is configured, so it has {more.note}" if more.note else ""
        return self._placement(group, Fitted({**usual.args, **more.args}, usual.env, note))

    # Placements

    def _placement(self, group: Sequence[Gpu], fitted: Fitted) -> EnginePlacement:
        launch = self.launch
        args = {spelled(launch.spec.engine, name): value for name, value in fitted.args.items()}
        env = {**launch.spec.env, **fitted.env}
        spec = replace(launch.spec, args=over(launch.spec.args, args), env=env)
        found = self._estimated(spec, group)
        return EnginePlacement(
            key_of(spec, (launch.version, launch.python), [RAM, *(gpu.id for gpu in group)], self.environ),
            self._told(found, group),
            # vllm takes what it is told to take.
            is_told=self.config.memory is not None or (spec.engine == "vllm" and spec.claim is not None),
            note="; ".join(filter(None, (self.caveat, fitted.note))),
            args=args,
            env=fitted.env,
            claim=self._claim(spec, group),
            grows={}
            if self.config.memory is not None
            else {name: parts.most - parts.loaded for name, parts in found.devices.items()},
        )

    def _claim(self, spec: LaunchSpec, group: Sequence[Gpu]) -> Claim | None:
        """Give the claim on these GPUs. vllm's share may be lowered by a quarter when it starts, and not further."""
        claim, share = spec.claim, _share_of(spec.args)
        if claim is None or not group:
            return None
        ids = tuple(gpu.id for gpu in group)
        if claim.share is None:
            return Claim(ids)
        total = min(self.devices[gpu.id].total for gpu in group)
        least = claim.least if self.model is None else self.model.weights.total // _width(spec.args) + LITTLE
        if not claim.written:
            least = max(least, int(LOWERED * share * total))
        return replace(claim, gpus=ids, share=share, least=least, needs=least / total)

    def _has_room(self, placement: EnginePlacement) -> bool:
        """Whether it has room where our engines have all that they may have."""
        margin = 1.0 if placement.is_told else ESTIMATE_MARGIN
        return all(size * margin <= self.limits.get(name, 0) for name, size in placement.estimate.items())

    def _has_cache(self, placement: EnginePlacement) -> bool:
        """Whether vllm's share has room for a context beside its weights, and for some more."""
        claim, args = placement.claim, over(self.launch.spec.args, placement.args)
        if self.model is None or claim is None or claim.share is None or number(args, CACHE):
            return True
        room = _room_for_cache(args, [self.devices[gpu].total for gpu in claim.gpus], self.model)
        context = vllm_token(self.model, _width(args)) * (number(args, "max-model-len") or self.model.context)
        return room >= max(context, self.model.weights.total // _width(args) // CACHE_PART)

    # What it takes

    def _estimated(self, spec: LaunchSpec, group: Sequence[Gpu]) -> Breakdown:
        """Estimate what each device will hold; nothing of a model that is not on this disk."""
        used = self._used(group)
        if self.model is None:
            return _by_size(spec, size_of(self.files), used)
        args = spec.args
        if spec.engine == "mlx" and "prompt-cache-bytes" not in args:
            args = {**args, "prompt-cache-bytes": max((device.free for device in used), default=0) // MLX_GROWS}
        found = estimate(self.model, spec.engine, args, used, {**self.environ, **spec.env})
        return _with_extras(found, _extras(spec))

    def _told(self, found: Breakdown, group: Sequence[Gpu]) -> Footprint:
        """Give what is to be reserved: the estimate, and in its place what a person wrote. GPUs share it equally."""
        told = dict(found.most)
        if (ram := self._said(RAM)) is not None:
            told[RAM] = ram
        if group and (gpu := self._said("gpu")) is not None:
            told |= {each.id: math.ceil(gpu / len(group)) for each in group}
        return told


def _by_size(spec: LaunchSpec, size: int, used: Sequence[Device]) -> Breakdown:
    """Estimate by the size of a model's files alone, on the GPUs if the engine uses any."""
    gpus = [device for device in used if device.name != RAM]
    if spec.engine == "vllm" and gpus:
        # Its share doesn't depend on the model.
        shares = {gpu.name: Parts(cache=int(_share_of(spec.args) * gpu.total)) for gpu in gpus}
        return Breakdown({RAM: Parts(base=VLLM_BASE), **shares})
    if not size:
        return Breakdown({})
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


# vllm


def _share_of(args: Mapping[str, ArgValue]) -> float:
    """Give vllm's share as its arguments say it, or its own default."""
    return share_said(next((value for name, value in args.items() if name.replace("_", "-") == SHARE), None))


def _width(args: Mapping[str, ArgValue]) -> int:
    """Tell over how many GPUs each copy of a model is spread."""
    return math.prod(number(args, name) or 1 for name in PARTS)


def _room_for_cache(args: Mapping[str, ArgValue], totals: Sequence[int], model: Model) -> int:
    """Give the bytes of cache that vllm's share leaves on each GPU beside the weights, on the smallest one."""
    total = min(totals)
    return vllm_room(model, args, int(_share_of(args) * total), _width(args), total)
