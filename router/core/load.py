"""The load that an engine publishes: how many requests it works on, and how many wait in it. Pure.

Engines have a page for Prometheus at `PATH`, with a gauge for each of the two. A server with several engines (data
parallel) has gauges for each, and they are summed. Such a page has a hundred kilobytes of histograms, so it is only
searched for the known names. A page without them, such as another router's, shows no load.

The page also has counters of tokens and of steps. Their growth shows that the engine works (`router.core.stall`).
"""

import re
from typing import Final, NamedTuple

PATH: Final = "/metrics"

MOST: Final = 1e6
"""Most requests that a page may plausibly show."""

_RUNNING: Final = (
    "vllm:num_requests_running",
    "sglang:num_running_reqs",
    "llamacpp:requests_processing",
    "tgi_batch_current_size",
)
_WAITING: Final = (
    "vllm:num_requests_waiting",
    "sglang:num_queue_reqs",
    "llamacpp:requests_deferred",
    "tgi_queue_size",
)


_STEPS: Final = ("vllm:iteration_tokens_total_count", "vllm:generation_tokens_total", "llamacpp:n_decode_total")
"""Counters that grow with each step of an engine, whatever it works on."""

_ENDS: Final = (
    "vllm:prompt_tokens_total",
    "sglang:prompt_tokens_total",
    "sglang:generation_tokens_total",
    "llamacpp:prompt_tokens_total",
    "llamacpp:tokens_predicted_total",
    "tgi_request_count",
)
"""Counters that may grow only when an answer begins or ends."""


def _gauge(name: str) -> re.Pattern[bytes]:
    """Make the pattern of a gauge's lines. Each has its own: patterns that begin with plain text are the fastest."""
    return re.compile(rb"\n%b(\{[^\n]*\})?[ \t]+([0-9.eE+-]{1,32})(?=\s|\Z)" % name.encode())


_GAUGES: Final = (tuple(map(_gauge, _RUNNING)), tuple(map(_gauge, _WAITING)))
# SGLang also publishes the requests of each priority, which are in the total already.
_A_PART: Final = re.compile(rb'[{,]priority="[^"]')


_COUNTERS: Final = (tuple(map(_gauge, _STEPS)), tuple(map(_gauge, _ENDS)))


class Load(NamedTuple):
    """The published numbers of requests that an engine works on, and that wait in it."""

    running: float
    waiting: float


def load_of(page: bytes) -> Load | None:
    """Read an engine's published load; None if the page has none, or implausible figures."""
    page = b"\n" + page
    counts, told = [0.0, 0.0], False
    for place, gauges in enumerate(_GAUGES):
        for gauge in gauges:
            for labels, value in gauge.findall(page):
                if not _A_PART.search(labels):
                    try:
                        counts[place] += float(value)
                    except ValueError:
                        return None
                    told = True
    running, waiting = counts
    return Load(running, waiting) if told and running >= 0 and waiting >= 0 and running + waiting <= MOST else None


class Work(NamedTuple):
    """The sum of an engine's counters of work; `tells`: each step shows in them."""

    done: float
    tells: bool


def work_of(page: bytes) -> Work | None:
    """Read an engine's counters of work; None if the page has none."""
    page = b"\n" + page
    steps, ends = ([value for counter in counters for _, value in counter.findall(page)] for counters in _COUNTERS)
    try:
        return Work(sum(map(float, steps + ends)), bool(steps)) if steps or ends else None
    except ValueError:
        return None
