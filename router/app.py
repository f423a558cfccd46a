"""The composition root: builds the parts from a configuration, starts and stops them in order.

Start:  plan the launches → know every backend → bind the port → stop leftovers → start the engines → probe
Reload: plan → compare with what runs → do the steps between them → take over the settings
Stop:   take nothing new, but let admins of this machine look and cancel → let requests in flight end, at most
        `drain_timeout` → stop the engines
Kill:   cut everything now

With server.keep_engines, engines run on at the end, and the next start takes them over.

The port is bound before any engine starts, so that a port in use costs no model's loading; requests that come
before a model is ready wait for it in its queue.
"""

import asyncio
import logging
import random
import time
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

import structlog

from launchers.engines import ENGINES, Engine
from launchers.leftovers import reap
from launchers.states import RestartPolicy
from profiles import Facts
from router import settings
from router.api.ollama import Ollama
from router.api.page import Page
from router.api.surface import Surface, servable
from router.certificates import Certificates
from router.config import BackendConfig, Config
from router.config.versions import Versions
from router.core.catalog import Backend
from router.ended import Ended
from router.fleet.diff import Plan, Room, Step, runs_twice, steps
from router.fleet.fleet import Fleet
from router.fleet.launches import StartError
from router.fleet.overrides import Key, Overrides
from router.fleet.planning import look, plan_of, room_beside, with_known_gpus
from router.fleet.reload import Reloader
from router.listener import Listener, is_scarce, room_for_clients
from router.management.devices import Devices
from router.management.endpoints import endpoints
from router.management.figures import Figures
from router.management.history import Historian
from router.management.machine import Machine
from router.management.metrics import CatalogNames
from router.management.usage import Usage
from router.proxy.charging import Charging
from router.proxy.plane import Plane
from router.proxy.requests import Rules
from router.proxy.resolve import Names
from router.proxy.uploads import STOP_WITHIN
from router.proxy.watching.probe import Prober
from router.store.store import Store
from router.telemetry import logs
from router.telemetry.feed import Feed, FeedHandler
from router.telemetry.logs import tell
from router.telemetry.metrics import Metrics
from router.telemetry.tasks import aside
from router.welcome import welcome

log = structlog.get_logger("router")

LOOK_EVERY = 0.02
"""Seconds between two looks whether the requests in flight have ended."""


class App:
    """One router. `folder` is router.yaml's own: relative paths count from it.

    `files` is how many file descriptors this process may open, if that is bounded: each stream needs two. `reloader`
    watches router.yaml, if there is a file to watch. Tests give `engines`, `facts` and `names` (of hosts) instead of
    what this machine has, and `policy` for how engines are restarted.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        *,
        engines: Mapping[str, Engine] = ENGINES,
        facts: Facts | None = None,
        files: int | None = None,
        policy: RestartPolicy | None = None,
        reloader: Reloader | None = None,
        names: Names | None = None,
    ) -> None:
        chance = random.Random()  # noqa: S311 -- it breaks ties; it keeps no secret
        self.plan = Plan(config, {}, "")
        self.overrides = Overrides(config)
        # One change at a time.
        self._changing = asyncio.Lock()
        self.reloader = reloader
        # Of the start, for settings that can't change.
        self._config = config
        self.folder = folder
        self._engines = engines
        self._facts = facts
        # The machine, as it was looked at last.
        self._seen = facts
        self._logs = folder / config.logging.dir
        self._announced = False
        self._ended = Ended()
        self._feed = FeedHandler(Feed())
        self.plane = Plane(
            settings.exchange_limits(config),
            settings.thresholds(config),
            settings.balancing(config),
            draw=chance.randrange,
            on_record=self._ended.take,
            on_stall=self._restart,
            names=names,
            on_want=self._want,
        )
        self.rules = Rules(chance)
        charging = self.rules.charging = Charging(self.plane.loop.time)
        self.rules.nameless = self._nameless
        most = config.limits.max_connections
        room = most if files is None else min(most, room_for_clients(files))
        self.plane.connections.spare = room // 2
        self.certificates = Certificates(folder)
        self.listener = Listener(config.server, self.plane, self.rules, room=room, shown=self.certificates)
        self._prober = Prober(self.plane, settings.probe_timing(config), chance.random)
        self.fleet = Fleet(
            self.plane, self._prober, self._logs, self._announce, policy, Store(folder / config.state.dir), folder
        )
        devices = Devices(self.fleet)
        self.fleet.held = devices.held
        self._historian = Historian(self.plane, Machine(devices))
        self._ended.counters.append(self._historian.history.ended)
        self._ended.count(Usage(self.plane, folder / config.state.dir, self._entry_of), charging)
        self._set_up(config)

    def _set_up(self, config: Config) -> None:
        """Take a configuration's settings: what isn't a backend or a route, and can change at any time."""
        self.plane.set_up(settings.exchange_limits(config), settings.thresholds(config), settings.balancing(config))
        self._prober.timing = settings.probe_timing(config)
        self.fleet.set_up(drain_timeout=config.limits.drain_timeout, weights=settings.weights(config))
        self.rules.set_up(
            max_body=config.limits.max_body,
            max_uploads=config.limits.max_uploads,
            keys=settings.keys(config),
            admins=settings.admins(config),
            access=settings.access(config),
            beside=settings.paths(config),
        )
        traces = config.telemetry.traces
        self.rules.tracing = self._ended.traces.set_up(traces.endpoint or "", traces.share)
        self.rules.capture = settings.captures(config, self.rules.capture)
        self.listener.slow.opened = settings.opened(config)
        form, rotation = logs.Form(config.logging.format), settings.rotation(config)
        logs.set_up(config.logging.level, form, rotation)
        self._ended.set_up(form, rotation)

    @property
    def url(self) -> str:
        """Where the router can be reached from this machine; once it has started."""
        return self.listener.url

    def watch_loop(self) -> None:
        """Say from now on what holds the event loop up."""
        self._historian.machine.lag.watch()

    # Start, and changes

    async def start(self) -> None:
        """Serve, and start the engines; returns before these are ready. Raises StartError."""
        logging.getLogger().addHandler(self._feed)
        plan = self._first_plan()
        await self.certificates.start(self._config.server.tls)
        await self.fleet.apply(steps(self.plan, plan, Room()), plan)
        self.plan = plan
        await self._ended.budgets.remember()
        await self._bind()
        self._ended.start(self._logs)
        log.info(f"listening at {self.url}")
        if self.listener.ollama_url:
            log.info(f"listening at {self.listener.ollama_url}, too, for Ollama's clients")
        if is_scarce(self.listener.room, self._config.limits):
            log.info(f"room for {self.listener.room} connections: this system's file limit allows no more (ulimit -n)")
        kept = [launch.spec.name for launch in plan.launches if launch.spec.keep]
        for leftover in await aside(reap, self._logs / "run", kept):
            log.warning(f"{leftover.name}: stopped what an earlier router had left running", pid=leftover.pid)
        if plan.launches:
            log.info(f"profile {plan.why}")
        self.fleet.start()
        self._historian.start()
        if self.reloader is not None:
            self.reloader.start(self.reload, Versions(self.folder / self._config.state.dir / "versions"))

    async def reload(self, config: Config) -> list[Step]:
        """Go over to another configuration; nothing that it doesn't change is touched. Gives the steps that it took.

        Raises StartError, and changes nothing, where it can't be run.
        """
        async with self._changing:
            before = self.overrides
            todo = await self._go_over(before.over(config))
            for each in before.ended(self.overrides):
                log.info(f"as router.yaml says again, as its entry has changed: {each}")
            self.fleet.revive()
        return todo

    async def override(self, backends: Collection[str], key: Key, value: int, by: str) -> None:
        """Change a key of launches without touching the file; `by` is the admin's name. Raises StartError."""
        async with self._changing:
            entries = [each for each in self.overrides.written.backends if each.name in backends]
            await self._go_over(self.overrides.add(entries, key, value, by, time.time()))

    async def _go_over(self, overrides: Overrides) -> list[Step]:
        """Run another configuration. Raises StartError, and changes nothing, where it can't be run."""
        config = overrides.config
        plan, todo = await self._steps_to(config)
        self._set_up(config)
        await self._ended.budgets.remember()
        self.certificates.follow(config.server.tls)
        await self.fleet.apply(todo, plan)
        self.plan = plan
        self._ended.usage.set_up()
        self._lay(overrides.within(plan.backends))
        return todo

    def _lay(self, overrides: Overrides) -> None:
        """Have admins' changes of what router.yaml says; those of its keys are in the plan that runs."""
        self.overrides = overrides
        self.fleet.hold({each.backend: each.by for each in overrides.drained})

    async def drain(self, name: str, by: str | None) -> None:
        """Send a backend nothing more, as this admin wants it; None: send it requests again."""
        async with self._changing:
            entry = self.fleet.entry_of(name)
            if by is None:
                self._lay(self.overrides.undrain(name))
            elif entry is not None:  # it was not taken out meanwhile
                self._lay(self.overrides.drain(entry, name, by, time.time()))

    async def preview(self, config: Config) -> list[Step]:
        """Tell what `reload` would do, and do nothing. Raises StartError."""
        return (await self._steps_to(self.overrides.over(config).config, quiet=True))[1]

    async def _steps_to(self, config: Config, *, quiet: bool = False) -> tuple[Plan, list[Step]]:
        """Plan a configuration, and find the steps to it from what runs. Raises StartError."""
        self.listener.check(config.auth)
        await self.certificates.check(config.server.tls)
        looked = await aside(self._look)
        facts = self._seen = with_known_gpus(looked, self._seen)
        if facts is not looked and facts.gpus:
            log.warning(f"its GPUs can't be seen now, and are taken to be there: {'; '.join(looked.notes)}")
        planned = partial(plan_of, config, self.folder, self._engines, facts, self.plan, quiet=quiet)
        plan = await aside(planned)
        room = await aside(room_beside, self.fleet.pids, facts)
        return plan, await aside(steps, self.plan, plan, room)

    async def restart(self, name: str) -> None:
        """Start a launched engine afresh: as a change of its entry would, and so that no answer is cut."""
        async with self._changing:
            room = await aside(room_beside, self.fleet.pids, self._seen or self._look())
            # It may have been taken out meanwhile.
            if (planned := self.plan.backends.get(name)) is not None:
                self.fleet.restart_gently(planned, name, new_first=runs_twice(planned, room))
                self._lay(self.overrides)

    def _first_plan(self) -> Plan:
        """Plan what runs. Where no GPU is seen though there may be one, that is said: it may be all that is wrong."""
        seen = self._seen = self._look()
        notes = () if seen.gpus else seen.notes
        try:
            plan = plan_of(self._config, self.folder, self._engines, seen)
        except StartError as error:
            raise StartError(*error.problems, *notes) from error
        for note in notes:
            log.warning(note)
        return plan

    def _look(self) -> Facts:
        return self._facts or look(self._engines)

    async def _bind(self) -> None:
        slow = self.listener.slow
        surface = Surface(self.plane, slow.may_look, slow.shows_key, slow.key_of)
        ollama = Ollama(lambda: self.plane.catalog, self.fleet.models_told, surface.abilities_of, slow.key_of)
        names, machine = CatalogNames(self.plane), self._historian.machine
        counted, refusals = Metrics(names), self.rules.refusals
        figures = Figures(
            counted, self.plane, self.fleet, machine, refusals, self.reloader, self.certificates, self._ended.flush
        )
        self._ended.traces.names = names
        self._ended.counters.append(counted.ended)
        managed = endpoints(
            self.fleet,
            self.plane,
            self._ended.recent,
            self._historian,
            self._ended.usage,
            self._ended.budgets,
            self._feed.feed,
            self._logs,
            figures,
            lambda: self.rules.capture,
            lambda: self.rules.gate,
            router=self,
            reloader=self.reloader,
        )
        await self.listener.bind([*surface.routes(), *Page().routes(), *managed, *ollama.routes()], self._config.auth)

    def _entry_of(self, backend: str) -> BackendConfig | None:
        member = self.fleet.members.get(backend)
        return None if member is None else member.planned.config

    def _want(self, backend: Backend) -> bool:
        return self.fleet.want(backend)

    def _nameless(self) -> str:
        return self.plane.catalog.nameless()

    def _restart(self, backend: Backend) -> None:
        self.fleet.restart(backend)

    def _announce(self) -> None:
        """Say when the engines have settled what can be asked for and how: once, and again with the first models."""
        if self._announced:
            return
        self._announced = True
        self.plane.directory.on_news = self._announce_models
        if not servable(self.plane):
            tell(welcome(self.url, [], with_key=False))
        self._announce_models()

    def _announce_models(self) -> None:
        """Say once which models are served, as soon as there is one."""
        ready = servable(self.plane)
        if ready:
            self.plane.directory.on_news = lambda: None
            with_key = bool(self.plan.config.auth.keys)
            tell(welcome(self.url, ready, with_key=with_key, cert=self.certificates.unknown))

    # Stop

    async def stop(self) -> None:
        """Take no new requests, let those in flight end, stop the engines."""
        seconds = self.plan.config.limits.drain_timeout
        await self._take_nothing_new()
        await self.listener.narrow(seconds)
        await self._drained(seconds)
        await self._prober.stop()
        await self.fleet.stop()
        await self._close()

    async def _drained(self, seconds: float) -> None:
        exchanges = self.plane.exchanges
        if exchanges:
            log.info(f"{len(exchanges)} requests in flight may end within {seconds:g} s; Ctrl-C again stops now")
        began = time.monotonic()
        until = began + seconds
        while exchanges or self.listener.busy:
            if time.monotonic() > began + STOP_WITHIN:
                self.listener.refuse_unread()
            if time.monotonic() > until:
                log.warning(f"{len(exchanges)} requests are cut: they were still in flight after {seconds:g} s")
                return
            await asyncio.sleep(LOOK_EVERY)

    async def kill(self) -> None:
        """Stop now: cut every request, kill every engine."""
        await self._take_nothing_new()
        self.listener.close_port()
        await self.fleet.kill(keep=self._config.server.keep_engines)
        await self._prober.stop()
        await self._close()

    @property
    def stops_in(self) -> float | None:
        """Seconds until what is still in flight is cut; None: the router doesn't stop."""
        return self.listener.stops_in

    async def _take_nothing_new(self) -> None:
        self.rules.draining = True
        if self.reloader is not None:
            await self.reloader.stop()

    async def _close(self) -> None:
        self._feed.feed.close()
        logging.getLogger().removeHandler(self._feed)
        self._historian.stop()
        self.plane.close()
        await self.certificates.stop()
        await self.listener.close()
        self._ended.close()
        await self._ended.usage.tally.close()
