"""What router.yaml's sections mean to the parts: each function gives the settings of one of them.

`App` hands them over at the start and after each reload. Pure.
"""

from router.api.admin.metrics import PATH as METRICS
from router.config import Config, KeyConfig
from router.config.keys.auth import AdminKeyConfig, LimitedConfig
from router.core.access import Access
from router.core.admission import Bounds
from router.core.health import Thresholds
from router.core.keys import NEVER, Key, Keys, Team
from router.core.limits import Limits
from router.core.scopes import Admin, Scope
from router.proxy.capture import Captures
from router.proxy.plane import Balancing, ExchangeLimits
from router.proxy.watching.probe import ProbeTiming
from router.telemetry.files import Rotation

_DIGITS = 8
"""Digits of a key's hash that stand for a key without a name: they tell keys apart, and give none away."""


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


def opened(config: Config) -> tuple[str, ...]:
    """Give the paths that everybody may read, whoever may not manage the router."""
    return (METRICS,) if config.telemetry.metrics == "open" else ()


def captures(config: Config, before: Captures | None) -> Captures | None:
    """Give what keeps the last requests, with those that are kept; None: none are."""
    capture = config.telemetry.capture
    if before is not None:
        before.set_up(capture.requests, capture.size)
    if not capture.requests:
        return None
    return before or Captures(capture.requests, capture.size)


def rotation(config: Config) -> Rotation:
    """Say when log files are rotated."""
    logging = config.logging
    return Rotation(logging.max_size, logging.max_age, logging.keep)


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
    return Access(
        hosts=(server.host, *server.hosts), cors=server.cors, is_open=config.auth.open, tls=server.tls is not None
    )


def keys(config: Config) -> Keys:
    """Give the keys of clients, by their hashes."""
    teams = {name: Team(name, _limits(team)) for name, team in config.auth.teams.items()}
    of_team = {key: teams[name] for name, team in config.auth.teams.items() for key in team.keys}
    return Keys(
        {
            key.digest: Key(
                _name(key),
                priority=key.priority,
                weight=key.weight,
                expires=NEVER if key.expires is None else key.expires,
                models=key.models,
                paths=key.paths,
                limits=_limits(key),
                team=of_team.get(key.name or ""),
            )
            for key in config.auth.keys
        }
    )


def admins(config: Config) -> dict[bytes, Admin]:
    """Give the admins by the hashes of their keys."""
    return {key.digest: Admin(_name(key), frozenset(map(Scope, key.scopes))) for key in config.auth.admin_keys}


def weights(config: Config) -> dict[str, float]:
    """Give the shares of keys, by the names of their callers."""
    return {_name(key): key.weight for key in config.auth.keys}


def _limits(limited: LimitedConfig) -> Limits:
    return Limits(**{name: getattr(limited, name) for name in LimitedConfig.model_fields})


def _name(key: KeyConfig | AdminKeyConfig) -> str:
    """Name a key: as router.yaml does, else by the beginning of its hash."""
    return key.name or key.digest.hex()[:_DIGITS]
