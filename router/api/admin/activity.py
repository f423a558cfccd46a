"""Requests that have ended, in llama-swap's shapes."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, RootModel
from pydantic_core import PydanticCustomError

from router.api.admin.endpoint import Asked, Told


class Tokens(Told):
    """Tokens of a request, and how many came in a second; -1 for what isn't known."""

    cache_tokens: int
    draft_tokens: int
    draft_acc_tokens: int
    input_tokens: int
    output_tokens: int
    prompt_per_second: float
    tokens_per_second: float


class Activity(Told):
    """A request that has ended. What its answer contained isn't known, and no body is kept."""

    id: int
    timestamp: datetime
    model: str
    req_path: str
    resp_content_type: str
    resp_status_code: int
    tokens: Tokens
    duration_ms: int
    has_capture: bool
    error_msg: str = ""


class ActivitiesTold(RootModel[tuple[Activity, ...]]):
    """The latest requests that have ended, the last one last."""


class PageTold(Told):
    """Some of them. `total` counts all that fit what was asked."""

    data: tuple[Activity, ...]
    page: int
    limit: int
    total: int
    total_pages: int


class Histogram(Told):
    """How values are spread: `bins` count those in equal parts, `binSize` wide, from `min` to `max`."""

    bins: tuple[int, ...]
    min: float
    max: float
    binSize: float  # noqa: N815 - llama-swap's name
    p50: float
    p95: float
    p99: float


class StatsTold(Told):
    """What the latest requests come to; None where no speed is known."""

    total_requests: int
    total_input_tokens: int
    total_output_tokens: int
    total_cache_tokens: int
    prompt_histogram: Histogram | None
    gen_histogram: Histogram | None


SORTS: Final = {
    "id": "id",
    "time": "timestamp",
    "model": "model",
    "req_path": "req_path",
    "resp_status_code": "resp_status_code",
    "resp_content_type": "resp_content_type",
    "cached": "tokens.cache_tokens",
    "prompt": "tokens.input_tokens",
    "generated": "tokens.output_tokens",
    "drafted": "tokens.draft_tokens",
    "prompt_speed": "tokens.prompt_per_second",
    "gen_speed": "tokens.tokens_per_second",
    "duration": "duration_ms",
}
"""llama-swap's names of columns, and the fields of an Activity that they are."""

Sort = Literal[
    "id",
    "time",
    "model",
    "req_path",
    "resp_status_code",
    "resp_content_type",
    "cached",
    "prompt",
    "generated",
    "drafted",
    "prompt_speed",
    "gen_speed",
    "duration",
]


_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _time(value: object) -> object:
    """Take a time as RFC 3339 has it alone, and no number."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise PydanticCustomError("datetime_parsing", "expected a time")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_time)]


class ActivityAsked(Asked):
    """Which of them."""

    model: Annotated[str, Field(description="of this model alone")] = ""
    start: Annotated[Time | None, Field(description="ended then, or later")] = None
    end: Annotated[Time | None, Field(description="ended then, or before")] = None
    min_id: Annotated[int, Field(ge=1, description="from this id on")] = 1
    max_id: Annotated[int | None, Field(ge=1, description="up to this id")] = None
    limit: Annotated[int, Field(ge=1, le=999, description="so many a page")] = 25
    page: Annotated[int, Field(ge=1, description="which page")] = 1
    sort: Annotated[Sort, Field(description="by this")] = "id"
    order: Annotated[Literal["asc", "desc"], Field(description="the least first, or the greatest")] = "desc"


class StatsAsked(Asked):
    """Whose."""

    model: Annotated[str, Field(description="of this model alone")] = ""
