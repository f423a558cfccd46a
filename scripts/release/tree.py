"""What git has of the sources: a release is made of a commit, and of nothing that lies beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scripts.release.steps import ReleaseError, run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PACKAGES: Final = ("router", "launchers", "profiles")


@dataclass(frozen=True)
class Commit:
    """A commit: its id, its time in seconds since 1970, and the version that it says it is."""

    id: str
    time: int
    version: str

    def environment(self) -> Mapping[str, str]:
        """Give what makes builds of it the same at any time: its own, and the same order of sets."""
        return {"SOURCE_DATE_EPOCH": str(self.time), "PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"}


def commit(checkout: Path) -> Commit:
    """Give the commit that is checked out. Raises ReleaseError where the tree has changes."""
    changed = run(["git", "status", "--porcelain"], cwd=checkout, fails="this is no checkout of git")
    if changed:
        raise ReleaseError(f"the tree has changes, which no commit has:\n{changed.rstrip()}")
    its, time = run(["git", "log", "-1", "--format=%H %ct"], cwd=checkout).split()
    said = (checkout / "router/distribution.py").read_text("utf-8")
    (version,) = re.findall(r'^VERSION: Final = "(.+)"$', said, re.MULTILINE)
    if f"## [{version}]" not in (checkout / "CHANGELOG.md").read_text("utf-8"):
        print(f"  CHANGELOG.md has no section of {version}: give it one before this is published.")
    return Commit(its, int(time), version)


def export(checkout: Path, of: Commit, folder: Path) -> Path:
    """Write the commit's files into a new folder, each of the commit's time."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    run(["git", "archive", "--output", archive, of.id], cwd=checkout)
    run(["tar", "-xf", archive, "-C", folder])
    return folder


def of_packages(checkout: Path, of: Commit) -> frozenset[str]:
    """Give the paths of all files of the packages."""
    listed = run(["git", "ls-tree", "-r", "--name-only", of.id, *PACKAGES], cwd=checkout)
    return frozenset(listed.splitlines())
