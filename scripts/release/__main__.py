"""Build what is released into dist/, the same bytes from the same commit, and check it.

    python -m scripts.release [--pythons 3.11,3.12,3.13] [--url URL] [--homepage URL]

It needs git and, for each Python named, that Python; everything else it installs into .release/. The hot path's wheels
are for Linux on x86-64, and are left out elsewhere. What is built is the commit: a tree with changes is refused.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path
from typing import Final

from scripts.release import archives, checks, formula, tree, wheels
from scripts.release.steps import CHECKOUT, ReleaseError, Toolbox

PYTHONS: Final = "3.11,3.12,3.13"


def release(pythons: list[str], url: str, homepage: str) -> None:
    """Build and check everything. Raises ReleaseError."""
    commit = tree.commit(CHECKOUT)
    found = {version: wheels.python(version) for version in pythons}
    dist = CHECKOUT / "dist"
    archives.empty(dist)
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        folder = Path(name)
        sources = tree.export(CHECKOUT, commit, folder / "tree")
        toolbox = Toolbox(CHECKOUT / ".release", sources, commit.environment())
        sdist = archives.sdist(toolbox, sources, commit, dist)
        built = [wheels.pure(toolbox, sdist, dist)]
        if wheels.can_be_compiled(platform.system(), platform.machine()):
            built += [wheels.compiled(toolbox, sdist, dist, each) for each in found.values()]
        checks.described(toolbox, [sdist, *built])
        for wheel in built:
            checks.whole(wheel, tree.of_packages(CHECKOUT, commit))
            checks.installs(toolbox, wheel, found, folder)
    if url:
        formula.write(dist, commit.version, wheel=built[0], url=url, homepage=homepage)
    for line in archives.sums(dist):
        print(line)


def main() -> int:
    """Read the command line and do what it says; give the exit code."""
    described = argparse.ArgumentParser(prog="python -m scripts.release", description="Build what is released.")
    described.add_argument("--pythons", default=PYTHONS, help=f"the CPythons to compile for; default: {PYTHONS}")
    described.add_argument("--url", default="", help="where the files of dist/ will be, for Homebrew's formula")
    described.add_argument("--homepage", default="", help="the project's page, for Homebrew's formula; default: --url")
    options = described.parse_args()
    try:
        release(options.pythons.split(","), options.url.rstrip("/"), options.homepage or options.url)
    except ReleaseError as error:
        print(f"No release: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
