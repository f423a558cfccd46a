"""The doctor's findings, and their output as text.

A finding that stops the router is marked ✗, one that hampers it !, one that was checked and is right ok; mere facts
have no mark.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from router.telemetry.logs import printable
from router.telemetry.terminal import BOLD, GREEN, RED, YELLOW

MISTAKE: Final = "mistake"
ARGUMENT: Final = "argument"
"""What findings are about that are a problem of router.yaml, as `check` words it."""


class Mark(Enum):
    """How serious a finding is.

    LOOK: the router starts, but a part of it may not work. STOP: the router doesn't start.
    """

    FACT = ""
    OK = "ok"
    LOOK = "!"
    STOP = "✗"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: its subject, and a sentence, which for LOOK and STOP says what to do."""

    mark: Mark
    what: str
    text: str

    @property
    def is_problem(self) -> bool:
        """Whether it is one of router.yaml, whose sentences have values in quotes."""
        return self.what in {MISTAKE, ARGUMENT}


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """Findings about one subject, under one title."""

    title: str
    findings: tuple[Finding, ...]


def exit_code(sections: Iterable[FindingGroup]) -> int:
    """1 if a finding would stop the router, else 0."""
    return int(any(finding.mark is Mark.STOP for section in sections for finding in section.findings))


_COLOURS = {Mark.OK: GREEN, Mark.LOOK: YELLOW, Mark.STOP: RED}


def render(sections: Sequence[FindingGroup], paint: Callable[[str, str], str] = lambda _, text: text) -> str:
    """Aligned text, a line a finding, and one sentence at the end; `paint` gives a text a colour."""
    width = max((len(finding.what) for section in sections for finding in section.findings), default=0)
    lines: list[str] = []
    for section in sections:
        lines.append(paint(BOLD, section.title))
        lines += [
            f"  {_marked(finding.mark, paint)}  {printable(finding.what):<{width}}  {printable(finding.text)}"
            for finding in section.findings
        ]
        lines.append("")
    return "\n".join([*lines, verdict(sections)])


def _marked(mark: Mark, paint: Callable[[str, str], str]) -> str:
    text = f"{mark.value:<2}"
    return paint(_COLOURS[mark], text) if mark in _COLOURS else text


def verdict(sections: Iterable[FindingGroup]) -> str:
    """One sentence: whether the router can start."""
    marks = [finding.mark for section in sections for finding in section.findings]
    stops, looks = marks.count(Mark.STOP), marks.count(Mark.LOOK)
    if stops:
        return f"The router can't start: put right what is marked {Mark.STOP.value} first ({stops} of it)."
    if looks:
        return f"The router can start; what is marked {Mark.LOOK.value} deserves a look ({looks} of it)."
    return "The router can start, and nothing is in its way."
