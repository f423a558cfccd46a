"""Which engine may start now on GPUs that several use, and with how much of their memory. Pure.

vllm takes a share of a GPU's memory when it starts. It fails where the share isn't free, and what others take or free
between its first look and its profiling it counts as its own, silently: two that start together get 62 GiB of cache
and 0.4 GiB. So starts that share a GPU take turns, in the order in which they were asked for, from the spawn until the
engine is ready or gone; replacements and restarts after a crash wait in the same line. Others don't wait:

1. Engines without a share (llama.cpp) wait for no others of their kind.
2. One whose memory isn't free lets those behind it go first, and is asked again: the memory may be freed by another
   program, or never.

What is free is looked at before each start. A share that nobody wrote is lowered to it, if the model still fits, and
further, so that others who want to start get what their models need; not while memory may still be given back by an
engine that has just ended (`SETTLE`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from profiles.parsers import Gpu

SHARE, CACHE = "gpu-memory-utilization", "kv-cache-memory-bytes"
"""vllm's options for its share of each GPU's memory, and for what of it the cache has."""

TOGETHER = 0.9
"""The part of a GPU that engines share: the rest is for the driver, for contexts and graphs beside the shares."""

LEAST_SHARE = 0.02
"""Below it no vllm starts."""

BESIDE = 1 << 30
"""Bytes that one takes beside its share, or before it looks: CUDA's context."""

CACHE_ROOM = 2 << 30
"""Bytes for the cache, beside what a model can't work without, in a share that a person is told to write."""

SURELY = 0.99
"""A driver tells a little more memory than an engine sees: below this part of it, a share is too large for certain."""

SETTLE = 10.0
"""Seconds within which a driver has given back what a process had that ended; it is mostly one."""

_GIB = 1 << 30

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Claim:
    """What an engine will take of GPUs when it starts."""

    gpus: tuple[str, ...]  # their ids
    share: float | None = None  # of each one's memory; 0: not known yet; None: it has none, and takes what it takes
    written: bool = False  # by a person: it isn't lowered
    least: int = 0  # bytes of each that it can't work without; 0 where they aren't known
    sized: bool = False  # to what the model can ever use, with the cache in bytes beside it
    needs: float = 0.0  # `least` as a share of the smallest of its GPUs

    def clashes(self, other: "Claim") -> bool:
        """Whether the two must not start at the same time."""
        return (self.share is not None or other.share is not None) and not set(self.gpus).isdisjoint(other.gpus)


@dataclass(frozen=True, slots=True)
class StartVerdict:
    """Whether one may start: `why` not, in words, or with which share. `lacks` memory, it may wait for ever."""

    why: str = ""
    share: float | None = None
    lacks: bool = False


class Line:
    """Who starts, who waits, and who has what. `now` is in seconds of any clock that goes on."""

    def __init__(self, now: float) -> None:
        self._waiting: dict[str, Claim] = {}
        self._starting: dict[str, Claim] = {}
        self._has: dict[str, Claim] = {}
        self._wants: dict[str, Claim] = {}  # all who asked and have not started, whether they stand in the line or not
        self._began = self._freed_at = now  # an earlier router's engines may just have ended

    @property
    def waiting(self) -> tuple[str, ...]:
        """Who stands in the line, in order."""
        return tuple(self._waiting)

    def ask(self, name: str, claim: Claim) -> str:
        """Have a turn from now on, if it is this one's; else wait in the line, and give the reason."""
        self._waiting[name] = self._wants[name] = claim  # at its old place, if it has one
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
        """Tell one whose turn it is whether its memory is free; one that lacks it has lost its turn."""
        claim = self._starting[name]
        others = {other: has for other, has in {**self._has, **self._starting}.items() if other != name}
        settled = now - self._freed_at > SETTLE
        # One that crashed doesn't wait to be told how much it may leave to those who came after it.
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
        """Note that it is ready: its turn is over, what it has it keeps."""
        self._wants.pop(name, None)
        if name in self._starting:
            self._has[name] = self._starting.pop(name)

    def adopted(self, name: str, claim: Claim) -> None:
        """Note that one has what it claims already."""
        self._wants.pop(name, None)
        self._has[name] = claim

    def gone(self, name: str, now: float) -> None:
        """Note that it has ended, or doesn't want to start any more."""
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
    """Tell whether what is free of these GPUs is enough, beside what `others` of ours have.

    What nobody wrote is lowered so that those who start `after` it get what they need. Not `settled`: more may be free
    in a moment. A GPU of which it isn't known what is free is no hindrance.
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
    """The largest share that one can have of what is free of a GPU, and leave what they need to those after it.

    If not all can have that, it is what is free.
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
    """Arguments with a lower share than was claimed; a cache that was sized beside that is sized by the engine."""
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
    """What to do where other programs hold what is missing."""
    total, free = gpu.memory_bytes or 0, gpu.free_bytes or 0
    room = floored((free - BESIDE) / total)
    if room >= LEAST_SHARE and room * total >= claim.least:
        return f"other programs hold the rest; end them, or {_write(room)} below its launch"
    return "other programs hold the rest; end them, or take a smaller model"


def _beside(claim: Claim, gpu: Gpu, have: Mapping[str, Claim]) -> str:
    """What to do where others of ours have what is missing: equal shares of what is theirs and what is free.

    Where the model doesn't fit into that, it gets what it needs, if the others' models fit into the rest.
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
    """Say that a model can't work with its share, though that is free; nothing where it can."""
    total = gpu.memory_bytes or 0
    if not total or not claim.share or claim.share * total >= claim.least:
        return ""
    said = f"{claim.share:g} of {_called(gpu)} are {claim.share * total / _GIB:.1f} GiB, and this needs about "
    fits = claim.least <= TOGETHER * total
    advice = f"{_write(_enough(claim, total))} below its launch" if fits else "give it more GPUs"
    return f"{said}{claim.least / _GIB:.1f} GiB: {advice}, or take a smaller model"


def _enough(claim: Claim, total: int) -> float:
    """A share with which it works, and has a cache that is worth having."""
    return min(raised((claim.least + CACHE_ROOM) / total), TOGETHER)


def _write(share: float) -> str:
    return f"write `args: {{{SHARE}: {share:g}}}`"


def _called(gpu: Gpu) -> str:
    return f"{gpu.vendor} GPU {gpu.number}"


def _named(gpus: Sequence[str]) -> str:
    return ", ".join(gpu.replace(" ", " GPU ", 1) for gpu in gpus)


# Before anything is started


def floored(share: float) -> float:
    """A share in whole hundredths, never above what it was."""
    return math.floor(round(100 * share, 6)) / 100


def raised(share: float) -> float:
    """A share in whole hundredths, never below what it was."""
    return math.ceil(round(100 * share, 6)) / 100


def dealt(claims: Mapping[str, Claim]) -> dict[str, Claim]:
    """Give those their shares that nobody wrote one for (`share` is 0), of what the others leave of each GPU.

    Where these leave too little, it is an equal part of all, or what it needs: it may not fit then, and `lacking` says
    what to write; or it is lowered to what is free when it starts.
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
    """Its part of a GPU on which these are, too."""
    room = TOGETHER - sum(other.share or 0.0 for other in sharing)
    return _part(room, claim.needs, [other.needs for other in sharing if other.share == 0])


def _part(room: float, need: float, others: Sequence[float]) -> float:
    """Its part of a room: an equal one; where one of them needs more, what it needs and an equal part of the rest."""
    needs = [need, *others]
    even = room / len(needs)
    if max(needs) <= even or sum(needs) > room:
        return floored(even)
    return floored(need + (room - sum(needs)) / len(needs))


def as_started(claims: Mapping[str, Claim], shares: Mapping[str, float]) -> dict[str, Claim]:
    """Give the claims of those that run with the shares that they have: one may have got less than was planned."""
    return {name: replace(claim, share=shares.get(name, claim.share)) for name, claim in claims.items()}


def lacking(
    starts: Mapping[str, Claim], others: Mapping[str, Claim], gpus: Sequence[Gpu], back: Sequence[Claim] = ()
) -> dict[str, str]:
    """Tell what of `starts` will not get the memory that it claims, one after the other; each with what to write.

    `others` have theirs already; what is in `back` will be given back before. A GPU that isn't known is no hindrance.
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
