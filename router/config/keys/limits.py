"""`limits`: bounds on what clients and backends may take."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from router.config.keys.section import Section, setting
from router.config.keys.units import Duration, Size, lasting, sized
from router.config.keys.values import Whole


class LimitsConfig(Section):
    """Bounds on what clients and backends may take."""

    example: ClassVar[str] = """\
limits:
  max_body: 256MiB       # images in prompts
  first_byte_timeout: 30m
  retries: 1
"""

    max_body: Annotated[Size, sized("1KiB", "16GiB")] = setting("64MiB", "Largest request body.")
    # Four of the largest bodies: bodies of chats come whole in a blink, and those that don't are slow clients'.
    max_uploads: Annotated[Size, sized("1KiB", "64GiB")] = setting(
        "256MiB",
        "Most bytes of all bodies together that have begun to come and aren't whole; beyond it, those that come "
        "slowest are refused with 503. At least max_body, to which the default grows.",
    )
    max_connections: Annotated[Whole, Field(ge=1, le=1_000_000)] = setting(
        16384,
        "Most connections of clients at a time; the next gets an error and is closed. The limit of open files may "
        "allow fewer.",
    )
    max_queue: Annotated[Whole, Field(ge=0, le=1_000_000)] = setting(
        512, "Most requests that wait for one model at a time; the next gets 429."
    )
    queue_timeout: Annotated[Duration, lasting("0", "24h")] = setting("60s", "Longest wait in the queue.")
    connect_timeout: Annotated[Duration, lasting("10ms", "10m")] = setting(
        "5s", "How long a connection to a backend may take."
    )
    first_byte_timeout: Annotated[Duration, lasting("10ms", "24h")] = setting(
        "10m", "How long a backend may take to begin its answer; a long prompt takes its time."
    )
    idle_timeout: Annotated[Duration, lasting("10ms", "24h")] = setting(
        "2m", "Longest pause within an answer that has begun."
    )
    retries: Annotated[Whole, Field(ge=0, le=10)] = setting(
        2, "How many more backends may be tried while no byte has reached the client."
    )
    drain_timeout: Annotated[Duration, lasting("0", "24h")] = setting(
        "5m", "How long requests in flight may go on when a backend is removed or the router stops."
    )
