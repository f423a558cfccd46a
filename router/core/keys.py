"""The keys of clients: whose each one is, and what it may use. Pure.

The router knows a key by its SHA-256, and looks up what a client shows by that: in one step, however many keys it has.
Only hashes are compared, and nobody can choose how one begins, so the time that it takes tells nothing of a key. A hash
that is shown as a key is hashed like anything else, and is none.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

from router.core.limits import UNLIMITED, Limits
from router.core.wildcards import Wildcards, other_name

EVERYTHING: Final = ("*",)

_ALL: Final = Wildcards(EVERYTHING)
"""One for all keys that it suits: it is in the processor's cache then."""

NEVER: Final = 0.0
"""When a key expires that doesn't."""


class Team:
    """Several keys that have limits together, beside those of their own."""

    def __init__(self, name: str, limits: Limits = UNLIMITED) -> None:
        self.name: Final = name
        self.limits: Final = limits


class Key:
    """A client's key: `name` is its owner's, `priority` and `weight` count where requests wait.

    It is valid until `expires`, a Unix time in seconds, or for ever (NEVER). It may use the models and ask the paths
    that match one of these patterns. `limits` are its own; it shares its team's with others.
    """

    def __init__(
        self,
        name: str,
        *,
        priority: int = 0,
        weight: float = 1.0,
        expires: float = NEVER,
        models: Iterable[str] = EVERYTHING,
        paths: Iterable[str] = EVERYTHING,
        limits: Limits = UNLIMITED,
        team: Team | None = None,
    ) -> None:
        self.name: Final = name
        self.priority: Final = priority
        self.weight: Final = weight
        self.expires: Final = expires
        self.models: Final = _ALL if models is EVERYTHING else Wildcards(models)
        self.paths: Final = _ALL if paths is EVERYTHING else Wildcards(paths)
        self.limits: Final = limits
        self.team: Final = team

    def __repr__(self) -> str:
        return f"<Key {self.name}>"

    def may_use(self, model: str) -> bool:
        """Tell whether it may use a model or a route of this name, which is the same with and without `:latest`."""
        return self.models.match(model) or self.models.match(other_name(model))

    def may_ask(self, path: str) -> bool:
        """Tell whether it may ask this path, in the form of `paths.meant`, without a query."""
        return self.paths.match(path)

    def has_expired(self, now: float) -> bool:
        """Tell whether it is no longer valid; `now` is a Unix time."""
        return self.expires != NEVER and now >= self.expires


class Keys:
    """All keys, by the SHA-256 of each."""

    def __init__(self, known: Mapping[bytes, Key] | None = None) -> None:
        self.known: Final = dict(known or {})

    def __len__(self) -> int:
        return len(self.known)

    def find(self, shown: bytes) -> Key | None:
        """Find the key that a client shows; None: it is none. Nothing is never a key, whatever hashes there are."""
        return self.known.get(digest(shown)) if shown else None


def digest(shown: bytes) -> bytes:
    """Give the SHA-256 of a key, by which it is known."""
    return sha256(shown).digest()
