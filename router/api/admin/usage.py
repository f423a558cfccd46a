"""/admin/usage: what was used by each key, of each model, on each day."""

import re
from contextlib import suppress
from datetime import date, timedelta
from typing import Annotated, Final, Protocol

from pydantic import AfterValidator, Field, WithJsonSchema

from router.api.admin.endpoint import Asked, Endpoint, Endpoints, Told
from router.core.scopes import Admin, Scope
from router.store.usage import GROUPS

_DAYS: Final = "([0-9]{1,5})d"
_DATE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_NAME: Final = f"(?:{'|'.join(GROUPS)})"


def told_apart(said: str) -> tuple[str, ...]:
    """Read `key,model,day`, some of them in any order. Raises ValueError."""
    names = tuple(dict.fromkeys(said.split(","))) if said else ()
    if wrong := [name for name in names if name not in GROUPS]:
        raise ValueError(f"{wrong[0]!r} is none of {', '.join(GROUPS)}")
    return names


def first_day(said: str, today: date) -> str:
    """Read a day such as 2026-11-30, or `7d`: the last seven days, with today; empty: all days. Raises ValueError."""
    if not said:
        return ""
    if days := re.fullmatch(_DAYS, said):
        return max(date.min, today - timedelta(days=max(0, int(days[1]) - 1))).isoformat()
    if re.fullmatch(_DATE, said):
        with suppress(ValueError):
            return date.fromisoformat(said).isoformat()
    raise ValueError(f"{said!r} is neither a day such as 2026-11-30 nor so many days, such as 7d")


def _by(said: str) -> str:
    told_apart(said)
    return said


def _since(said: str) -> str:
    first_day(said, date.max)
    return said


class UsageAsked(Asked):
    """What is told apart, and from which day on."""

    by: Annotated[
        str,
        AfterValidator(_by),
        Field(
            description="what is told apart: some of `key`, `model` and `day`, by commas",
            json_schema_extra={"pattern": f"^({_NAME}(,{_NAME})*)?$"},
        ),
    ] = "key,model"
    since: Annotated[
        str,
        AfterValidator(_since),
        WithJsonSchema(
            {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "pattern": f"^({_DAYS})?$"}]}
        ),
        Field(description="the first day, such as `2026-11-30`, or so many days with today, such as `7d`; empty: all"),
    ] = ""


class UsageRow(Told):
    """What was used: a sum. `key`, `model` and `day` are null where they aren't told apart.

    `key` is the key's name, empty for requests without one. `model` is the one that answered, whatever name it was
    asked by. `day` is of the router's machine and its time zone. The tokens of so many of the `requests` are
    `estimated`: they broke off, or their engine doesn't count. `cached_tokens` are those of the `prompt_tokens` that
    the engine had in its cache. `cost` is by the prices of router.yaml, as they were then.
    """

    key: str | None = None
    model: str | None = None
    day: str | None = None
    requests: int
    estimated: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost: float


class UsageTold(Told):
    """The sums, in the order of what is told apart; `total` is of them all. `since` is the first day, if one was."""

    by: tuple[str, ...]
    since: str | None
    rows: tuple[UsageRow, ...]
    total: UsageRow


class ManagedUsage(Protocol):
    """The part of the router that counts."""

    async def told(self, asked: UsageAsked, admin: Admin) -> UsageTold:
        """Tell the sums."""


USAGE: Final = Endpoint[ManagedUsage, UsageAsked, UsageTold](
    operation="usage",
    method="GET",
    path="/admin/usage",
    scope=Scope.READ,
    doc="What was used: requests, tokens and money, by key, model and day.",
    asks=UsageAsked,
    tells=UsageTold,
    handle=lambda part: part.told,
    example={"by": "key,model,day", "since": "7d"},
)

ENDPOINTS: Final[Endpoints[ManagedUsage]] = (USAGE,)
