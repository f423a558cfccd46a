"""What router.yaml's sections mean to the parts: each function gives the settings of one of them.

`App` hands them over at the start and after each reload. Pure.
"""

import hashlib

from router.config import Config, KeyConfig
from router.config.keys.auth import AdminKeyConfig
from router.core.access import Access
from router.core.admission import Bounds
from router.core.health import Thresholds
from router.core.scopes import Admin, Scope
from router.proxy.plane import Balancing, ExchangeLimits
from router.proxy.requests import Caller
from router.proxy.watching.probe import ProbeTiming

_DIGITS = 8
"""Digits of a key's digest that stand for a key without a name: they tell keys apart, and give none away."""


def exchange_limits(config: Config) -> ExchangeLimits:
    """Give the bounds of one exchange."""
    limits = config.limits
    return ExchangeLimits(
        retries=limits.retries,
        connect_timeout=limits.connect_timeout,
        first_byte_timeout=limits.first_byte_timeout,
        idle_timeout=limits.idle_timeout,
        stall_after=config.health.stall_after,
    )


def thresholds(config: Config) -> Thresholds:
    """Say when a backend is out, and how it comes back."""
    health = config.health
    return Thresholds(
        unhealthy_after=health.unhealthy_after,
        healthy_after=health.healthy_after,
        error_rate=health.error_rate,
        trial=health.trial,
        slow_start=health.ramp,
    )


def balancing(config: Config) -> Balancing:
    """Say how a backend is chosen, and how requests wait for one."""
    balance, limits = config.balance, config.limits
    return Balancing(
        policy=balance.policy,
        affinity=balance.affinity,
        retry_share=balance.retry_share,
        bounds=Bounds(
            max_queue=limits.max_queue,
            queue_timeout=limits.queue_timeout,
            weights=weights(config),
        ),
        hedge_after=balance.hedge_after,
    )


def probe_timing(config: Config) -> ProbeTiming:
    """Say how often backends are probed."""
    health = config.health
    return ProbeTiming(interval=health.interval, timeout=health.timeout, stall_after=health.stall_after)


def paths(config: Config) -> dict[str, str]:
    """Give the paths beside /v1 that commands serve, each with the first model that is served there."""
    found: dict[str, str] = {}
    for backend in config.backends:
        for path in backend.launch.paths if backend.launch is not None else ():
            found.setdefault(path, next(iter(backend.models)))
    return found


def access(config: Config) -> Access:
    """Say who may ask without a key. A name that the router listens at is one of its own."""
    server = config.server
    return Access(hosts=(server.host, *server.hosts), cors=server.cors, is_open=config.auth.open)


def callers(config: Config) -> dict[str, Caller]:
    """Give the callers by the keys that they show."""
    return {key.key.get_secret_value(): caller(key) for key in config.auth.keys}


def admins(config: Config) -> dict[str, Admin]:
    """Give the admins by the keys that they show."""
    return {
        key.key.get_secret_value(): Admin(_name(key), frozenset(map(Scope, key.scopes)))
        for key in config.auth.admin_keys
    }


def weights(config: Config) -> dict[str, float]:
    """Give the shares of keys, by the names of their callers."""
    return {caller(key).name: key.weight for key in config.auth.keys}


def caller(key: KeyConfig) -> Caller:
    """Tell whose a key is."""
    return Caller(_name(key), key.priority)


def _name(key: KeyConfig | AdminKeyConfig) -> str:
    """Name a key: as router.yaml does, else by the beginning of its digest."""
    return key.name or hashlib.sha256(key.key.get_secret_value().encode()).hexdigest()[:_DIGITS]
