"""Published faults of engines that a newer version hasn't: what doctor warns of. Pure.

Taken from public advisories (GitHub's, OSV, PyPA's, NVD), as they stood on `AS_OF`. A fault stands here
where a request, a model's file or a name can use it. It isn't all there is: who serves others follows the advisories.
"""

import re
from typing import Final, NamedTuple

AS_OF: Final = "2026-11-30"
"""The day on which the advisories were read."""


class PublishedFault(NamedTuple):
    """A fault of an engine's versions from `since` on and below `fixed`: its `id`, and what comes of it."""

    engine: str
    id: str
    fixed: str
    what: str
    since: str = "0"


FAULTS: Final = (
    PublishedFault("vllm", "CVE-2026-115911", "0.32.0", "a request's template holds everybody up", "0.19.0"),
    PublishedFault("vllm", "CVE-2026-105757", "0.30.0", "a request's structured output ends it"),
    PublishedFault("vllm", "CVE-2026-105760", "0.30.0", "a request's media_io_kwargs take all memory"),
    PublishedFault("vllm", "CVE-2026-54236", "0.24.0", "errors tell addresses"),
    PublishedFault("vllm", "CVE-2026-34756", "0.19.0", "a request's n takes all memory", "0.1.0"),
    PublishedFault("vllm", "CVE-2026-27893", "0.18.0", "a model runs code unasked"),
    PublishedFault("vllm", "CVE-2026-24779", "0.14.1", "a media URL reaches hosts that it shouldn't"),
    PublishedFault("vllm", "CVE-2026-22778", "0.14.1", "errors tell addresses, and a video runs code", "0.8.3"),
    PublishedFault("vllm", "CVE-2026-22807", "0.14.0", "a model runs code unasked", "0.10.1"),
    PublishedFault("vllm", "CVE-2025-62164", "0.11.1", "a request's tensors run code", "0.10.2"),
    PublishedFault("mlx", "CVE-2026-5843", "0.32.0", "a model runs code unasked"),
    PublishedFault("llama_cpp", "CVE-2024-34359", "0.2.72", "a model's template runs code", "0.2.30"),
    # Of llama-server the version is the number of its build.
    PublishedFault("llama_server", "CVE-2026-21869", "8908", "a request's n_discard writes into its memory"),
    PublishedFault("llama_server", "CVE-2025-52566", "5721", "a long text writes into its memory"),
)  # fmt: skip

_VERSION: Final = re.compile(r"\d+(?:\.\d+)*")


def published(engine: str, version: str) -> list[PublishedFault]:
    """Give the faults of an engine's version, as `Facts.engines` tells it; none where it can't be compared."""
    match = _VERSION.match(version)
    if match is None:
        return []
    has = parts(match[0])
    return [
        each
        for each in FAULTS
        if each.engine == engine
        # A package with the server in it has a version of its own, not a build's number.
        and (engine != "llama_server" or len(has) == 1)
        and parts(each.since) <= has < parts(each.fixed)
    ]


def parts(version: str) -> tuple[int, ...]:
    """Give the numbers of a version, by which versions compare."""
    return tuple(map(int, version.split(".")))
