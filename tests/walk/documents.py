"""README.md and the pages of docs as a reader meets them: their blocks of code, and what stands between backquotes."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.running import REPOSITORY

PAGES = ("README.md", "ARCHITECTURE.md", *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")))

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A block of code: its page, its line there, its language (empty if it says none) and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        """`docs/models.md:8`, by which a test of it is named."""
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    """Read a page."""
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks(*languages: str) -> list[Block]:
    """Give all blocks in these languages."""
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[2], found[3])
        for page in PAGES
        for text in (text_of(page),)
        for found in _BLOCK.finditer(text)
        if found[2] in languages
    ]


def spans() -> list[tuple[str, str]]:
    """Give each page with what stands there between backquotes, outside of blocks."""
    return [(page, found[1]) for page in PAGES for found in _SPAN.finditer(_BLOCK.sub("", text_of(page)))]


NEEDS = ("on macOS", "on NVIDIA", "on AMD", "with root")
"""How comments begin that say what a command needs and the machine of the tests lacks."""


def _lines() -> list[tuple[str, str, str]]:
    """Give each command line of blocks of sh, with its place and what it needs; continued lines are one."""
    found = []
    for block in blocks("sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s)#\s.*", "", line).strip()
            needs = re.search(r"#\s+((?:on|with) \w+)", line)
            if command:
                needed = needs[1] if needs is not None and needs[1] in NEEDS else ""
                found.append((str(block), re.sub(r"\s+", " ", command), needed))
    return found


def commands() -> list[tuple[str, str]]:
    """Give each command line of blocks of sh, without its comment, with its place, that needs no other machine."""
    return [(place, command) for place, command, needs in _lines() if not needs]


def elsewhere() -> list[tuple[str, str, str]]:
    """Give those that need one, with the words that say so."""
    return [each for each in _lines() if each[2]]


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()).replace(" ", "-")
        number = next(f"-{n}" if n else "" for n in range(100) if f"{name}-{n}" * bool(n) + name * (not n) not in found)
        found.add(name + number)
    return found
