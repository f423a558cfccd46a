"""The router's own certificate: loaded at the start, and again whenever its files change, for the connections to come.

A new one is taken only if it could be loaded whole and clients would take it. Otherwise the old one stays, and the log
says why. Connections that are open keep the one that they began with, so none is cut.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from router.config.keys.tls import ServerTlsConfig
from router.fleet.launches import StartError
from router.fleet.watch import Watcher
from router.telemetry.tasks import aside, for_ever
from router.tls.certificate import SOON, Certificate, files_of, load
from router.tls.faults import TlsError

log = structlog.get_logger("router")

_DAY = 86400.0

_OF_EACH = frozenset({"127.0.0.1", "::1", "localhost"})


def loaded(config: ServerTlsConfig, folder: Path) -> Certificate:
    """Load what a configuration names. Blocks. Raises StartError."""
    try:
        return load(*files_of(config, folder))
    except TlsError as error:
        raise StartError(f"server.tls.{error.key}: {error}", keys=[("server", "tls", error.key)]) from error


class Certificates:
    """Holds the certificate that new connections get, and follows its files. `folder` is router.yaml's own."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._now = now
        self._config: ServerTlsConfig | None = None
        self._taken: Certificate | None = None
        self._refused = ""
        self._watcher: Watcher | None = None
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def context(self) -> ssl.SSLContext:
        """The context of a connection that begins now."""
        assert self._taken is not None  # noqa: S101  (without one, nobody asks)
        return self._taken.context

    def host(self, host: str) -> str:
        """Give the name by which the router's own programs best call this host: one that the certificate has, if any.

        That may be another machine's, so it is another only for addresses that every machine has.
        """
        names = () if self._taken is None else self._taken.names
        if not names or host in names or host not in _OF_EACH:
            return host
        return "localhost" if "localhost" in names else next((name for name in names if "*" not in name), host)

    @property
    def ends(self) -> float | None:
        """When the certificate ends, in seconds since the epoch; None: there is none."""
        return None if self._taken is None else self._taken.ends

    @property
    def unknown(self) -> str:
        """The file with the certificate, if it is its own CA, so that clients have to be given it; else empty."""
        if self._taken is None or self._config is None or not self._taken.is_self_signed:
            return ""
        return str(files_of(self._config, self._folder)[0])

    async def check(self, config: ServerTlsConfig | None) -> None:
        """Raise StartError if what a configuration names can't be used."""
        if config is not None:
            await aside(loaded, config, self._folder)

    async def start(self, config: ServerTlsConfig | None) -> None:
        """Load the certificate, if there is to be one, and follow its files from now on. Raises StartError.

        One that has expired serves: with it, an admin who comes from this machine can see what is wrong.
        """
        if config is None:
            return
        # Before they are loaded, so that no change is missed.
        watcher = self._watcher = Watcher(files_of(config, self._folder), (), self._changed.set, "the certificate")
        self._config, self._taken = config, await aside(loaded, config, self._folder)
        log.info(f"certificate: {self._taken}")
        self._look_at_its_end()
        self._tasks = [
            asyncio.create_task(for_ever("the watch over the certificate", watcher.watch), name="watch certificate"),
            asyncio.create_task(for_ever("the reload of the certificate", self._follow), name="reload certificate"),
        ]

    def follow(self, config: ServerTlsConfig | None) -> None:
        """Take other files, as a reload says; whether there is TLS at all is decided at the start."""
        if config is not None and self._watcher is not None and config != self._config:
            self._config = config
            self._watcher.look_at(files_of(config, self._folder), ())
            self._changed.set()

    async def stop(self) -> None:
        """Follow the files no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_DAY):
                    await self._changed.wait()
            except TimeoutError:
                self._look_at_its_end()
            else:
                self._changed.clear()
                await self._renew()

    def _look_at_its_end(self) -> None:
        """Say that its time is over, or nearly so, and nothing has renewed it."""
        taken, now = self._taken, self._now()
        if taken is not None and (late := taken.late(now)):
            log.warning(f"server.tls.cert: {late}: clients refuse it")
        elif taken is not None and taken.ends - now < SOON:
            log.warning(f"server.tls.cert: it ends on {taken.until}, and nothing has renewed it yet")

    async def _renew(self) -> None:
        """Take the certificate that the files have now, if it is another one, and a good one."""
        config, before = self._config, self._taken
        if config is None or before is None:
            return
        try:
            new = await aside(partial(loaded, config, self._folder))
        except StartError as error:
            self._refuse(str(error))
            return
        if new.digest == before.digest:
            self._refused = ""
        elif late := new.late(self._now()):
            self._refuse(f"server.tls.cert: {config.cert}: {late}")
        else:
            self._taken, self._refused = new, ""
            log.info(f"new certificate: {new}; connections that are open keep the one before")

    def _refuse(self, why: str) -> None:
        """Keep the old one, and say so once."""
        if why != self._refused:
            log.error(f"the new certificate isn't taken, and the one before stays ({self._taken}): {why}")
        self._refused = why
