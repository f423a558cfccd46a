"""What is kept of a peer and its models here, and how they are described."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, Protocol

from launchers.footprints.parts import RAM
from router.api.admin.models import ModelTold
from router.cluster.peer import NOT_ASKED, Peer
from router.cluster.picture import Standing
from router.config import BackendConfig
from router.core.catalog import Backend
from router.tls.trust import Trust


class Home(Protocol):
    """The part of the fleet that takes in peers' models. An entry is the peer's, with the name and models of one."""

    def join(self, entry: BackendConfig, trust: Trust) -> Backend | None:
        """Take in a model; None: there is a backend of its name already."""

    def tune(self, entry: BackendConfig, trust: Trust) -> None:
        """Change what is known of one."""

    def leave(self, name: str) -> None:
        """Send it nothing more; what it has in flight may end."""


@dataclass(eq=False)
class Guest:
    """A peer's model as a backend here. `stands` is how it stood last; None: not told yet, or since it was away.

    `ended` is the backend's count of attempts at the latest news of its load.
    """

    backend: Backend
    stands: Standing | None = None
    ended: int = 0


@dataclass(eq=False)
class Household:
    """A peer with its `guests`, by its own names of them.

    While it is away, requests wait for it until `until` (of the loop's clock): they are `waited`. `nobody`: when it was
    asked last, nobody was there at all. `known_as` is its instance, once all others go by that. `unknown` stands for
    all that it may serve, until it tells of any.
    """

    peer: Peer
    trust: Trust
    guests: dict[str, Guest] = field(default_factory=dict)
    until: float = -inf
    waited: bool = False
    known_as: str = ""
    nobody: bool = False
    unknown: Backend | None = None


def word_of(stands: Standing) -> str:
    """Say how a model stands that may be asked for."""
    if not stands.seconds:
        return "is loaded there"
    return "is being loaded there" if stands.runs else "is loaded there when it is asked for"


def entry_of(config: BackendConfig, name: str, names: dict[str, str]) -> BackendConfig:
    """Make the entry of one model of a peer's."""
    return config.model_copy(update={"name": f"{config.name}/{name}", "models": names})


_BLANK: Final = ModelTold(name="", state="").model_dump()
"""What isn't known of a model: whoever reads a description finds all of its keys."""


def told_of(backend: Backend, peer: Peer, name: str) -> dict[str, Any]:
    """Describe a model of a peer's as plain data, with the keys of `router.fleet.telling`."""
    served = peer.models[name]
    asleep, word = backend.health.asleep, backend.health.word
    out = peer.away and (backend.health.reason if asleep else f"can't be reached: {peer.away}")
    return _BLANK | {
        "name": backend.name,
        "state": word if asleep else "failed" if out else served.state,
        "models": list(backend.models),
        "engine": served.engine,
        "detail": out or served.reason,
        "footprint": dict(served.footprint),
        "source": "told" if served.footprint else None,
        "waiting": served.waiting,
        "in_flight": served.in_flight,
        "share": served.share,
        "seconds": None if out else served.seconds,
        "failure": {"reason": out or served.reason} if not asleep and (out or served.state == "failed") else None,
        "peer": peer.name,
    }


def silent_told(peer: Peer, own: str, same: str) -> dict[str, object]:
    """Describe a peer without a model here. `own` is this router's id; `same` another peer with this one's, if any."""
    health, reason = _silence(peer, own, same)
    return {
        "name": peer.name,
        "health": health,
        "reason": reason,
        "models": [],
        "in_flight": 0,
        "answered": 0,
        "weight": peer.config.weight,
        "max_in_flight": peer.config.max_in_flight,
        "bytes_in_flight": 0,
        "expected_ttft": 0.0,
        "url": str(peer.config.elsewhere).partition("?")[0],
        "peer": peer.name,
    }


def _silence(peer: Peer, own: str, same: str) -> tuple[str, str]:
    if peer.away == NOT_ASKED:
        told = "unknown", NOT_ASKED
    elif peer.away and peer.nobody and peer.config.wake is not None:
        told = "asleep", "is asleep, and has never told its models: nobody is woken but for those that `models` names"
    elif peer.away or peer.trouble:
        told = "down", f"its router can't be reached: {peer.away}" if peer.away else peer.trouble
    elif not peer.instance:
        told = "unknown", "has told nothing of its models yet"
    elif peer.instance == own:
        told = "down", "is this router itself"
    elif same:
        told = "down", f"is the same router as '{same}'"
    else:
        told = "up", f"serves no{'ne of the models that router.yaml names' if peer.config.models else ' model'}"
    return told


def status_of(told: Mapping[str, Any]) -> dict[str, object]:
    """Give what /admin/status has of such a description: of memory, what is held now."""
    held = told["footprint"] if told["state"] == "loaded" else {}
    same = {key: told[key] for key in ("peer", "state", "detail", "engine")}
    return same | {"footprint": held, "memory_bytes": held.get(RAM)}
