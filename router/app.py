"""The composition root: builds the parts from a configuration, starts and stops them in order.

Start:  plan the launches → know every backend → bind the port → stop leftovers → start the engines → probe
Reload: plan → compare with what runs → do the steps between them → take over the settings
Stop:   close the port → let requests in flight end, at most `drain_timeout` → stop the engines
Kill:   cut everything now

With server.keep_engines, engines run on at the end, and the next start takes them over.

The port is bound before any engine starts, so that a port in use costs no model's loading; requests that come
before a model is ready wait for it in its queue.
"""

import asyncio
import errno
import hashlib
import json
import logging
import os
import random
import shlex
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import structlog
from aiohttp import web

from launchers.engines import ENGINES, Engine
from launchers.leftovers import reap
from launchers.states import RestartPolicy
from profiles import Facts
from router.api.admin import Admin
from router.api.surface import Surface
from router.config import Config, KeyConfig
from router.config.redact import redacted
from router.core.access import Access, is_wide
from router.core.admission import Bounds
from router.core.catalog import Backend
from router.core.errors import NotFoundError
from router.core.health import Thresholds
from router.core.record import Record
from router.fleet.diff import Plan, Room, Step, steps
from router.fleet.fleet import Fleet
from router.fleet.launches import StartError
from router.fleet.planning import look, plan_of, room_beside, with_known_gpus
from router.fleet.reload import Reloader
from router.proxy.downstream import Client, Lane
from router.proxy.plane import Balancing, ExchangeLimits, Plane
from router.proxy.probe import Prober, ProbeTiming
from router.proxy.requests import Caller, Rules
from router.proxy.resolve import OWN_WITHIN, Names, fixed
from router.proxy.slow import SlowConnection, SlowLane, expect
from router.telemetry.access import AccessLog
from router.telemetry.logs import printable, tell, terminal_of
from router.telemetry.tasks import aside

log = structlog.get_logger("router")

_OTHER_FILES = 128  # logs, pipes to engines, probes
_MOST_ADMIN_BODY = 1024 * 1024


class App:
    """One router. `folder` is router.yaml's own: relative paths count from it.

    `engines`, `facts` and `names` (of hosts) stand in for what this machine has, `policy` for how engines are
    restarted, in tests. `files` is how many file descriptors this process may open, if that is bounded: each stream
    needs two. `reloader` is who watches router.yaml, where somebody does.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        *,
        engines: Mapping[str, Engine] = ENGINES,
        facts: Facts | None = None,
        files: int | None = None,
        random_source: random.Random | None = None,
        policy: RestartPolicy | None = None,
        reloader: Reloader | None = None,
        names: Names | None = None,
    ) -> None:
        chance = random_source or random.Random()  # noqa: S311  (it breaks ties; it keeps no secret)
        self.plan = Plan(config, {}, "")
        self.reloader = reloader
        self._config = config  # of the start, for what can't change
        self._folder = folder
        self._engines = engines
        self._facts = facts
        self._seen = facts  # the machine as it was looked at last
        self._logs = folder / config.logging.dir
        self._runner: web.AppRunner | None = None
        self._announced = False
        self.plane = Plane(
            _limits(config),
            _thresholds(config),
            _choice(config),
            draw=chance.randrange,
            on_record=self._log,
            on_stall=self._restart,
            names=names,
            on_want=self._want,
        )
        self.rules = Rules(chance)
        most = config.limits.max_connections
        self._room = most if files is None else min(most, room_for_clients(files))
        self.plane.spare_connections = self._room // 2
        self._access: AccessLog | None = None
        self._slow = SlowLane(self.plane, self.rules)
        self._lane: Lane | None = None
        self._server: asyncio.Server | None = None
        self._prober = Prober(self.plane, _rhythm(config), chance.random)
        self.fleet = Fleet(self.plane, self._prober, self._logs, self._announce, policy)
        self._set_up(config)

    def _set_up(self, config: Config) -> None:
        """Take a configuration's settings: what isn't a backend or a route, and can change at any time."""
        self.plane.set_up(_limits(config), _thresholds(config), _choice(config))
        self._prober.rhythm = _rhythm(config)
        self.fleet.set_up(drain_timeout=config.limits.drain_timeout)
        self.rules.set_up(
            max_body=config.limits.max_body,
            keys={each.key.get_secret_value(): _caller(each) for each in config.auth.keys},
            admin_keys=[key.get_secret_value() for key in config.auth.admin_keys],
            access=_access(config),
        )
        logging.getLogger().setLevel(config.logging.level.upper())

    @property
    def url(self) -> str:
        """Where the router can be reached from this machine; once it has started."""
        host, port = self._config.server.host, self._config.server.port
        if self._server is not None and self._server.sockets:
            port = self._server.sockets[0].getsockname()[1]
        if host in {"0.0.0.0", "::"}:  # every address: name one that works here
            host = "127.0.0.1"
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    # Start, and changes

    async def start(self) -> None:
        """Serve, and start the engines; returns before these are ready. Raises StartError."""
        plan = self._first_plan()
        await self.fleet.apply(steps(self.plan, plan, Room()), plan)
        self.plan = plan
        await self._bind()
        self._access = AccessLog(self._logs, terminal_of(sys.stderr) if sys.stderr.isatty() else None)
        log.info(f"listening at {self.url}")
        if self._room < self._config.limits.max_connections:
            log.info(f"room for {self._room} connections: this system's file limit allows no more (ulimit -n)")
        kept = [launch.spec.name for launch in plan.launches if launch.spec.keep]
        for leftover in await aside(reap, self._logs / "run", kept):
            log.warning(f"{leftover.name}: stopped what an earlier router had left running", pid=leftover.pid)
        if plan.launches:
            log.info(f"profile {plan.why}")
        self.fleet.start()
        if self.reloader is not None:
            self.reloader.start(self.reload)

    async def reload(self, config: Config) -> list[Step]:
        """Go over to another configuration; nothing that it doesn't change is touched. Gives the steps that it took.

        Raises StartError, and changes nothing, where it can't be run.
        """
        self._check_doors(config)
        looked = await aside(self._look)
        facts = self._seen = with_known_gpus(looked, self._seen)
        if facts is not looked and facts.gpus:
            log.warning(f"its GPUs can't be seen now, and are taken to be there: {'; '.join(looked.notes)}")
        plan = await aside(plan_of, config, self._folder, self._engines, facts, self.plan)
        room = await aside(room_beside, self.fleet.pids, facts)
        todo = await aside(steps, self.plan, plan, room)
        self._set_up(config)
        await self.fleet.apply(todo, plan)
        self.fleet.revive()
        self.plan = plan
        return todo

    def _first_plan(self) -> Plan:
        """Plan what runs. Where no GPU is seen though there may be one, that is said: it may be all that is wrong."""
        seen = self._seen = self._look()
        notes = () if seen.gpus else seen.notes
        try:
            plan = plan_of(self._config, self._folder, self._engines, seen)
        except StartError as error:
            raise StartError(*error.problems, *notes) from error
        for note in notes:
            log.warning(note)
        return plan

    def _look(self) -> Facts:
        return self._facts or look(self._engines)

    async def _bind(self) -> None:
        where, slow = self._config.server, self._slow
        app = web.Application(middlewares=[slow.guard], client_max_size=_MOST_ADMIN_BODY)
        app.add_routes([*Surface(self.plane, slow.may_look).routes(), *Admin(self).routes()])
        app.router.add_post("/v1/{rest:.*}", slow.proxy, expect_handler=expect)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        server = cast("web.Server", self._runner.server)
        lane = self._lane = Lane(
            self.plane, self.rules, lambda left: SlowConnection(server, self.rules, left), room=self._room
        )
        try:
            self._server = await _listening(lambda: Client(lane), where.host, where.port, self.plane.names)
            self._check_doors(self._config)
            await self._server.start_serving()
        except (OSError, StartError) as error:
            if self._server is not None:
                self._server.close()
            lane.close()
            await self._runner.cleanup()
            if isinstance(error, StartError):
                raise
            raise StartError(_why_not_bound(error, where.host, where.port)) from error

    def _check_doors(self, config: Config) -> None:
        """Raise StartError where other machines reach the port, and nothing says who of them may ask.

        What router.yaml says of an address is checked with it; but a name may stand for any, and the port of the start
        stays open whatever a reload says.
        """
        sockets = () if self._server is None else self._server.sockets
        wide = [address for each in sockets if is_wide(address := each.getsockname()[0])]
        if wide and not config.auth.keys and not config.auth.open:
            raise StartError(
                f"server.host: {self._config.server.host} lets other machines in, at {', '.join(wide)}, and nothing "
                "says who of them may ask. Set auth.keys, or auth.open: true if all of them may; or start the router "
                "with server.host: 127.0.0.1"
            )

    def _want(self, backend: Backend) -> bool:
        return self.fleet.want(backend)

    def _restart(self, backend: Backend) -> None:
        self.fleet.restart(backend)

    def _announce(self) -> None:
        """Say once, when the engines have settled, what can be asked for and how."""
        ready = [listing.name for listing in self.plane.catalog.listing() if listing.ready]
        if self._announced:
            return
        self._announced = True
        tell(welcome(self.url, ready, with_key=bool(self.plan.config.auth.keys)))

    # What /admin asks

    def status(self) -> object:
        """Tell of every backend, of who waits, and of the last reload."""
        last = None if self.reloader is None else self.reloader.last
        return {
            "backends": self.fleet.told(),
            "queues": self.plane.queues(),
            "reload": None if last is None else last.told(),
        }

    def explain(self, model: str, size: int) -> object:
        """Tell where a request of so many bytes would go now, and why."""
        return self.plane.explain(model, size)

    def configuration(self) -> object:
        """Give the configuration that is in force, without its secrets."""
        return redacted(self.plan.config)

    async def read_again(self) -> tuple[bool, object]:
        """Take over what router.yaml says now."""
        if self.reloader is None:
            raise NotFoundError("This router was started without a file that it could read again.")
        last = await self.reloader.reload()
        return not last.problems, last.told()

    # Stop

    async def stop(self) -> None:
        """Take no new requests, let those in flight end, stop the engines."""
        await self._close_port()
        await self._drained(self.plan.config.limits.drain_timeout)
        await self._prober.stop()
        await self.fleet.stop()
        await self._close()

    async def _drained(self, seconds: float) -> None:
        exchanges = self.plane.exchanges
        if exchanges:
            log.info(f"{len(exchanges)} requests in flight may end within {seconds:g} s; Ctrl-C again stops now")
        until = time.monotonic() + seconds
        while exchanges or self._slow.under_way or (self._lane is not None and self._lane.busy):
            if time.monotonic() > until:
                log.warning(f"{len(exchanges)} requests are cut: they were still in flight after {seconds:g} s")
                return
            await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Stop now: cut every request, kill every engine."""
        await self._close_port()
        await self.fleet.kill(keep=self._config.server.keep_engines)
        await self._prober.stop()
        await self._close()

    async def _close_port(self) -> None:
        self.rules.draining = True
        if self.reloader is not None:
            await self.reloader.stop()
        if self._server is not None:
            self._server.close()

    async def _close(self) -> None:
        self.plane.close()
        if self._lane is not None:
            self._lane.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._access is not None:
            self._access.close()

    def _log(self, record: Record) -> None:
        """Write a line for each exchange, and a warning for one that went wrong."""
        if self._access is not None:
            self._access.write(record)
        if record.outcome != "answered":
            log.warning(
                f"POST {record.path}: {printable(record.outcome)}",
                status=record.status,
                model=record.model,
                backend=record.backend,
                seconds=round(record.duration, 3),
                attempts=record.attempts,
                request_id=record.id,
            )


async def _listening(client: Callable[[], Client], host: str, port: int, names: Names) -> asyncio.Server:
    """Bind the port, and serve nobody yet. `::` is every address, also of IPv4; where there is no IPv6, these alone."""
    loop, listening = asyncio.get_running_loop(), None
    if host == "::":
        try:
            listening = socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise
            host = "0.0.0.0"
    if listening is not None:
        return await loop.create_server(client, sock=listening, backlog=4096, start_serving=False)
    hosts = host if not host or fixed(host) else await names.addresses(host, OWN_WITHIN)
    return await loop.create_server(
        client, hosts, port, backlog=4096, reuse_address=os.name == "posix", start_serving=False
    )


def room_for_clients(files: int) -> int:
    """Tell how many clients' connections this many file descriptors allow, each with one to a backend."""
    return max(1, (files - _OTHER_FILES) // 2)


def _limits(config: Config) -> ExchangeLimits:
    limits = config.limits
    return ExchangeLimits(
        limits.retries,
        limits.connect_timeout,
        limits.first_byte_timeout,
        limits.idle_timeout,
        config.health.stall_after,
    )


def _access(config: Config) -> Access:
    """Who may ask without a key; a name that the router listens at is its own."""
    server = config.server
    return Access((server.host, *server.hosts), server.cors, is_open=config.auth.open)


def _thresholds(config: Config) -> Thresholds:
    health = config.health
    return Thresholds(
        health.unhealthy_after, health.healthy_after, health.error_rate, trial=health.trial, slow_start=health.ramp
    )


def _choice(config: Config) -> Balancing:
    limits, keys = config.limits, config.auth.keys
    weights = {_caller(key).name: key.weight for key in keys}
    bounds = Bounds(limits.max_queue, queue_timeout=limits.queue_timeout, weights=weights)
    return Balancing(
        config.balance.policy, config.balance.affinity, config.balance.retry_share, bounds, config.balance.hedge_after
    )


def _caller(key: KeyConfig) -> Caller:
    """Tell whose a key is: by its name, or by a few letters of its digest, which tell keys apart and give none away."""
    secret = key.key.get_secret_value().encode()
    return Caller(key.name or hashlib.sha256(secret).hexdigest()[:8], key.priority)


def _rhythm(config: Config) -> ProbeTiming:
    return ProbeTiming(config.health.interval, config.health.timeout, config.health.stall_after)


def _why_not_bound(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"server.port: {port} is in use by another program. Stop that one, or take another port: "
            f"set server.port in router.yaml, or start with ROUTER_SERVER__PORT={port + 1}"
        )
    return f"server: can't listen at {host}:{port}: {error.strerror or error}. Set server.host and server.port"


def welcome(url: str, ready: list[str], *, with_key: bool) -> str:
    """Write what a person needs next: the address, and a line to try. A key is asked for, not shown."""
    if not ready:
        return f"\nThe router is at {url}/v1, but no model can be served yet: see {url}/ready\n"
    ask = {"model": ready[0], "max_tokens": 40, "messages": [{"role": "user", "content": "Hello"}]}
    body = shlex.quote(json.dumps(ask))  # a name that another machine made up must not leave its quotes
    key = " -H 'authorization: Bearer YOUR_KEY'" if with_key else ""
    return (
        f"\nReady at {url}/v1 with {', '.join(map(printable, ready))}. Try:\n\n"
        f"  curl {url}/v1/chat/completions -H 'content-type: application/json'{key} \\\n    -d {body}\n"
    )
