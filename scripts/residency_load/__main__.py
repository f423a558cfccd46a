"""The command line: `python -m scripts.residency_load LOAD`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from scripts.instruments.processes import ROOT, raise_file_limit
from scripts.residency_load import loads
from scripts.residency_load.fleet import ARGS, RouterProcess, Settings
from scripts.residency_load.models import copy_demo, write_models

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scripts.residency_load.loads import Result
    from scripts.residency_load.models import ModelFile

GB: Final = 1_000_000_000
BASE: Final = 250_000_000
"""Bytes that an engine is taken to need beside its weights, to tell how many models fit."""

DEMO: Final = 1 << 30
"""What a copy of the demo model is told to take: more than it does, so that no more than wanted fit."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="residency_load", description=(__doc__ or "").partition("\n")[0])
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--engine", choices=tuple(ARGS), default="llama_server", help="(default: llama_server)")
    shared.add_argument(
        "--folder", type=Path, default=ROOT / "models" / "random", help="of models (default: models/random)"
    )
    shared.add_argument("--keep", action="store_true", help="leave the models where they are, for the next run")
    shared.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    commands = parser.add_subparsers(dest="load", required=True, metavar="LOAD")
    for name, about, numbers in (
        ("zipf", "many models of which few fit", {"requests": 2000, "clients": 32, "models": 10, "fit": 3}),
        ("agents", "two models that don't fit together, two agents", {"requests": 400, "swaps": 10}),
        ("burst", "many requests at once for one model", {"requests": 200}),
        ("crowd", "many models at once, of which few fit", {"models": 50, "fit": 3, "each": 2}),
        ("churn", "loads and unloads", {"rounds": 300}),
    ):
        command = commands.add_parser(name, help=about, parents=[shared])
        for number, default in numbers.items():
            command.add_argument(f"--{number}", type=int, default=default, metavar="N", help=f"(default: {default})")
        if name in ("zipf", "agents", "burst"):
            command.add_argument(
                "--least",
                type=float,
                default=0.3 if name == "zipf" else 0.4,
                metavar="GB",
                help="of the smallest model",
            )
            command.add_argument(
                "--most", type=float, default=2.0 if name == "zipf" else 0.4, metavar="GB", help="of the largest"
            )
    return parser.parse_args(arguments)


@contextmanager
def models_of(asked: argparse.Namespace) -> Iterator[list[ModelFile]]:
    """Have the models of a load on the disk; without --keep, they are removed at the end."""
    folder: Path = asked.folder
    count = {"agents": 2, "burst": 1, "churn": 1}.get(asked.load) or asked.models
    try:
        if asked.load in ("crowd", "churn"):
            yield copy_demo(folder / "demo", count)
        else:
            yield write_models(folder, count, asked.least, asked.most)
    finally:
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)


def settings_of(asked: argparse.Namespace, models: Sequence[ModelFile]) -> Settings:
    """Say what the router is to do: the limit is such that about so many models of middle size fit."""
    if asked.load in ("crowd", "churn"):
        limit = getattr(asked, "fit", 1) * DEMO
        return Settings(asked.engine, models, limit, launch={"memory": DEMO})
    # The largest fits also with the tenth that is laid on top of an estimate. Two agents' models don't fit both.
    limit = round(1.15 * max(each.size for each in models)) + BASE
    if asked.load == "zipf":
        mean = sum(each.size for each in models) / len(models) + BASE
        limit = max(round(asked.fit * mean), limit)
    return Settings(asked.engine, models, limit)


async def run(asked: argparse.Namespace, settings: Settings, folder: Path) -> Result:
    """Start a router and put the load on it."""
    async with RouterProcess(folder, settings) as router:
        try:
            match asked.load:
                case "zipf":
                    return await loads.zipf(router, asked.requests, asked.clients, asked.seed)
                case "agents":
                    return await loads.agents(router, asked.requests, asked.swaps)
                case "burst":
                    return await loads.burst(router, asked.requests)
                case "crowd":
                    return await loads.crowd(router, asked.each)
                case _:
                    return await loads.churn(router, asked.rounds)
        except BaseException:
            print("\n".join(router.lines[-60:]), file=sys.stderr)
            raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a load and print its figures; the exit code is 1 where something is wrong with them."""
    asked = options(arguments)
    raise_file_limit()
    with models_of(asked) as models, tempfile.TemporaryDirectory(prefix="residency-") as folder:
        settings = settings_of(asked, models)
        print(
            f"{asked.load}, {asked.engine}: {len(models)} models of {min(each.size for each in models) / GB:.2f} to "
            f"{max(each.size for each in models) / GB:.2f} GB, {sum(each.size for each in models) / GB:.1f} GB in all; "
            f"limit {settings.limit / GB:.2f} GB",
            flush=True,
        )
        result = uvloop.run(run(asked, settings, Path(folder)))
    for name, value in result.figures.items():
        print(f"  {name}: {value}")
    for problem in result.problems:
        print(f"  WRONG: {problem}")
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
