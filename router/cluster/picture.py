"""What a peer tells of its models, and what that means for backends here. Pure.

A peer's picture is its models by their own names. It comes whole at first, and then as changes (`after`). Of it are
taken what router.yaml wants, and none that this router is itself asked for (`taken`):

  1. A model that is served there only through this router: it is one of our own.
  2. A model that is served there only through another peer of ours: that is asked itself.
  3. A route of the peer, unless router.yaml names it: its models are there under names of their own.

Each one that is taken stands in one of three ways (`standing`): requests may be sent, and begin at once; or begin once
it has been loaded, in about so many seconds; or nothing may be sent, for a reason.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from launchers.abilities import Abilities
from router.core.apis import PARTIAL, UNKNOWN, Apis

UNKNOWN_LOAD: Final = 15.0
"""Seconds that a load is believed to take where the peer doesn't say."""

SHORT: Final = 0.1
"""Least seconds of a load that has yet to be done."""

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of one event. A model takes some 500."""

MOST_MODELS: Final = 2000
MOST_NAME: Final = 512
"""Letters of a model's name."""

ROUTER: Final = "another router"
AWAITED: Final = "awaited"
DRAINED: Final = "drained"

_RUNS: Final = frozenset({"loading"})
_STATES: Final = {
    "ready": "loaded",
    "loading": "loading",
    "unloaded": "unloaded",
    "asleep": "unloaded",
    "unavailable": "failed",
}
"""The states of /v1/models, and what they are in /admin. One that is asleep there is woken there."""


class Served(msgspec.Struct, frozen=True):
    """A model of a peer's: see `router.api.admin.peers.ServedTold`, of which a later version may have more."""

    name: str
    state: str = "loaded"
    seconds: float | None = None
    share: float | None = None
    reason: str = ""
    retry_in: float | None = None
    waiting: int = 0
    in_flight: int = 0
    max_in_flight: int | None = None
    footprint: dict[str, int] = {}
    engine: str | None = None
    backends: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    context: int | None = None
    capabilities: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    through: tuple[str, ...] = ()


class Told(msgspec.Struct, frozen=True):
    """An event of a peer's: see `router.api.admin.peers.PictureTold`. Without an `instance` it is no router's."""

    instance: str = ""
    whole: bool = True
    models: tuple[Served, ...] = ()
    gone: tuple[str, ...] = ()
    refused: str = ""


Picture = Mapping[str, Served]
"""The models of a peer, by its own names."""


class Standing(NamedTuple):
    """How a model stands: it is `out` for this reason, or it has to be loaded first, which takes so many `seconds`.

    `runs`: it is being loaded. `coming`: what is out will soon be there.
    """

    out: str = ""
    seconds: float = 0.0
    runs: bool = False
    coming: bool = False


def after(picture: Picture, told: Told, *, is_new: bool = False) -> dict[str, Served]:
    """Give the picture after an event. `is_new`: the router has just been started, and may not know all of its own yet.

    What it had before, and hasn't told of since, is then awaited until `settled`.
    """
    if not told.whole:
        stays = {name: each for name, each in picture.items() if name not in told.gone}
    else:
        stays = {name: Served(name, AWAITED, targets=each.targets) for name, each in picture.items() if is_new}
    named = {each.name: each for each in told.models if 0 < len(each.name) <= MOST_NAME and each.name.isprintable()}
    return dict(islice((stays | named).items(), MOST_MODELS))


def settled(picture: Picture) -> dict[str, Served]:
    """Give the picture without what was awaited."""
    return {name: each for name, each in picture.items() if each.state != AWAITED}


def taken(picture: Picture, wanted: Mapping[str, str], own: str, others: Collection[str]) -> dict[str, dict[str, str]]:
    """Tell which models are backends here: by their own names, the names that clients have for them, as a backend does.

    `wanted` is what router.yaml says, the same way round; empty: all. `own` is this router's id; `others` are those of
    its other peers that can be reached.
    """
    known = wanted or {name: name for name, each in picture.items() if not each.targets}
    found: dict[str, dict[str, str]] = {}
    for public, name in known.items():
        each = picture.get(name)
        if each is not None and own not in each.through and not set(others).intersection(each.through):
            found.setdefault(name, {})[public] = name
    return found


def standing(served: Served) -> Standing:
    """Tell how a model stands at its peer."""
    if served.state == AWAITED:
        return Standing("its router was started, and hasn't told of it yet", coming=True)
    if served.state == DRAINED:
        # Who has drained it is nothing for clients.
        return Standing("is drained there", coming=True)
    if served.state == "failed":
        return Standing(served.reason or "has failed there")
    if served.state == "loaded":
        return Standing()
    seconds = UNKNOWN_LOAD if served.seconds is None else max(SHORT, served.seconds)
    return Standing(seconds=seconds, runs=served.state in _RUNS)


def apis_of(served: Served, before: Apis = UNKNOWN) -> Apis:
    """Tell which APIs a model has there. The peer itself translates what can be, so it lacks what it says alone."""
    if not served.lacks:
        return replace(before, has=frozenset(), engine="", opaque=True)
    return replace(before, has=PARTIAL.difference(served.lacks), engine=served.engine or ROUTER, opaque=False)


def abilities_of(served: Served) -> Abilities:
    """Tell what a model can do. A word that isn't said isn't known: another backend of it may lack it."""
    can = dict.fromkeys(served.capabilities, True).get
    return Abilities(
        served.context, can("completion"), can("tools"), can("vision"), can("embeddings"), can("reasoning")
    )


# What is read


_read_event = msgspec.json.Decoder(Told).decode


class Events:
    """Reads the events of a stream as it comes. Each byte is looked at once, however long an event is."""

    def __init__(self) -> None:
        # Of the line, and of the event, that have yet to end.
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[Told]:
        """Give the events that end in the next piece. Raises ValueError for what is no such stream."""
        found = []
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._take(end)
            line = bytes(self._line).rstrip(b"\r")
            self._line.clear()
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())
            elif not line:
                said, self._data, self._size = b"\n".join(self._data), [], 0
                if said:
                    found.append(_read_event(said))
        self._take(rest)
        return found

    def _take(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > MOST_BYTES:
            raise ValueError(f"an event of more than {MOST_BYTES} bytes")
        self._line += part


class _Listed(msgspec.Struct):
    """A model in a list for everybody."""

    id: str
    state: str = "ready"
    progress: float | None = None
    targets: tuple[str, ...] = ()
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()
    through: tuple[str, ...] = ()


class _Listing(msgspec.Struct):
    data: tuple[_Listed, ...]
    instance: str = ""


_read_listing = msgspec.json.Decoder(_Listing).decode


def listed(page: bytes) -> Told:
    """Read a peer's GET /v1/models as an event that tells all. Raises ValueError for what is no such list."""
    said = _read_listing(page)
    return Told(said.instance, models=tuple(_models(said.data)))


def _models(listing: Collection[_Listed]) -> Iterator[Served]:
    for each in listing:
        yield Served(
            each.id,
            _STATES.get(each.state, "loaded"),
            share=each.progress,
            targets=each.targets,
            context=each.context_length,
            capabilities=each.capabilities,
            through=each.through,
        )


def to_recall(picture: Picture) -> str:
    """Write what stays true of a peer's models while it is away, for `recalled`."""
    kept = [
        Served(
            each.name, "unloaded", max_in_flight=each.max_in_flight, engine=each.engine, targets=each.targets,
            context=each.context, capabilities=each.capabilities, lacks=each.lacks,
        )
        for each in picture.values()
    ]  # fmt: skip
    return msgspec.json.encode(sorted(kept, key=lambda each: each.name)).decode()


def recalled(told: str) -> dict[str, Served]:
    """Read it again; nothing where somebody else has written there."""
    try:
        return {each.name: each for each in msgspec.json.decode(told, type=list[Served])}
    except (msgspec.MsgspecError, RecursionError):
        return {}
