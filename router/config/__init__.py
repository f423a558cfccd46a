"""router.yaml: read, checked, and turned into frozen types. Every error names its place.

`load` does all of it. `reading` turns files into data, `keys` has the types of that data, `explain` words what is wrong
with it. `schema` describes the types to editors; `redact` says what may be shown of their values.
"""

from router.config.keys.auth import AuthConfig, KeyConfig
from router.config.keys.backends import BackendConfig
from router.config.keys.balance import BalanceConfig
from router.config.keys.config import Config
from router.config.keys.health import HealthConfig
from router.config.keys.launches import LaunchConfig
from router.config.keys.limits import LimitsConfig
from router.config.keys.logging import LoggingConfig
from router.config.keys.memory import MemoryConfig
from router.config.keys.routes import RouteConfig
from router.config.keys.server import ServerConfig
from router.config.keys.state import StateConfig
from router.config.keys.telemetry import TelemetryConfig
from router.config.keys.units import Share
from router.config.load import Loaded, load
from router.config.problems import ConfigError, Problem
from router.config.redact import redacted

__all__ = [
    "AuthConfig",
    "BackendConfig",
    "BalanceConfig",
    "Config",
    "ConfigError",
    "HealthConfig",
    "KeyConfig",
    "LaunchConfig",
    "LimitsConfig",
    "Loaded",
    "LoggingConfig",
    "MemoryConfig",
    "Problem",
    "RouteConfig",
    "ServerConfig",
    "Share",
    "StateConfig",
    "TelemetryConfig",
    "load",
    "redacted",
]
