"""`auth`: who may send requests, and by which keys."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, field_validator

from router.config.keys.groups import faulty, listed
from router.config.keys.section import Section, setting
from router.config.keys.values import Number, Secret, Switch, Text, Whole
from router.config.problems import Fault, repeated


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
