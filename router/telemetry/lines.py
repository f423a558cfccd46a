"""The lines of access.log. Pure; `telemetry.access` says what stands in them."""

from functools import lru_cache
from json import dumps

from router.core.ending import Ending
from router.core.record import ANSWERED, Record
from router.core.statuses import LEFT

MOST_OF_A_REASON = 120
"""Characters of the reason why an answer was cut."""


def line(record: Record, said: Ending) -> str:
    """Format an exchange as a line of access.log, without the time; `said` is what is told of its answer."""
    prompt, completion, reason = said.prompt_tokens, said.completion_tokens, said.finish_reason
    ttft = "-" if record.ttft is None else _seconds(record.ttft)
    tokens = ""
    if prompt is not None or completion is not None:
        tokens = f" {'-' if prompt is None else prompt}+{'-' if completion is None else completion}tok"
    told = (
        f"{record.client or '-'} {record.status} POST {_where(record.path, record.model, record.backend)}"
        f" {_seconds(record.duration)} ttft={ttft} {record.sent}B{tokens}{' ' + reason if reason else ''}"
    )
    if said.error and record.status < 400:
        told += " error"
    told += " " + field(record.id)
    # Nearly all are answered by the first attempt, and at once.
    if record.outcome != ANSWERED or record.attempts > 1 or record.waited or record.key or record.hedge:
        return told + _more(record)
    return told


def _more(record: Record) -> str:
    """Format what isn't to be said of every exchange."""
    # Any other status says by itself that it is an error; router.log has the reason.
    is_cut = record.outcome != ANSWERED and (record.status < 400 or record.status == LEFT)
    cut = f" cut={field(record.outcome[:MOST_OF_A_REASON])}" if is_cut else ""
    retried = f" attempts={record.attempts}" if record.attempts > 1 else ""
    retried += f" hedge={record.hedge}" if record.hedge else ""
    waited = f" queued={_seconds(record.waited)}" if record.waited else ""
    return cut + retried + waited + (f" key={field(record.key)}" if record.key else "")


def _seconds(time: float) -> str:
    """Write a time to the millisecond."""
    # Compiled, this takes a third of what a format like `.3f` takes.
    digits = str(int(time * 1000 + 0.5)).zfill(4)
    return f"{digits[:-3]}.{digits[-3:]}s"


@lru_cache(maxsize=1024)
def _where(path: str, model: str, backend: str | None) -> str:
    """Format the fields that are alike for most requests."""
    return f"{field(path)} {field(model)} {'-' if backend is None else field(backend)}"


def field(text: str) -> str:
    """Write a value so that it can't be taken for several fields: in quotes, if it has spaces, `=` or quotes."""
    # Of all spaces, only the usual one is printable.
    if text and " " not in text and "=" not in text and '"' not in text and text.isprintable():
        return text
    return dumps(text, ensure_ascii=not text.isprintable())
