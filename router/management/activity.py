"""Requests that have ended, as llama-swap tells of them. Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import ceil, floor, log2
from operator import attrgetter
from typing import Final

from router.api.admin.activity import SORTS, Activity, ActivityAsked, Histogram, PageTold, StatsTold, Tokens
from router.api.admin.requests import EndedTold

_FEWEST_BINS: Final = 5
_MOST_BINS: Final = 20


def activity(each: EndedTold) -> Activity:
    """Describe a request that has ended."""
    return Activity(
        id=each.number,
        timestamp=datetime.fromtimestamp(each.at, UTC),
        model=each.model,
        req_path=each.path,
        resp_content_type="",
        resp_status_code=each.status,
        tokens=Tokens(
            cache_tokens=_known(each.cached_tokens),
            draft_tokens=-1,
            draft_acc_tokens=-1,
            input_tokens=each.prompt_tokens or 0,
            output_tokens=each.tokens or 0,
            prompt_per_second=_known(each.prompt_tokens_per_second),
            tokens_per_second=_known(each.tokens_per_second),
        ),
        duration_ms=round(each.duration * 1000),
        has_capture=False,
        error_msg="" if each.outcome == "answered" else each.outcome,
    )


def _known(value: float | None) -> float:
    return -1 if value is None else value


def page(found: Iterable[Activity], asked: ActivityAsked) -> PageTold:
    """Choose a page of them."""
    fitting = [each for each in found if _fits(each, asked)]
    # Of equals, the last one comes first, or the first one, as the order is.
    fitting.sort(key=attrgetter("id"), reverse=asked.order == "desc")
    fitting.sort(key=attrgetter(SORTS[asked.sort]), reverse=asked.order == "desc")
    first = (asked.page - 1) * asked.limit
    return PageTold(
        data=tuple(fitting[first : first + asked.limit]),
        page=asked.page,
        limit=asked.limit,
        total=len(fitting),
        total_pages=ceil(len(fitting) / asked.limit),
    )


def _fits(each: Activity, asked: ActivityAsked) -> bool:
    return (
        asked.model in {"", each.model}
        and each.id >= asked.min_id
        and (asked.max_id is None or each.id <= asked.max_id)
        and (asked.start is None or each.timestamp >= asked.start)
        and (asked.end is None or each.timestamp <= asked.end)
    )


def stats(found: Sequence[Activity]) -> StatsTold:
    """Tell what they come to."""
    tokens = [each.tokens for each in found]
    return StatsTold(
        total_requests=len(found),
        total_input_tokens=sum(each.input_tokens for each in tokens),
        total_output_tokens=sum(each.output_tokens for each in tokens),
        total_cache_tokens=sum(max(0, each.cache_tokens) for each in tokens),
        prompt_histogram=histogram([each.prompt_per_second for each in tokens if each.prompt_per_second > 0]),
        gen_histogram=histogram([each.tokens_per_second for each in tokens if each.tokens_per_second > 0]),
    )


def histogram(values: Sequence[float]) -> Histogram | None:
    """Tell how values are spread, in as many parts as Sturges' rule has for their number; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    least, most = ordered[0], ordered[-1]
    count = 1 if least == most else min(_MOST_BINS, max(_FEWEST_BINS, ceil(log2(len(ordered))) + 1))
    size = (most - least) / count
    bins = [0] * count
    for each in ordered:
        bins[min(floor((each - least) / size), count - 1) if size else 0] += 1
    p50, p95, p99 = (_quantile(ordered, share) for share in (0.5, 0.95, 0.99))
    return Histogram(bins=tuple(bins), min=least, max=most, binSize=size, p50=p50, p95=p95, p99=p99)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Give a quantile of rising values, between two of them in proportion."""
    rank = share * (len(ordered) - 1)
    lower = floor(rank)
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (rank - lower) * (ordered[upper] - ordered[lower])
