"""What a configuration comes to on this machine, now: its plan, and the room that there is to go over to it.

`python -m router plan` prints what would be done; a reload does it. Both look here.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import psutil

from launchers.engines import Engine
from launchers.gpus import SHARE
from launchers.leftovers import running
from launchers.tree import memory_of, said_to
from profiles import Facts, gather
from router.config import Config
from router.fleet.diff import Do, Plan, Room, Step, steps
from router.fleet.launches import plan_launches


def look(engines: Mapping[str, Engine]) -> Facts:
    """Find out what this machine has; what is installed may have changed since the last time."""
    return gather(
        {name: engine.module for name, engine in engines.items()},
        {name: engine.program for name, engine in engines.items() if engine.program is not None},
    )


def with_known_gpus(facts: Facts, before: Facts | None) -> Facts:
    """Give the machine the GPUs that it had, where none can be seen any more; what is free of them isn't known.

    Else a driver's program that hangs for a moment would have the next model run on the CPU.
    """
    if facts.gpus or before is None:
        return facts
    return replace(facts, gpus=tuple(replace(gpu, free_bytes=None) for gpu in before.gpus))


def plan_of(
    config: Config, folder: Path, engines: Mapping[str, Engine], facts: Facts, running: Plan | None = None
) -> Plan:
    """Plan what is to run. What is `running`, and asked for in the same words, stays as it is.

    Raises StartError with everything that is wrong.
    """
    kept = () if running is None or running.config.profile != config.profile else running.launches
    why, launches = plan_launches(config, folder, engines, facts, kept)
    return Plan.of(config, launches, why)


def room_beside(pids: Mapping[str, int], facts: Facts) -> Room:
    """Tell what memory is left, and what each of these processes takes with its children."""
    return Room(
        free=psutil.virtual_memory().available,
        take={name: memory_of(pid) for name, pid in pids.items()},
        gpus=bool(facts.gpus),
        cards=facts.gpus,
        shares=shares_of(pids),
    )


def shares_of(pids: Mapping[str, int]) -> dict[str, float]:
    """Tell which share of a GPU's memory each of these processes was started with, where it was with one."""
    said = {name: said_to(pid, f"--{SHARE}") for name, pid in pids.items()}
    return {name: float(share) for name, share in said.items() if share}


def preview(old: Config, new: Config, folder: Path, engines: Mapping[str, Engine], facts: Facts) -> list[Step]:
    """Tell what a running router of the old configuration would do to go over to the new one. Raises StartError."""
    before = plan_of(old, folder, engines, facts)
    after = plan_of(new, folder, engines, facts, before)
    return steps(before, after, room_beside(running(folder / old.logging.dir / "run"), facts))


def told(found: list[Step]) -> str:
    """Write steps for people, a line each; what stays as it is, is counted."""
    lines = [f"  {step}" for step in found if step.do is not Do.KEEP]
    kept = sum(step.do is Do.KEEP for step in found)
    stays = f"  {kept} backend{' stays as it is' if kept == 1 else 's stay as they are'}"
    return "\n".join([*lines, stays] if kept else lines or ["  nothing to do"])
