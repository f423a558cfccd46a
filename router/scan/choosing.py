"""Which engine reads a model, and what the model is called. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from launchers.scan.reading import Read
from launchers.scan.sorting import base
from profiles import Profile

MOST_NAME: Final = 64
"""Letters of a backend's name."""

_OTHERS = re.compile(r"[^a-z0-9._-]+")


class Engine(NamedTuple):
    """An engine for a model. `is_usual`: the profile takes it anyway. If it isn't installed, `install` says how."""

    name: str
    is_usual: bool = True
    install: str = ""


def engine_for(
    readers: Collection[str], profile: Profile, installed: Collection[str], installs: Mapping[str, str]
) -> Engine:
    """Choose the engine of a model that `readers` can read: the profile's first that is installed, then any other.

    If none is installed, it is the profile's first, or any other.
    """
    order = [each.name for each in profile.engines if each.name in installs]
    usual = next((name for name in order if name in installed), None)
    order += [name for name in installs if name not in order]
    here = [name for name in order if name in readers and name in installed]
    if here:
        return Engine(here[0], here[0] == usual)
    name = next(name for name in order if name in readers)
    return Engine(name, is_usual=False, install=installs[name])


def doubles(found: Sequence[Read], engines: Sequence[Engine | None], order: Sequence[str]) -> dict[int, int]:
    """Give the places of models that are another one in a second form, in one folder; each with that one's place.

    Of the two, the one stays whose engine comes first in `order`.
    """
    same: dict[int, int] = {}
    for at, each in enumerate(found):
        if each.candidate.is_gguf or engines[at] is None:
            continue
        folder = each.candidate.files[0].parent
        others = [
            place
            for place, other in enumerate(found)
            if other.candidate.is_gguf and engines[place] and other.candidate.files[0].parent == folder
        ]
        if len({base(found[place].candidate.name) for place in others}) != 1:
            continue
        ranks = {place: _rank(engines[place], order) for place in (at, *others)}
        if ranks[at] <= min(ranks[place] for place in others):
            same |= dict.fromkeys(others, at)
        else:
            same[at] = others[0]
    return same


def _rank(engine: Engine | None, order: Sequence[str]) -> tuple[bool, int]:
    assert engine is not None  # noqa: S101  (the caller looked)
    return (bool(engine.install), order.index(engine.name) if engine.name in order else len(order))


def names_for(found: Sequence[Read], taken: Collection[str]) -> list[str]:
    """Name the models, each its own: without the quantisation where that is enough. `taken` are names of others.

    Case doesn't count, as names of logs are made of them.
    """
    short = [_safe(base(each.candidate.name)) for each in found]
    long = [_safe(each.candidate.name) for each in found]
    used = {name.casefold() for name in taken}
    names = []
    for brief, whole in zip(short, long, strict=True):
        name = brief if short.count(brief) == 1 else whole
        names.append(_unused(name if name not in used else whole, used))
        used.add(names[-1])
    return names


def _safe(name: str) -> str:
    """Make a name that can be a file's: Ollama's me/mine:7b is mine-7b."""
    said = _OTHERS.sub("-", name.rpartition("/")[2].lower()).strip("._-")
    return said[:MOST_NAME].rstrip("._-") or "model"


def _unused(name: str, used: Collection[str]) -> str:
    number, found = 1, name
    while found in used:
        number += 1
        found = f"{name[: MOST_NAME - len(str(number)) - 1]}-{number}"
    return found
