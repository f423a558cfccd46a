"""What `ps`, `load` and `unload` print of models, for people."""

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from launchers.footprints.parts import RAM
from router.cli.running import Model
from router.core.memory.refusals import size_text

_WIDE: Final = 500
"""Columns where no terminal says how many there are: programs read lines, which mustn't be wrapped."""

_LOADED: Final = frozenset({"loaded", "draining"})
_ON_ITS_WAY: Final = frozenset({"queued", "loading"})
_UNITS: Final = ((3600, "h"), (60, "m"), (1, "s"))


def table(models: Sequence[Model]) -> str:
    """Draw the models as a table, and below it what was chosen for those that don't fit, and why some failed."""
    if not models:
        return "This router launches no models."
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("MODEL", "BACKEND", "STATE", "MEMORY"):
        drawn.add_column(name, overflow="fold")
    drawn.add_column("IN FLIGHT", justify="right")
    drawn.add_column("WAITING", justify="right")
    for name in ("IDLE", "UNLOADS", "ENGINE"):
        drawn.add_column(name, overflow="fold")
    drawn.add_column("PID", justify="right")
    for each in models:
        drawn.add_row(
            ", ".join(each.models),
            each.name,
            state_of(each),
            memory_of(each),
            str(each.in_flight),
            str(each.waiting),
            "" if each.idle is None or not is_loaded(each) else lasting(each.idle),
            _unloads(each),
            each.engine or "",
            "" if each.pid is None else str(each.pid),
        )
    said = io.StringIO()
    terminal = sys.stdout.isatty()
    # The width is that of the terminal; without one, lines stay whole.
    Console(file=said, force_terminal=terminal, width=None if terminal else _WIDE, markup=False, highlight=False).print(
        drawn
    )
    lines = [line.rstrip() for line in said.getvalue().splitlines()]
    notes = [f"{each.name}: {each.note}" for each in models if each.note]
    return "\n".join([*lines, *notes, *_failures(models)])


def state_of(model: Model) -> str:
    """Say how far it is: `loading 43%`."""
    return f"{model.state} {model.share:.0%}" if model.state == "loading" and model.share else model.state


def is_loaded(model: Model) -> bool:
    """Whether it can serve."""
    return model.state in _LOADED


def is_on_its_way(model: Model) -> bool:
    """Whether it is being loaded, or waits for memory."""
    return model.state in _ON_ITS_WAY


def loaded(model: Model) -> str:
    """Say that it is loaded, and what it takes."""
    memory = memory_of(model)
    return f"{model.name} is loaded: {memory}" if memory else f"{model.name} is loaded"


def memory_of(model: Model) -> str:
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


def _unloads(model: Model) -> str:
    """Say when it is unloaded."""
    if not is_loaded(model):
        return ""
    if model.pinned or model.stays:
        return "never, as it is pinned" if model.pinned else "never"
    if model.expires is None:
        return "when others need its memory"
    return f"in {lasting(model.expires)}" if model.idle is not None else f"{lasting(model.expires)} after its last use"


def _failures(models: Iterable[Model]) -> list[str]:
    failed = [(each.name, each.failure) for each in models if each.failure is not None and not is_loaded(each)]
    return [f"{name}: {failure.get('reason')}{_again(failure)}" for name, failure in failed]


def _again(failure: Mapping[str, object]) -> str:
    seconds = failure.get("retry_in")
    if not isinstance(seconds, int | float):
        return ""
    return f" (a request tries it again{f' in {lasting(seconds)}' if seconds >= 1 else ''})"
