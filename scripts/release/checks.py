"""What is true of everything in dist/ before anybody gets it."""

from __future__ import annotations

import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scripts.release.steps import ReleaseError, run, tell
from scripts.release.tree import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scripts.release.steps import Toolbox
    from scripts.release.wheels import Python

ROUTER_YAML: Final = "backends: [{url: 'http://127.0.0.1:1', models: [demo]}]\n"
_HOT = "router.proxy.exchange"
_WHERE = f"import {_HOT} as it; print(it.__file__)"


def described(toolbox: Toolbox, files: Iterable[Path]) -> None:
    """Check that the index would take them."""
    run([toolbox.tools(), "-m", "twine", "check", "--strict", *files], fails="the index would refuse this")


def whole(wheel: Path, sources: frozenset[str]) -> None:
    """Check that a wheel has each file of the packages, and nothing there but what was compiled of them."""
    with zipfile.ZipFile(wheel) as archive:
        files = [each.filename for each in archive.infolist() if not each.is_dir()]
    names = {name for name in files if name.startswith(tuple(f"{each}/" for each in PACKAGES))}
    missing, more = sources - names, {name for name in names - sources if not name.endswith(".so")}
    if missing or more:
        raise ReleaseError(f"{wheel.name} lacks {sorted(missing)} and has {sorted(more)}, which git doesn't")


def installs(toolbox: Toolbox, wheel: Path, pythons: Mapping[str, Python], folder: Path) -> None:
    """Install a wheel into an environment that has nothing else, and ask the command there what it is."""
    since = time.monotonic()
    tag = wheel.name.split("-")[2]
    by_tag = {f"cp{version.replace('.', '')}": each.program for version, each in pythons.items()}
    python = toolbox.fresh(by_tag.get(tag, Path(sys.executable)), folder / f"check-{tag}")
    toolbox.install(python, wheel)
    place = folder / f"at-{tag}"
    place.mkdir()
    (place / "router.yaml").write_text(ROUTER_YAML, "utf-8")
    command = python.with_name("router")
    version = wheel.name.split("-")[1]
    said = run([command, "--version"], cwd=place).strip()
    if said != f"router {version}":
        raise ReleaseError(f"{wheel.name} says that it is {said}")
    run([command, "check"], cwd=place)
    where = run([python, "-c", _WHERE], cwd=place).strip()
    if where.endswith(".so") != (tag != "py3"):
        raise ReleaseError(f"of {wheel.name}, {where} runs")
    tell(f"{wheel.name} installs and runs", since)
