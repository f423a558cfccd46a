"""Puts a changed router.yaml in the place of the old one: only if it can be used, at once, and beside a backup."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from launchers.files import read_ordinary
from router.config.load import Loaded, load

if TYPE_CHECKING:
    from collections.abc import Mapping

BACKUP: Final = ".bak"
"""What the old file's name gets."""


def backup_of(path: Path) -> Path:
    """Give where the old file stays: beside the file itself, wherever a link leads."""
    target = path.resolve()
    return target.with_name(target.name + BACKUP)


class ReplaceError(Exception):
    """The file stays as it was; the message says why."""


def there(path: Path) -> bytes | None:
    """Give the bytes of a file that is to be replaced; None if there is none. Raises ReplaceError."""
    try:
        return read_ordinary(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _not_written(path, error) from None


def replace(path: Path, old: bytes | None, new: bytes, environ: Mapping[str, str]) -> Loaded:
    """Replace a file that had the bytes `old`, None if there was none, by one with `new`. Gives what it says now.

    Raises ConfigError if the new file can't be used, ReplaceError if it can't be written, or was changed meanwhile.
    """
    loaded = load(path, environ, new)
    # A link stays one.
    target = path.resolve()
    try:
        _replace(target, old, new)
    except OSError as error:
        raise _not_written(path, error) from None
    return loaded


def _not_written(path: Path, error: OSError) -> ReplaceError:
    return ReplaceError(f"{path} can't be written: {error.strerror or error}")


def _replace(target: Path, old: bytes | None, new: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        if (target.read_bytes() if target.exists() else None) != old:
            raise ReplaceError(f"{target} was changed meanwhile: nothing is written")
        if old is None:
            written.chmod(0o666 & ~_umask())
        else:
            shutil.copy2(target, backup_of(target))
            stat = target.stat()
            written.chmod(stat.st_mode & 0o7777)
            with suppress(OSError):
                # Root may change another user's file.
                os.chown(written, stat.st_uid, stat.st_gid)
        written.replace(target)
    finally:
        written.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
