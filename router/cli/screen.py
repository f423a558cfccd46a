"""Draws `top`'s screen: a function of what the router told and of the terminal's size, and of nothing else.

From above: the router, the machine and its GPUs, who waits; then the backends, the requests under way, and the last
events. No line is wider than the terminal, and there are no more of them than it has. What doesn't fit is counted, and
what does something comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from router.api.admin.logs import EventTold
from router.api.admin.requests import RequestsTold, RequestTold
from router.api.admin.status import BackendTold, DeviceTold, StatusTold
from router.cli import events, requests, status
from router.cli.tables import Row

GAP: Final = 2
"""Cells between two columns."""

NARROWEST: Final = 12
"""Cells that a column of text keeps, as long as columns can be left out instead."""

TALL: Final = 30
"""Lines from which there is room for more than two lines of the machine's GPUs."""

_STYLES: Final = {"up": "green", "answered": "green", "down": "red", "error": "red", "critical": "red"}
_CALM: Final = frozenset({"unknown", "asleep", "sent", "queued", "info"})
"""States and levels without a colour; those that are in neither set are yellow."""

_BACKEND_SPARE: Final = ("ANSWERED", "LOAD", "RESTARTS", "MEMORY", "MACHINE", "WHY", "TPOT", "TTFT", "MODELS")
_REQUEST_SPARE: Final = ("PATH", "TTFT", "KEY", "TOKENS/S", "ID", "TOKENS")
"""Columns that are left out where the terminal is too narrow, the first one first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the router told last. `lost` says why it doesn't answer now, if it doesn't."""

    status: StatusTold
    requests: RequestsTold
    events: Sequence[EventTold] = ()
    lost: str = ""


def frame(seen: Seen, width: int, height: int) -> list[Text]:
    """Draw a screen of this size."""
    head = [_cut(Text(each, style), width) for each, style in _head(seen, width, height)]
    backends, under_way = sorted(seen.status.backends, key=_idleness), sorted(seen.requests.requests, key=_is_queued)
    lines = max(0, height - len(head))
    # Each part has a line of names, if it has anything to show.
    wanted = [len(backends) + 1, max(1, seen.requests.total) + 1, len(seen.events) + 1]
    of_backends, of_requests, of_events = shares(lines, wanted)
    drawn = [
        *head,
        *_table(
            list(zip(status.rows(backends), map(status.state_of, backends), strict=True)),
            of_backends, width, numbers=status.NUMBERS, spare=_BACKEND_SPARE, none="No backend is configured.",
        ),
        *_table(
            [(requests.row(each), each.state) for each in under_way[:height]],
            of_requests, width, total=seen.requests.total, numbers=requests.NUMBERS, spare=_REQUEST_SPARE,
            none="No request is under way.",
        ),
        *_events(seen.events, of_events, width),
    ]  # fmt: skip
    return drawn[:height]


def _head(seen: Seen, width: int, height: int) -> list[tuple[str, str]]:
    """Write the lines above the tables, each with its style."""
    told = seen.status
    waiting = [each for each in status.queues(told) if each]
    machine, most = status.of_machine(told.machine), 2 if height < TALL else 6
    gpus = status.gpus(told.machine)
    in_full = machine + [" ".join(filter(None, (status.room(each), _in_brackets(each)))) for each in gpus]
    # What the sensors tell is left out where GPUs would be, too.
    fits = len(packed(in_full, width, len(in_full))) <= most
    parts = [
        (status.of_router(told.router), "bold", 2),
        (in_full if fits else machine + list(map(status.room, gpus)), "", most),
        (waiting, "yellow", 1 if height < TALL else 3),
    ]
    lost = [(seen.lost, "bold red")] if seen.lost else []
    return lost + [(line, style) for words, style, most in parts for line in packed(words, width, most)]


def _in_brackets(gpu: DeviceTold) -> str:
    said = status.sensed(gpu)
    return f"({said})" if said else ""


def packed(words: Sequence[str], width: int, most: int) -> list[str]:
    """Join words with commas into at most so many lines; those that don't fit are counted."""
    lines: list[str] = []
    for number, each in enumerate(words):
        left = len(words) - number
        more = f", and {left - 1} more" if left > 1 else ""
        if lines and cell_len(f"{lines[-1]}, {each}") + (cell_len(more) if len(lines) == most else 0) <= width:
            lines[-1] += f", {each}"
        elif len(lines) < most:
            lines.append(each)
        else:
            counted = f", and {left} more"
            lines[-1] = _cut(Text(lines[-1]), max(1, width - len(counted))).plain + counted
            break
    return lines


def shares(lines: int, wanted: Sequence[int]) -> list[int]:
    """Share lines out among parts that want so many: who wants little gets it, the others as much as each other."""
    given = [0] * len(wanted)
    for left, at in zip(range(len(wanted), 0, -1), sorted(range(len(wanted)), key=wanted.__getitem__), strict=True):
        given[at] = min(wanted[at], lines // left)
        lines -= given[at]
    return given


def _idleness(each: BackendTold) -> int:
    """Order backends: those with requests, then those that aren't as they should be, then the others."""
    if each.in_flight:
        return 0
    return 2 if status.state_of(each) in {"up", "unknown"} else 1


def _is_queued(each: RequestTold) -> bool:
    return each.state == "queued"


def _table(
    rows: Sequence[tuple[Row, str]],
    lines: int,
    width: int,
    *,
    numbers: Sequence[str],
    spare: Sequence[str],
    none: str,
    total: int | None = None,
) -> list[Text]:
    """Draw rows, each with its state, in at most so many lines. `total` counts those that aren't given, too."""
    count = len(rows) if total is None else total
    if not rows:
        return [_cut(Text(none, "dim"), width)][:lines]
    fits = lines - 1 if count < lines else lines - 2
    shown = rows[: max(0, fits)]
    columns = fitted([row for row, _ in shown] or [rows[0][0]], width, numbers=numbers, spare=spare)
    head = Text((" " * GAP).join(_cell(name, size, right=name in numbers) for name, size in columns.items()), "bold")
    drawn = [head, *(_line(row, columns, numbers, _style(state)) for row, state in shown)]
    if count > len(shown):
        drawn.append(Text(f"and {count - len(shown)} more", "dim"))
    return [_cut(each, width) for each in drawn[: max(0, lines)]]


def _line(row: Row, columns: dict[str, int], numbers: Sequence[str], style: str) -> Text:
    drawn = Text()
    for name, size in columns.items():
        if drawn:
            drawn.append(" " * GAP)
        drawn.append(_cell(row[name], size, right=name in numbers), style if name == "STATE" else "")
    return drawn


def _cell(text: str, size: int, *, right: bool) -> str:
    cut = _cut(Text(text), size)
    space = " " * (size - cut.cell_len)
    return space + cut.plain if right else cut.plain + space


def _cut(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    return text


def fitted(rows: Sequence[Row], width: int, *, numbers: Sequence[str], spare: Sequence[str]) -> dict[str, int]:
    """Give the columns that are shown, each with its width. Columns of text shrink; then some are left out.

    Before that, those in which nothing stands.
    """
    natural = {name: max(cell_len(name), *(min(width, cell_len(row[name])) for row in rows)) for name in rows[0]}
    for name in [name for name in spare if name in natural and not any(row[name] for row in rows)]:
        if sum(natural.values()) + GAP * (len(natural) - 1) <= width:
            break
        natural.pop(name, None)
    least = {name: size if name in numbers else min(size, NARROWEST) for name, size in natural.items()}
    for name in spare:
        if sum(least.values()) + GAP * (len(least) - 1) <= width:
            break
        least.pop(name, None)
    found = {name: natural[name] for name in least}
    over = sum(found.values()) + GAP * (len(found) - 1) - width
    while over > 0:
        widest = max((name for name in found if found[name] > least[name]), key=found.__getitem__, default=None)
        if widest is None:
            break
        found[widest] -= 1
        over -= 1
    return found


def _events(told: Sequence[EventTold], lines: int, width: int) -> list[Text]:
    """Write the last events, the newest one at the end."""
    if lines < 2 or not told:
        return []
    said = [Text(events.line(each), _style(each.level)) for each in told[-(lines - 1) :]]
    return [_cut(each, width) for each in (Text("LAST EVENTS", "bold"), *said)]


def _style(state: str) -> str:
    """Give the colour of a state or a level."""
    return _STYLES.get(state, "" if state in _CALM else "yellow")
