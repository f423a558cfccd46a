"""Which engine may start now on GPUs that several use, and with how much of their memory. Pure.

vllm takes a share of a GPU's memory when it starts, and fails if the share isn't free. Between its first look and its
profiling it silently counts what others take or free as its own: two engines that started together got 62 GiB of cache
and 0.4 GiB. So starts that share a GPU take turns, in the order in which they were asked for. A turn lasts from the
spawn until the engine is ready or gone. Replacements and restarts after a crash wait in the same line. Two exceptions:

1. Engines without a share (llama.cpp) don't wait for each other.
2. An engine whose memory isn't free lets those behind it go first, and asks again: another program may free the
   memory, or never.

Free memory is read before each start. A share that no person wrote is lowered to what is free, if the model still fits.
It is lowered further if others who want to start would otherwise get less than their models need. It isn't lowered
while an engine that has just ended may still give memory back (`SETTLE`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from profiles.parsers import Gpu

SHARE, CACHE = "gpu-memory-utilization", "kv-cache-memory-bytes"
"""vllm's options for its share of each GPU's memory, and for the bytes of its cache within that."""

SOME = "of some kind"
"""Stands for a GPU's number if it isn't known which GPU is used."""

TOGETHER = 0.9
"""The part of a GPU that engines share: the rest is for the driver, for contexts and graphs beside the shares."""

LEAST_SHARE = 0.02
"""The least share with which vllm starts."""

BESIDE = 1 << 30
"""Bytes that an engine takes beside its share, or before it looks: CUDA's context."""

CACHE_ROOM = 2 << 30
"""Bytes of cache, beside the model's least, in a share that the router advises a person to write."""

SURELY = 0.99
"""A driver reports a little more memory than an engine sees. With less of a share free than this, it can't fit."""

SETTLE = 10.0
"""Seconds within which a driver frees the memory of a process that ended; mostly it takes one."""

_GIB = 1 << 30

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Claim:
    """What an engine will take of GPUs when it starts.

    `gpus` are their ids. `share` is its part of each one's memory; 0: not known yet, None: it takes none, but whatever
    it needs. `written`: a person wrote the share, so it isn't lowered. `least` is the bytes of each GPU that it can't
    work without, 0 if unknown, and `needs` the same as a share of its smallest GPU. `sized`: the share is all that the
    model can ever use, and the cache is told to it in bytes.
    """

    gpus: tuple[str, ...]
    share: float | None = None
    written: bool = False
    least: int = 0
    sized: bool = False
    needs: float = 0.0

    def clashes(self, other: "Claim") -> bool:
        """Whether the two must not start at the same time."""
        return (self.share is not None or other.share is not None) and not set(self.gpus).isdisjoint(other.gpus)


@dataclass(frozen=True, slots=True)
class StartVerdict:
    """Whether an engine may start: `why` not, in words, or with which share. `lacks`: memory, perhaps for ever."""

    why: str = ""
    share: float | None = None
    lacks: bool = False


class Line:
    """Which engines start, wait, and have what. `now` is in seconds of any monotonic clock."""

    def __init__(self, now: float) -> None:
        self._waiting: dict[str, Claim] = {}
        self._starting: dict[str, Claim] = {}
        self._has: dict[str, Claim] = {}
        # All who asked and have not started, whether they stand in the line or not.
        self._wants: dict[str, Claim] = {}
        # At the start, too, memory may still be freed: an earlier router's engines may just have ended.
        self._began = self._freed_at = now

    @property
    def waiting(self) -> tuple[str, ...]:
        """The names in the line, in order."""
        return tuple(self._waiting)

    def ask(self, name: str, claim: Claim) -> str:
        """Take the turn if it is this engine's, and give nothing; else wait in the line, and give the reason."""
        # An engine that stands in the line already keeps its place.
        self._waiting[name] = self._wants[name] = claim
        for other, theirs in self._starting.items():
            if claim.clashes(theirs):
                return f"waits until {other} has started: they share {_named(claim.gpus)}"
        for other, theirs in self._waiting.items():
            if other == name:
                break
            if claim.clashes(theirs):
                return f"waits for its turn to start, after {other}: they share {_named(claim.gpus)}"
        del self._waiting[name]
        self._starting[name] = claim
        return ""

    def look(self, name: str, gpus: Sequence[Gpu], now: float) -> StartVerdict:
        """Tell the engine whose turn it is whether its memory is free; without it, it loses its turn."""
        claim = self._starting[name]
        others = {other: has for other, has in {**self._has, **self._starting}.items() if other != name}
        settled = now - self._freed_at > SETTLE
        # Just after an engine ended, its restart leaves nothing to those behind it: else it would wait until the
        # memory has settled.
        after = dict(self._wants) if settled or self._freed_at == self._began else {}
        after.pop(name, None)
        verdict = fit(
            claim, [gpu for gpu in gpus if gpu.id in claim.gpus], others, after=[*after.values()], settled=settled
        )
        if verdict.why:
            del self._starting[name]
        else:
            self._starting[name] = replace(claim, share=verdict.share)
        return verdict

    def started(self, name: str) -> None:
        """Note that an engine is ready: its turn is over, and it keeps what it has."""
        self._wants.pop(name, None)
        if name in self._starting:
            self._has[name] = self._starting.pop(name)

    def adopted(self, name: str, claim: Claim) -> None:
        """Note that an engine that was taken over has what it claims."""
        self._waiting.pop(name, None)
        self._wants.pop(name, None)
        self._has[name] = claim

    def gone(self, name: str, now: float) -> None:
        """Note that an engine has ended, or doesn't want to start any more."""
        had = self._starting.pop(name, None) or self._has.pop(name, None)
        if had is not None:
            self._freed_at = now
        self._waiting.pop(name, None)
        self._wants.pop(name, None)


def fit(
    claim: Claim,
    gpus: Sequence[Gpu],
    others: Mapping[str, Claim],
    *,
    after: Sequence[Claim] = (),
    settled: bool = True,
) -> StartVerdict:
    """Tell whether enough of these GPUs is free, beside what `others` of ours have.

    A share that no person wrote is lowered so that those who start `after` it get what they need. Not `settled`: more
    may be free in a moment. A GPU whose free memory isn't known never prevents a start.
    """
    share = claim.share
    for gpu in gpus:
        total, free = gpu.memory_bytes, gpu.free_bytes
        if claim.share is None or share is None or not total or free is None:
            continue
        if claim.written:
            if free < claim.share * total * SURELY:
                return StartVerdict(_too_little(claim, claim.share * total, gpu, others), lacks=True)
        elif (lower := _room(claim, gpu, after)) < claim.share:
            if lower < LEAST_SHARE or lower * total < claim.least:
                return StartVerdict(_too_little(claim, claim.least, gpu, others), lacks=True)
            if not settled:
                return StartVerdict(f"waits for memory of {_called(gpu)} that was in use to be given back", lacks=True)
            share = min(share, lower)
    return StartVerdict(share=share)


def _room(claim: Claim, gpu: Gpu, after: Sequence[Claim]) -> float:
    """The largest share of a GPU's free memory that leaves enough to those after it.

    If there isn't enough for all, it is what is free.
    """
    total, free = gpu.memory_bytes or 1, gpu.free_bytes or 0
    share = claim.share or 0.0
    next_ones = [other for other in after if other.share and gpu.id in other.gpus]
    fixed = sum(other.share or 0.0 for other in next_ones if other.written or other.sized)
    needs = [max(other.needs, LEAST_SHARE) for other in next_ones if not (other.written or other.sized)]
    alone = (free - BESIDE) / total
    room = alone - len(next_ones) * (BESIDE // 2) / total - fixed
    if claim.sized or share + sum(needs) <= room or claim.needs + sum(needs) > room:
        return floored(alone)
    return _part(room, claim.needs, needs)


def with_share(args: Mapping[str, Value], claim: Claim, share: float) -> dict[str, Value | float]:
    """Put a lower share than was claimed into arguments; a cache in bytes is left out, so the engine sizes it."""
    dropped = {SHARE, CACHE} if claim.sized else {SHARE}
    return {name: value for name, value in args.items() if name.replace("_", "-") not in dropped} | {SHARE: share}


def _too_little(claim: Claim, needed: float, gpu: Gpu, others: Mapping[str, Claim]) -> str:
    """`NVIDIA GPU 0 has 12.7 of 139.8 GiB free, and this needs about 62.9 GiB: …`, and what to write."""
    total, free = gpu.memory_bytes or 0, gpu.free_bytes or 0
    wants = f"asks for {claim.share:g} of it, " if claim.written else "needs about " if needed else "needs some"
    amount = f"{needed / _GIB:.1f} GiB" if needed else ""
    said = f"{_called(gpu)} has {free / _GIB:.1f} of {total / _GIB:.1f} GiB free, and this {wants}{amount}"
    have = {name: other for name, other in others.items() if other.share and gpu.id in other.gpus}
    return f"{said}: {_beside(claim, gpu, have) if have else _alone(claim, gpu)}"


def _alone(claim: Claim, gpu: Gpu) -> str:
    """What to do if other programs hold the missing memory."""
    total, free = gpu.memory_bytes or 0, gpu.free_bytes or 0
    room = floored((free - BESIDE) / total)
    if room >= LEAST_SHARE and room * total >= claim.least:
        return f"other programs hold the rest; end them, or {_write(room)} below its launch"
    return "other programs hold the rest; end them, or take a smaller model"


def _beside(claim: Claim, gpu: Gpu, have: Mapping[str, Claim]) -> str:
    """What to do if others of ours have the missing memory: equal shares of theirs and what is free.

    If the model doesn't fit into that, it gets what it needs, provided that the others' models fit into the rest.
    """
    total = gpu.memory_bytes or 1
    held = ", ".join(f"{name} has {other.share:g}" for name, other in have.items())
    whose = " and ".join(have)
    count = len(have) + 1
    theirs = sum(_takes(other, gpu) for other in have.values())
    room = min(((gpu.free_bytes or 0) + theirs - count * BESIDE // 2) / total, TOGETHER)
    each, most = floored(room / count), max(other.least for other in have.values()) / total
    if each >= LEAST_SHARE and each >= max(claim.least / total, most):
        return f"{held}; to share it, {_write(each)} below launch, of {whose}, and of this one"
    enough = _enough(claim, total)
    rest = floored((room - enough) / len(have))
    if rest >= max(most, LEAST_SHARE):
        return f"{held}; to share it, {_write(rest)} below launch, of {whose}, and {enough:g} for this one"
    return f"{held}; there is no room for all of them: take a smaller model, or another GPU"


def too_small(claim: Claim, gpu: Gpu) -> str:
    """Say that a model can't work with its share, though that is free; nothing if it can."""
    total = gpu.memory_bytes or 0
    if not total or not claim.share or claim.share * total >= claim.least:
        return ""
    said = f"{claim.share:g} of {_called(gpu)} are {claim.share * total / _GIB:.1f} GiB, and this needs about "
    fits = claim.least <= TOGETHER * total
    advice = f"{_write(_enough(claim, total))} below its launch" if fits else "give it more GPUs"
    return f"{said}{claim.least / _GIB:.1f} GiB: {advice}, or take a smaller model"


def _enough(claim: Claim, total: int) -> float:
    """A share with which it works and has a useful cache."""
    return min(raised((claim.least + CACHE_ROOM) / total), TOGETHER)


def _write(share: float) -> str:
    return f"write `args: {{{SHARE}: {share:g}}}`"


def _called(gpu: Gpu) -> str:
    return f"{gpu.vendor} GPU {gpu.number}"


def _named(gpus: Sequence[str]) -> str:
    return ", ".join(gpu.replace(" ", " GPU ", 1) for gpu in gpus)


# Before anything is started


def floored(share: float) -> float:
    """Round a share down to whole hundredths."""
    return math.floor(round(100 * share, 6)) / 100


def raised(share: float) -> float:
    """Round a share up to whole hundredths."""
    return math.ceil(round(100 * share, 6)) / 100


def dealt(claims: Mapping[str, Claim]) -> dict[str, Claim]:
    """Give a share to each claim without one (`share` is 0): a part of what the others leave of its GPUs.

    If they leave too little, it is an equal part of all, or what the engine needs. That may not fit: `lacking` then
    says what to write, or the share is lowered to what is free when the engine starts.
    """
    found = dict(claims)
    for name, claim in claims.items():
        if claim.share != 0 or claim.written:
            continue
        rivals = [other for rival, other in claims.items() if other.share is not None and rival != name]
        there = [[other for other in rivals if gpu in other.gpus] for gpu in claim.gpus]
        share = min((_dealt(claim, sharing) for sharing in there), default=0.0)
        most = 1 + max((len(sharing) for sharing in there), default=0)
        if share < max(LEAST_SHARE, claim.needs):
            share = min(max(floored(TOGETHER / most), raised(claim.needs + LEAST_SHARE)), TOGETHER)
        found[name] = replace(claim, share=share)
    return found


def _dealt(claim: Claim, sharing: Sequence[Claim]) -> float:
    """An engine's part of a GPU that it shares with these."""
    room = TOGETHER - sum(other.share or 0.0 for other in sharing)
    return _part(room, claim.needs, [other.needs for other in sharing if other.share == 0])


def _part(room: float, need: float, others: Sequence[float]) -> float:
    """Divide a room: equal parts; if one of them needs more, each gets its need and an equal part of the rest."""
    needs = [need, *others]
    even = room / len(needs)
    if max(needs) <= even or sum(needs) > room:
        return floored(even)
    return floored(need + (room - sum(needs)) / len(needs))


def as_started(claims: Mapping[str, Claim], shares: Mapping[str, float]) -> dict[str, Claim]:
    """Give claims with the shares that running engines have: one may have got less than was planned."""
    return {name: replace(claim, share=shares.get(name, claim.share)) for name, claim in claims.items()}


def lacking(
    starts: Mapping[str, Claim], others: Mapping[str, Claim], gpus: Sequence[Gpu], back: Sequence[Claim] = ()
) -> dict[str, str]:
    """Tell which of `starts`, one after the other, won't get the memory that they claim; each with what to write.

    `others` have theirs already; what is in `back` is freed before. A GPU that isn't known prevents nothing.
    """
    said: dict[str, str] = {}
    have = dict(others)
    now = {gpu.id: _changed(gpu, sum(_takes(claim, gpu) for claim in back)) for gpu in gpus}
    wants = dict(starts)
    for name, claim in starts.items():
        del wants[name]
        verdict = fit(claim, [now[gpu] for gpu in claim.gpus if gpu in now], have, after=[*wants.values()])
        if verdict.why:
            said[name] = verdict.why
            continue
        known = [now[gpu] for gpu in claim.gpus if gpu in now]
        if small := next(filter(None, (too_small(claim, gpu) for gpu in known)), ""):
            said[name] = small
        elif verdict.share != claim.share:
            said[name] = f"gets {verdict.share:g} of its GPU's memory, instead of {claim.share:g}: no more is free"
        have[name] = replace(claim, share=verdict.share)
        now.update({gpu: _changed(now[gpu], -_takes(have[name], now[gpu])) for gpu in claim.gpus if gpu in now})
    return said


def _takes(claim: Claim, gpu: Gpu) -> int:
    if gpu.id not in claim.gpus or not claim.share:
        return 0
    return int(claim.share * (gpu.memory_bytes or 0)) + BESIDE // 2


def _changed(gpu: Gpu, more: int) -> Gpu:
    if gpu.free_bytes is None:
        return gpu
    return replace(gpu, free_bytes=min(max(gpu.free_bytes + more, 0), gpu.memory_bytes or 0))
