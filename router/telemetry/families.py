"""The metrics of /metrics: each one's name, type, labels and meaning. docs/metrics.md is made from them. Pure.

Names follow Prometheus's conventions: units in the name, `_total` for what only grows. What is measured, and its words,
is that of OpenTelemetry's conventions for generative AI: time to first token, time per output token, request duration.
A label has one meaning wherever it stands: `LABELS` has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric. `buckets` are the upper bounds of a histogram's; the last one, infinity, goes without saying."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()


LABELS: Final[Mapping[str, str]] = {
    "model": "a model's name as clients ask for it; of a route, the first of its models that the backend serves; "
    "`unknown`: no model has the name that was asked for",
    "backend": "a backend's name; empty: the request reached none",
    "route": "the route by which the model was asked for, as router.yaml writes it; empty: by its own name",
    "api": "the path of the request, if it is one of a known API; else `other`",
    "code": "the status of the answer; 499: the client left",
    "outcome": "how the request ended: see below",
    "reason": "the code of the error that the client was told",
    "result": "`won` or `lost`; of reloads `applied` or `refused`",
    "key": "the name of the key that was shown, from auth.keys; empty: none",
    "health": "`up`, `suspect`, `down`, `probing` or `unknown`; of one that can be woken also `asleep` or `waking`",
    "engine": "the program that a launch starts",
    "state": "`stopped`, `waiting`, `starting`, `running`, `backoff`, `stopping` or `fatal`",
    "device": "`ram`, or a GPU's id",
    "log": "the name of its file, without `.log`",
    "version": "the router's version",
    "python": "Python's version",
    "compiled": "`true`: the hot path is compiled",
}
"""What each label means. One that has no more room for new values has `other`."""

ANSWERED: Final = "answered"
ENGINE_ERROR: Final = "engine_error"
CLIENT_LEFT: Final = "client_left"
CANCELLED: Final = "cancelled"
BAD_REQUEST: Final = "bad_request"
MODEL_NOT_FOUND: Final = "model_not_found"
RATE_LIMITED: Final = "rate_limited"
QUEUE_FULL: Final = "queue_full"
QUEUE_TIMEOUT: Final = "queue_timeout"
UNAVAILABLE: Final = "unavailable"
ENGINE_FAILED: Final = "engine_failed"
ENGINE_TIMEOUT: Final = "engine_timeout"
STOPPING: Final = "router_stopping"
BUG: Final = "internal_error"

OUTCOMES: Final[Mapping[str, str]] = {
    ANSWERED: "the answer is whole",
    ENGINE_ERROR: "the engine's answer is an error, or ends with one",
    CLIENT_LEFT: "the client left, or took nothing any more",
    CANCELLED: "an admin has cancelled it",
    BAD_REQUEST: "the router refused it: it was wrong, or its model lacks the API",
    MODEL_NOT_FOUND: "no model has this name",
    RATE_LIMITED: "its key's limits were reached",
    QUEUE_FULL: "the queue had no room for it",
    QUEUE_TIMEOUT: "no backend had room within limits.queue_timeout",
    UNAVAILABLE: "no backend was up, or its model couldn't be loaded",
    ENGINE_FAILED: "the engine broke off, or couldn't be reached; with code 200, in the middle of its answer",
    ENGINE_TIMEOUT: "the engine was silent for too long; with code 200, in the middle of its answer",
    STOPPING: "the router stopped",
    BUG: "a bug in the router",
}
"""How requests end."""

_SERVED: Final = ("model", "backend")

# Requests that have ended

REQUESTS: Final = Family(
    "router_requests_total",
    COUNTER,
    ("model", "backend", "route", "api", "code", "outcome"),
    "Requests that have ended; the backend is that of the last attempt.",
)
ENDED: Final = Family(
    "router_requests_ended_total",
    COUNTER,
    ("outcome",),
    "Requests that have ended, by their end alone: each outcome is there from the start, so that alerts see its first.",
)
REFUSED: Final = Family(
    "router_requests_refused_total",
    COUNTER,
    ("code", "reason"),
    "Requests that were refused before they could be sent anywhere, such as those without a valid key. They are in no "
    "other metric.",
)
DURATION: Final = Family(
    "router_request_duration_seconds",
    HISTOGRAM,
    _SERVED,
    "The whole time of requests that were answered, from their arrival.",
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800),
)
TTFT: Final = Family(
    "router_time_to_first_token_seconds",
    HISTOGRAM,
    _SERVED,
    "The time from a request's arrival to the first token, of streams that were answered; the queue is part of it.",
    (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 2, 3.5, 5, 10, 20, 60, 120, 300),
)
TPOT: Final = Family(
    "router_time_per_output_token_seconds",
    HISTOGRAM,
    _SERVED,
    "The mean time of each token after the first, of streams that were answered.",
    (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5),
)
QUEUE: Final = Family(
    "router_request_queue_seconds",
    HISTOGRAM,
    _SERVED,
    "The time in the queue, without that of loads, of requests that had to wait, however they ended.",
    (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
LOAD: Final = Family(
    "router_request_load_seconds",
    HISTOGRAM,
    _SERVED,
    "The time for which requests waited until their model was loaded, of those that had to, however they ended.",
    (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200),
)
PROMPT: Final = Family(
    "router_request_prompt_tokens",
    HISTOGRAM,
    _SERVED,
    "The tokens of the prompts of requests that were answered, as far as engines tell.",
    (16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 1048576),
)
GENERATED: Final = Family(
    "router_request_generated_tokens",
    HISTOGRAM,
    _SERVED,
    "The tokens that were generated for requests that were answered.",
    (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768),
)
PROMPT_TOKENS: Final = Family(
    "router_prompt_tokens_total", COUNTER, _SERVED, "Tokens of prompts, of all requests, as far as engines tell."
)
CACHED_TOKENS: Final = Family(
    "router_cached_prompt_tokens_total",
    COUNTER,
    _SERVED,
    "Tokens of prompts that engines had in their caches, of all requests, as far as they tell.",
)
GENERATED_TOKENS: Final = Family(
    "router_generated_tokens_total",
    COUNTER,
    _SERVED,
    "Tokens that were generated; of answers that were cut, about as many as their events.",
)
RETRIES: Final = Family(
    "router_retries_total",
    COUNTER,
    _SERVED,
    "Attempts that failed and were followed by another one; the backend is the one that failed.",
)
HEDGES: Final = Family(
    "router_hedges_total", COUNTER, ("model", "result"), "Second attempts beside a first one (balance.hedge_after)."
)
KEY_REQUESTS: Final = Family("router_key_requests_total", COUNTER, ("key",), "Requests that have ended, by key.")
KEY_PROMPT_TOKENS: Final = Family("router_key_prompt_tokens_total", COUNTER, ("key",), "Tokens of prompts, by key.")
KEY_GENERATED_TOKENS: Final = Family(
    "router_key_generated_tokens_total", COUNTER, ("key",), "Tokens that were generated, by key."
)

# How things are now

IN_FLIGHT: Final = Family(
    "router_requests_in_flight", GAUGE, ("backend",), "Requests that were sent to a backend and have not ended."
)
QUEUED: Final = Family(
    "router_requests_queued", GAUGE, ("model",), "Requests that wait for a backend with room, or for a load."
)
CAPACITY: Final = Family(
    "router_backend_max_in_flight",
    GAUGE,
    ("backend",),
    "Requests that a backend may have in flight at most; missing where that isn't bounded.",
)
UP: Final = Family("router_backend_up", GAUGE, ("backend",), "1: it may be sent requests, or is loaded when one comes.")
HEALTH: Final = Family(
    "router_backend_health", GAUGE, ("backend", "health"), "1, with the backend's present health as a label."
)
ENGINE: Final = Family(
    "router_engine_state",
    GAUGE,
    ("backend", "engine", "state"),
    "1, with the present state of a launched engine as a label.",
)
STALLS: Final = Family(
    "router_stalls_total", COUNTER, ("backend",), "How often a backend held requests and showed no sign of work."
)
RESTARTS: Final = Family(
    "router_engine_restarts_total",
    COUNTER,
    ("backend",),
    "How often an engine was started again because it had ended unasked, or worked no more.",
)
LOADS: Final = Family("router_model_loads_total", COUNTER, ("backend",), "Loads that were begun of a model on demand.")
EVICTIONS: Final = Family(
    "router_evictions_total", COUNTER, ("backend",), "How often a model was unloaded because others needed its memory."
)
LOAD_SECONDS: Final = Family(
    "router_model_load_seconds",
    GAUGE,
    ("backend",),
    "How long the last start of an engine took until it was ready.",
)
BACKEND_MEMORY: Final = Family(
    "router_backend_memory_bytes",
    GAUGE,
    ("backend", "device"),
    "What a launched backend holds of a device: its footprint as it was measured last, or what is reserved.",
)
ENGINE_CPU: Final = Family(
    "router_engine_cpu_seconds_total",
    COUNTER,
    ("backend",),
    "CPU time of a launched engine's processes since it was started.",
)

# This machine, and the router itself

DEVICE_MEMORY: Final = Family("router_device_memory_bytes", GAUGE, ("device",), "All memory of a device.")
DEVICE_FREE: Final = Family("router_device_memory_free_bytes", GAUGE, ("device",), "What is free of a device's memory.")
DEVICE_BUSY: Final = Family(
    "router_device_utilization_ratio", GAUGE, ("device",), "The share of the latest moment in which a GPU computed."
)
DEVICE_TEMPERATURE: Final = Family("router_device_temperature_celsius", GAUGE, ("device",), "A GPU's temperature.")
DEVICE_POWER: Final = Family("router_device_power_watts", GAUGE, ("device",), "What a GPU draws.")
DEVICE_POWER_LIMIT: Final = Family("router_device_power_limit_watts", GAUGE, ("device",), "What a GPU may draw.")
MACHINE_CPU: Final = Family(
    "router_machine_cpu_ratio", GAUGE, (), "How busy this machine's CPUs were lately; 1: all of them."
)
LOOP_LAG: Final = Family(
    "router_loop_lag_seconds",
    GAUGE,
    (),
    "How late the event loop was at worst in the last minute: all requests are late by as much.",
)
RELOADS: Final = Family("router_config_reloads_total", COUNTER, ("result",), "Reloads of router.yaml.")
RELOAD_GOOD: Final = Family(
    "router_config_last_reload_successful", GAUGE, (), "0: the last reload found a mistake, and changed nothing."
)
RELOAD_AT: Final = Family(
    "router_config_last_reload_timestamp_seconds",
    GAUGE,
    (),
    "When the last reload was, in seconds since the epoch; missing before the first.",
)
LOST_LINES: Final = Family(
    "router_log_lines_lost_total",
    COUNTER,
    ("log",),
    "Lines that a log could not take, as its disk was full, gone or too slow. Each log is there from the start.",
)
CERTIFICATE: Final = Family(
    "router_certificate_expiry_timestamp_seconds",
    GAUGE,
    (),
    "When the certificate of server.tls ends, in seconds since the epoch; missing where there is none.",
)
PROCESS_CPU: Final = Family("process_cpu_seconds_total", COUNTER, (), "CPU time of the router's own process.")
PROCESS_MEMORY: Final = Family(
    "process_resident_memory_bytes", GAUGE, (), "What the router's own process has resident of RAM."
)
PROCESS_FILES: Final = Family("process_open_fds", GAUGE, (), "File descriptors that the router's own process has open.")
PROCESS_MOST_FILES: Final = Family(
    "process_max_fds",
    GAUGE,
    (),
    "File descriptors that the router's own process may open; missing where that isn't bounded.",
)
PROCESS_STARTED: Final = Family(
    "process_start_time_seconds", GAUGE, (), "When the router's own process was started, in seconds since the epoch."
)
BUILD: Final = Family(
    "router_build_info",
    GAUGE,
    ("version", "python", "compiled"),
    "1, with the versions of the router and of Python as labels.",
)

SECTIONS: Final[Mapping[str, tuple[Family, ...]]] = {
    "Requests that have ended": (
        REQUESTS, ENDED, REFUSED, DURATION, TTFT, TPOT, QUEUE, LOAD, PROMPT, GENERATED,
        PROMPT_TOKENS, CACHED_TOKENS, GENERATED_TOKENS, RETRIES, HEDGES,
    ),
    "Usage by key": (KEY_REQUESTS, KEY_PROMPT_TOKENS, KEY_GENERATED_TOKENS),
    "Requests under way, and backends": (
        IN_FLIGHT, QUEUED, CAPACITY, UP, HEALTH, ENGINE, STALLS, RESTARTS, LOADS, EVICTIONS, LOAD_SECONDS,
        BACKEND_MEMORY, ENGINE_CPU,
    ),
    "This machine": (
        DEVICE_MEMORY, DEVICE_FREE, DEVICE_BUSY, DEVICE_TEMPERATURE, DEVICE_POWER, DEVICE_POWER_LIMIT, MACHINE_CPU,
    ),
    "The router itself": (
        LOOP_LAG, RELOADS, RELOAD_GOOD, RELOAD_AT, LOST_LINES, CERTIFICATE, PROCESS_CPU, PROCESS_MEMORY,
        PROCESS_FILES, PROCESS_MOST_FILES, PROCESS_STARTED, BUILD,
    ),
}  # fmt: skip
"""All of them, in the order of the docs and of the page."""

FAMILIES: Final = tuple(family for section in SECTIONS.values() for family in section)
