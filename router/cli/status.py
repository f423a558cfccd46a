"""`status`: say what a running router does: its backends, who waits, the machine, the last reload."""

import argparse
import time
from collections.abc import Sequence

from launchers.footprints.parts import RAM
from router.api.admin.status import (
    STATUS,
    BackendTold,
    DeviceTold,
    MachineTold,
    NeighbourTold,
    ReloadTold,
    RouterTold,
    StatusTold,
)
from router.cli import running, tables
from router.cli.shown import HERE, lasting
from router.core.memory.refusals import size_text
from router.core.memory.states import State
from router.telemetry.logs import printable

NUMBERS = ("IN FLIGHT", "ANSWERED", "TTFT", "TPOT", "MEMORY", "RESTARTS", "LOAD")
_SPARE = ("WHY", "ANSWERED", "LOAD", "RESTARTS", "MEMORY", "TPOT", "TTFT", "MACHINE")


def run(options: argparse.Namespace) -> int:
    """Print the status of a running router. Raises ConfigError and CommandError."""
    return running.act(options, STATUS, lines)


def lines(told: StatusTold) -> list[str]:
    """Write it for people."""
    return [
        *summary(told),
        "",
        *backends(told.backends),
        *queues(told),
        *overrides(told),
        *neighbours(told.neighbours),
        *_reload(told.reload),
    ]


def summary(told: StatusTold) -> list[str]:
    """Write of the process, the machine, and its GPUs, a line each."""
    machine = ", ".join(of_machine(told.machine))
    return [", ".join(of_router(told.router)), machine, *map(_of_gpu, gpus(told.machine))]


def of_router(told: RouterTold) -> list[str]:
    """Write of the process, a few words each."""
    stops = [] if told.stops_in is None else [f"stopping within {lasting(told.stops_in)}"]
    late = [f"loop late by {told.loop_lag:.2f} s"] if told.loop_lag >= 0.1 else []
    return [
        f"router {told.version}",
        *stops,
        f"up {lasting(told.uptime)}",
        f"{told.in_flight} requests under way",
        f"{told.queued} waiting",
        f"CPU {told.cpu_percent:.0f}%",
        size_text(told.memory_bytes),
        *late,
    ]


def of_machine(told: MachineTold) -> list[str]:
    """Write of the machine, a few words each."""
    return [
        f"machine: CPU {told.cpu_percent:.0f}% of {told.cpus}",
        f"{size_text(told.memory_available)} of {size_text(told.memory_bytes)} RAM free",
    ]


def gpus(told: MachineTold) -> list[DeviceTold]:
    """Give the GPUs that have memory of their own."""
    return [each for each in told.devices if each.name != RAM]


def room(told: DeviceTold) -> str:
    """Write how much of a GPU is free."""
    return f"{printable(told.name)} {size_text(told.free)} of {size_text(told.bytes)} free"


def sensed(told: DeviceTold) -> str:
    """Write what its sensors tell, as far as there are any."""
    watts = "" if told.power is None else f"{told.power:.0f} W"
    limit = "" if told.power_limit is None or not watts else f" of {told.power_limit:.0f} W"
    busy = "" if told.utilisation is None else f"{told.utilisation}% busy"
    warm = "" if told.temperature is None else f"{told.temperature} °C"
    return ", ".join(filter(None, (busy, warm, watts + limit)))


def _of_gpu(told: DeviceTold) -> str:
    holders = sorted(told.held.items(), key=lambda each: -each[1])
    held = ", ".join(f"{printable(name)} has {size_text(size)}" for name, size in holders)
    return "; ".join(filter(None, (room(told), sensed(told), held)))


def backends(told: tuple[BackendTold, ...]) -> list[str]:
    """Draw the backends."""
    return tables.table(rows(told), numbers=NUMBERS, whole=("STATE", *NUMBERS), spare=_SPARE)


def rows(told: Sequence[BackendTold]) -> list[tables.Row]:
    """Say all of each backend, by the names of the columns; where there are peers, also on which machine it is."""
    peers = any(each.peer for each in told)
    return [_row(each, peers=peers) for each in told]


def _row(each: BackendTold, *, peers: bool) -> tables.Row:
    speeds = each.speeds
    return {
        "BACKEND": printable(each.name),
        **({"MACHINE": printable(each.peer or (HERE if each.url is None else ""))} if peers else {}),
        "STATE": printable(state_of(each)),
        "MODELS": printable(", ".join(each.models)),
        "IN FLIGHT": str(each.in_flight),
        "TTFT": "" if speeds is None or speeds.ttft_p50 is None else f"{speeds.ttft_p50:.3f}s",
        "TPOT": "" if speeds is None or speeds.tpot_p50 is None else f"{speeds.tpot_p50 * 1000:.1f}ms",
        "MEMORY": size_text(sum(each.footprint.values())) if each.footprint else "",
        "RESTARTS": str(each.restarts or ""),
        "LOAD": "" if each.load_seconds is None else f"{each.load_seconds:.1f}s",
        "ANSWERED": str(each.answered),
        "WHY": printable(_drain(each) or each.reason or each.detail or ""),
    }


def state_of(each: BackendTold) -> str:
    """Say how it is, in a word."""
    if each.ending:
        return "ending"
    if each.drained:
        return "drained"
    # A peer that works may have its model unloaded.
    is_there = each.peer is None or each.health != "up" or each.state in {None, State.LOADED.value}
    return each.health if is_there else str(each.state)


def _drain(each: BackendTold) -> str:
    """Say who has drained it, and since when; empty if nobody has."""
    return "" if each.drained_since is None else f"by {each.drained_by} since {_clock(each.drained_since)}"


def _clock(at: float) -> str:
    """Write a time: of today without the date."""
    now, then = time.localtime(), time.localtime(at)
    return time.strftime("%H:%M:%S" if now[:3] == then[:3] else "%Y-%m-%d %H:%M", then)


def queues(told: StatusTold) -> list[str]:
    """Say who waits for what."""
    return [
        f"{len(waiting)} wait for {printable(model)}, the first for {waiting[0].seconds:.1f} s"
        for model, waiting in told.queues.items()
        if waiting
    ]


def neighbours(told: Sequence[NeighbourTold]) -> list[str]:
    """Say which other routers are on the network, and how each is used."""
    return [
        f"{printable(each.name)} is another router on the network, at {printable(each.url)}; "
        + (f"used as {printable(', '.join(each.used_by))}" if each.used_by else f"to use it: {printable(each.entry)}")
        for each in told
    ]


def overrides(told: StatusTold) -> list[str]:
    """Say what was changed by people and isn't in the file."""
    return [
        f"{printable(each.backend)} is drained by {printable(each.by)} since {_clock(each.since)}"
        if each.key == "drained"
        else f"{printable(each.backend)}: {each.key} is {_word(each.value)}, as {printable(each.by)} wants it; "
        f"router.yaml says {_word(each.written)}"
        for each in told.overrides
    ]


def _word(value: bool | int) -> str:  # noqa: FBT001 - a value of router.yaml
    return str(value).lower()


def _reload(told: ReloadTold | None) -> list[str]:
    if told is None:
        return []
    if told.problems:
        return ["", "router.yaml isn't taken over:", *(f"  {printable(str(each))}" for each in told.problems)]
    changes = sum(each.do != "keep" for each in told.steps)
    return ["", f"The last reload took {told.seconds:.2f} s and changed {changes} thing{'' if changes == 1 else 's'}."]
