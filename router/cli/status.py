"""`status`: say what a running router does: its backends, who waits, the machine, the last reload."""

import argparse

from launchers.footprints.parts import RAM
from router.api.admin.status import STATUS, BackendTold, MachineTold, ReloadTold, RouterTold, StatusTold
from router.cli import running, tables
from router.cli.shown import lasting
from router.core.memory.refusals import size_text
from router.telemetry.logs import printable

NUMBERS = ("IN FLIGHT", "ANSWERED", "TTFT", "TPOT")
_SPARE = ("WHY", "ANSWERED", "TPOT", "TTFT")


def run(options: argparse.Namespace) -> int:
    """Print the status of a running router. Raises ConfigError and CommandError."""
    return running.act(options, STATUS, lines)


def lines(told: StatusTold) -> list[str]:
    """Write it for people."""
    return [*summary(told), "", *backends(told.backends), *queues(told), *overrides(told), *_reload(told.reload)]


def summary(told: StatusTold) -> list[str]:
    """Write of the process and the machine, a line each."""
    return [", ".join(of_router(told.router)), ", ".join(of_machine(told.machine))]


def of_router(told: RouterTold) -> list[str]:
    """Write of the process, a few words each."""
    late = [f"loop late by {told.loop_lag:.2f} s"] if told.loop_lag >= 0.1 else []
    return [
        f"router {told.version}",
        f"up {lasting(told.uptime)}",
        f"{told.in_flight} requests under way",
        f"{told.queued} waiting",
        f"CPU {told.cpu_percent:.0f}%",
        size_text(told.memory_bytes),
        *late,
    ]


def of_machine(told: MachineTold) -> list[str]:
    """Write of the machine, a few words each; the GPUs come last."""
    return [
        f"machine: CPU {told.cpu_percent:.0f}% of {told.cpus}",
        f"{size_text(told.memory_available)} of {size_text(told.memory_bytes)} RAM free",
        *(
            f"{printable(each.name)} {size_text(each.free)} of {size_text(each.bytes)} free"
            for each in told.devices
            if each.name != RAM
        ),
    ]


def backends(told: tuple[BackendTold, ...]) -> list[str]:
    """Draw the backends."""
    return tables.table([row(each) for each in told], numbers=NUMBERS, whole=("STATE", *NUMBERS), spare=_SPARE)


def row(each: BackendTold) -> tables.Row:
    """Say all of a backend, by the names of the columns."""
    speeds = each.speeds
    return {
        "BACKEND": printable(each.name),
        "STATE": state_of(each),
        "MODELS": printable(", ".join(each.models)),
        "IN FLIGHT": str(each.in_flight),
        "TTFT": "" if speeds is None or speeds.ttft_p50 is None else f"{speeds.ttft_p50:.3f}s",
        "TPOT": "" if speeds is None or speeds.tpot_p50 is None else f"{speeds.tpot_p50 * 1000:.1f}ms",
        "ANSWERED": str(each.answered),
        "WHY": printable(each.reason or each.detail or ""),
    }


def state_of(each: BackendTold) -> str:
    """Say how it is, in a word."""
    if each.ending:
        return "ending"
    return "drained" if each.drained else each.health


def queues(told: StatusTold) -> list[str]:
    """Say who waits for what."""
    return [
        f"{len(waiting)} wait for {printable(model)}, the first for {waiting[0].seconds:.1f} s"
        for model, waiting in told.queues.items()
        if waiting
    ]


def overrides(told: StatusTold) -> list[str]:
    """Say what was changed by people and isn't in the file."""
    return [
        f"{printable(each.backend)}: {each.key} is {_word(each.value)}, as {printable(each.by)} wants it; "
        f"router.yaml says {_word(each.written)}"
        for each in told.overrides
    ]


def _word(value: bool | int) -> str:  # noqa: FBT001 - a value of router.yaml
    return str(value).lower()


def _reload(told: ReloadTold | None) -> list[str]:
    if told is None:
        return []
    if told.problems:
        return ["", "router.yaml isn't taken over:", *(f"  {printable(each)}" for each in told.problems)]
    changes = sum(each.do != "keep" for each in told.steps)
    return ["", f"The last reload took {told.seconds:.2f} s and changed {changes} thing{'' if changes == 1 else 's'}."]
