"""All peers of this router: their models join and leave as backends here, and stand as they do there.

    Peer ──▶ news ──▶ picture: which models are backends here, how each stands ──▶ the fleet (join, leave), the plane
         ──▶ gone ──▶ all of them are out; what has no byte of an answer goes elsewhere, or is told after a while
         ──▶ beat ──▶ those in doubt have answered a probe; what they hold is being worked on

A peer that is away may return soon: requests without another backend wait for it, for `RETURNS_WITHIN`. One whose
machine sleeps is woken for them (`sleepers`). A router knows whether its engines work, so that is not judged here.
"""

import asyncio
from collections.abc import Iterator
from functools import partial
from math import inf
from typing import Final

import aiohttp
import structlog

from router.cluster.household import Guest, Home, Household, entry_of, silent_told, status_of, told_of, word_of
from router.cluster.peer import Hears, Peer
from router.cluster.picture import abilities_of, apis_of, recalled, standing, taken, to_recall
from router.config import BackendConfig
from router.core.admission import Cap
from router.core.catalog import Backend
from router.core.health import RETURNS_WITHIN, WELL
from router.core.load import Load
from router.core.retry import Failure
from router.proxy.plane import Plane
from router.proxy.resolve import Resolver
from router.proxy.watching.sleepers import Sleepers
from router.telemetry.logs import MODELS
from router.tls.trust import SYSTEM, Trust

log = structlog.get_logger(MODELS)

BREAKS_OFF: Final = 25.0
"""Seconds after `RETURNS_WITHIN` until answers break off that have begun: a network may be back, and they go on."""


class Peers(Hears):
    """The peers of one router. `sleepers` hears of those whose machines may sleep."""

    def __init__(self, plane: Plane, home: Home) -> None:
        self._plane = plane
        self._home = home
        self._households: dict[str, Household] = {}
        self._of: dict[Backend, Household] = {}
        self._session: aiohttp.ClientSession | None = None
        self._started = False
        self._ending: set[asyncio.Task[None]] = set()
        self.sleepers = Sleepers()
        self._on_doubt = plane.on_doubt
        plane.on_doubt = self._doubt

    # What there is

    @property
    def by_name(self) -> dict[str, Peer]:
        """The peers by their names in router.yaml."""
        return {name: each.peer for name, each in self._households.items()}

    def of(self, backend: str) -> tuple[Peer, str] | None:
        """Find the peer of a backend, by that one's name, and its own name for the model; None: it is no peer's."""
        for each in self._households.values():
            for name, guest in each.guests.items():
                if guest.backend.name == backend:
                    return each.peer, name
        return None

    def wakes(self, backend: str) -> bool:
        """Have the machine of a backend, by its name, woken if it sleeps; tell whether it is woken."""
        guests = (guest.backend for each in self._households.values() for guest in each.guests.values())
        return any(each.name == backend and self.sleepers.want(each) for each in guests)

    def silent(self) -> list[dict[str, object]]:
        """Describe those that have no model here, with the keys of `Member.told`: why that is, and no figures."""
        own = self._plane.directory.instance
        found = []
        for each in self._households.values():
            if not each.guests:
                same = [other.peer for other in self._others(each) if other.peer.instance == each.peer.instance]
                found.append(silent_told(each.peer, own, same[0].name if same else ""))
        return found

    def states(self) -> dict[str, dict[str, object]]:
        """Give what /admin/status has of each of their models, by the names of backends."""
        return {str(each["name"]): status_of(each) for each in self.models_told()}

    def models_told(self) -> list[dict[str, object]]:
        """Describe each of their models as plain data, with the keys of `router.fleet.telling`."""
        guests = ((each.peer, *guest) for each in self._households.values() for guest in each.guests.items())
        return [told_of(guest.backend, peer, name) for peer, name, guest in guests]

    # Peers that come and go

    def start(self) -> None:
        """Ask the peers; those that are added later are asked at once."""
        self._started = True
        for each in self._households.values():
            each.peer.start()

    async def stop(self) -> None:
        """Ask none any more."""
        peers = [each.peer.stop() for each in self._households.values()]
        await asyncio.gather(*peers, *self._ending, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def add(self, config: BackendConfig, trust: Trust = SYSTEM) -> Peer:
        """Have another peer. Its models join as it tells them."""
        if self._session is None:
            names = self._plane.connections.names
            connector = aiohttp.TCPConnector(limit=0, resolver=Resolver(names), use_dns_cache=False)
            self._session = aiohttp.ClientSession(connector=connector)
        peer = Peer(config, trust, self._plane.directory.instance, self._session, self)
        household = self._households[config.name] = Household(peer, trust, unknown=Backend(config.name))
        # Those that router.yaml names are known, though not how they stand.
        self._settle(household)
        self._begin_to_wait(household)
        if household.unknown is not None:
            self._plane.directory.awaits(household.unknown)
        if config.wake is not None:
            self.sleepers.recall(str(peer.address), partial(self._know_again, household))
        if self._started:
            peer.start()
        return peer

    def remove(self, name: str) -> None:
        """Have a peer no more; what its models have in flight may end."""
        household = self._households.pop(name)
        if household.unknown is not None:
            self._plane.directory.discovered(household.unknown)
        for model in list(household.guests):
            self._leave(household, model)
        task = asyncio.create_task(household.peer.stop(), name=f"end {name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        self._settle_all()

    def tune(self, config: BackendConfig, trust: Trust) -> None:
        """Take another entry for a peer that is asked in the same way."""
        household = self._households[config.name]
        household.peer.config, household.trust = config, trust
        for name, guest in household.guests.items():
            self._home.tune(entry_of(config, name, dict(guest.backend.models)), trust)
            guest.stands = None
        self._settle(household)

    def _know_again(self, household: Household, told: str) -> None:
        """Know again which models a peer had, until it tells itself: its machine may be asleep."""
        peer = household.peer
        if not peer.instance and peer.away and (found := recalled(told)):
            peer.models = {**found, **peer.models}
            self._settle(household)
            self._away(household)
            self._plane.directory.rebuild()

    # What is heard of a peer

    def _kept_of(self, peer: Peer) -> Household | None:
        """Give what is kept of a peer; None: it was removed, and another one may have its name."""
        household = self._households.get(peer.name)
        return household if household is not None and household.peer is peer else None

    def beat(self, peer: Peer) -> None:
        """Note that it lives, and looks after its engines."""
        household, now = self._kept_of(peer), self._plane.loop.time()
        if household is None:
            return
        for name, guest in household.guests.items():
            backend = guest.backend
            if guest.stands is None or guest.stands.out or name not in peer.models:
                continue
            if backend.health.absent:
                self._stand(household, guest, name)
            elif backend.health is not WELL:
                self._plane.succeeded(backend)
            if backend.in_flight:
                self._plane.worked(backend, now)
            self._publish(guest, name, peer)

    def gone(self, peer: Peer) -> None:
        """Take out all of its models; what has no byte of an answer goes elsewhere, where there is room."""
        household = self._kept_of(peer)
        if household is not None:
            household.known_as = ""
            self._begin_to_wait(household)
            self._leave_behind(household)
            # What it led to may be reached through others.
            self._settle_all()

    def waits(self, peer: Peer) -> None:
        """See whether requests still wait for it, and whether there is room elsewhere by now for those that it has."""
        household = self._kept_of(peer)
        if household is None:
            return
        healths = [each.backend.health for each in household.guests.values()]
        peer.sleeps = bool(healths) and all(each.asleep and not each.coming for each in healths)
        waited = self._plane.loop.time() < household.until
        if household.waited != waited or household.nobody != peer.nobody:
            household.waited = waited
            self._away(household)
        self._leave_behind(household)
        self._give_up(household)

    def _give_up(self, household: Household) -> None:
        """Tell those whose answer doesn't come: it was cut off without a word, or hangs."""
        late = self._plane.loop.time() - household.until
        for guest in household.guests.values() if late >= 0 else ():
            for each in self._plane.stalls.held_by(guest.backend) if guest.backend.in_flight else ():
                if late >= BREAKS_OFF or each.answer.first_byte_at is None:
                    each.fail(Failure.AWAY, guest.backend.health.reason)

    def _leave_behind(self, household: Household) -> None:
        now = self._plane.loop.time()
        for guest in household.guests.values():
            for each in self._plane.stalls.held_by(guest.backend) if guest.backend.in_flight else ():
                each.leave(now, "its router can't be reached")

    def news(self, peer: Peer) -> None:
        """Have its models stand here as they do there."""
        household = self._kept_of(peer)
        if household is None or peer.away:
            return
        household.until, household.waited = -inf, False
        if household.known_as != peer.instance or not peer.instance:
            household.known_as = peer.instance
            self._settle_all()
        else:
            self._settle(household)
        if peer.config.wake is not None:
            self.sleepers.remember(str(peer.address), to_recall(peer.models))
        if household.unknown is not None and peer.models:
            # Who asks for a name that it may have has waited for this.
            self._plane.directory.rebuild()
            self._plane.directory.discovered(household.unknown)
            household.unknown = None

    # While it is away

    def _begin_to_wait(self, household: Household) -> None:
        household.until, household.waited = self._plane.loop.time() + RETURNS_WITHIN, True
        self._away(household)

    def _away(self, household: Household) -> None:
        reason = f"its router can't be reached: {household.peer.away}"
        household.nobody = nobody = household.peer.nobody
        for guest in household.guests.values():
            guest.stands = None
            health = guest.backend.health
            if health.asleep and (nobody or health.coming):
                # Whoever wakes its machine says how it stands.
                continue
            self._plane.withdraw(guest.backend, reason, due=0.0 if household.waited else None)
            if nobody:
                self.sleepers.unreached(guest.backend)

    def _doubt(self, backend: Backend) -> None:
        """Ask a peer at once whether it lives, as a request failed there or waits for it."""
        household = self._of.get(backend)
        if household is None:
            self._on_doubt(backend)
        else:
            household.peer.poke()

    # Its models as backends here

    def _settle_all(self) -> None:
        for each in list(self._households.values()):
            if not each.peer.away:
                self._settle(each)

    def _settle(self, household: Household) -> None:
        """Have those of its models join that are wanted, and those leave that aren't any more."""
        peer, own = household.peer, self._plane.directory.instance
        others = {each.peer.instance for each in self._others(household) if not each.peer.away}
        twice = peer.instance != "" and (peer.instance == own or peer.instance in others)
        found = {} if twice else taken(peer.models, peer.config.models, own, others)
        for name in [each for each in household.guests if each not in found]:
            self._leave(household, name)
        for name, names in found.items():
            guest = household.guests.get(name) or self._join(household, name, names)
            if guest is not None:
                self._plane.learn_models(guest.backend, names)
                if not peer.away:
                    self._stand(household, guest, name)

    def _others(self, household: Household) -> Iterator[Household]:
        """Give the other peers; of those that are the same router, the ones that stand before this one."""
        before = True
        for each in self._households.values():
            if each is household:
                before = False
            elif before or each.peer.instance != household.peer.instance:
                yield each

    def _join(self, household: Household, name: str, names: dict[str, str]) -> Guest | None:
        backend = self._home.join(entry_of(household.peer.config, name, names), household.trust)
        if backend is None:
            return None
        self._of[backend] = household
        guest = household.guests[name] = Guest(backend)
        return guest

    def _leave(self, household: Household, name: str) -> None:
        guest = household.guests.pop(name)
        del self._of[guest.backend]
        self._home.leave(guest.backend.name)

    def _stand(self, household: Household, guest: Guest, name: str) -> None:
        """Have a backend stand as its model does there."""
        plane, peer, backend, now = self._plane, household.peer, guest.backend, self._plane.loop.time()
        served, before = peer.models[name], guest.stands
        stands = guest.stands = standing(served)
        self._describe(guest, name, peer)
        if stands.out:
            if before is None or before.out != stands.out:
                plane.withdraw(backend, stands.out, due=0.0 if stands.coming else None)
                log.info(f"{backend.name}: {stands.out}", backend=backend.name)
            return
        plane.ledger.loads(backend, stands.seconds, now, runs=stands.runs)
        if before is None or before.out or backend.health.absent:
            plane.serve(backend, peer.address, peer.api_key or "")
        if before is None or word_of(before) != word_of(stands):
            log.info(f"{backend.name}: {word_of(stands)}", backend=backend.name)
            plane.queues.offer_soon(backend)
        self._publish(guest, name, peer)

    def _describe(self, guest: Guest, name: str, peer: Peer) -> None:
        """Note what a model can do, how much it takes at once, and which routers requests for it pass."""
        plane, backend, served, config = self._plane, guest.backend, peer.models[name], peer.config
        most = min(config.max_in_flight or inf, served.max_in_flight or inf)
        if most != backend.cap.requests:
            plane.bound(backend, Cap(most, config.max_prompt_bytes or inf))
        apis = apis_of(served, backend.apis)
        if apis != backend.apis:
            plane.ledger.learn_apis(backend, apis)
        plane.directory.tell(backend, {name: abilities_of(served)})
        plane.directory.through[backend] = frozenset({peer.instance, *served.through} - {""})

    def _publish(self, guest: Guest, name: str, peer: Peer) -> None:
        """Note what others have there."""
        backend, served = guest.backend, peer.models[name]
        ours, guest.ended = backend.in_flight + backend.ended - guest.ended, backend.ended
        if served.backends:
            self._plane.published(backend, Load(served.in_flight, served.waiting), ours)
