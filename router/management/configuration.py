"""router.yaml, as it is in force, and as it is written: shown, planned, and replaced."""

import asyncio
import hmac
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from router.api.admin.configuration import (
    ConfigTold,
    FileTold,
    PlanAsked,
    PlanTold,
    VersionAsked,
    VersionsTold,
    VersionTextTold,
    VersionTold,
    WriteAsked,
)
from router.api.admin.endpoint import Nothing, Reply
from router.api.admin.status import ProblemTold, ReloadTold, StepTold
from router.config import Config, ConfigError, load, redacted
from router.config.masking import masked, restored
from router.config.problems import nowhere
from router.config.reading import places
from router.config.reading.files import MAX_BYTES, decoded, read
from router.config.replacing import ReplaceError, replace
from router.config.versions import Version
from router.core.errors import BodyTooLargeError, ConflictError, ForbiddenError, NotFoundError, RouterError
from router.core.scopes import Admin
from router.fleet.diff import Step
from router.fleet.launches import StartError
from router.fleet.reload import Reloader
from router.management import locked
from router.management.levers import Levers
from router.telemetry.tasks import aside

log = structlog.get_logger("router")


class PreconditionFailedError(RouterError):
    """What is to be changed has been changed meanwhile."""

    status = 412
    type = anthropic_type = "invalid_request_error"
    code = "precondition_failed"


class PreconditionRequiredError(RouterError):
    """A change that doesn't say what it is a change of."""

    status = 428
    type = anthropic_type = "invalid_request_error"
    code = "precondition_required"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the file would be. `locked` are changed keys that HTTP may not write."""

    raw: bytes
    config: Config
    locked: Sequence[str]


class Configuration:
    """Answers `router.api.admin.configuration`. Without a `reloader` there is no file."""

    def __init__(self, router: Levers, reloader: Reloader | None) -> None:
        self._router = router
        self._reloader = reloader
        # A digest alone would let those who see the file without its secrets try out what these are.
        self._seal = secrets.token_bytes(32)
        # One plan or change at a time: each looks at the whole machine.
        self._turns = asyncio.Lock()

    async def config(self, _: Nothing, _admin: Admin) -> ConfigTold:
        """Give the configuration in force, without its secrets."""
        return ConfigTold(redacted(self._router.plan.config))

    async def file(self, _: Nothing, _admin: Admin) -> Reply[FileTold]:
        """Give the file's text, without its secrets. Raises NotFoundError and ConflictError."""
        path = self._source().path
        try:
            raw = await aside(read, path)
            text = await aside(masked, decoded(raw, str(path)), str(path))
        except ConfigError as error:
            raise _unusable(error) from None
        etag = self._etag(raw)
        return Reply(
            FileTold(file=str(path), etag=etag, text=text), headers={"etag": etag, "cache-control": "no-store"}
        )

    async def plan(self, asked: PlanAsked, _: Admin) -> Reply[PlanTold]:
        """Tell what a reload would do if the file had this text. Raises RouterError."""
        path = self._source().path
        try:
            async with self._turns:
                candidate = await aside(partial(read_candidate, path, await _read(path), asked.text))
                steps = await self._router.preview(candidate.config)
        except (ConfigError, StartError) as error:
            return Reply(PlanTold(problems=_problems(error), steps=()), 422)
        return Reply(PlanTold(problems=(), steps=tuple(map(_step, steps)), locked=tuple(candidate.locked)))

    async def write(self, asked: WriteAsked, admin: Admin) -> Reply[ReloadTold]:
        """Replace the file's text, and reload. Raises RouterError."""
        source = self._source()
        if not asked.if_match:
            raise PreconditionRequiredError("Send the ETag that GET /admin/config/file gives, as If-Match.")
        async with self._turns:
            old = await _read(source.path)
            if self._etag(old) not in {each.strip() for each in asked.if_match.split(",")}:
                raise PreconditionFailedError("router.yaml has changed: ask /admin/config/file for it again.")
            try:
                candidate = await aside(partial(read_candidate, source.path, old, asked.text, writes=True))
                # What this machine can't run isn't written either: the next start would fail.
                await self._router.preview(candidate.config)
                source.writes(decoded(candidate.raw, str(source.path)), admin.name)
                await aside(replace, source.path, old, candidate.raw, os.environ)
            except (ConfigError, StartError) as error:
                source.writes_nothing()
                return Reply(ReloadTold(at=time.time(), seconds=0.0, problems=_problems(error), steps=()), 422)
            except ReplaceError as error:
                source.writes_nothing()
                raise ConflictError(f"{error}.") from None
            log.info("admin: wrote router.yaml", by=admin.name)
            reply = await self._reloaded(source)
        return Reply(reply.told, reply.status, {"etag": self._etag(candidate.raw)})

    async def versions(self, _: Nothing, _admin: Admin) -> VersionsTold:
        """List the last texts of the file. Raises NotFoundError."""
        kept = self._source().versions
        found = [] if kept is None else await aside(kept.all)
        return VersionsTold(versions=tuple(map(_version, found)))

    async def version(self, asked: VersionAsked, _: Admin) -> VersionTextTold:
        """Give one of them, without its secrets. Raises NotFoundError and ConflictError."""
        source = self._source()
        found = None if source.versions is None else await aside(source.versions.one, asked.id)
        if found is None:
            raise NotFoundError("There is no such version, or it is too old to be kept.", param="id")
        try:
            text = await aside(masked, found.text, source.path.name)
        except ConfigError as error:
            raise ConflictError(f"This version has mistakes. {error.problems[0]}.") from None
        return VersionTextTold(**dict(_version(found)), text=text)

    async def reload(self, _: Nothing, admin: Admin) -> Reply[ReloadTold]:
        """Read router.yaml again. Raises NotFoundError where there is no file to read."""
        source = self._source()
        log.info("admin: reloads router.yaml", by=admin.name)
        return await self._reloaded(source)

    async def _reloaded(self, source: Reloader) -> Reply[ReloadTold]:
        last = await source.reload()
        return Reply(ReloadTold.model_validate(last.told()), 422 if last.problems else 200)

    def _source(self) -> Reloader:
        if self._reloader is None:
            raise NotFoundError("This router was started without a file that it could read again.")
        return self._reloader

    def _etag(self, raw: bytes) -> str:
        return f'"{hmac.digest(self._seal, raw, "sha256").hex()[:32]}"'


async def _read(path: Path) -> bytes:
    try:
        return await aside(read, path)
    except ConfigError as error:
        raise _unusable(error) from None


def _unusable(error: ConfigError) -> ConflictError:
    return ConflictError(f"router.yaml has mistakes; mend it on the disk first. {error.problems[0]}.")


def read_candidate(path: Path, old: bytes, text: str, *, writes: bool = False) -> Candidate:
    """Read what the file would be.

    Raises ConfigError, and ForbiddenError where it has others read; where it `writes`, for all that HTTP can't change.
    """
    try:
        original = decoded(old, str(path))
        before = places.parse(old, str(path)).data
    except ConfigError as error:
        raise _unusable(error) from None
    try:
        loaded = load(path, os.environ, old).config
    except ConfigError as error:
        if writes:
            raise _unusable(error) from None
        loaded = None
    if len(text.encode()) > MAX_BYTES:
        raise BodyTooLargeError(f"A router.yaml of more than {MAX_BYTES >> 20} MiB can't be read.")
    raw = restored(text.removeprefix("\ufeff"), original, str(path)).encode()
    now = places.parse(raw, str(path)).data
    # Before anything is loaded: its mistakes would tell of what it has read.
    _refuse(locked.reading(before, now))
    config = load(path, os.environ, raw).config
    keys: Sequence[str] = ()
    if loaded is not None:
        keys = locked.changed(locked.Side(before, loaded), locked.Side(now, config), path.resolve().parent)
    if writes:
        _refuse(keys)
    return Candidate(raw, config, keys)


def _refuse(keys: Sequence[str]) -> None:
    if keys:
        shown = ", ".join(keys[:20]) + f" and {len(keys) - 20} more" * (len(keys) > 20)
        raise ForbiddenError(f"Changed on the disk alone, not by HTTP: {shown}.", param=keys[0])


def _problems(error: ConfigError | StartError) -> tuple[ProblemTold, ...]:
    found = map(nowhere, error.problems) if isinstance(error, StartError) else error.problems
    return tuple(ProblemTold.model_validate(each.told()) for each in found)


def _version(version: Version) -> VersionTold:
    size = len(version.text.encode())
    return VersionTold(id=version.id, at=round(version.at, 3), by=version.by, size=size)


def _step(step: Step) -> StepTold:
    return StepTold(do=step.do.value, name=step.name, why=step.why, but=step.but)
