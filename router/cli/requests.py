"""`requests`: say which requests are under way, or with --recent, which ended last."""

import argparse

from router.api.admin.requests import RECENT, REQUESTS, EndedTold, RecentTold, RequestsTold, RequestTold
from router.cli import running, tables
from router.telemetry.logs import printable

NUMBERS = ("AGE", "TTFT", "TOKENS", "TOKENS/S", "PROMPT", "CACHED", "TOOK", "STATUS")
_SPARE = ("PATH", "CACHED", "PROMPT", "KEY", "TTFT", "TOKENS/S")


def run(options: argparse.Namespace) -> int:
    """Print them. Raises ConfigError and CommandError."""
    if options.recent:
        return running.act(options, RECENT, recent, limit=options.limit)
    return running.act(options, REQUESTS, under_way)


def under_way(told: RequestsTold) -> list[str]:
    """Draw those that are under way."""
    if not told.requests:
        return ["No request is under way."]
    left = told.total - len(told.requests)
    more = [f"and {left} more"] if left else []
    return [*tables.table([row(each) for each in told.requests], numbers=NUMBERS, spare=_SPARE), *more]


def row(each: RequestTold) -> tables.Row:
    """Say all of a request under way, by the names of the columns."""
    state = each.state if each.ahead is None else f"queued, {each.ahead} ahead"
    return {
        "ID": printable(each.id),
        "MODEL": printable(each.model),
        "BACKEND": printable(each.backend or ""),
        "STATE": state,
        "AGE": f"{each.age:.1f}s",
        "TOKENS": str(each.tokens or ""),
        "TOKENS/S": "" if each.tokens_per_second is None else f"{each.tokens_per_second:.1f}",
        "TTFT": "" if each.ttft is None else f"{each.ttft:.2f}s",
        "KEY": printable(each.key),
        "PATH": printable(each.path),
    }


def recent(told: RecentTold) -> list[str]:
    """Draw those that ended last."""
    if not told.requests:
        return ["No request has ended yet."]
    return tables.table([_ended(each) for each in told.requests], numbers=NUMBERS, spare=_SPARE)


def _ended(each: EndedTold) -> tables.Row:
    return {
        "ID": printable(each.id),
        "MODEL": printable(each.model),
        "BACKEND": printable(each.backend or ""),
        "STATUS": str(each.status),
        "OUTCOME": printable(each.outcome),
        "TOOK": f"{each.duration:.2f}s",
        "TOKENS": "" if each.tokens is None else str(each.tokens),
        "TOKENS/S": "" if each.tokens_per_second is None else f"{each.tokens_per_second:.1f}",
        "TTFT": "" if each.ttft is None else f"{each.ttft:.2f}s",
        "KEY": printable(each.key),
        "PROMPT": "" if each.prompt_tokens is None else str(each.prompt_tokens),
        "CACHED": "" if each.cached_tokens is None else str(each.cached_tokens),
        "PATH": printable(each.path),
    }
