"""Makes a plan of a configuration on this machine, and finds the room that there is for the change to it.

`python -m router plan` prints the steps; a reload does them. Both use this module.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import psutil

from launchers import devices
from launchers.describing import describe_launch
from launchers.engines import Engine
from launchers.gpus import SHARE
from launchers.leftovers import running
from launchers.tree import memory_of, said_to
from profiles import Facts, gather
from router.config import Config
from router.fleet.diff import Do, Plan, Room, Step, steps
from router.fleet.launches import StartError, plan_launches
from router.fleet.loadables import is_managed, limits_of, loadable_of
from router.tls.faults import TlsError
from router.tls.trust import Trust, context_of


def look(engines: Mapping[str, Engine]) -> Facts:
    """Read what this machine has now; engines may have been installed since the last time."""
    return gather(
        {name: engine.module for name, engine in engines.items()},
        {name: engine.program for name, engine in engines.items() if engine.program is not None},
    )


def with_known_gpus(facts: Facts, before: Facts | None) -> Facts:
    """Give the machine the GPUs that it had, if none can be seen any more; their free memory isn't known.

    Otherwise the next model would run on the CPU because the driver's program hung for a moment.
    """
    if facts.gpus or before is None:
        return facts
    return replace(facts, gpus=tuple(replace(gpu, free_bytes=None) for gpu in before.gpus))


def plan_of(
    config: Config,
    folder: Path,
    engines: Mapping[str, Engine],
    facts: Facts,
    running: Plan | None = None,
    *,
    quiet: bool = False,
) -> Plan:
    """Plan what should run. What is `running`, and stands unchanged in the configuration, stays as it is.

    The log tells what was chosen for models that don't fit, unless `quiet`.
    Raises StartError with everything that is wrong.
    """
    kept = () if running is None or running.config.profile != config.profile else running.launches
    why, launches = plan_launches(config, folder, engines, facts, kept)
    plan = _trusting(_described(Plan.of(config, launches, why)), folder)
    managed = is_managed(config)
    if not managed and (running is None or not running.devices):
        return plan
    return _with_memory(plan, managed=managed, quiet=quiet)


def _trusting(plan: Plan, folder: Path) -> Plan:
    """Say who may answer at each https URL. Raises StartError where the files that say so can't be used."""
    if faults := faults_of_trust(plan.config, folder):
        raise StartError(*(problem for problem, _ in faults), keys=[key for _, key in faults])
    backends = {
        name: each if each.launch is not None or each.config.tls is None
        else replace(each, trust=Trust.of(each.config.tls, folder))
        for name, each in plan.backends.items()
    }  # fmt: skip
    return replace(plan, backends=backends)


def faults_of_trust(config: Config, folder: Path) -> list[tuple[str, tuple[str | int, ...]]]:
    """Give what is wrong with the files of backends' `tls`, each with its key. Blocks: it reads this system's CAs."""
    found: list[tuple[str, tuple[str | int, ...]]] = []
    for index, each in enumerate(config.backends):
        try:
            if (each.elsewhere or "").startswith("https:"):
                context_of(Trust.of(each.tls, folder))
        except TlsError as error:
            problem = f"backends[{index}] ({each.name}): tls.{error.key}: {error}"
            found.append((problem, ("backends", index, "tls", error.key)))
    return found


def _described(plan: Plan) -> Plan:
    """Read what the files of each launch's model say of it."""
    backends = {
        name: each if each.launch is None
        else replace(each, described=describe_launch(each.launch.spec, os.environ))
        for name, each in plan.backends.items()
    }  # fmt: skip
    return replace(plan, backends=backends)


def _with_memory(plan: Plan, *, managed: bool, quiet: bool) -> Plan:
    """Say what each launch takes of which device."""
    figures = devices.look()
    limits = {each.name: each.limit for each in limits_of(figures, plan.config)}
    backends = {
        name: each if each.launch is None
        else replace(each, loadable=loadable_of(each.launch, figures, managed=managed, limits=limits, quiet=quiet))
        for name, each in plan.backends.items()
    }  # fmt: skip
    return replace(plan, backends=backends, devices=figures)


def room_beside(pids: Mapping[str, int], facts: Facts) -> Room:
    """Read the free memory, and what each of these processes takes with its children."""
    return Room(
        free=psutil.virtual_memory().available,
        take={name: memory_of(pid) for name, pid in pids.items()},
        gpus=bool(facts.gpus),
        cards=facts.gpus,
        shares=shares_of(pids),
    )


def shares_of(pids: Mapping[str, int]) -> dict[str, float]:
    """Read the share of a GPU's memory with which each of these processes was started, if it was with one."""
    said = {name: said_to(pid, f"--{SHARE}") for name, pid in pids.items()}
    return {name: float(share) for name, share in said.items() if share}


def preview(old: Config, new: Config, folder: Path, engines: Mapping[str, Engine], facts: Facts) -> list[Step]:
    """Give the steps that a running router would take from the old configuration to the new one. Raises StartError."""
    before = plan_of(old, folder, engines, facts, quiet=True)
    after = plan_of(new, folder, engines, facts, before, quiet=True)
    return steps(before, after, room_beside(running(folder / old.logging.dir / "run"), facts))


def told(found: list[Step]) -> str:
    """Write steps for people, a line each; unchanged backends are only counted."""
    lines = [f"  {step}" for step in found if step.do is not Do.KEEP]
    kept = sum(step.do is Do.KEEP for step in found)
    stays = f"  {kept} backend{' stays as it is' if kept == 1 else 's stay as they are'}"
    return "\n".join([*lines, stays] if kept else lines or ["  nothing to do"])
