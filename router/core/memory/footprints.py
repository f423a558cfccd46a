"""How much memory a model takes on each device: told, learned, or estimated. Pure.

A footprint is learned for a model file, engine, flags and devices together; the caller makes one key of them. It is a
vector by device, never a sum: a model that fits "in total" doesn't fit.

  told       `launch.memory`: what a person wrote
  learned    what was measured when it had loaded: higher figures count at once, lower ones by a quarter each load
  estimated  from the file's header, with a margin, before the first load

After a death for lack of memory what was reserved was too little, whatever its source: the footprint rises by a quarter
on the device that ran out, or on all where that isn't known, up to what the device has.
"""

from dataclasses import dataclass
from enum import Enum

from router.core.memory.devices import Footprint

ESTIMATE_MARGIN = 1.1
"""Factor on an estimate. An estimate from a file's header is within 10%, if the header knows the model at all."""

OOM_FACTOR = 1.25
"""Factor on a footprint after an out-of-memory. It exceeds any allocator's rounding, so one retry mostly decides."""

_FORGET = 0.25
"""Share of the difference to a lower figure that each load takes over: a lasting change counts after some loads."""


class Source(Enum):
    """Where a footprint comes from."""

    ESTIMATED = "estimated"
    LEARNED = "learned"
    TOLD = "told"


@dataclass(frozen=True, slots=True)
class Placement:
    """Devices that a backend can be loaded on: the key of what is learned, and what is known beforehand.

    `is_told`: a person wrote it, and what is measured doesn't change it. `note` says for people what was chosen there
    and what it costs, where it isn't the usual: fewer layers on the GPU, less context.
    """

    key: str
    estimate: Footprint
    is_told: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Learned:
    """What was measured: bytes by device, after how many loads; `raised` where a lack of memory has raised it since."""

    bytes: Footprint
    loads: int = 0
    raised: bool = False


class Footprints:
    """All that was learned, by key. It outlives the process if the caller stores it: see `learned` and `restore`."""

    def __init__(self) -> None:
        self._learned: dict[str, Learned] = {}

    def learned(self, key: str) -> Learned:
        """Give what was learned under a key. Raises KeyError where nothing was."""
        return self._learned[key]

    def restore(self, key: str, learned: Learned) -> None:
        """Take what an earlier run learned."""
        self._learned[key] = learned

    def source(self, placement: Placement) -> Source:
        """Tell where the footprint of a placement comes from."""
        learned = self._learned.get(placement.key)
        if placement.is_told:
            return Source.TOLD
        return Source.ESTIMATED if learned is None or not learned.loads else Source.LEARNED

    def is_raised(self, placement: Placement) -> bool:
        """Whether a lack of memory has raised the footprint of a placement."""
        learned = self._learned.get(placement.key)
        return learned is not None and learned.raised

    def needs(self, placement: Placement) -> dict[str, int]:
        """Give the bytes to reserve, by device."""
        learned = self._learned.get(placement.key)
        if learned is not None and (learned.raised or not placement.is_told):
            return {**learned.bytes}
        margin = 1.0 if placement.is_told else ESTIMATE_MARGIN
        return {device: int(size * margin) for device, size in placement.estimate.items()}

    def learn(self, placement: Placement, measured: Footprint) -> None:
        """Take what a load that succeeded has measured; for a device without a figure, what was known stays."""
        old = self._learned.get(placement.key)
        before = self.needs(placement) if old is None else old.bytes
        known = dict(before)
        for device, size in measured.items():
            was = before.get(device, 0)
            lower = old is not None and size < was
            known[device] = was - int((was - size) * _FORGET) if lower else size
        keeps_raise = placement.is_told and old is not None and old.raised
        self._learned[placement.key] = Learned(known, 1 if old is None else old.loads + 1, keeps_raise)

    def raise_after_oom(self, placement: Placement, device: str, ceilings: Footprint) -> bool:
        """Raise a footprint that was too small; tell whether it rose. `device` is "" where it isn't known.

        Nothing rises over `ceilings`, bytes by device: one that failed with all of a device for itself can't be helped.
        """
        old = self._learned.get(placement.key)
        needs = self.needs(placement)
        raised = dict(needs)
        for each, size in needs.items():
            if device in {"", each}:
                raised[each] = max(size, min(int(size * OOM_FACTOR), ceilings.get(each, 0)))
        self._learned[placement.key] = Learned(raised, 0 if old is None else old.loads, raised=True)
        return raised != needs
