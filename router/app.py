"""The composition root: builds the parts from a configuration, starts and stops them in order.

Start:  plan the launches → know every backend → bind the port → stop leftovers → start the engines → probe
Stop:   close the port → let requests in flight end, at most `drain_timeout` → stop the engines
Kill:   cut everything now

With server.keep_engines, engines run on at the end, and the next start takes them over.

The port is bound before any engine starts, so that a port in use costs no model's loading; requests that come
before a model is ready are told so.
"""

import asyncio
import errno
import json
import os
import random
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from launchers.engines import ENGINES, Engine
from launchers.errors import UnfitRequestError
from launchers.leftovers import reap
from launchers.states import State
from launchers.supervisor import Status, Supervisor
from profiles import Facts, gather
from router.api.surface import Surface
from router.config import Backend as BackendConfig
from router.config import Config
from router.core.catalog import Backend
from router.core.errors import BadRequestError
from router.core.health import Thresholds
from router.core.record import Record
from router.launches import Launch, StartError, plan_launches
from router.proxy.downstream import Client, Lane
from router.proxy.plane import Limits, Plane
from router.proxy.pool import Address
from router.proxy.probe import Prober, Target
from router.proxy.requests import Rules
from router.proxy.slow import Connection, SlowLane, expect
from router.telemetry.access import AccessLog
from router.telemetry.logs import printable

log = structlog.get_logger("router")

_OTHER_FILES = 128  # logs, pipes to engines, probes

_PORTS = {"http": 80, "https": 443}


class App:
    """One router. `folder` is router.yaml's own: relative paths count from it.

    `engines` and `facts` stand in for what this machine has, in tests. `files` is how many file descriptors this
    process may open, if that is bounded: each stream needs two.
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
    ) -> None:
        chance = random_source or random.Random()  # noqa: S311  (it breaks ties; it keeps no secret)
        limits, health = config.limits, config.health
        self._config = config
        self._folder = folder
        self._engines = engines
        self._facts = facts or gather(
            {name: engine.module for name, engine in engines.items()},
            {name: engine.program for name, engine in engines.items() if engine.program is not None},
        )
        self._logs = folder / config.logging.dir
        self._supervisors: list[Supervisor] = []
        self._restarts: dict[str, Callable[[], None]] = {}  # of what was launched here
        self._runner: web.AppRunner | None = None
        self._announced = False
        self.plane = Plane(
            Limits(
                limits.retries,
                limits.connect_timeout,
                limits.first_byte_timeout,
                limits.idle_timeout,
                health.stall_after,
            ),
            Thresholds(health.unhealthy_after, health.healthy_after),
            config.targets,
            draw=chance.randrange,
            on_record=self._log,
            on_stall=self._restart,
        )
        keys = [each.key.get_secret_value() for each in config.auth.keys]
        self.rules = Rules(max_body=limits.max_body, keys=keys, source=chance)
        self._room = limits.max_connections if files is None else min(limits.max_connections, room_for_clients(files))
        self._access: AccessLog | None = None
        self._slow = SlowLane(self.plane, self.rules)
        self._lane: Lane | None = None
        self._server: asyncio.Server | None = None
        self._prober = Prober(
            self.plane,
            interval=health.interval,
            timeout=health.timeout,
            uniform=chance.random,
            stall_after=health.stall_after,
        )

    @property
    def url(self) -> str:
        """Where the router can be reached from this machine; once it has started."""
        host, port = self._config.server.host, self._config.server.port
        if self._server is not None and self._server.sockets:
            port = self._server.sockets[0].getsockname()[1]
        if host in {"0.0.0.0", "::"}:  # every address: name one that works here
            host = "127.0.0.1"
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    # Start

    async def start(self) -> None:
        """Serve, and start the engines; returns before these are ready. Raises StartError."""
        why, launches = plan_launches(self._config, self._folder, self._engines, self._facts)
        targets = [self._add_remote(backend) for backend in self._config.backends if backend.url is not None]
        targets += [self._add_launched(launch) for launch in launches]  # known, so that no request meets a 404
        await self._bind()
        self._access = AccessLog(self._logs, sys.stderr if sys.stderr.isatty() else None)
        log.info(f"listening at {self.url}")
        if self._room < self._config.limits.max_connections:
            log.info(f"room for {self._room} connections: this system's file limit allows no more (ulimit -n)")
        kept = [launch.spec.name for launch in launches if launch.spec.keep]
        for leftover in await asyncio.to_thread(reap, self._logs / "run", kept):
            log.warning(f"{leftover.name}: stopped what an earlier router had left running", pid=leftover.pid)
        if launches:
            log.info(f"profile {why}")
        for launch, supervisor in zip(launches, self._supervisors, strict=True):
            log.info(f"{launch.spec.name}: {launch.why}")
            supervisor.start()
        self._prober.start(targets)
        if not launches:
            self._announce()

    async def _bind(self) -> None:
        where, slow = self._config.server, self._slow
        app = web.Application(middlewares=[slow.guard], client_max_size=self.rules.max_body + 1)
        app.add_routes(Surface(self.plane).routes())
        app.router.add_post("/v1/{rest:.*}", slow.proxy, expect_handler=expect)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        server = cast("web.Server", self._runner.server)
        lane = self._lane = Lane(
            self.plane, self.rules, lambda left: Connection(server, self.rules, left), room=self._room
        )
        try:
            self._server = await lane.loop.create_server(
                lambda: Client(lane), where.host, where.port, backlog=4096, reuse_address=os.name == "posix"
            )
        except OSError as error:
            lane.close()
            await self._runner.cleanup()
            raise StartError(_why_not_bound(error, where.host, where.port)) from error

    def _add_remote(self, config: BackendConfig) -> Target:
        backend = Backend(config.name, dict(config.models), config.weight)
        key = config.api_key.get_secret_value() if config.api_key else None
        self.plane.add(backend, address_of(config.url or ""), key)
        return Target(backend, discovers=not config.models)

    def _add_launched(self, launch: Launch) -> Target:
        spec, engine = launch.spec, launch.engine
        models = dict.fromkeys(launch.backend.models, spec.served_name)
        backend = Backend(
            spec.name,
            models,
            launch.backend.weight,
            uuid_request_ids=engine.uuid_request_ids,
            put_right=_right_for(engine) if engine.puts_right else None,
        )
        self.plane.add(backend)
        self.plane.withdraw(backend, "not started yet")
        supervisor = Supervisor(
            spec,
            engine,
            logs=self._logs,
            on_change=lambda status: self._changed(backend, status),
            python=launch.python,
        )
        self._supervisors.append(supervisor)
        self._restarts[backend.name] = supervisor.restart
        return Target(backend, engine.ready_path, launched=True)

    def _changed(self, backend: Backend, status: Status) -> None:
        """Take the supervisor's word for a launched backend, and tell people."""
        if status.state is State.RUNNING and status.address is not None:
            self.plane.serve(backend, Address(*status.address))
        else:
            self.plane.withdraw(backend, status.detail)
        if status.state in {State.BACKOFF, State.FATAL}:
            said = "".join(f"\n    | {line}" for line in status.last_lines[-10:])
            log.error(f"{status.name}: {status.detail}{said}")
        else:
            log.info(f"{status.name}: {status.detail}")
        if all(each.status.state in {State.RUNNING, State.FATAL} for each in self._supervisors):
            self._announce()

    def _restart(self, backend: Backend) -> None:
        """Restart an engine that has stalled, if it is ours."""
        restart = self._restarts.get(backend.name)
        if restart is not None:
            restart()

    def _announce(self) -> None:
        """Say once, when the engines have settled, what can be asked for and how."""
        ready = [listing.name for listing in self.plane.catalog.listing() if listing.ready]
        if self._announced:
            return
        self._announced = True
        with suppress(OSError):  # a closed terminal, a full disk: nobody reads it then
            print(welcome(self.url, ready, with_key=bool(self._config.auth.keys)), flush=True)  # noqa: T201

    # Stop

    async def stop(self) -> None:
        """Take no new requests, let those in flight end, stop the engines."""
        self._close_port()
        await self._drained(self._config.limits.drain_timeout)
        await self._prober.stop()
        await asyncio.gather(*(supervisor.leave() for supervisor in self._supervisors))
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
        self._close_port()
        keep = self._config.server.keep_engines
        await asyncio.gather(*(each.leave() if keep else each.kill() for each in self._supervisors))
        await self._prober.stop()
        await self._close()

    def _close_port(self) -> None:
        self.rules.draining = True
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


def room_for_clients(files: int) -> int:
    """Tell how many clients' connections this many file descriptors allow, each with one to a backend."""
    return max(1, (files - _OTHER_FILES) // 2)


def _right_for(engine: Engine) -> Callable[[str, bytes], bytes]:
    """Have an engine put requests right; one that it must not get is its client's mistake."""

    def put_right(path: str, body: bytes) -> bytes:
        try:
            return engine.put_right(path, body)
        except UnfitRequestError as error:
            raise BadRequestError(error.message, param=error.param) from error

    return put_right


def address_of(url: str) -> Address:
    """Read a backend's URL; a /v1 at its end, as OpenAI's clients are given it, means the same without."""
    parts = urlsplit(url)
    base = parts.path.rstrip("/").removesuffix("/v1")
    return Address(parts.hostname or "", parts.port or _PORTS[parts.scheme], parts.scheme == "https", base)


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
