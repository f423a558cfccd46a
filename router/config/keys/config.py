"""All of router.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from router.config.keys import rules
from router.config.keys.auth import AuthConfig
from router.config.keys.backends import BackendConfig
from router.config.keys.balance import BalanceConfig
from router.config.keys.groups import faulty, listed, mapping
from router.config.keys.health import HealthConfig
from router.config.keys.limits import LimitsConfig
from router.config.keys.logging import LoggingConfig
from router.config.keys.memory import MemoryConfig
from router.config.keys.ray import RayConfig
from router.config.keys.routes import RouteConfig
from router.config.keys.section import Section, setting
from router.config.keys.server import ServerConfig
from router.config.keys.state import StateConfig
from router.config.keys.telemetry import TelemetryConfig
from router.config.keys.values import TEXT, FileName, Text
from router.config.problems import Fault

NO_BACKENDS = 'there is none; the least that works is `backends: [{url: "http://127.0.0.1:8000"}]`'


Patterns = Annotated[
    tuple[Text, ...],
    BeforeValidator(lambda value: listed([value] if isinstance(value, str) else value)),
    WithJsonSchema({"anyOf": [TEXT, {"type": ["array", "null"], "items": TEXT}]}),
]
Routes = Annotated[
    Mapping[str, RouteConfig],
    BeforeValidator(mapping),
    AfterValidator(MappingProxyType),
    PlainSerializer(dict, return_type=dict[str, RouteConfig], when_used="json"),
]


class Config(Section):
    """All of router.yaml."""

    include: Patterns = setting(
        (), "More files, or patterns of them such as conf.d/*.yaml, with backends, routes and sections of their own."
    )
    server: ServerConfig = Field(default_factory=ServerConfig, description=ServerConfig.__doc__)
    profile: FileName = setting(
        "auto", "Which engine this platform runs, and with which options: auto, or a name in profiles/."
    )
    backends: Annotated[tuple[BackendConfig, ...], BeforeValidator(listed)] = Field(
        description="The places that requests can be sent to. Required: at least one."
    )
    routes: Routes = setting({}, "More names that clients may ask for, and the models each leads to, in order.")
    balance: BalanceConfig = Field(default_factory=BalanceConfig, description=BalanceConfig.__doc__)
    health: HealthConfig = Field(default_factory=HealthConfig, description=HealthConfig.__doc__)
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description=LimitsConfig.__doc__)
    memory: MemoryConfig = Field(default_factory=MemoryConfig, description=MemoryConfig.__doc__)
    auth: AuthConfig = Field(default_factory=AuthConfig, description=AuthConfig.__doc__)
    logging: LoggingConfig = Field(default_factory=LoggingConfig, description=LoggingConfig.__doc__)
    telemetry: TelemetryConfig = Field(default_factory=TelemetryConfig, description=TelemetryConfig.__doc__)
    state: StateConfig = Field(default_factory=StateConfig, description=StateConfig.__doc__)
    ray: RayConfig = Field(default_factory=RayConfig, description=RayConfig.__doc__)

    @field_validator("backends")
    @classmethod
    def _has_backends(cls, backends: tuple[BackendConfig, ...]) -> tuple[BackendConfig, ...]:
        if not backends:
            raise ValueError(NO_BACKENDS)
        return backends

    @model_validator(mode="after")
    def _obeys_rules(self) -> Config:
        server, auth = self.server, self.auth
        if not auth.keys and (faults := [*rules.open_doors(server.host, server.cors, is_open=auth.open)]):
            raise faulty(faults)
        if faults := [*rules.faults(self.backends, self.targets)]:
            raise faulty(faults, "rule")
        return self

    @model_validator(mode="after")
    def _holds_together(self) -> Config:
        limits, faults = self.limits, list[Fault]()
        # The default grows with max_body.
        if LimitsConfig().max_uploads != limits.max_uploads < limits.max_body:
            message = "{got} is less than limits.max_body: one body alone would not fit"
            faults.append(Fault(("limits", "max_uploads"), message))
        if faults:
            raise faulty(faults)
        return self

    @property
    def targets(self) -> dict[str, tuple[str, ...]]:
        """The models that each route leads to, in order."""
        return {name: route.to for name, route in self.routes.items()}
