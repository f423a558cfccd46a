"""What commands print of models, for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from launchers.footprints.parts import RAM
from router.api.admin.models import FailureTold, ModelTold, SilentTold
from router.cli import tables
from router.core.memory.refusals import size_text
from router.telemetry.logs import printable

_LOADED: Final = frozenset({"loaded", "draining"})
_NUMBERS: Final = frozenset({"IN FLIGHT", "WAITING", "PID"})
_WHOLE: Final = frozenset({"STATE", "WAITING", "IDLE", "ENGINE", "PID"})
_SPARE: Final = frozenset({"IDLE", "ENGINE", "PID"})
"""Columns that are left out where a terminal is too narrow; `--json` has all."""

HERE: Final = "this one"
"""What stands for the router's own machine in a column of machines."""

_ON_ITS_WAY: Final = frozenset({"queued", "loading"})
_UNITS: Final = ((3600, "h"), (60, "m"), (1, "s"))


def table(models: Sequence[ModelTold]) -> str:
    """Draw the models as a table, and below it what was chosen for those that don't fit, and why some failed."""
    if not models:
        return "This router launches no models."
    notes = [printable(f"{each.name}: {each.note}") for each in models if each.note]
    peers = any(each.peer for each in models)
    lines = tables.table([_row(each, peers=peers) for each in models], numbers=_NUMBERS, whole=_WHOLE, spare=_SPARE)
    return "\n".join([*lines, *notes, *_failures(models)])


def silent(peers: Iterable[SilentTold]) -> list[str]:
    """Say which peers have no model here, and why."""
    return [printable(f"{each.name} has no model here: {each.reason}") for each in peers]


def _row(model: ModelTold, *, peers: bool) -> dict[str, str]:
    """Say all of a model, by the names of the columns; where there are `peers`, also on which machine it is."""
    return {
        "MODEL": printable(", ".join(model.models)),
        "BACKEND": printable(model.name),
        **({"MACHINE": printable(model.peer or HERE)} if peers else {}),
        "STATE": printable(state_of(model)),
        "MEMORY": memory_of(model),
        "IN FLIGHT": str(model.in_flight),
        "WAITING": str(model.waiting),
        "UNLOADS": _unloads(model),
        "IDLE": "" if model.idle is None or not is_loaded(model) else lasting(model.idle),
        "ENGINE": printable(model.engine or ""),
        "PID": "" if model.pid is None else str(model.pid),
    }


def state_of(model: ModelTold) -> str:
    """Say how far it is: `loading 43%`."""
    return f"{model.state} {model.share:.0%}" if model.state == "loading" and model.share else model.state


def is_loaded(model: ModelTold) -> bool:
    """Whether it can serve."""
    return model.state in _LOADED


def is_on_its_way(model: ModelTold) -> bool:
    """Whether it is being loaded, or waits for memory."""
    return model.state in _ON_ITS_WAY


def loaded(model: ModelTold) -> str:
    """Say that it is loaded, and what it takes."""
    memory = memory_of(model)
    return printable(f"{model.name} is loaded: {memory}" if memory else f"{model.name} is loaded")


def memory_of(model: ModelTold) -> str:
    """Say what it holds of each device; in brackets what it would take if it were loaded."""
    if any(model.reserved.values()):
        return sizes(model.reserved)
    taken = sizes(model.footprint)
    return taken if is_loaded(model) or not taken else f"({taken})"


def sizes(by_device: Mapping[str, int]) -> str:
    """Write bytes by device: `6.1 GiB NVIDIA 0, 0.3 GiB RAM`; of RAM alone without its name."""
    taken = {device: size for device, size in by_device.items() if size}
    if taken.keys() == {RAM}:
        return size_text(taken[RAM])
    named = sorted(taken.items(), key=lambda each: each[0] == RAM)
    return ", ".join(f"{size_text(size)} {'RAM' if device == RAM else device}" for device, size in named)


def lasting(seconds: float) -> str:
    """Write a time in its two largest units: `4m 10s`, `2h 5m`, `3s`."""
    left, words = round(seconds), []
    for length, unit in _UNITS:
        if left >= length:
            words.append(f"{left // length}{unit}")
            left %= length
    return " ".join(words[:2]) or "0s"


def _unloads(model: ModelTold) -> str:
    """Say when it is unloaded, as far as that is known."""
    if not is_loaded(model):
        return ""
    if model.pinned or model.stays:
        return "never, as it is pinned" if model.pinned else "never"
    if model.expires is None:
        return "" if model.peer and not model.reserved else "when others need its memory"
    return f"in {lasting(model.expires)}" if model.idle is not None else f"{lasting(model.expires)} after its last use"


def _failures(models: Iterable[ModelTold]) -> list[str]:
    failed = [
        (printable(each.name), each.failure) for each in models if each.failure is not None and not is_loaded(each)
    ]
    return [f"{name}: {printable(failure.reason)}{_again(failure)}" for name, failure in failed]


def _again(failure: FailureTold) -> str:
    seconds = failure.retry_in
    if seconds is None:
        return ""
    return f" (a request tries it again{f' in {lasting(seconds)}' if seconds >= 1 else ''})"
