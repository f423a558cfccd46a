"""`auth`: who may send requests, and by which keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
    model_validator,
)

from router.config.keys import rules
from router.config.keys.groups import faulty, listed, mapping
from router.config.keys.section import Section, setting
from router.config.keys.units import Count, Expiry
from router.config.keys.values import Hash, Number, PathPattern, Secret, Switch, Text, Whole, choice
from router.config.problems import Fault, repeated
from router.core.keys import digest
from router.core.scopes import Scope

K = TypeVar("K", "KeyConfig", "AdminKeyConfig")

ScopeName = Annotated[Literal["read", "manage", "configure"], choice("a scope", *Scope)]
Cost = Annotated[Number, Field(gt=0, le=1_000_000_000)]

_OWNERS = {"keys": "client", "admin_keys": "admin"}

_HASH = "sha256:"


class OwnedConfig(BaseModel):
    """A key, or what it is known by, and whose it is."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["key"]}, {"required": ["hash"]}]})

    key: Secret | None = setting(None, "The bearer token, in ASCII, or `${NAME}`. Each key has this or `hash`.")
    hash: Hash | None = setting(
        None,
        "Its SHA-256 instead, as `sha256:` and 64 hexadecimal digits. `python -m router key new --name alice` makes a "
        "key and prints both.",
    )
    name: Text | None = setting(None, "Name of its owner in logs.")

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the key."""
        return digest(self.key.get_secret_value().encode()) if self.key is not None else bytes.fromhex(self.hash or "")

    @property
    def given(self) -> str:
        """The one of the two fields that is given."""
        return "hash" if self.key is None else "key"

    @model_validator(mode="after")
    def _is_one_key(self) -> Self:
        if self.key is None and self.hash is None:
            raise faulty([Fault(("key",), "is missing: give the key, or its `hash`")])
        if self.key is not None and self.hash is not None:
            raise faulty([Fault(("hash",), "stands beside `key`: give one of the two")])
        if self.key is not None and self.key.get_secret_value().startswith(_HASH):
            raise faulty([Fault(("key",), "is a hash, which opens nothing: write it as `hash`")])
        return self


class LimitedConfig(BaseModel):
    """Limits of a key, or of a team's keys together."""

    requests_per_minute: Count | None = setting(None, "Most requests a minute.")
    tokens_per_minute: Count | None = setting(None, "Most tokens a minute, of prompts and answers together.")
    max_in_flight: Count | None = setting(None, "Most requests at the same time, those that wait included.")
    requests_per_day: Count | None = setting(None, "Most requests a day.")
    tokens_per_day: Count | None = setting(None, "Most tokens a day.")
    requests_per_month: Count | None = setting(None, "Most requests a calendar month.")
    tokens_per_month: Count | None = setting(None, "Most tokens a calendar month.")
    cost_per_day: Cost | None = setting(None, "Most money a day, by the models' prices.")
    cost_per_month: Cost | None = setting(None, "Most money a calendar month.")


class KeyConfig(Section, LimitedConfig, OwnedConfig):
    """A client's key. The key alone is short for `key`."""

    example: ClassVar[str] = """\
auth:
  keys:
    - ${TEAM_KEY:-change-me}
    - {key: "${BATCH_KEY:-change-me-too}", name: nightly, weight: 0.5, priority: 1}
    - name: alice
      hash: "sha256:4be1b2d13b0d3fd0b3b4ec9ac4a5a3f1b3a9d9c1a0d5a7b1fd1f4f0b6c8e2a37"
      models: ["qwen*"]
      paths: [/v1/*]
      expires: "2027-01-31"
      requests_per_minute: 60
      tokens_per_day: 2M
"""

    short_for: ClassVar[str | None] = "key"

    models: Annotated[tuple[Text, ...], BeforeValidator(listed), Field(min_length=1)] = setting(
        ("*",), "Models and routes that it may use, as /v1/models lists them; `*` stands for any text."
    )
    paths: Annotated[tuple[PathPattern, ...], BeforeValidator(listed), Field(min_length=1)] = setting(
        ("*",), "Paths that it may ask, such as `/v1/*`; `*` stands for any text."
    )
    expires: Expiry | None = setting(
        None,
        "When it ends: a date, whose whole day it is still valid for, or a time such as `2027-01-31T18:00+01:00`. "
        "Without an offset both are in UTC.",
    )
    weight: Annotated[Number, Field(gt=0, le=1000)] = setting(
        1.0, "Its share, relative to other keys, when requests have to wait."
    )
    priority: Annotated[Whole, Field(ge=-10, le=10)] = setting(
        0,
        "Waiting requests with the lowest number go first, as in vLLM's API; the others get a turn now and then. "
        "A request's own `priority` counts if it is the larger number, or if there are no keys.",
    )


class AdminKeyConfig(Section, OwnedConfig):
    """An admin's key. The key alone is short for `key`."""

    example: ClassVar[str] = """\
auth:
  admin_keys:
    - ${ROUTER_ADMIN_KEY:-change-me}
    - {key: "${DASHBOARD_KEY:-change-me-too}", name: dashboard, scopes: [read]}
"""

    short_for: ClassVar[str | None] = "key"

    # Not the right to write router.yaml: that is given on purpose.
    scopes: Annotated[tuple[ScopeName, ...], BeforeValidator(listed), Field(min_length=1)] = setting(
        ("read", "manage"),
        "What it may do: `read` sees what runs; `manage` loads, unloads, restarts and moves what router.yaml names; "
        "`configure` writes router.yaml. None of them holds another one.",
    )


class TeamConfig(Section, LimitedConfig):
    """Keys that have limits together, beside those of each one."""

    example: ClassVar[str] = """\
auth:
  keys:
    - {key: "${ALICE_KEY:-change-me}", name: alice}
    - {key: "${BOB_KEY:-change-me-too}", name: bob}
  teams:
    family: {keys: [alice, bob], tokens_per_day: 5M}
"""

    keys: Annotated[tuple[Text, ...], BeforeValidator(listed)] = setting(
        (), "Names of keys in `auth.keys`. Each key is in one team at most."
    )


Teams = Annotated[
    Mapping[str, TeamConfig],
    BeforeValidator(mapping),
    AfterValidator(MappingProxyType),
    PlainSerializer(dict, return_type=dict[str, TeamConfig], when_used="json"),
]


class AuthConfig(Section):
    """Who may ask. Without keys, programs on this machine, and no pages but those of server.cors."""

    example: ClassVar[str] = """\
auth:
  keys: ["${ROUTER_KEY:-change-me}"]
  admin_keys: ["${ROUTER_ADMIN_KEY:-change-me-too}"]
"""

    keys: Annotated[tuple[KeyConfig, ...], BeforeValidator(listed)] = setting((), "Keys of clients.")
    teams: Teams = setting({}, "Keys of clients that have limits together, by the names of their teams.")
    admin_keys: Annotated[tuple[AdminKeyConfig, ...], BeforeValidator(listed)] = setting((), "Keys for /admin.")
    open: Switch = setting(
        default=False,
        meaning="Whether other machines may ask without a key; /admin is for this machine all the same.",
    )

    @field_validator("keys", "admin_keys")
    @classmethod
    def _differ(cls, keys: tuple[K, ...], info: ValidationInfo) -> tuple[K, ...]:
        owner = _OWNERS[str(info.field_name)]
        again = [(index, first, keys[index].given) for index, first in repeated(key.digest for key in keys)]
        again += [
            (index, first, "name") for index, first in repeated(key.name or number for number, key in enumerate(keys))
        ]
        if again:
            raise faulty(
                Fault((index, part), f"stands at {info.field_name}[{first}], too: each is one {owner}'s")
                for index, first, part in again
            )
        return keys

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if faults := [*self._faults_of_admins(), *self._faults_of_teams()]:
            raise faulty(faults)
        return self

    def _faults_of_admins(self) -> Iterator[Fault]:
        clients = {key.digest: index for index, key in enumerate(self.keys)}
        for index, key in enumerate(self.admin_keys):
            if (first := clients.get(key.digest)) is not None:
                told = f"stands at keys[{first}], too: an admin's key is no client's"
                yield Fault(("admin_keys", index, key.given), told)

    def _faults_of_teams(self) -> Iterator[Fault]:
        names, teams = {key.name for key in self.keys}, dict[str, str]()
        for team, config in self.teams.items():
            if not rules.is_name(team):
                yield Fault(("teams", team), rules.NO_NAME)
            for index, name in enumerate(config.keys):
                if name not in names:
                    yield Fault(("teams", team, "keys", index), "is the name of no key in auth.keys")
                elif teams.setdefault(name, team) != team:
                    yield Fault(("teams", team, "keys", index), "is in another team, too: each key is in one at most")
