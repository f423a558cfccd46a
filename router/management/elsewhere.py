"""Peers' models, managed at their own routers: what is asked of a name here is asked of its name there.

A peer's model is called by both names, `mac-studio/qwen`, and so is each backend of its router: `mac-studio/qwen-2`.
What the peer answers is told by the names here, and what it refuses in its own words (`cluster.remote`).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from router.api.admin.backends import BackendsTold
from router.api.admin.endpoint import Endpoint, Reply
from router.api.admin.logs import FOLLOW, LINES, LinesTold, LineTold
from router.api.admin.models import LOAD, MODELS, ModelsTold, ModelTold
from router.cluster.peer import Peer
from router.cluster.peers import Peers
from router.cluster.remote import ANSWER_WITHIN, NoAdminKeyError, PeerTimeoutError, Remote
from router.core.errors import ConflictError, RouterError, UnavailableError
from router.core.hops import passed
from router.core.memory.states import State
from router.proxy.resolve import Names

T = TypeVar("T")

HOPS: Final[ContextVar[bytes]] = ContextVar("hops", default=b"")
"""The routers that the request which is answered has passed: see `core.hops`."""

FRESH: Final = 1.0
"""Seconds for which what a peer told of its models is as good as new: the page asks every two."""

PATIENCE: Final = 0.5
"""Seconds that a person who looks waits for a peer's answer; what its events have told is shown in any case."""

LOOK_EVERY: Final = 0.1
"""Seconds between two looks whether a peer can be reached, while something is awaited from it."""

MOST_NAMED: Final = 20
"""Names that an error lists at most."""

_FIRST: Final = (
    State.LOADED, State.DRAINING, State.LOADING, State.QUEUED, State.UNLOADING, State.RELEASING, State.FAILED,
    State.UNLOADED,
)  # fmt: skip
"""Of several backends of one model, the state that a client meets."""


class Elsewhere:
    """Asks peers. Methods that await raise RouterError: the peer's own, or of asking it."""

    def __init__(self, peers: Peers, names: Names) -> None:
        self._peers = peers
        self._names = names
        self._looks = Looks(self._remote)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._peers.by_name)

    def peer(self, name: str) -> str | None:
        """Give the peer that a name begins with; None: it is of this machine, or nobody's."""
        return _longest(self._peers.by_name, name)

    def is_peer(self, name: str) -> bool:
        """Whether a name is a peer's own, and stands for all of its models."""
        return name in self._peers.by_name

    def is_managed(self, name: str) -> bool:
        """Whether a name is a peer's that there is an admin key for."""
        peer = self.peer(name)
        return peer is not None and self._peers.by_name[peer].admin_key is not None

    async def looked(self) -> dict[str, dict[str, object]]:
        """Describe what is managed of peers as they do now, by the names here: what their events don't tell.

        For another router that looks, nobody is asked: routers that have each other as peers would ask in a circle.
        """
        if HOPS.get():
            return {}
        peers = [each for each in self._peers.by_name.values() if each.admin_key is not None]
        told = await asyncio.gather(*map(self._looks.at, peers))
        return {
            f"{peer.name}/{own}": together([models[each] for each in shared.backends if each in models])
            for peer, models in zip(peers, told, strict=True)
            for own, shared in peer.models.items()
        }

    async def models(
        self, endpoint: Endpoint[Any, Any, ModelsTold], names: Collection[str], **fields: str
    ) -> dict[str, Reply[ModelsTold]]:
        """Ask for each model at its peer, all at once, and wait as long as it takes; give what each peer answers."""
        asking = [self._of_model(endpoint, name, fields) for name in names]
        found = await asyncio.gather(*asking, return_exceptions=True)
        replies = {}
        for name, reply in zip(names, found, strict=True):
            if isinstance(reply, BaseException):
                raise reply
            replies[name] = reply
        return replies

    async def _of_model(
        self, endpoint: Endpoint[Any, Any, ModelsTold], name: str, fields: Mapping[str, str]
    ) -> Reply[ModelsTold]:
        found = self._peers.of(name)
        if found is None:
            raise ConflictError(f"'{name}' is not there any more.")
        (peer, own), waits = found, fields.get("wait") != "false"
        within = None if waits else ANSWER_WITHIN
        remote = self._remote(peer)
        if endpoint is LOAD and peer.away and self._peers.wakes(name):
            await _awake(peer, waits=waits)
        try:
            asking = remote.call(endpoint, within=within, name=own, **fields)
            return await (_heard(peer, asking) if waits else asking)
        finally:
            self._looks.forget(peer.name)

    async def backends(
        self, endpoint: Endpoint[Any, Any, BackendsTold], name: str, *, single: bool = True, **fields: int
    ) -> BackendsTold:
        """Ask for the backend at its peer that a name means; without `single`, for all of a model's."""
        remote, there = self._one(name) if single else self._there(name)
        told = [(await remote.call(endpoint, name=each, **fields)).told for each in there]
        return BackendsTold(
            backends=tuple(
                each.model_copy(update={"name": f"{remote.name}/{each.name}", "peer": remote.name})
                for some in told
                for each in some.backends
            )
        )

    async def lines(self, name: str, limit: int) -> LinesTold:
        """Give the last lines of a log at a peer."""
        remote, (one,) = self._one(name)
        told = (await remote.call(LINES, name=one, limit=limit)).told
        return LinesTold(lines=told.lines[-limit:])

    async def log(self, name: str) -> AsyncGenerator[list[LineTold], None]:
        """Follow a log at a peer; it has begun when this returns."""
        remote, (one,) = self._one(name)
        following = remote.follow(FOLLOW, name=one)
        await anext(following)
        return _lines(following)

    def _there(self, name: str) -> tuple[Remote, Sequence[str]]:
        """Give what asks a name's peer, and the backends that it means there. Raises NoAdminKeyError."""
        if (found := self._peers.of(name)) is not None:
            peer, own = found
            return self._remote(peer), peer.models[own].backends or (own,)
        whose = self.peer(name)
        assert whose is not None  # noqa: S101  (it was asked for its `peer` before)
        return self._remote(self._peers.by_name[whose]), (name.removeprefix(f"{whose}/"),)

    def _one(self, name: str) -> tuple[Remote, Sequence[str]]:
        """Give it with one backend. Raises ConflictError where the name means several."""
        remote, there = self._there(name)
        own = name.removeprefix(f"{remote.name}/")
        if own in there:
            return remote, (own,)
        if len(there) > 1:
            names = ", ".join(f"{remote.name}/{each}" for each in there[:MOST_NAMED])
            raise ConflictError(f"'{name}' is run by several backends there: name one of {names}.")
        return remote, there

    def _remote(self, peer: Peer) -> Remote:
        if peer.admin_key is None:
            raise NoAdminKeyError(peer.name)
        passed(HOPS.get(), peer.address.hop)
        return Remote(self._names, peer.name, peer.address, peer.admin_key, HOPS.get())


class Looks:
    """What peers tell of all their models, asked for while somebody looks: once for all who do."""

    def __init__(self, remote: Callable[[Peer], Remote]) -> None:
        self._remote = remote
        self._told: dict[str, tuple[float, Mapping[str, ModelTold]]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def at(self, peer: Peer) -> Mapping[str, ModelTold]:
        """Give its models by their names there, as they were within a second; of a peer that is slow, what is known."""
        now = asyncio.get_running_loop().time()
        at, told = self._told.get(peer.name, (-FRESH, {}))
        if now - at < FRESH:
            return told
        task = self._asking.get(peer.name)
        if task is None:
            task = self._asking[peer.name] = asyncio.create_task(self._ask(peer), name=f"look at {peer.name}")
        await asyncio.wait([task], timeout=PATIENCE)
        return self._told.get(peer.name, (at, told))[1]

    async def _ask(self, peer: Peer) -> None:
        found: Mapping[str, ModelTold] = {}
        try:
            # A peer that can't be asked is told of where it is watched.
            with suppress(RouterError):
                found = {each.name: each for each in (await self._remote(peer).call(MODELS)).told.models}
        finally:
            self._asking.pop(peer.name, None)
            self._told[peer.name] = asyncio.get_running_loop().time(), found

    def forget(self, name: str) -> None:
        """Ask a peer anew, as something was changed there."""
        self._told.pop(name, None)


async def _heard(peer: Peer, asking: Coroutine[Any, Any, T]) -> T:
    """Wait for an answer as long as its peer lives. Raises PeerTimeoutError once it has been away for a while."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(asking)
    lived = loop.time()
    try:
        while not task.done():
            await asyncio.wait([task], timeout=LOOK_EVERY)
            if not peer.away:
                lived = loop.time()
            elif loop.time() > lived + ANSWER_WITHIN and not task.done():
                raise PeerTimeoutError(f"'{peer.name}' at {peer.address} doesn't answer any more: {peer.away}.")
        return task.result()
    finally:
        task.cancel()


async def _awake(peer: Peer, *, waits: bool) -> None:
    """Wait until a machine that is being woken answers, or isn't expected to any more; who doesn't wait is told."""
    if not waits:
        raise UnavailableError(f"'{peer.name}' sleeps, and is being woken: ask again when it is there.", retry_after=5)
    with suppress(TimeoutError):
        async with asyncio.timeout(peer.config.wake_timeout):
            # A peer tells `Peers` alone that it is back.
            while peer.away:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_EVERY)


def _longest(peers: Iterable[str], name: str) -> str | None:
    """Give the peer whose name this begins with; a peer's name may have slashes, too."""
    return max((each for each in peers if name.startswith(f"{each}/")), key=len, default=None)


async def _lines(following: AsyncGenerator[list[Any], None]) -> AsyncGenerator[list[LineTold], None]:
    async with aclosing(following):
        async for some in following:
            yield [each.told for each in some]


def together(models: Sequence[ModelTold]) -> dict[str, object]:
    """Describe the backends of one model at a peer as one: what they hold and do together, and the best of states."""
    if not models:
        return {}
    first = models[0]
    states = {each.state for each in models}
    return {
        "state": next((each.value for each in _FIRST if each.value in states), first.state),
        "engine": first.engine,
        "detail": first.detail,
        "pinned": all(each.pinned for each in models),
        "stays": all(each.stays for each in models),
        "footprint": _sum(each.footprint for each in models),
        "reserved": _sum(each.reserved for each in models),
        "source": first.source,
        "note": first.note,
        "in_flight": sum(each.in_flight for each in models),
        "waiting": sum(each.waiting for each in models),
        "idle": min((each.idle for each in models if each.idle is not None), default=None),
        "expires": max((each.expires for each in models if each.expires is not None), default=None),
        "failure": None if first.failure is None else first.failure.model_dump(),
    }


def _sum(held: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in held:
        total.update(each)
    return dict(total)
