"""llama-swap's endpoints, by what /admin does."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

from launchers.states import State
from router.api.admin.activity import ActivitiesTold, Activity, ActivityAsked, PageTold, StatsAsked, StatsTold
from router.api.admin.endpoint import Nothing, Sent, Stream
from router.api.admin.llama_swap import (
    EndAsked,
    Message,
    RunningModel,
    RunningTold,
    StreamAsked,
    SwapEvent,
    Text,
    UnloadAsked,
)
from router.api.admin.logs import FollowAsked, LinesAsked, LineTold
from router.api.admin.models import ModelAsked
from router.api.admin.requests import RecentAsked, RequestAsked, RequestsAsked
from router.core.scopes import LOCAL, Admin
from router.fleet.fleet import Fleet
from router.fleet.members import Member
from router.management.activity import activity, page, stats
from router.management.logs import Logs
from router.management.models import Models
from router.management.requests import AT_ONCE, Requests
from router.management.swap_events import Sources, SwapEvents
from router.telemetry.feed import Entry, Feed, Once
from router.telemetry.lines import field
from router.telemetry.logs import printable

_STATES: Final = {"loaded": "ready", "draining": "ready", "loading": "starting", "queued": "starting"}
"""Our states of models → llama-swap's; one of another state isn't listed."""


_OF_ENGINES: Final = {
    State.RUNNING: "ready",
    State.WAITING: "starting",
    State.STARTING: "starting",
    State.BACKOFF: "starting",
    State.STOPPING: "stopping",
    State.STOPPED: "stopped",
    State.FATAL: "stopped",
}
"""The states of engines in llama-swap's words, the first one first where a model has several of them."""

_MOST: Final = 2000
"""Requests that have ended which are looked at: all that are remembered."""

_MOST_LISTED: Final = 1000
"""Those that are listed at once, as many as llama-swap keeps: to write them takes some milliseconds."""

_MOST_UNDER_WAY: Final = 100
"""Requests under way that an event tells of."""


class LikeLlamaSwap:
    """Answers `router.api.admin.llama_swap`."""

    def __init__(self, fleet: Fleet, models: Models, requests: Requests, logs: Logs, feed: Feed) -> None:
        self._fleet = fleet
        self._models = models
        self._requests = requests
        self._logs = logs
        self._feed = feed
        self._events = SwapEvents(Sources(self._statuses, self._under_way, self._ended, feed, _line))
        self._lines = Once(lambda entry: Sent(entry.id, entry.kind, Text(_line(entry))))

    async def running(self, _: Nothing, admin: Admin) -> RunningTold:
        """List the models that are loaded."""
        told = (await self._models.models(Nothing(), admin)).models
        return RunningTold(
            running=tuple(
                RunningModel(
                    model=model,
                    state=_STATES[each.state],
                    cmd=each.engine or "",
                    proxy=self._address(each.name),
                    ttl=round(each.expires or 0),
                    name=each.name,
                    description=each.note,
                )
                for each in told
                if each.state in _STATES and each.peer is None
                for model in each.models
            )
        )

    def _address(self, name: str) -> str:
        member = self._fleet.members.get(name)
        address = None if member is None or member.supervisor is None else member.supervisor.status.address
        return "" if address is None else f"http://{address[0]}:{address[1]}"

    async def unload_all(self, _: Nothing, admin: Admin) -> Text:
        """Unload all models of this machine."""
        for each in (await self._models.models(Nothing(), admin)).models:
            if each.state in _STATES and each.peer is None:
                await self._models.unload(ModelAsked(name=each.name, wait=False), admin)
        return Text("OK")

    async def unload_every(self, asked: Nothing, admin: Admin) -> Message:
        """Unload all models."""
        await self.unload_all(asked, admin)
        return Message(msg="ok")

    async def unload_one(self, asked: UnloadAsked, admin: Admin) -> Text:
        """Unload a model. Raises ModelNotFoundError and ConflictError."""
        await self._models.unload(ModelAsked(name=asked.id, wait=False), admin)
        return Text("OK")

    async def cancel_one(self, asked: EndAsked, admin: Admin) -> Message:
        """End a request. Raises NotFoundError."""
        await self._requests.cancel(RequestAsked(id=asked.id), admin)
        return Message(msg="ok")

    async def log(self, _: Nothing, _admin: Admin) -> Text:
        """Give the router's latest log."""
        return Text("".join(f"{_line(each)}\n" for each in self._feed.latest(1000)))

    async def log_stream(self, _: Nothing, _admin: Admin) -> Stream[Text]:
        """Give it as it comes, behind what there was. Raises UnavailableError where too many follow."""
        return Stream(self._lines.following(self._feed.follow(0)))

    async def one_log(self, asked: StreamAsked, admin: Admin) -> Stream[Text]:
        """Give one log as it comes. Raises RouterError."""
        if asked.id == "proxy":
            return await self.log_stream(Nothing(), admin)
        name = self._models.named(asked.id)[0]
        following = await self._logs.follow(FollowAsked(name=name), admin)
        said = await self._logs.lines(LinesAsked(name=name), admin)
        return Stream(_as_text(said.lines, following.events))

    # Requests that have ended, and all that happens

    async def events(self, _: Nothing, _admin: Admin) -> Stream[SwapEvent]:
        """Give what happens. Raises UnavailableError where too many follow."""
        return Stream(await self._events.follow())

    async def metrics(self, _: Nothing, _admin: Admin) -> ActivitiesTold:
        """List the latest requests that have ended."""
        return ActivitiesTold(tuple((await self._ended(None, _MOST_LISTED))[1]))

    async def activity(self, asked: ActivityAsked, _: Admin) -> PageTold:
        """Give a page of them."""
        return page(await self._latest(), asked)

    async def stats(self, asked: StatsAsked, _: Admin) -> StatsTold:
        """Tell what they come to."""
        return stats([each for each in await self._latest() if asked.model in {"", each.model}])

    async def _latest(self) -> list[Activity]:
        return (await self._ended(None, _MOST))[1]

    async def _ended(self, after: int | None, most: int) -> tuple[int, list[Activity]]:
        """Give the last requests that have ended behind a number, the first one first, with the last one's number."""
        told = await self._requests.recent(RecentAsked(limit=most, after=after), LOCAL)
        found: list[Activity] = []
        for first in range(0, len(told.requests), AT_ONCE):
            found += map(activity, told.requests[first : first + AT_ONCE])
            await asyncio.sleep(0)
        return told.last, found[::-1]

    async def _under_way(self) -> dict[str, Any]:
        """Tell of the requests under way."""
        told, now = await self._requests.requests(RequestsAsked(limit=_MOST_UNDER_WAY), LOCAL), time.time()
        requests = [
            {
                "id": each.id,
                "timestamp": datetime.fromtimestamp(now - each.age, UTC).isoformat(),
                "model": each.model,
                "req_path": each.path,
                "method": "POST",
                "req_headers": {},
                "remote_ip": "",
                "resp_headers": {},
                "resp_bytes": 0,
                "elapsed_ms": round(each.age * 1000),
            }
            for each in told.requests
        ]
        return {"operation": "snapshot", "total": told.total, "requests": requests}

    def _statuses(self) -> list[dict[str, object]]:
        """Tell the state of each model."""
        found: dict[str, dict[str, object]] = {}
        order = list(_OF_ENGINES.values())
        for member in self._fleet.members.values():
            for model in member.backend.models:
                told, known = _status(model, member), found.get(model)
                if known is None or _rank(told["state"], order) < _rank(known["state"], order):
                    found[model] = told
        return [found[model] for model in sorted(found)]


def _status(model: str, member: Member) -> dict[str, object]:
    supervisor = member.supervisor
    return {
        "id": model,
        "name": member.name,
        "description": "",
        "state": "" if supervisor is None else _OF_ENGINES[supervisor.status.state],
        "unlisted": False,
        "peerID": member.name if supervisor is None else "",
    }


def _rank(state: object, order: Sequence[str]) -> int:
    return order.index(state) if isinstance(state, str) and state in order else len(order)


async def _as_text(
    said: Sequence[str], events: AsyncGenerator[Sequence[Sent[LineTold]], None]
) -> AsyncGenerator[Sequence[Sent[Text]], None]:
    """Write lines, and those that follow, as text that can't control a terminal."""
    async with aclosing(events):
        yield [Sent(0, "line", Text(printable(each))) for each in said]
        async for some in events:
            yield [Sent(each.id, "line", Text(printable(each.told.line))) for each in some]


def _line(entry: Entry) -> str:
    """Write an entry as a line. What clients chose can neither forge another one nor control a terminal."""
    data = entry.data
    details = data["details"]
    more = (
        "".join(f" {name}={field(str(value))}" for name, value in details.items()) if isinstance(details, dict) else ""
    )
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(entry.at))
    return f"{clock} [{str(data['level']).upper()}] {printable(str(data['message']))}{more}"
