"""What an engine publishes of its load: how many requests it works on, and how many wait in it for that.

Engines have a page for Prometheus at `PATH`, on which two gauges tell. Of a server with several engines (data parallel)
each has its own, and they are summed. Such a page has a hundred kilobytes of histograms, so it is searched for these
names alone. Whatever else a page says, a router's own too, is no load.

Counters of tokens and of steps are there, too: that they grow shows that it works (`router.core.stall`).
"""

import re
from typing import Final, NamedTuple

PATH: Final = "/metrics"

MOST: Final = 1e6
"""Requests: a page that tells of more tells nothing."""

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
"""Counters of work that grow with each step of an engine, whatever it works on."""

_ENDS: Final = (
    "vllm:prompt_tokens_total",
    "sglang:prompt_tokens_total",
    "sglang:generation_tokens_total",
    "llamacpp:prompt_tokens_total",
    "llamacpp:tokens_predicted_total",
    "tgi_request_count",
)
"""Counters of work that may grow when an answer begins or ends alone."""


def _gauge(name: str) -> re.Pattern[bytes]:
    """Make what finds a gauge's lines: one pattern each, as what begins with plain text is found the fastest."""
    return re.compile(rb"\n%b(\{[^\n]*\})?[ \t]+([0-9.eE+-]{1,32})(?=\s|\Z)" % name.encode())


_GAUGES: Final = (tuple(map(_gauge, _RUNNING)), tuple(map(_gauge, _WAITING)))
_A_PART: Final = re.compile(rb'[{,]priority="[^"]')  # SGLang: those of one priority, which are counted in all


_COUNTERS: Final = (tuple(map(_gauge, _STEPS)), tuple(map(_gauge, _ENDS)))


class Load(NamedTuple):
    """How many requests an engine says that it works on, and how many wait in it for their turn."""

    running: float
    waiting: float


def load_of(page: bytes) -> Load | None:
    """Read what an engine publishes; None where the page tells nothing of it, or what can't be."""
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
    """What an engine's counters of its work come to, and whether each step of it shows in them."""

    done: float
    tells: bool


def work_of(page: bytes) -> Work | None:
    """Read what an engine has done so far; None where the page tells nothing of it."""
    page = b"\n" + page
    steps, ends = ([value for counter in counters for _, value in counter.findall(page)] for counters in _COUNTERS)
    try:
        return Work(sum(map(float, steps + ends)), bool(steps)) if steps or ends else None
    except ValueError:
        return None
