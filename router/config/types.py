"""router.yaml's types: every key with its meaning, its bounds and its default. All frozen, compared by value.

`Config.model_validate` takes the plain data of the file; `load` does so, and puts the errors into words. Durations
are seconds, sizes are bytes, lists are tuples, mappings are read-only and keep the file's order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path  # noqa: TC003 - pydantic looks the field's type up
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from router.config import rules
from router.config.fields import (
    ENGINES,
    TEXT,
    Address,
    FileName,
    HostName,
    MaybeSecret,
    Number,
    Origin,
    Secret,
    Switch,
    Text,
    Url,
    Whole,
    absent_if_empty,
    choice,
    file_name,
    host_and_port,
    text,
    words,
)
from router.config.groups import Arguments, ModelSource, Names, Variables, faulty, listed, mapping
from router.config.problems import Fault, repeated
from router.config.routes import PolicyName, RouteConfig
from router.config.section import Section, setting
from router.config.units import Duration, DurationOrNever, HedgeAfter, Size, lasting, sized

LEVELS = ("debug", "info", "warning", "error")

NO_BACKENDS = 'there is none; the least that works is `backends: [{url: "http://127.0.0.1:8000"}]`'


class ServerConfig(Section):
    """Where the router listens."""

    example: ClassVar[str] = """\
server:
  host: 0.0.0.0          # let other machines in; auth.keys says which clients
  port: 8080
  hosts: [router.lan]
  cors: ["https://chat.example.org", "http://localhost:*"]
auth: {keys: ["${ROUTER_KEY:-change-me}"]}
"""

    host: Address = setting(
        "127.0.0.1",
        "Address to listen at. 0.0.0.0 is every network of this machine, `::` those of IPv6, too; both need auth.keys, "
        "or auth.open.",
    )
    port: Annotated[Whole, Field(ge=0, le=65535)] = setting(8001, "Port to listen at; 0 takes a free one.")
    keep_engines: Switch = setting(
        default=False,
        meaning="Whether launched engines run on when the router stops, to be taken over by its next start.",
    )
    hosts: Annotated[tuple[HostName, ...], BeforeValidator(listed)] = setting(
        (),
        "Names of this machine by which clients without a key may ask, beside localhost and addresses; "
        "*.example.org is every name that ends so.",
    )
    cors: Annotated[tuple[Origin, ...], BeforeValidator(listed)] = setting(
        (),
        "Origins of web pages and browser extensions that may ask, such as http://localhost:*, "
        "chrome-extension://*, app://obsidian.md. With auth.keys, * is every page.",
    )


class LaunchConfig(Section):
    """How to start an engine's own server, one process a replica."""

    example: ClassVar[str] = """\
backends:
  - name: qwen
    models: [qwen2.5-7b]
    launch:
      model:                              # the profile says which engine; each has its own form of the model
        mlx: mlx-community/Qwen2.5-7B-Instruct-4bit
        vllm: Qwen/Qwen2.5-7B-Instruct
        llama_cpp: models/qwen2.5-7b-instruct-q4_k_m.gguf
      replicas: 2
      args: {n_ctx: 16384}
      env: {CUDA_VISIBLE_DEVICES: "0"}
"""

    engine: Annotated[str, choice("an engine", "auto", *ENGINES), words("auto", *ENGINES)] = setting(
        "auto", "Which engine runs the model; auto is the profile's."
    )
    model: ModelSource = Field(description="What to run: a path or a hub id, or one for each engine. Required.")
    replicas: Annotated[Whole, Field(ge=1, le=64)] = setting(1, "How many processes run it.")
    args: Arguments = setting(
        {}, "Options passed on to the engine, over the profile's; below an engine's name, those for it alone."
    )
    env: Variables = setting({}, "Environment variables of the engine's process, over the router's own.")
    load: Annotated[Literal["startup", "on_demand"], choice("a time to load", "startup", "on_demand")] = setting(
        "startup", "When to start it: with the router, or with the first request that wants it."
    )
    unload_after: Annotated[DurationOrNever, lasting("1s", "8760h")] = setting(
        "never", "How long it may be idle before it is stopped."
    )
    start_timeout: Annotated[Duration, lasting("1s", "24h")] = setting(
        "10m", "How long it may take until it answers; a large model loads slowly."
    )


class BackendConfig(Section):
    """One place that requests can be sent to: a URL, or an engine that is launched here."""

    example: ClassVar[str] = """\
backends:
  - url: http://gpu-box:8000              # all that is needed: it is asked for its models
  - name: mac-studio
    url: http://mac-studio:8080
    models: {qwen2.5-7b: mlx-community/Qwen2.5-7B-Instruct-4bit}
    api_key: ${MAC_KEY:-}                 # none, where the environment has none
    weight: 2                             # takes twice what a backend of weight 1 takes
"""

    # The order matters: each of the four is checked against those before it.
    url: Url | None = setting(None, "Where a server runs already.")
    launch: LaunchConfig | None = setting(None, "How to start it here. A backend has either this or a url.")
    name: Annotated[str, WithJsonSchema({"anyOf": [TEXT, {"type": "null"}]})] = setting(
        None, "Its name in logs and metrics, unlike any other's. Left out, a url has its host:port."
    )
    models: Names = setting(
        None,
        "Models it serves: a list, or a mapping of the name clients use to the name it knows. "
        "Left out, a url is asked for its own, and a launched backend serves one of its own name.",
    )
    api_key: MaybeSecret = setting(None, "Bearer token sent to it.")
    weight: Annotated[Number, Field(gt=0, le=1000)] = setting(1.0, "Capacity hint before anything is measured.")
    max_in_flight: Annotated[Annotated[Whole, Field(ge=1, le=100_000)] | None, absent_if_empty] = setting(
        None, "Most requests sent to it at a time."
    )
    max_prompt_bytes: Annotated[Annotated[Size, sized("1KiB", "1TiB")] | None, absent_if_empty] = setting(
        None, "Most bytes of requests' bodies that it works on at a time; a larger one goes there alone."
    )

    @field_validator("launch")
    @classmethod
    def _either_url_or_launch(cls, launch: LaunchConfig | None, info: ValidationInfo) -> LaunchConfig | None:
        if "url" in info.data and (launch is None) == (info.data["url"] is None):
            raise ValueError("a backend has either `url` (it runs elsewhere) or `launch` (it is started here)")
        return launch

    @field_validator("name", mode="before")
    @classmethod
    def _is_named(cls, name: object, info: ValidationInfo) -> str:
        url, launch = info.data.get("url"), info.data.get("launch")
        if name is not None:
            return file_name(name) if launch else text(name)
        if launch:
            raise ValueError("a launched backend needs a name: its log file and its metrics have it")
        return host_and_port(url) if url else "unnamed"  # which nobody sees: the URL is wrong, and said to be

    @field_validator("models", mode="before")
    @classmethod
    def _serves_something(cls, models: object, info: ValidationInfo) -> object:
        launched = info.data.get("launch") is not None
        if models is None:
            return [info.data["name"]] if launched and "name" in info.data else []
        if launched and models in ([], (), {}):
            raise ValueError("a launched backend serves at least one model; left out, it is one of its own name")
        return models


class BalanceConfig(Section):
    """Which of several backends gets a request."""

    example: ClassVar[str] = """\
balance:
  policy: round_robin
  hedge_after: p95
"""

    policy: PolicyName = setting("least_latency", "By what to choose among the backends that can take a request.")
    affinity: Switch = setting(
        default=True, meaning="Whether a conversation goes back to the backend that has its beginning cached."
    )
    hedge_after: Annotated[HedgeAfter, lasting("1ms", "1h")] = setting(
        "never",
        "Silence after which a second backend is asked, too, and the first answer taken; p95 is the time "
        "within which 95 of 100 answers began.",
    )
    retry_share: Annotated[Number, Field(ge=0, le=1)] = setting(
        0.2,
        "Largest share of the recent requests that retries may be, so that they can't flood what is left. What no "
        "engine has read, or one that is out, is sent on in any case.",
    )


class HealthConfig(Section):
    """How backends are watched."""

    example: ClassVar[str] = """\
health:
  interval: 1s
  unhealthy_after: 5
  stall_after: 3m        # long silences are usual here
"""

    interval: Annotated[Duration, lasting("100ms", "1h")] = setting(
        "5s",
        "Time between two probes of a backend that is well. One that is out or in doubt is probed after 0.1 s, then "
        "each time later by a tenth of the time that it has been so, at most by this; at once when a request waits.",
    )
    timeout: Annotated[Duration, lasting("10ms", "10m")] = setting("2s", "How long a probe's answer may take.")
    unhealthy_after: Annotated[Whole, Field(ge=1, le=100)] = setting(
        3, "Failures in a row until a backend gets no more requests."
    )
    healthy_after: Annotated[Whole, Field(ge=1, le=100)] = setting(2, "Successes in a row until it gets them again.")
    stall_after: Annotated[DurationOrNever, lasting("1s", "24h")] = setting(
        "60s", "Time with requests in flight and no sign of work on any, after which a backend counts as stuck."
    )
    trial: Annotated[Whole, Field(ge=1, le=1000)] = setting(
        2, "Requests at a time that a backend gets when it comes back, until one has succeeded."
    )
    ramp: Annotated[Duration, lasting("0", "1h")] = setting(
        "5s",
        "Time over which a backend that came back rises to its full share. Short: it has shown that it answers, and "
        "others queue meanwhile. Down again within it is a relapse: each has it prove itself for twice as long.",
    )
    error_rate: Annotated[Number, Field(gt=0, le=1)] = setting(
        0.5, "Share of failures among the recent requests at which a backend gets no more."
    )


class LimitsConfig(Section):
    """Bounds on what clients and backends may take."""

    example: ClassVar[str] = """\
limits:
  max_body: 256MiB       # images in prompts
  first_byte_timeout: 30m
  retries: 1
"""

    max_body: Annotated[Size, sized("1KiB", "16GiB")] = setting("64MiB", "Largest request body.")
    max_connections: Annotated[Whole, Field(ge=1, le=1_000_000)] = setting(
        16384, "Most clients' connections at a time; the next is told so and closed. The file limit may allow fewer."
    )
    max_queue: Annotated[Whole, Field(ge=0, le=1_000_000)] = setting(
        512, "Most requests that wait for a backend at a time; the next gets 429."
    )
    queue_timeout: Annotated[Duration, lasting("0", "24h")] = setting("60s", "Longest wait in the queue.")
    connect_timeout: Annotated[Duration, lasting("10ms", "10m")] = setting(
        "5s", "How long a connection to a backend may take."
    )
    first_byte_timeout: Annotated[Duration, lasting("10ms", "24h")] = setting(
        "10m", "How long a backend may take to begin its answer; a long prompt takes its time."
    )
    idle_timeout: Annotated[Duration, lasting("10ms", "24h")] = setting(
        "2m", "Longest pause within an answer that has begun."
    )
    retries: Annotated[Whole, Field(ge=0, le=10)] = setting(
        2, "How many more backends may be tried while no byte has reached the client."
    )
    drain_timeout: Annotated[Duration, lasting("0", "24h")] = setting(
        "5m", "How long requests in flight may go on when a backend is removed or the router stops."
    )


class KeyConfig(Section):
    """A client's key. The key alone is short for `key`."""

    example: ClassVar[str] = """\
auth:
  keys:
    - ${TEAM_KEY:-change-me}
    - {key: "${BATCH_KEY:-change-me-too}", name: nightly, weight: 0.5, priority: 1}
"""

    short_for: ClassVar[str | None] = "key"

    key: Secret = Field(description="The bearer token. Required.")
    name: Text | None = setting(None, "Whose it is, in logs and metrics.")
    weight: Annotated[Number, Field(gt=0, le=1000)] = setting(
        1.0, "Its share of what there is where requests wait, beside those of other keys."
    )
    priority: Annotated[Whole, Field(ge=-10, le=10)] = setting(
        0,
        "Of requests that wait, those of the lowest go first, as in vLLM's API; the others have a turn now and then. "
        "A request's own `priority` counts where it is the larger number, or where there are no keys.",
    )


class AuthConfig(Section):
    """Who may ask. Without keys, programs on this machine, and no pages but those of server.cors."""

    example: ClassVar[str] = """\
auth:
  keys: ["${ROUTER_KEY:-change-me}"]
  admin_keys: ["${ROUTER_ADMIN_KEY:-change-me-too}"]
"""

    keys: Annotated[tuple[KeyConfig, ...], BeforeValidator(listed)] = setting((), "Keys of clients.")
    admin_keys: Annotated[tuple[Secret, ...], BeforeValidator(listed)] = setting((), "Bearer tokens for /admin.")
    open: Switch = setting(
        default=False,
        meaning="Whether other machines may ask without a key; /admin is for this machine all the same.",
    )

    @field_validator("keys")
    @classmethod
    def _differ(cls, keys: tuple[KeyConfig, ...]) -> tuple[KeyConfig, ...]:
        faults = [
            Fault((index, part), f"stands at keys[{first}], too: each is one client's")
            for part in ("key", "name")
            for index, first in repeated(getattr(key, part) for key in keys)
            if getattr(keys[index], part) is not None
        ]
        if faults:
            raise faulty(faults)
        return keys


class LoggingConfig(Section):
    """What is written down, and where."""

    example: ClassVar[str] = """\
logging:
  level: warning
  dir: /var/log/router
"""

    level: Annotated[Literal["debug", "info", "warning", "error"], choice("a level", *LEVELS)] = setting(
        "info", "The least important kind of line that is written."
    )
    dir: Annotated[Path, BeforeValidator(text), WithJsonSchema(TEXT)] = setting(
        "logs", "Folder of the launched engines' output."
    )


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
    profile: FileName = setting("auto", "What this platform runs, and how: auto, or a name in profiles/.")
    backends: Annotated[tuple[BackendConfig, ...], BeforeValidator(listed)] = Field(
        description="The places requests can be sent to. Required: at least one."
    )
    routes: Routes = setting({}, "More names that clients may ask for, and the models each leads to, in order.")
    balance: BalanceConfig = Field(default_factory=BalanceConfig, description=BalanceConfig.__doc__)
    health: HealthConfig = Field(default_factory=HealthConfig, description=HealthConfig.__doc__)
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description=LimitsConfig.__doc__)
    auth: AuthConfig = Field(default_factory=AuthConfig, description=AuthConfig.__doc__)
    logging: LoggingConfig = Field(default_factory=LoggingConfig, description=LoggingConfig.__doc__)

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

    @property
    def targets(self) -> dict[str, tuple[str, ...]]:
        """The models that each route leads to, in order."""
        return {name: route.to for name, route in self.routes.items()}
