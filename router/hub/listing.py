"""What a repository has, as the hub's API says. Pure. What the hub says is not believed where it would do harm."""

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from router.hub.errors import HubError
from router.hub.names import name_of

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
"""SHA-256 of a large file; SHA-1 of any other, as git makes it."""

_PART: Final = re.compile(r"[^/\\\0]{1,200}")
"""One part of a file's path."""


class _Large(msgspec.Struct):
    sha256: str = ""
    size: int = -1


class _Sibling(msgspec.Struct):
    rfilename: str
    size: int | None = None
    blobId: str | None = None  # noqa: N815  (its name in the API)
    lfs: _Large | None = None


class _Told(msgspec.Struct):
    sha: str
    siblings: list[_Sibling]
    id: str = ""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository: its path there, its size in bytes, and its checksum."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit, with those of its files that can be checked."""

    name: str
    commit: str
    files: tuple[RemoteFile, ...]

    def file(self, name: str) -> RemoteFile | None:
        """Find a file by its path."""
        return next((each for each in self.files if each.name == name), None)


def listed(name: str, answer: bytes) -> Repository:
    """Read the answer to `/api/models/ORG/NAME?blobs=true`; the hub may know it by another name. Raises HubError."""
    try:
        told = msgspec.json.decode(answer, type=_Told)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HubError(f"what answers is no hub of Hugging Face's kind: its list of {name} can't be read") from error
    if not _COMMIT.fullmatch(told.sha):
        raise HubError(f"the hub says no commit of {name}")
    own = name_of(told.id)
    name = own.repository if own is not None and not own.what else name
    return Repository(name, told.sha, tuple(file for each in told.siblings if (file := _file(each)) is not None))


def _file(told: _Sibling) -> RemoteFile | None:
    """Read a file; None for one whose place or content can't be trusted."""
    digest = told.lfs.sha256 if told.lfs else told.blobId or ""
    size = told.lfs.size if told.lfs else -1 if told.size is None else told.size
    parts = told.rfilename.split("/")
    is_place = all(_PART.fullmatch(part) and part not in {".", ".."} for part in parts)
    return RemoteFile(told.rfilename, size, digest) if is_place and size >= 0 and _DIGEST.fullmatch(digest) else None
