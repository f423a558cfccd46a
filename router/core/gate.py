"""The gate: who may do what, of everything that the port answers. Pure.

    what is asked                            who may
    1 the page's files, /health, /ready      everybody: they tell nothing; and of what only reads, what
      and what router.yaml opens             router.yaml says
    2 what has a scope: /admin, /upstream    an admin whose key has that scope; without auth.admin_keys, what runs on
      and llama-swap's paths                 this machine may read and manage
    3 anything else below these two          an admin, who is told that it isn't there
    4 what models answer, and the lists of   a key in auth.keys that hasn't expired, on its paths, for its models;
      them (CLIENTS)                         without auth.keys, whoever `access` lets in
    5 what isn't there, or not so            as 4: who may ask nothing isn't told what there is
    6 whatever else the router may have      nobody

Both lanes ask here. An admin key is no client's, and a client's no admin's. The models are looked at where a name gets
its meaning (`Catalog.resolve`), in whichever API, and in the lists.
"""

from collections.abc import Collection, Mapping
from enum import Enum, auto
from typing import Final

from router.core.access import Access, Asked, is_for_page
from router.core.apis import BESIDE, OLLAMA
from router.core.errors import ForbiddenError, RouterError, UnauthorizedError
from router.core.keys import Key, Keys, digest
from router.core.scopes import LOCAL, Admin, Scope
from router.http1.heads import Headers

OPEN: Final = ("/health", "/ready")
"""Paths that answer every client, whatever the Host, for load balancers. They name models only to those who may use
them."""

CLIENTS: Final = OLLAMA | BESIDE | {
    "/",
    "/v1/models",
    "/v1/models/{id}",
    "/v1/{rest}",
    "/openai/{rest}",
    "/api/v1/{rest}",
    "/api/tags",
    "/api/show",
    "/api/ps",
    "/api/version",
    "/api/pull",
    "/api/push",
    "/api/create",
    "/api/copy",
    "/api/delete",
    "/api/blobs/{digest}",
}  # fmt: skip
"""Paths of the router's own that are for clients, as its table has them."""

_MOST_SHOWN = 100
"""Letters of a path that an error message shows."""

_ADMINS = ("/admin", "/upstream")

_NO_KEY = "No valid API key: send one as 'Authorization: Bearer KEY' or 'x-api-key: KEY'."
_NO_ADMIN_KEY = "No valid admin key: send one as 'Authorization: Bearer KEY'."


class Right(Enum):
    """Whose a path is."""

    EVERYBODYS = auto()
    ADMINS = auto()
    CLIENTS = auto()
    NOBODYS = auto()


def right_of(
    method: str, path: str, accept: str, known_as: str, scope: Scope | None, opened: Collection[str] = ()
) -> Right:
    """Tell whose a path is that isn't a model's: the numbers are those above.

    `known_as` is how the router's table has it, empty if it isn't there. `scope` is what its endpoint needs, if it has
    one. `accept` is what the client takes. `opened` are paths that router.yaml opens to everybody, to be read.
    """
    if is_for_page(method, path, accept) or known_as in OPEN or (scope is Scope.READ and known_as in opened):  # 1
        return Right.EVERYBODYS
    if scope is not None or path.startswith(_ADMINS):  # 2, 3
        return Right.ADMINS
    if not known_as or known_as in CLIENTS:  # 4, 5
        return Right.CLIENTS
    return Right.NOBODYS  # 6


class Gate:
    """Decides by the keys of clients, the admins by the hashes of their keys, and what is answered without a key."""

    def __init__(self, keys: Keys, admins: Mapping[bytes, Admin], access: Access) -> None:
        self.access: Final = access
        self.has_keys: Final = len(keys) > 0
        self._keys: Final = keys
        self._admins: Final = dict(admins)

    def client(self, headers: Headers, asked: Asked, path: str, now: float) -> Key | None:
        """Let in a client, and give its key; None: the router has no keys. `path` is in the form of `paths.meant`.

        Raises UnauthorizedError and ForbiddenError.
        """
        if not self.has_keys:
            self.access.check(asked)
            return None
        key = self.key_of(headers, now)
        if key is None:
            raise UnauthorizedError(_NO_KEY)
        if key.has_expired(now):
            raise UnauthorizedError(f"The API key '{key.name}' has expired.")
        if not key.may_ask(path):
            raise ForbiddenError(f"The key '{key.name}' may not ask {path[:_MOST_SHOWN]}. It may ask: {key.paths}.")
        return key

    def admin(self, headers: Headers, asked: Asked, remote: str, scope: Scope | None, *, http11: bool = True) -> Admin:
        """Let in an admin who may do what needs this scope; None: whatever its key may.

        See `Access.check_admin`. Raises UnauthorizedError and ForbiddenError.
        """
        if self._admins:
            admin = self._admin_of(headers)
            if admin is None:
                raise UnauthorizedError(_NO_ADMIN_KEY)
        else:
            changes = scope is not None and scope is not Scope.READ
            self.access.check_admin(asked, remote, http11=http11, changes=changes)
            admin = LOCAL
        if scope is not None:
            admin.check(scope)
        return admin

    def may_look(self, headers: Headers, asked: Asked, remote: str, now: float, *, http11: bool = True) -> bool:
        """Tell whether a request may see models and backends: its sender may use or manage them."""
        if self.shows_key(headers, now):
            return True
        if self.has_keys and self._admins:
            return False
        try:
            if self.has_keys:
                self.access.check_admin(asked, remote, http11=http11)
            else:
                self.access.check(asked)
        except RouterError:
            return False
        return True

    def shows_key(self, headers: Headers, now: float) -> bool:
        """Tell whether a request shows a valid key, of either kind."""
        key = self.key_of(headers, now)
        return (key is not None and not key.has_expired(now)) or self._admin_of(headers) is not None

    def key_of(self, headers: Headers, now: float) -> Key | None:
        """Find the client's key that is shown, beside others, it may be, that are for a proxy, or have expired.

        Of several the first that is valid counts, a bearer token before another; else one that has expired.
        """
        expired = None
        for shown in _shown(headers):
            key = self._keys.find(shown)
            if key is not None:
                if not key.has_expired(now):
                    return key
                expired = expired or key
        return expired

    def _admin_of(self, headers: Headers) -> Admin | None:
        for shown in _shown(headers):
            admin = self._admins.get(digest(shown))
            if admin is not None:
                return admin
        return None


def _shown(headers: Headers) -> list[bytes]:
    """Give what a request shows as keys: as bearer tokens, then in headers of their own; none of them is empty."""
    bearers: list[bytes] = []
    plain: list[bytes] = []
    for name, value in headers:
        if name == b"authorization":
            if value[:7].lower() == b"bearer ":
                bearers.append(value[7:].strip())
        elif name in {b"x-api-key", b"api-key"}:
            plain.append(value)
    return [shown for shown in bearers + plain if shown]
