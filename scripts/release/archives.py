"""The archive of the sources, and the list of sums: the same bytes whenever and wherever they are made."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import time
from typing import TYPE_CHECKING, Final

from scripts.release.steps import run, tell

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.release.steps import Toolbox
    from scripts.release.tree import Commit

SUMS: Final = "SHA256SUMS"
_BUILD = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def empty(dist: Path) -> None:
    """Have a folder with nothing in it."""
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()


def sdist(toolbox: Toolbox, sources: Path, of: Commit, dist: Path) -> Path:
    """Build the archive of the sources; give its path."""
    since = time.monotonic()
    made = sources.parent / "sdist"
    made.mkdir()
    run([toolbox.builder(), "-c", _BUILD, made], cwd=sources, env={**toolbox.environment, "ROUTER_PURE": "1"})
    (archive,) = made.glob("*.tar.gz")
    (dist / archive.name).write_bytes(settled(archive.read_bytes(), of.time))
    tell(archive.name, since)
    return dist / archive.name


def settled(archive: bytes, at: int) -> bytes:
    """Give a .tar.gz with the same files, sorted, of one time and of nobody: setuptools writes when it was made."""
    inner = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=inner, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = at, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=at) as file:
        file.write(inner.getvalue())
    return packed.getvalue()


def sums(dist: Path) -> list[str]:
    """Write the list of sums, as `sha256sum -c` reads it; give its lines."""
    files = sorted(path for path in dist.iterdir() if path.name != SUMS)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    (dist / SUMS).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return lines
