"""One router that this one has as a peer: whether it can be reached, and what it tells of its models.

    reached: asked each second whether it lives ──▶ no answer, or none in time ──▶ away: asked again and again, on new
       ▲                                                                           connections, until it answers
       └──────────────────────────────── it answers ◀──────────────────────────────────────┘

While it can be reached, its models are followed: by one subscription to its events, with `admin_key`, which tells of
those that `api_key` may use; else, and where it has no such events, by its list of models. What it tells is its
`models`, by its own names; whoever `hears` is told of each change. A subscription that ends is begun anew, and tells
all there is at first, so no change is missed.

A router answers at once whether it lives, however busy its engines are, and looks after these itself. So one that
doesn't answer within `PATIENCE` is cut off.
"""

import asyncio
from contextlib import suppress
from math import inf
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import structlog

from router.api.admin.peers import KEY
from router.cluster.picture import MOST_BYTES, Events, Served, Told, after, listed, settled
from router.config import BackendConfig
from router.core.hops import NAME
from router.proxy.dialling import Address
from router.proxy.slow import STATE, STOPPING
from router.proxy.watching.asking import CONNECTS_WITHIN, NO_ANSWER, read
from router.proxy.watching.sleepers import met_nobody
from router.telemetry.logs import MODELS
from router.telemetry.tasks import for_ever
from router.tls.trust import Trust

log = structlog.get_logger(MODELS)

BEAT: Final = 1.0
"""Seconds between two questions whether it lives."""

PATIENCE: Final = 2.0
"""Seconds for the answer."""

AGAIN: Final = 0.4
"""Seconds between two of them while it is away, whether or not the one before has ended: it is seen to return within
half a second, also where a network drops what is sent to it."""

SELDOM: Final = 5.0
"""Seconds that are added to `AGAIN` while its machine sleeps and nobody has it woken."""

POLL: Final = 2.0
"""Seconds between two lists of its models, where its events can't be followed."""

LIST_WITHIN: Final = 10.0
"""Seconds for such a list."""

SETTLES: Final = 10.0
"""Seconds after its start in which it may come to know what its own backends serve (`directory.DISCOVERY_TIMEOUT`)."""

SILENCE: Final = 40.0
"""Seconds without any event, or sign of life, after which a subscription is begun anew."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
"""Seconds until a subscription that has ended is begun anew; doubled while none tells anything."""

UNREADABLE_PAUSE: Final = 60.0
"""The longest pause where what it tells can't be read: each try to read it takes time from requests."""

NOT_ASKED: Final = "not asked yet"

_MOST_WORDS: Final = 200
_HEALTH: Final = "/health"
_EVENTS: Final = "/admin/events/models"
_LIST: Final = "/v1/models"
_OTHERS: Final = "can't be followed: its list of models is read instead, which tells no load times or queues"


class Hears:
    """Who is told of a peer."""

    def beat(self, peer: "Peer") -> None:
        """It lives: told each second."""
        raise NotImplementedError

    def gone(self, peer: "Peer") -> None:
        """It can't be reached any more."""
        raise NotImplementedError

    def waits(self, peer: "Peer") -> None:
        """It is still away: told some times a second."""
        raise NotImplementedError

    def news(self, peer: "Peer") -> None:
        """It has told something of its models, or can't tell more than is known."""
        raise NotImplementedError


class Peer:
    """Asks one peer. Its `name` is that of its entry in router.yaml, `config`.

    `session` sends the requests. `away` is why it can't be reached; empty: it can. `trouble` is why it tells nothing of
    its models. `instance` is the id of its process; empty: not known. `models` are by its own names.
    """

    def __init__(
        self, config: BackendConfig, trust: Trust, own: str, session: aiohttp.ClientSession, hears: Hears
    ) -> None:
        self.config = config
        headers = {name: value.get_secret_value() for name, value in config.headers.items()}
        self.address = Address.of(_based(config.elsewhere or ""), headers, trust, hop=own)
        self.session = session
        self.away = NOT_ASKED
        # While it is away: nobody was there at all, so that its machine may sleep.
        self.nobody = False
        # While it is away: nobody waits for it.
        self.sleeps = False
        self.instance = ""
        # Until it tells them: those that router.yaml names.
        self.models = {name: Served(name, "unloaded") for name in config.models.values()}
        self._hears = hears
        self._headers = headers | {NAME.decode("ascii"): own}
        self._reached = asyncio.Event()
        self._poked = asyncio.Event()
        # It is there again: its models are asked for at once.
        self._again = asyncio.Event()
        self._patience: asyncio.Timeout | None = None
        # When a process of it, of which nothing was known before, has told all that it serves.
        self._settles_at = inf
        self._follows = self.admin_key is not None
        self._complaint = self.trouble = ""
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Peer {self.name}: {self.away or 'reached'}, {len(self.models)} models>"

    @property
    def name(self) -> str:
        """What its models' names here begin with."""
        return self.config.name

    @property
    def api_key(self) -> str | None:
        """The key that clients' requests show there."""
        return self.config.api_key.get_secret_value() if self.config.api_key else None

    @property
    def admin_key(self) -> str | None:
        """The key for its management API; None: it can't be managed from here."""
        return self.config.admin_key.get_secret_value() if self.config.admin_key else None

    @property
    def admin_headers(self) -> dict[str, str]:
        """What a request to its management API says."""
        return self._with(self.admin_key)

    def _with(self, key: str | None) -> dict[str, str]:
        return self._headers | ({"authorization": f"Bearer {key}"} if key else {})

    def start(self) -> None:
        """Ask from now on."""
        works = {"watch over": self._watch, "news of": self._follow}
        self._tasks = [
            asyncio.create_task(for_ever(f"the {name} {self.name}", work), name=f"the {name} {self.name}")
            for name, work in works.items()
        ]

    async def stop(self) -> None:
        """Ask no more."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def poke(self) -> None:
        """Ask at once whether it lives: a request has failed there, or waits for it."""
        self._poked.set()

    # Whether it can be reached

    async def _watch(self) -> None:
        while True:
            if why := await self._ask():
                await self._return(why)
            if self.away:
                self.away, self._follows = "", self.admin_key is not None
                self._reached.set()
                self._again.set()
            self._settle()
            self._hears.beat(self)
            await self._pause(BEAT)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._poked.wait()
        self._poked.clear()

    async def _ask(self) -> str:
        """Ask whether it lives; tell why it seems not to."""
        try:
            within = aiohttp.ClientTimeout(total=PATIENCE, sock_connect=CONNECTS_WITHIN * PATIENCE)
            async with self._get(_HEALTH, self._headers, within) as answer:
                self.nobody = False
                await read(answer, MOST_BYTES)
                if answer.headers.get(STATE) == STOPPING:
                    return "it is stopping"
                return f"it answers {answer.status}" if answer.status >= 500 else ""
        except TimeoutError as error:
            self.nobody = met_nobody(error)
            return f"no answer in {PATIENCE:g} s"
        except NO_ANSWER as error:
            self.nobody = met_nobody(error)
            return self.address.fault(error)

    async def _return(self, why: str) -> None:
        """Wait until it answers again."""
        self.away = why
        self._reached.clear()
        if self._patience is not None and not self._patience.expired():
            # What comes back may be another process, of which an old connection tells nothing.
            self._patience.reschedule(0.0)
        # One whose machine may sleep does so: that is no fault.
        (log.info if self.config.wake else log.warning)(f"{self.name}: can't be reached: {why}")
        self._hears.gone(self)
        loop, tries = asyncio.get_running_loop(), set[asyncio.Task[str]]()
        try:
            while True:
                until = loop.time() + AGAIN
                tries.add(asyncio.create_task(self._ask()))
                while tries and (left := until - loop.time()) > 0:
                    done, tries = await asyncio.wait(tries, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                    if not all(each.result() for each in done):
                        log.info(f"{self.name}: can be reached again")
                        return
                await asyncio.sleep(until - loop.time())
                self._hears.waits(self)
                if self.sleeps:
                    # Until somebody has it woken.
                    await self._pause(SELDOM)
        finally:
            for each in tries:
                each.cancel()

    # What it tells

    async def _follow(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._reached.wait()
            self._again.clear()
            told, follows, readable = self.models, self._follows, True
            try:
                async with asyncio.timeout(None) as self._patience:
                    await (self._subscribe() if follows else self._list())
            except NO_ANSWER:
                # It may be away; else the next try tells.
                self.poke()
            except ValueError as error:
                readable = False
                self._complain(f"what it tells of its models can't be read: {error}")
            finally:
                self._patience = None
            if not readable:
                pause = min(max(2 * pause, LONGEST_PAUSE), UNREADABLE_PAUSE)
            else:
                pause = FIRST_PAUSE if self.models is not told else min(2 * pause, LONGEST_PAUSE)
            if follows is self._follows:
                await self._rest(pause if follows else max(pause, POLL))

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._again.wait()

    async def _subscribe(self) -> None:
        within, events = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE, sock_read=SILENCE), Events()
        # Without api_key requests show what clients do, or what `headers` say: it isn't known which models are theirs.
        headers = self.admin_headers | ({KEY: self.api_key} if self.api_key else {})
        async with self._get(_EVENTS, headers, within) as answer:
            if answer.status != 200:
                # With another key, or once it was started anew, it may.
                self._follows = answer.status >= 500
                self._complain(
                    f"its events {_OTHERS} (it answers {answer.status}{self._hint(answer.status, 'admin_key')})"
                )
                return
            async for piece in answer.content.iter_any():
                for told in events.feed(piece):
                    self._learn(told)
        self.poke()

    async def _list(self) -> None:
        within = aiohttp.ClientTimeout(total=LIST_WITHIN)
        async with self._get(_LIST, self._with(self.api_key), within) as answer:
            page = await read(answer, MOST_BYTES)
            if answer.status != 200:
                hint = self._hint(answer.status, "api_key")
                if answer.status == 401 and self.api_key and self.models:
                    # So are all requests: no model of it can be used. A 403 may be about this path alone.
                    self.models = {}
                self._complain(f"its list of models can't be read: it answers {answer.status}{hint}")
                self._hears.news(self)
                return
        told = listed(page.data)
        if not told.instance:
            self._complain("tells no id, so it is no router, or an old one: write `url` in the place of `router`")
        self._learn(told)

    def _learn(self, told: Told) -> None:
        now, is_new = asyncio.get_running_loop().time(), told.instance != self.instance
        if is_new:
            self._settles_at = now + SETTLES
        self.trouble = ""
        self.instance, self.models = told.instance, after(self.models, told, is_new=now < self._settles_at < inf)
        if told.refused:
            self._complain(f"none of its models may be used: api_key {told.refused[:_MOST_WORDS]}")
        self._hears.news(self)

    def _settle(self) -> None:
        """Await no longer what a new process of it hasn't told of."""
        if self._settles_at <= asyncio.get_running_loop().time() < inf and not self.away:
            self._settles_at = inf
            if (models := settled(self.models)) != self.models:
                self.models = models
                self._hears.news(self)

    def _complain(self, why: str) -> None:
        """Say once what is wrong."""
        self.trouble = why
        if why != self._complaint:
            self._complaint = why
            log.warning(f"{self.name}: {why}")

    def _hint(self, status: int, key: str) -> str:
        """Say what a refusal is about; nothing where the status says all."""
        if status in {401, 403}:
            return f": see {key}"
        if status == 404:
            return ": no router is at this path; write the router's address alone, unless a proxy has it below a path"
        if 300 <= status < 400:
            return ": it sends elsewhere, which isn't followed; write the router's own address"
        if status == 400 and not self.address.tls:
            return ": if it has a certificate, write https://"
        return ""

    def _get(
        self, path: str, headers: dict[str, str], within: aiohttp.ClientTimeout
    ) -> "aiohttp.client._RequestContextManager":
        return self.session.get(
            self.address.url(path), headers=headers, allow_redirects=False, timeout=within, **self.address.secured
        )


def _based(url: str) -> str:
    """Give a router's URL with a /v1, which clients' paths begin with, where it has a path: a proxy is before it."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return url if not path or path.endswith("/v1") else parts._replace(path=f"{path}/v1").geturl()
