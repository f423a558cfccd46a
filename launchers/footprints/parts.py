"""How much memory a model takes, part by part: what estimates, engines' own lines and measurements are told in."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

RAM: Final = "ram"
"""The device that every machine has. On a machine whose GPU shares it, as Apple's, there is no other."""


@dataclass(frozen=True, slots=True)
class Device:
    """A place that memory is taken of: RAM, or a GPU. Bytes that it has, and those that are free."""

    name: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Parts:
    """Bytes on one device.

    `weights`: tensors. `cache`: keys, values and states, reserved at the start. `compute`: buffers that one step
    works in. `base`: the engine without a model. `per_token`: what each token adds that the engine keeps, up to
    `most_tokens` of them. `spare`: mapped pages of the file that the engine has copied and won't read again: they
    show as resident, but the kernel drops them for nothing, so they count nowhere.
    """

    weights: int = 0
    cache: int = 0
    compute: int = 0
    base: int = 0
    per_token: int = 0
    most_tokens: int = 0
    spare: int = 0

    @property
    def model(self) -> int:
        """What the model takes beyond an engine that is empty, once it has loaded and worked on a long prompt."""
        return self.weights + self.cache + self.compute

    @property
    def loaded(self) -> int:
        """What it takes once it has loaded."""
        return self.model + self.base

    @property
    def most(self) -> int:
        """What it may come to take."""
        return self.loaded + self.per_token * self.most_tokens

    def kept(self, tokens: int) -> int:
        """What so many tokens add."""
        return self.per_token * min(tokens, self.most_tokens)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A footprint part by part: what a model takes of each device, by its name.

    `loaded` and `most` are footprints in the router's own form. `gaps` are sentences about what the figures leave out.
    """

    devices: Mapping[str, Parts]
    gaps: tuple[str, ...] = ()

    @property
    def loaded(self) -> Mapping[str, int]:
        """Bytes of each device, once it has loaded."""
        return MappingProxyType({name: parts.loaded for name, parts in self.devices.items()})

    @property
    def most(self) -> Mapping[str, int]:
        """Bytes of each device that it may come to take."""
        return MappingProxyType({name: parts.most for name, parts in self.devices.items()})
