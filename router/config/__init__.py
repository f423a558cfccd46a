"""router.yaml: read, checked, and turned into frozen types. Every error names its place."""

from router.config.load import Loaded, load
from router.config.problems import ConfigError, Problem
from router.config.redact import redacted
from router.config.routes import Route
from router.config.types import Auth, Backend, Balance, Config, Health, Key, Launch, Limits, Logging, Server

__all__ = [
    "Auth",
    "Backend",
    "Balance",
    "Config",
    "ConfigError",
    "Health",
    "Key",
    "Launch",
    "Limits",
    "Loaded",
    "Logging",
    "Problem",
    "Route",
    "Server",
    "load",
    "redacted",
]
