"""llama-swap's endpoints, by what /admin does."""

import time
from typing import Final

from router.api.admin.endpoint import Nothing, Sent, Stream
from router.api.admin.llama_swap import EndAsked, Message, RunningModel, RunningTold, Text, UnloadAsked
from router.api.admin.models import ModelAsked
from router.api.admin.requests import CancelAsked
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.management.models import Models
from router.management.requests import Requests
from router.telemetry.feed import Entry, Feed, Once
from router.telemetry.logs import field, printable

_STATES: Final = {"loaded": "ready", "draining": "ready", "loading": "starting", "queued": "starting"}
"""Our states of models → llama-swap's; one of another state isn't listed."""


class LikeLlamaSwap:
    """Answers `router.api.admin.llama_swap`."""

    def __init__(self, fleet: Fleet, models: Models, requests: Requests, feed: Feed) -> None:
        self._fleet = fleet
        self._models = models
        self._requests = requests
        self._feed = feed
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
                if each.state in _STATES
                for model in each.models
            )
        )

    def _address(self, name: str) -> str:
        member = self._fleet.members.get(name)
        address = None if member is None or member.supervisor is None else member.supervisor.status.address
        return "" if address is None else f"http://{address[0]}:{address[1]}"

    async def unload_all(self, _: Nothing, admin: Admin) -> Text:
        """Unload all models."""
        for each in (await self._models.models(Nothing(), admin)).models:
            if each.state in _STATES:
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
        await self._requests.cancel(CancelAsked(id=asked.id), admin)
        return Message(msg="ok")

    async def log(self, _: Nothing, _admin: Admin) -> Text:
        """Give the router's latest log."""
        return Text("".join(f"{_line(each)}\n" for each in self._feed.latest(1000)))

    async def log_stream(self, _: Nothing, _admin: Admin) -> Stream[Text]:
        """Give it as it comes, behind what there was. Raises UnavailableError where too many follow."""
        return Stream(self._lines.following(self._feed.follow(0)))


def _line(entry: Entry) -> str:
    """Write an entry as a line. What clients chose can neither forge another one nor control a terminal."""
    data = entry.data
    details = data["details"]
    more = (
        "".join(f" {name}={field(str(value))}" for name, value in details.items()) if isinstance(details, dict) else ""
    )
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(entry.at))
    return f"{clock} [{str(data['level']).upper()}] {printable(str(data['message']))}{more}"
