"""Fetches one file: goes on where it was cut, and keeps it only if its checksum is right."""

import asyncio
import errno
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import BinaryIO, Final

import aiohttp

from router.hub.asking import Hub, reason
from router.hub.cache import Cache
from router.hub.errors import BusyError, HubError, RefusedError
from router.hub.listing import RemoteFile, Repository

AT_ONCE: Final = 8 << 30
"""Bytes that one request asks for: networks that have the hub's files give no more than 50 GB of one at a time."""
PIECE: Final = 1 << 20
TRIES: Final = 6
"""Connections that may be lost one after the other without a byte: about a minute in all."""
LONGEST: Final = 30.0
"""Seconds between two of them, at most."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is told while a file comes: the bytes that are there; that a connection is lost, and why."""

    at: Callable[[RemoteFile, int], None]
    lost: Callable[[RemoteFile, str], None]


class Fetch:
    """Fetches files of one repository into the cache. `pause` waits for so many seconds."""

    def __init__(
        self, hub: Hub, repository: Repository, cache: Cache, told: Told, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        self._hub = hub
        self._repository = repository
        self._cache = cache
        self._told = told
        self._pause = pause

    async def file(self, file: RemoteFile) -> None:
        """Fetch a file, unless it is there. Raises HubError; then what is there of it stays, for the next time."""
        try:
            with self._cache.locked(file):
                if not self._cache.has(file):
                    await self._whole(file)
                    self._cache.keep(file)
                self._cache.link(file)
        except OSError as error:
            raise _unwritten(file, error) from error

    async def _whole(self, file: RemoteFile) -> None:
        """Receive a file until its checksum is right."""
        partial = self._cache.partial(file)
        partial.parent.mkdir(parents=True, exist_ok=True)
        before = partial.stat().st_size if partial.exists() else 0
        for is_resumed in (True, False) if before else (False,):
            with partial.open("r+b" if is_resumed else "w+b") as stream:
                digest = await self._received(file, stream)
            if digest == file.digest:
                return
            # What was there may have been wrong: it is fetched once more, all of it.
            partial.unlink()
        raise HubError(
            f"{file.name}: what came isn't what the hub has: its checksum is {digest}, and would have to be "
            f"{file.digest}. It was removed",
            may_pass=True,
        )

    async def _received(self, file: RemoteFile, stream: BinaryIO) -> str:
        """Receive what is missing of a file; give the checksum of all of it."""
        kept = await self._there(file, stream)
        lost = refused = 0
        while kept.size < file.size:
            before = kept.size
            try:
                await self._part(file, kept)
                why = "the connection was cut"
            except BusyError as error:
                why = str(error)
            except RefusedError as error:
                refused, why = refused + 1, str(error)
                if refused > 1 and kept.size == before:
                    raise HubError(f"{file.name}: {why}; what came of it is kept") from error
            except (aiohttp.ClientError, TimeoutError) as error:
                why = reason(error)
            if kept.size >= file.size:
                break
            lost = 0 if kept.size != before else lost + 1
            if lost == TRIES:
                raise HubError(f"{file.name}: {why}; what came of it is kept", may_pass=True)
            if kept.size - before < AT_ONCE:
                self._told.lost(file, why)
                await self._pause(min(2.0**lost, LONGEST))
        stream.flush()
        os.fsync(stream.fileno())
        return kept.digest()

    async def _there(self, file: RemoteFile, stream: BinaryIO) -> "_Kept":
        """Read what is there of a file; what is too much is none of it."""
        kept = _Kept(file, stream)
        while kept.size <= file.size and (piece := stream.read(PIECE)):
            kept.add(piece)
            self._told.at(file, kept.size)
            await asyncio.sleep(0)
        if kept.size > file.size:
            kept.empty()
        return kept

    async def _part(self, file: RemoteFile, kept: "_Kept") -> None:
        end = min(kept.size + AT_ONCE, file.size)
        async with self._hub.part(self._repository, file, kept.size, end) as (begins, content):
            if begins != kept.size:
                kept.empty()
            while piece := await content.read(PIECE):
                if kept.size + len(piece) > file.size:
                    raise HubError(
                        f"{file.name}: more comes than the {file.size} bytes that the hub says", may_pass=True
                    )
                kept.write(piece)
                self._told.at(file, kept.size)


class _Kept:
    """What is kept of a file, with its checksum so far."""

    def __init__(self, file: RemoteFile, stream: BinaryIO) -> None:
        self._file = file
        self._stream = stream
        self._begin()

    def _begin(self) -> None:
        self.size = 0
        if len(self._file.digest) == 64:
            self._hash = hashlib.sha256()
        else:
            # What git does: the checksum is no secret's, it is how the hub names a small file.
            self._hash = hashlib.sha1(b"blob %d\0" % self._file.size, usedforsecurity=False)

    def add(self, piece: bytes) -> None:
        """Count bytes that are kept already."""
        self._hash.update(piece)
        self.size += len(piece)

    def write(self, piece: bytes) -> None:
        """Keep more bytes. Raises OSError."""
        self._stream.write(piece)
        self.add(piece)

    def empty(self) -> None:
        """Begin again. Raises OSError."""
        self._stream.seek(0)
        self._stream.truncate()
        self._begin()

    def digest(self) -> str:
        """Give the checksum of all of it."""
        return self._hash.hexdigest()


def _unwritten(file: RemoteFile, error: OSError) -> HubError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        why = "make room, and say the same again: what came of it is kept"
        return HubError(f"{file.name}: it can't be written, {error.strerror}: {why}")
    return HubError(f"{file.name}: it can't be written: {error}")
