"""/admin/config, /admin/plan and /admin/reload: router.yaml."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Protocol

from pydantic import Field, RootModel

from router.api.admin.endpoint import Asked, Endpoint, Endpoints, Nothing, Reply, Told
from router.api.admin.status import ProblemTold, ReloadTold, StepTold
from router.core.scopes import Admin, Scope


class ConfigTold(RootModel[dict[str, Any]]):
    """The configuration in router.yaml's own words, with every default; secrets are "(hidden)"."""


class FileTold(Told):
    """The text of router.yaml, with "(hidden)" in the place of its secrets; `etag` is the ETag header, too."""

    file: str
    etag: str
    text: str


class PlanTold(Told):
    """What a reload would do; or the mistakes, and it would do nothing.

    `locked` are changed keys that are for the disk alone: PUT /admin/config is refused with them.
    """

    problems: tuple[ProblemTold, ...]
    steps: tuple[StepTold, ...]
    locked: tuple[str, ...] = ()


class PlanAsked(Asked):
    """A candidate."""

    raw: ClassVar[str] = "text"

    text: Annotated[str, Field(min_length=1, description="the body: what router.yaml would be")]


class WriteAsked(Asked):
    """Another router.yaml."""

    raw: ClassVar[str] = "text"
    headers: ClassVar[Mapping[str, str]] = {"if_match": "If-Match"}

    text: Annotated[
        str, Field(min_length=1, description='the body: what router.yaml is to be; a secret may stay "(hidden)"')
    ]
    if_match: Annotated[str, Field(description="the ETag of the file that it is a change of")] = ""


class VersionTold(Told):
    """A text that router.yaml had: in force from `at` on, in seconds since the epoch; `size` is in bytes.

    `by` is the name of the admin who wrote it by this API, or `edited`: it was written on the disk.
    """

    id: int
    at: float
    by: str
    size: int


class VersionsTold(Told):
    """The texts, the last one first: that is the one in force."""

    versions: tuple[VersionTold, ...]


class VersionTextTold(VersionTold):
    """One of them, with "(hidden)" in the place of its secrets."""

    text: str


class VersionAsked(Asked):
    """Which one."""

    id: Annotated[int, Field(ge=0, description="its id in /admin/config/versions")]


class ManagedConfig(Protocol):
    """The part of the router that reads and writes router.yaml."""

    async def config(self, asked: Nothing, admin: Admin) -> ConfigTold:
        """Give the configuration in force, without its secrets."""

    async def file(self, asked: Nothing, admin: Admin) -> Reply[FileTold]:
        """Give the file's text, without its secrets. Raises NotFoundError and ConflictError."""

    async def plan(self, asked: PlanAsked, admin: Admin) -> Reply[PlanTold]:
        """Tell what a reload would do if the file had this text. Raises NotFoundError and ForbiddenError."""

    async def write(self, asked: WriteAsked, admin: Admin) -> Reply[ReloadTold]:
        """Replace the file's text, and reload. Raises RouterError."""

    async def versions(self, asked: Nothing, admin: Admin) -> VersionsTold:
        """List the last texts of the file. Raises NotFoundError."""

    async def version(self, asked: VersionAsked, admin: Admin) -> VersionTextTold:
        """Give one of them, without its secrets. Raises NotFoundError and ConflictError."""

    async def reload(self, asked: Nothing, admin: Admin) -> Reply[ReloadTold]:
        """Read router.yaml again. Raises NotFoundError where there is no file to read."""


_NO_FILE: Final = {404: "This router was started without a file."}
_UNREADABLE: Final = {409: "The file has mistakes, or changes meanwhile: it is to be mended on the disk first."}
_TOO_LARGE: Final = {413: "It is too large for a router.yaml."}

CONFIG: Final = Endpoint[ManagedConfig, Nothing, ConfigTold](
    operation="config",
    method="GET",
    path="/admin/config",
    scope=Scope.READ,
    doc="The configuration in force, with every default, its secrets hidden.",
    asks=Nothing,
    tells=ConfigTold,
    handle=lambda part: part.config,
)

FILE: Final = Endpoint[ManagedConfig, Nothing, FileTold](
    operation="config_file",
    method="GET",
    path="/admin/config/file",
    scope=Scope.READ,
    doc="The text of router.yaml with its comments. Secrets are `(hidden)`; `${NAME}` stands as it is written.",
    asks=Nothing,
    tells=FileTold,
    handle=lambda part: part.file,
    errors={**_NO_FILE, **_UNREADABLE},
)

PLAN: Final = Endpoint[ManagedConfig, PlanAsked, PlanTold](
    operation="plan",
    method="POST",
    path="/admin/plan",
    scope=Scope.READ,
    doc="What a reload would do if router.yaml had this text, or what is wrong with it. Nothing is started, nothing "
    "written. It may not have other files or variables read than the file does: a new `include` or `${…}` is a 403.",
    asks=PlanAsked,
    tells=PlanTold,
    handle=lambda part: part.plan,
    others={422: "It has mistakes: `problems` has them."},
    errors={**_NO_FILE, **_UNREADABLE, **_TOO_LARGE},
)

WRITE: Final = Endpoint[ManagedConfig, WriteAsked, ReloadTold](
    operation="write_config",
    method="PUT",
    path="/admin/config",
    scope=Scope.CONFIGURE,
    doc="Replace router.yaml by this text, and reload it. It is checked first; the old file stays beside it as "
    "`router.yaml.bak`, and the last ten as versions. What makes this machine run programs or use files is changed on "
    "the disk alone: `cmd`, `args`, "
    "`env`, a `model` in another folder, `include`, `profile`, `logging.dir`, `state.dir`, `auth`, `${…}`, and the "
    "`url` that a secret of the file is sent to. Such a change is a 403 that names the keys.",
    asks=WriteAsked,
    tells=ReloadTold,
    handle=lambda part: part.write,
    others={422: "It has mistakes: `problems` has them."},
    errors={
        **_NO_FILE,
        **_UNREADABLE,
        **_TOO_LARGE,
        412: "The file isn't the one of If-Match any more.",
        428: "If-Match is missing.",
    },
)

VERSIONS: Final = Endpoint[ManagedConfig, Nothing, VersionsTold](
    operation="config_versions",
    method="GET",
    path="/admin/config/versions",
    scope=Scope.READ,
    doc="The last texts of router.yaml that were in force: by whom, and since when. Ten are kept beside the present "
    "one, in `versions` below `state.dir`, for the router's user alone.",
    asks=Nothing,
    tells=VersionsTold,
    handle=lambda part: part.versions,
    errors=_NO_FILE,
)

VERSION: Final = Endpoint[ManagedConfig, VersionAsked, VersionTextTold](
    operation="config_version",
    method="GET",
    path="/admin/config/versions/{id}",
    scope=Scope.READ,
    doc="One of these texts, its secrets hidden. `PUT /admin/config` takes it back: a hidden secret is then the one "
    "that the present file has at this place.",
    asks=VersionAsked,
    tells=VersionTextTold,
    handle=lambda part: part.version,
    errors={404: "There is no such version, or no file.", 409: "It can't be shown."},
    example={"id": 1764500000000},
)

RELOAD: Final = Endpoint[ManagedConfig, Nothing, ReloadTold](
    operation="reload",
    method="POST",
    path="/admin/reload",
    scope=Scope.MANAGE,
    doc="Read router.yaml again now; it is read at each change anyway.",
    asks=Nothing,
    tells=ReloadTold,
    handle=lambda part: part.reload,
    others={422: "The file has mistakes, and nothing has changed: `problems` has them."},
    errors=_NO_FILE,
)

ENDPOINTS: Final[Endpoints[ManagedConfig]] = (CONFIG, WRITE, FILE, VERSIONS, VERSION, PLAN, RELOAD)
