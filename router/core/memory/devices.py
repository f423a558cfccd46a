"""Whose memory is whose on each device: reservations, and what other programs hold. Pure.

A device is RAM, one GPU, or the unified memory of an Apple chip. Bytes of different devices are never added up.

A reservation is made when a load is decided. It ends when the process is gone *and* the device confirms it: drivers
free memory after a process has ended, some seconds later, and a load that trusts the exit alone dies of it.

What other programs hold is the device's used memory less ours. Ours is exact only for engines that are loaded; one that
loads, ends or is gone has something between nothing and its reservation. So one figure gives bounds:

    used - all our reservations  <=  others  <=  used - what our loaded engines hold

and what is believed of others moves only as far as these bounds push it. Where the device tells bytes by process, they
are exact.

A device confirms memory as free when its used memory is down to what others and our loaded engines hold, or, as another
engine may be loading meanwhile, has fallen by most of what the engine had. Should it have been another program that
freed as much just then, nothing is lost: what is believed of others isn't lowered by it while ours may still be there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

Footprint = Mapping[str, int]
"""Bytes by the device's name."""

RELEASE_TIMEOUT = 10.0
"""Seconds after an exit in which a device is waited for. Then the device's figure counts: others hold the rest."""

_SLACK = 64 * 1024 * 1024
"""Bytes of an engine's memory that a device may keep for itself."""

_MOST = 0.75
"""Share of an engine's memory by which the device's use must fall: what loads meanwhile takes some of it."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device: `limit` is what our engines may hold there, `total` what it has; None where nothing is measured."""

    name: str
    limit: int
    total: int | None = None


class Phase(Enum):
    """How sure it is that a reservation is also in use.

    CHANGING: the engine loads or ends, so between nothing and all of it is in use. SETTLED: all is in use. GONE: the
    process has ended, and the device's figure decides.
    """

    CHANGING = 0
    SETTLED = 1
    GONE = 2


class Holding:
    """What is reserved for one backend, by device.

    `released_at` is when nothing is waited for any more, after its process has ended; `used` is the most that each
    device has told as used since it was about to end.
    """

    def __init__(self, footprint: Footprint) -> None:
        self.bytes = dict(footprint)
        self.phase = Phase.CHANGING
        self.released_at = 0.0
        self.used: dict[str, int] = {}


class Reservations:
    """All reservations on all devices. Its owner, `Residency`, alone changes it."""

    def __init__(self, devices: Iterable[Device]) -> None:
        self.devices = {device.name: device for device in devices}
        self.holdings: dict[str, Holding] = {}
        self._others = dict.fromkeys(self.devices, 0)
        self._used = dict.fromkeys(self.devices, 0)

    def resize(self, devices: Iterable[Device]) -> None:
        """Take other devices or limits; what was measured and what is reserved stays."""
        self.devices = {device.name: device for device in devices}
        for name in self.devices:
            self._others.setdefault(name, 0)
            self._used.setdefault(name, 0)

    # How much there is

    def limit(self, device: str) -> int:
        """Bytes that our engines may hold together, whatever others hold; 0 of a device that isn't there."""
        there = self.devices.get(device)
        return 0 if there is None else there.limit

    def ceiling(self, device: str) -> int:
        """Bytes that our engines may hold together: the limit, or less where other programs hold memory."""
        there = self.devices.get(device)
        if there is None:
            return 0
        return there.limit if there.total is None else min(there.limit, there.total - self._others[device])

    def reserved(self, device: str) -> int:
        """Bytes that are reserved."""
        return sum(holding.bytes.get(device, 0) for holding in self.holdings.values())

    def room(self, device: str) -> int:
        """Bytes that can be reserved; below 0 where too much is."""
        return self.ceiling(device) - self.reserved(device)

    def others(self, device: str) -> int:
        """Bytes that other programs are believed to hold."""
        return self._others.get(device, 0)

    def held(self, backend: str) -> Footprint:
        """What is reserved for a backend."""
        holding = self.holdings.get(backend)
        return {} if holding is None else holding.bytes

    # How a reservation lives

    def reserve(self, backend: str, footprint: Footprint, *, runs: bool = False) -> None:
        """Reserve memory for a load. Raises ValueError where there is no room, or the backend has a reservation.

        One that `runs` has the memory already: then there need be no room.
        """
        if backend in self.holdings:
            raise ValueError(f"{backend} has a reservation")
        for device, size in footprint.items():
            if not runs and size > self.room(device):
                raise ValueError(f"{backend} needs {size} bytes of {device}; {self.room(device)} are free")
        self.holdings[backend] = Holding(footprint)

    def settle(self, backend: str, measured: Footprint) -> None:
        """Take the footprint that was measured for what is reserved; for a device without a figure, that stays."""
        holding = self.holdings[backend]
        holding.bytes.update(measured)
        holding.phase = Phase.SETTLED

    def unsettle(self, backend: str) -> None:
        """Note that a backend is about to end: how much it still has isn't known."""
        holding = self.holdings[backend]
        holding.phase = Phase.CHANGING
        holding.used = dict(self._used)

    def gone(self, backend: str, now: float) -> bool:
        """Note that a backend's process has ended; tell whether its memory is free, as nothing measures it."""
        holding = self.holdings[backend]
        holding.phase = Phase.GONE
        holding.released_at = now + RELEASE_TIMEOUT
        for device in [each for each in holding.bytes if not self._is_measured(each)]:
            del holding.bytes[device]
        return self._drop_if_empty(backend)

    def _is_measured(self, device: str) -> bool:
        there = self.devices.get(device)
        return there is not None and there.total is not None

    def _drop_if_empty(self, backend: str) -> bool:
        if self.holdings[backend].bytes:
            return False
        del self.holdings[backend]
        return True

    # What the device says

    def measured(self, device: str, free: int, own: Mapping[str, int] | None = None) -> list[str]:
        """Take a device's free bytes; give the backends whose whole memory it has confirmed as free.

        `own` is bytes by backend, where the device tells them by process. A backend that holds more than was reserved
        for it has its reservation raised. A device that isn't known, or whose total isn't, confirms nothing.
        """
        there = self.devices.get(device)
        if there is None or there.total is None:
            return []
        used = there.total - free
        if own is not None:
            return self._measured_by_process(device, used, own)
        self._used[device] = used
        settled = sum(each.bytes.get(device, 0) for each in self.holdings.values() if each.phase is Phase.SETTLED)
        freed = self._confirm(device, self._freed(device, used, self._others[device] + settled + _SLACK))
        least = max(0, used - self.reserved(device))
        self._others[device] = min(max(self._others[device], least), max(0, used - settled))
        return freed

    def _freed(self, device: str, used: int, least: int) -> list[str]:
        """Name the backends that are gone and whose memory on a device is free, by how far its use has fallen."""
        ended = {name: each for name, each in self.holdings.items() if device in each.used and device in each.bytes}
        freed = []
        for name, each in ended.items():
            each.used[device] = max(used, each.used[device])
            size = each.bytes[device]
            has_fallen = each.used[device] - used >= _MOST * size
            if each.phase is Phase.GONE and (used <= least or has_fallen):
                freed.append(name)
                for other in ended.values():
                    other.used[device] -= size
        return freed

    def _measured_by_process(self, device: str, used: int, own: Mapping[str, int]) -> list[str]:
        self._others[device] = max(0, used - sum(own.values()))
        for name, size in own.items():
            holding = self.holdings.get(name)
            if holding is not None and holding.phase is Phase.SETTLED:
                holding.bytes[device] = max(size, holding.bytes.get(device, 0))
        gone = [name for name, each in self.holdings.items() if each.phase is Phase.GONE and not own.get(name, 0)]
        return self._confirm(device, gone)

    def _confirm(self, device: str, gone: Iterable[str]) -> list[str]:
        freed = []
        for name in gone:
            self.holdings[name].bytes.pop(device, None)
            if self._drop_if_empty(name):
                freed.append(name)
        return freed

    def overdue(self, now: float) -> list[str]:
        """Release what no device has confirmed in time, and name whose it was. The next figure says who has it."""
        gone = [name for name, each in self.holdings.items() if each.phase is Phase.GONE]
        freed = [name for name in gone if now >= self.holdings[name].released_at]
        for name in freed:
            del self.holdings[name]
        return freed
