"""`auth`: who may send requests, and by which keys."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from router.config.keys.groups import faulty, listed
from router.config.keys.section import Section, setting
from router.config.keys.values import Number, Secret, Switch, Text, Whole, choice
from router.config.problems import Fault, repeated
from router.core.scopes import Scope

K = TypeVar("K", "KeyConfig", "AdminKeyConfig")

ScopeName = Annotated[Literal["read", "manage", "configure"], choice("a scope", *Scope)]

_OWNERS = {"keys": "client", "admin_keys": "admin"}


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
    name: Text | None = setting(None, "Name of its owner in logs.")
    weight: Annotated[Number, Field(gt=0, le=1000)] = setting(
        1.0, "Its share, relative to other keys, when requests have to wait."
    )
    priority: Annotated[Whole, Field(ge=-10, le=10)] = setting(
        0,
        "Waiting requests with the lowest number go first, as in vLLM's API; the others get a turn now and then. "
        "A request's own `priority` counts if it is the larger number, or if there are no keys.",
    )


class AdminKeyConfig(Section):
    """An admin's key. The key alone is short for `key`."""

    example: ClassVar[str] = """\
auth:
  admin_keys:
    - ${ROUTER_ADMIN_KEY:-change-me}
    - {key: "${DASHBOARD_KEY:-change-me-too}", name: dashboard, scopes: [read]}
"""

    short_for: ClassVar[str | None] = "key"

    key: Secret = Field(description="The bearer token. Required.")
    name: Text | None = setting(None, "Name of its owner in logs.")
    # Not the right to write router.yaml: that is given on purpose.
    scopes: Annotated[tuple[ScopeName, ...], BeforeValidator(listed), Field(min_length=1)] = setting(
        ("read", "manage"),
        "What it may do: `read` sees what runs; `manage` loads, unloads, restarts and moves what router.yaml names; "
        "`configure` writes router.yaml. None of them holds another one.",
    )


class AuthConfig(Section):
    """Who may ask. Without keys, programs on this machine, and no pages but those of server.cors."""

    example: ClassVar[str] = """\
auth:
  keys: ["${ROUTER_KEY:-change-me}"]
  admin_keys: ["${ROUTER_ADMIN_KEY:-change-me-too}"]
"""

    keys: Annotated[tuple[KeyConfig, ...], BeforeValidator(listed)] = setting((), "Keys of clients.")
    admin_keys: Annotated[tuple[AdminKeyConfig, ...], BeforeValidator(listed)] = setting((), "Keys for /admin.")
    open: Switch = setting(
        default=False,
        meaning="Whether other machines may ask without a key; /admin is for this machine all the same.",
    )

    @field_validator("keys", "admin_keys")
    @classmethod
    def _differ(cls, keys: tuple[K, ...], info: ValidationInfo) -> tuple[K, ...]:
        faults = [
            Fault(
                (index, part),
                f"stands at {info.field_name}[{first}], too: each is one {_OWNERS[str(info.field_name)]}'s",
            )
            for part in ("key", "name")
            for index, first in repeated(getattr(key, part) for key in keys)
            if getattr(keys[index], part) is not None
        ]
        if faults:
            raise faulty(faults)
        return keys
