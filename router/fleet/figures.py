"""What models.log has of models beside sentences: a line of JSON for each load, unload and state of an engine."""

import structlog

from launchers.status import Status
from router.core.memory.actions import Load
from router.core.memory.devices import Footprint
from router.fleet.members import Member
from router.telemetry.logs import FIGURES

log = structlog.get_logger(FIGURES)


def load(member: Member, action: Load, room: Footprint) -> None:
    """Tell that a load begins: what is reserved for it, in bytes by device, and the room that is left there."""
    _tell("load", member, reserved=dict(action.reserved), room=dict(room), attempt=action.attempt)


def loaded(member: Member, status: Status, holds: Footprint) -> None:
    """Tell that an engine is loaded, and what was measured that it holds; nothing where that can't be seen."""
    _tell("loaded", member, holds=dict(holds), seconds=status.load_seconds, pid=status.pid)


def unload(member: Member, reason: str, held: Footprint, idle: float, *, cancelled: bool) -> None:
    """Tell that an engine is told to end, what it gives back, and for how many seconds nobody used it."""
    _tell("cancel" if cancelled else "unload", member, reason=reason, held=dict(held), idle=round(max(0.0, idle), 1))


def unloaded(member: Member, seconds: float) -> None:
    """Tell that an engine is gone, so long after it was told to end."""
    _tell("unloaded", member, seconds=round(seconds, 1))


def engine(member: Member, status: Status) -> None:
    """Tell what state an engine has come to, and how often it was started again by itself."""
    _tell(
        "engine",
        member,
        state=status.state.value,
        detail=status.detail,
        restarts=status.restarts,
        pid=status.pid,
        failure=status.failure,
        out_of_memory=status.out_of_memory,
    )


def _tell(event: str, member: Member, **figures: object) -> None:
    log.info(event, backend=member.name, models=sorted(member.backend.models), **figures)
