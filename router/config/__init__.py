"""router.yaml: read, checked, and turned into frozen types. Every error names its place."""

from router.config.load import Loaded, load
from router.config.problems import ConfigError, Problem
from router.config.redact import redacted
from router.config.routes import RouteConfig
from router.config.types import (
    AuthConfig,
    BackendConfig,
    BalanceConfig,
    Config,
    HealthConfig,
    KeyConfig,
    LaunchConfig,
    LimitsConfig,
    LoggingConfig,
    ServerConfig,
)

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
    "Problem",
    "RouteConfig",
    "ServerConfig",
    "load",
    "redacted",
]
