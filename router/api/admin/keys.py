"""/admin/keys: the keys of clients by their names, what each may use now, and what it has used."""

from typing import Final, Protocol

from router.api.admin.endpoint import Endpoint, Endpoints, Nothing, Told
from router.core.scopes import Admin, Scope


class LimitTold(Told):
    """A limit, by its name in router.yaml: `most` in all, `used` now, `left` then: below 0 it is exceeded.

    All of it is there again in so many seconds: with the new day or month, or within a minute if no request comes; null
    for requests in flight, of which nobody knows.
    """

    limit: str
    most: float
    used: float
    left: float
    resets_in: float | None


class KeyTold(Told):
    """A key, by its owner's name. `team` is the one that it is in, if any. `expires` is in seconds since the epoch.

    `limits` are its own; those of its team stand there.
    """

    name: str
    team: str | None
    expires: float | None
    limits: tuple[LimitTold, ...]


class TeamTold(Told):
    """A team, with the names of its keys, and the limits that they have together."""

    name: str
    keys: tuple[str, ...]
    limits: tuple[LimitTold, ...]


class KeysTold(Told):
    """All of them, in the order of router.yaml."""

    keys: tuple[KeyTold, ...]
    teams: tuple[TeamTold, ...]


class ManagedKeys(Protocol):
    """The part of the router that knows what keys may use."""

    async def told(self, asked: Nothing, admin: Admin) -> KeysTold:
        """Tell of all keys."""


KEYS: Final = Endpoint[ManagedKeys, Nothing, KeysTold](
    operation="keys",
    method="GET",
    path="/admin/keys",
    scope=Scope.READ,
    doc="The keys of clients and their teams, by names: the limits of each, what is used of them now, and when that is "
    "over. The keys themselves are not told.",
    asks=Nothing,
    tells=KeysTold,
    handle=lambda part: part.told,
)

ENDPOINTS: Final[Endpoints[ManagedKeys]] = (KEYS,)
