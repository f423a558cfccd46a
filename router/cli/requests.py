"""`requests`: say which requests are under way; with --recent, which ended last; with an id, all about that one.

With --capture, too, what it said and was answered, word for word.
"""

import argparse
import time

from router.api.admin.requests import (
    CAPTURE,
    RECENT,
    REQUESTS,
    TIMELINE,
    AttemptTold,
    CaptureTold,
    EndedTold,
    RecentTold,
    RequestsTold,
    RequestTold,
    TimelineTold,
    WaitTold,
)
from router.api.admin.status import CandidateTold
from router.cli import running, tables
from router.cli.exits import BAD_START, CommandError
from router.telemetry.logs import printable

NUMBERS = ("AGE", "TTFT", "TOKENS", "TOKENS/S", "PROMPT", "CACHED", "TOOK", "STATUS")
_SPARE = ("PATH", "CACHED", "PROMPT", "KEY", "TTFT", "TOKENS/S")


def run(options: argparse.Namespace) -> int:
    """Print them. Raises ConfigError and CommandError."""
    if options.capture and options.id is None:
        raise CommandError(
            "Whose capture? Say the id of a request: `requests --recent` has those that ended last.", BAD_START
        )
    if options.id is not None and options.capture:
        return running.act(options, CAPTURE, captured, id=options.id)
    if options.id is not None:
        return running.act(options, TIMELINE, way, id=options.id)
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


def way(told: TimelineTold) -> list[str]:
    """Draw a request's way: what happened when, and for each attempt why it was made there."""
    request = told.under_way or told.ended
    if request is None:
        return []
    came = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told.at))
    key = f", key {printable(request.key)}" if request.key else ""
    sender = f"{request.client or 'a client that was gone'}{key}"
    moments = [
        *[(each.begun, _wait(each)) for each in told.waits],
        *[(each.begun, _attempt(each)) for each in told.attempts],
        *_answer(told),
    ]
    rows = [{"AT": f"{at:.3f}s", "WHAT": what} for at, what in sorted(moments, key=lambda moment: moment[0])]
    lines = [f"{printable(request.id)}: {printable(request.model)}, POST {printable(request.path)}"]
    lines += [f"came {came} from {sender}", "", *tables.table(rows, numbers=["AT"])]
    for each in told.attempts:
        lines += ["", f"Why {printable(each.backend)}: {printable(each.why)}"]
        if each.candidates:
            lines += tables.table(
                [_candidate(one) for one in each.candidates], numbers=("SCORE", "IN FLIGHT", "CACHED")
            )
        if each.left_out:
            lines += [f"and {each.left_out} more"]
    return lines


def captured(told: CaptureTold) -> list[str]:
    """Draw what a request said, and what it was answered, by lines."""
    came = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told.at))
    key = f", key {printable(told.key)}" if told.key else ""
    more = ["", "There was more than is kept."] if told.cut else []
    return [
        f"{printable(told.id)}: {printable(told.model)}, POST {printable(told.path)}, came {came}{key}",
        "",
        *_lines(told.request),
        "",
        "No answer has come yet." if told.status is None else f"{told.status}:",
        *_lines(told.answer),
        *more,
    ]


def _lines(text: str) -> list[str]:
    return [printable(line) for line in text.split("\n")]


def _wait(each: WaitTold) -> str:
    until = "until now" if each.ended is None else f"for {each.ended - each.begun:.3f}s"
    load = f", {each.loading:.3f}s of it while {printable(each.backend)} was loaded" if each.backend else ""
    return f"queued {until}{load}"


def _attempt(each: AttemptTold) -> str:
    beside = " beside it" if each.beside else ""
    head = "" if each.head is None else f", head at {each.head:.3f}s"
    first = "" if each.first_byte is None else f", first byte at {each.first_byte:.3f}s"
    status = "" if each.status is None else f" ({each.status})"
    end = "under way" if each.ended is None else f"ended at {each.ended:.3f}s: {printable(each.outcome)}"
    return f"sent to {printable(each.backend)}{beside}{head}{first}, {end}{status}"


def _candidate(each: CandidateTold) -> tables.Row:
    return {
        "BACKEND": printable(each.backend),
        "SCORE": "" if each.score is None else f"{each.score:.4g}",
        "IN FLIGHT": "" if each.in_flight is None else str(each.in_flight),
        "CACHED": f"{each.cached}B" if each.cached else "",
        "PASSED OVER": printable(each.passed_over),
    }


def _answer(told: TimelineTold) -> list[tuple[float, str]]:
    """Say when the first token came, and the end."""
    request = told.under_way or told.ended
    moments = []
    if request is not None and request.ttft is not None:
        prompt = "" if told.prefill is None else f": {told.prefill:.3f}s after it was sent"
        moments.append((request.ttft, f"first token{prompt}"))
    if told.ended is not None:
        said = told.ended
        tokens = "" if said.tokens is None else f", {said.tokens} tokens"
        speed = "" if said.tokens_per_second is None else f", {said.tokens_per_second:.1f}/s"
        moments.append((said.duration, f"end: {said.status} {printable(said.outcome)}{tokens}{speed}"))
    return moments
