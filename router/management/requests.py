"""Requests under way and the latest that ended."""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import structlog

from router.api.admin.requests import (
    CaptureTold,
    EndedTold,
    RecentAsked,
    RecentTold,
    RequestAsked,
    RequestsAsked,
    RequestsTold,
    RequestTold,
    TimelineTold,
)
from router.api.admin.status import SpeedsTold
from router.core.ending import told_by
from router.core.errors import CancelledError, NotFoundError
from router.core.latest import Latest
from router.core.record import ANSWERED, Record, tokens_in
from router.core.scopes import Admin
from router.management import timeline
from router.proxy.capture import Captures
from router.proxy.plane import Plane
from router.proxy.roles import UnderWay
from router.telemetry.history import quantile

log = structlog.get_logger("router")

OF_SPEEDS: Final = 500
"""Of these, the latest so many say how fast backends are."""

AT_ONCE: Final = 50
"""Requests that are described in one turn of the loop: that takes a millisecond or two."""

_LEAST: Final = 1e-3
"""Seconds that a speed is measured in at least."""


class Recent:
    """The latest requests that have ended; what their answers say is read if it is asked for."""

    def __init__(self, latest: Latest) -> None:
        self._latest = latest
        # The number of the last one before there were any.
        self._before = latest.last

    async def told(self, limit: int, after: int | None = None) -> RecentTold:
        """Describe the latest, the last one first; with `after`, those whose number is higher."""
        kept, last = list(self._latest.kept), self._latest.last
        # A number that isn't of this start says nothing of how many there were since.
        since = last - after if after is not None and self._before <= after <= last else last - self._before
        most = min(limit, since, len(kept))
        told: list[EndedTold] = []
        for place in range(most):
            if place % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            at, record = kept[-1 - place]
            told.append(ended(last - place, at, record))
        return RecentTold(last=last, missed=0 if after is None else since - most, requests=tuple(told))

    def find(self, id_: str) -> tuple[int, float, Record] | None:
        """Find the last one with this id: its number, when it ended, and its record."""
        for place, (at, record) in enumerate(reversed(self._latest.kept)):
            if record.id == id_:
                return self._latest.last - place, at, record
        return None

    def speeds(self) -> dict[str, SpeedsTold]:
        """Tell how fast each backend was with the last of these, by its name."""
        by_backend: dict[str, list[Record]] = {}
        for _, record in islice(reversed(self._latest.kept), OF_SPEEDS):
            if record.backend is not None and record.outcome == ANSWERED and record.events:
                by_backend.setdefault(record.backend, []).append(record)
        return {name: speeds(records) for name, records in by_backend.items()}


class Requests:
    """Answers `router.api.admin.requests`."""

    def __init__(self, plane: Plane, recent: Recent, captures: Callable[[], Captures | None]) -> None:
        self._plane = plane
        self._recent = recent
        self._captures = captures

    async def requests(self, asked: RequestsAsked, _: Admin) -> RequestsTold:
        """Describe those that are under way."""
        ahead, now = self._places(), self._plane.loop.time()
        found = sorted(self._plane.exchanges, key=lambda each: (each in ahead, each.began))
        told = tuple(under_way(each, ahead, now) for each in found[: asked.limit])
        return RequestsTold(total=len(found), requests=told)

    async def recent(self, asked: RecentAsked, _: Admin) -> RecentTold:
        """Describe the latest that have ended."""
        return await self._recent.told(asked.limit, asked.after)

    async def timeline(self, asked: RequestAsked, _: Admin) -> TimelineTold:
        """Tell all about the last one with this id. Raises NotFoundError where there is none."""
        found = [each for each in self._plane.exchanges if each.request.id == asked.id]
        if found:
            now = self._plane.loop.time()
            return way_of(max(found, key=lambda each: each.began), self._places(), now)
        known = self._recent.find(asked.id)
        if known is None:
            raise NotFoundError(
                "No request with this id is under way, or among the latest that have ended.", param="id"
            )
        return way_of_ended(*known)

    async def capture(self, asked: RequestAsked, _: Admin) -> CaptureTold:
        """Tell the last one with this id, with its answer. Raises NotFoundError where it isn't kept."""
        captures = self._captures()
        if captures is None:
            raise NotFoundError("No request is kept: telemetry.capture is off in router.yaml.", param="id")
        kept = captures.find(asked.id)
        if kept is None:
            raise NotFoundError(
                "No request with this id is kept: others came since, or the router refused it.", param="id"
            )
        status, answer = kept.answer()
        return CaptureTold(
            id=kept.id,
            at=round(kept.at, 3),
            path=kept.path,
            model=kept.model,
            key=kept.key,
            request=kept.body.decode("utf-8", "replace"),
            status=status or None,
            answer=answer.decode("utf-8", "replace"),
            cut=kept.cut,
        )

    async def cancel(self, asked: RequestAsked, admin: Admin) -> RequestsTold:
        """End those with this id. Raises NotFoundError where there is none."""
        found = [each for each in self._plane.exchanges if each.request.id == asked.id]
        if not found:
            raise NotFoundError("No request with this id is under way: it may have ended.", param="id")
        ahead, now = self._places(), self._plane.loop.time()
        told = tuple(under_way(each, ahead, now) for each in found)
        for each in found:
            each.break_off(
                CancelledError("An admin of the router has cancelled this request."), "cancelled by an admin"
            )
        log.info("admin: cancelled a request", by=admin.name, request_id=asked.id)
        return RequestsTold(total=len(told), requests=told)

    def _places(self) -> dict[UnderWay, int]:
        """Tell how many are ahead of each that is queued, for the same name."""
        admission = self._plane.dispatcher.admission
        return {
            ticket.payload.exchange: place
            for model in admission.models()
            for place, ticket in enumerate(admission.order(model))
        }


def under_way(exchange: UnderWay, ahead: dict[UnderWay, int], now: float) -> RequestTold:
    """Describe a request under way."""
    request, answer, backend = exchange.request, exchange.answer, exchange.backend
    begun = answer.begun_at
    tokens = tokens_in(request.head.path, answer.passed.events) if answer.passed.streams else 0
    place = ahead.get(exchange)
    writing = 0.0 if begun is None else now - begun
    return RequestTold(
        id=request.id,
        path=request.head.path,
        model=request.model,
        key=request.caller.name,
        client=request.caller.address,
        stream=request.stream,
        state="queued" if place is not None else "sent" if begun is None else "answering",
        backend=None if backend is None or place is not None else backend.name,
        age=round(now - exchange.began, 3),
        bytes=exchange.ask.size,
        ahead=place,
        ttft=None if begun is None else round(begun - exchange.began, 3),
        tokens=tokens,
        tokens_per_second=_speed(tokens - 1, writing),
    )


def ended(number: int, at: float, record: Record) -> EndedTold:
    """Describe a request that has ended."""
    said = told_by(record)
    ttft, prompt, tokens = record.ttft, said.prompt_tokens, said.completion_tokens
    # A token is there when it has been read up to it: what follows the first is the writing.
    reading = None if ttft is None else ttft - record.waited
    return EndedTold(
        number=number,
        id=record.id,
        at=round(at, 3),
        path=record.path,
        model=record.model,
        key=record.key,
        client=record.client,
        backend=record.backend,
        status=record.status,
        outcome=record.outcome,
        attempts=record.attempts,
        hedge=record.hedge,
        duration=round(record.duration, 3),
        queued=round(record.waited, 3),
        bytes=record.sent,
        why=_why(record),
        ttft=None if ttft is None else round(ttft, 3),
        prompt_tokens=prompt,
        cached_tokens=said.cached_tokens,
        tokens=tokens,
        finish_reason=said.finish_reason,
        prompt_tokens_per_second=_speed((prompt or 0) - (said.cached_tokens or 0), reading) if record.events else None,
        tokens_per_second=_speed((tokens or 0) - 1, record.duration - (ttft or 0.0)) if record.events else None,
    )


def _why(record: Record) -> str:
    """Say why the last attempt was made where it was made."""
    tries = timeline.in_order(record.tries)
    return timeline.reason(tries.index(record.tries[-1]), tries, record.waits) if tries else ""


def way_of(exchange: UnderWay, ahead: dict[UnderWay, int], now: float) -> TimelineTold:
    """Tell all about a request under way."""
    tries, begun_at = exchange.tries, exchange.answer.begun_at
    writing = None if begun_at is None else now - begun_at
    return TimelineTold(
        at=round(time.time() - (now - exchange.began), 3),
        under_way=under_way(exchange, ahead, now),
        waits=timeline.waits_of(exchange, now),
        attempts=timeline.attempts(tries, () if exchange.queued is None else exchange.queued.waits),
        prefill=None if begun_at is None or not tries else round(begun_at - exchange.began - tries[-1].begun, 3),
        stream=None if writing is None else round(writing, 3),
    )


def way_of_ended(number: int, at: float, record: Record) -> TimelineTold:
    """Tell all about a request that has ended."""
    tries, ttft = record.tries, record.ttft
    return TimelineTold(
        at=round(at - record.duration, 3),
        ended=ended(number, at, record),
        waits=timeline.waits(record.waits),
        attempts=timeline.attempts(tries, record.waits),
        prefill=None if ttft is None or not tries else round(ttft - tries[-1].begun, 3),
        stream=None if ttft is None else round(record.duration - ttft, 3),
    )


def speeds(records: Sequence[Record]) -> SpeedsTold:
    """Tell how fast a backend was with these streams."""
    ttfts = sorted(each.ttft - each.waited for each in records if each.ttft is not None)
    tpots = sorted(
        (each.duration - each.ttft) / (each.events - 1) for each in records if each.ttft is not None and each.events > 2
    )
    return SpeedsTold(
        requests=len(records),
        ttft_p50=quantile(ttfts, 0.5) if ttfts else None,
        ttft_p99=quantile(ttfts, 0.99) if ttfts else None,
        tpot_p50=quantile(tpots, 0.5) if tpots else None,
        tpot_p99=quantile(tpots, 0.99) if tpots else None,
    )


def _speed(count: int, seconds: float | None) -> float | None:
    """Give tokens by second; None where that says nothing."""
    return None if count < 1 or not seconds or seconds < _LEAST else round(count / seconds, 1)
