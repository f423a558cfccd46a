"""/admin/found: models on this disk that router.yaml doesn't have."""

from typing import Final, Protocol

from router.api.admin.endpoint import Endpoint, Endpoints, Nothing, Told
from router.core.scopes import Admin, Scope


class FoundModel(Told):
    """A model on this disk; `size` is in bytes. None and "" are what its files don't tell.

    `name` is what its backend would be called, `place` its file or folder, `hub` its name in a store. `modality` says
    what it takes and gives. `fits`: whether this machine can load it; `note` says why not, or what is to be known.
    `lines` are the entry to add below `backends`; of one that can't be loaded as it is, they are a comment, or there
    are none.
    """

    name: str
    place: str
    hub: str | None
    size: int | None
    parameters: str
    quantization: str
    context: int | None
    modality: str | None
    engine: str | None
    fits: bool | None
    note: str
    lines: tuple[str, ...]


class FoundTold(Told):
    """What was found, at `at` in seconds since the epoch. `cut`: why the search ended early, "" if it didn't."""

    at: float
    cut: str
    models: tuple[FoundModel, ...]


class ManagedSearch(Protocol):
    """The part of the router that looks for models."""

    async def found(self, asked: Nothing, admin: Admin) -> FoundTold:
        """Search the disk. Raises UnavailableError where that takes too long."""


FOUND: Final = Endpoint[ManagedSearch, Nothing, FoundTold](
    operation="found",
    method="GET",
    path="/admin/found",
    scope=Scope.MANAGE,
    doc="The models on this disk that router.yaml lacks, with the lines to add, as `models --scan` prints them. It "
    "looks where programs keep models, for 20 seconds at most; an answer stays the same for 10 seconds.",
    asks=Nothing,
    tells=FoundTold,
    handle=lambda part: part.found,
    errors={503: "The disk doesn't answer, or router.yaml's profile can't be used."},
)

ENDPOINTS: Final[Endpoints[ManagedSearch]] = (FOUND,)
