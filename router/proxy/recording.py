"""What is written down of an exchange: each attempt when it ends, and the record of it all."""

from typing import TYPE_CHECKING

from router.core.record import Record
from router.core.timeline import NEVER, Try

if TYPE_CHECKING:
    from router.core.catalog import Candidate
    from router.proxy.attempt import Attempt
    from router.proxy.roles import Queued, UnderWay


def try_of(attempt: "Attempt", exchange: "UnderWay", ended: float, outcome: str) -> Try:
    """Write down an attempt as it is at its end; `ended` NEVER: it is under way."""
    began, head_at, first_byte_at, head = exchange.began, attempt.head_at, exchange.answer.first_byte_at, attempt.head
    return Try(
        attempt.backend.name,
        attempt.why,
        attempt.sent.at - began,
        NEVER if head_at is None else head_at - began,
        NEVER if first_byte_at is None else first_byte_at - began,
        ended - began if ended >= 0 else NEVER,
        attempt.status if head is None or attempt.status else head.status,
        outcome,
        attempt.sent.size,
        attempt.sent.streams,
        exchange.request.choices,
    )


def record_of(
    exchange: "UnderWay",
    waiting: "Queued | None",
    tried: "tuple[Candidate, ...]",
    tries: tuple[Try, ...],
    raced: str,
    status: int,
    outcome: str,
    now: float,
) -> Record:
    """Write down an exchange that ends now."""
    request, answer = exchange.request, exchange.answer
    begun_at, passed = answer.begun_at, answer.passed
    record = Record(
        request.id,
        request.head.path,
        request.model,
        tried[-1].backend.name if tried else None,
        status,
        outcome,
        len(tried),
        None if begun_at is None else begun_at - exchange.began,
        now - exchange.began,
        passed.size,
        passed.events,
        passed.tail.bytes(),
        0.0 if waiting is None else waiting.waited,
        request.caller.name,
        raced,
        request.caller.address,
        tries,
        () if waiting is None else waiting.waits,
        answer.error,
        request.charge,
    )
    if request.trace is not None:
        request.trace.end(record)
    return record
