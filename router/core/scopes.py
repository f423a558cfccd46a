"""What an admin may do: the scopes of a key, and who asks. Pure."""

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple

from router.core.errors import ForbiddenError


class Scope(StrEnum):
    """What an endpoint of the management API is about.

    READ: see what runs. MANAGE: load, stop and move what router.yaml names. CONFIGURE: change router.yaml itself.
    None of them holds another one.
    """

    READ = "read"
    MANAGE = "manage"
    CONFIGURE = "configure"


class Admin(NamedTuple):
    """Who manages the router: the name of the key that was shown, and what it may do."""

    name: str
    scopes: Collection[Scope]

    def check(self, scope: Scope) -> None:
        """Raise ForbiddenError where this is more than the key may do."""
        if scope in self.scopes:
            return
        if self is LOCAL:
            raise ForbiddenError(
                f"This needs an admin key with the scope '{scope}': set auth.admin_keys in router.yaml, and send it as "
                "'Authorization: Bearer KEY'."
            )
        raise ForbiddenError(
            f"The admin key '{self.name}' hasn't the scope '{scope}': give it one in auth.admin_keys, under scopes."
        )


LOCAL = Admin("this machine", (Scope.READ, Scope.MANAGE))
"""A program on this machine, where router.yaml has no admin keys."""

ANYBODY = Admin("anybody", (Scope.READ,))
"""Who asks for what router.yaml lets everybody read."""
