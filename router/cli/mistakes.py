"""How mistakes in router.yaml are printed: each with its place, its sentence, and its line with a caret under it."""

from collections.abc import Iterable
from typing import IO

from router.config import Problem
from router.telemetry.terminal import BOLD, RED, painter


def told(problems: Iterable[Problem], stream: IO[str]) -> str:
    """Write problems as text for a stream, which has colours if it is a terminal."""
    paint = painter(stream)
    lines = []
    for problem in problems:
        place, _, message = str(problem).partition(": ")
        lines.append(f"{paint(BOLD, place)}: {message}")
        if problem.excerpt:
            line, caret = problem.excerpt.split("\n")
            lines += [line, paint(RED, caret)]
    return "".join(f"{line}\n" for line in lines)
