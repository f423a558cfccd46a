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


def lines_of(block: Block) -> list[tuple[str, str]]:
    """Give the command lines of a block of sh, without comments, each with what it needs; continued lines are one."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        command = re.sub(r"(^|\s)#\s.*", "", line).strip()
        needs = re.search(r"#\s+((?:on|with) \w+)", line)
        if command:
            needed = needs[1] if needs is not None and needs[1] in NEEDS else ""
            found.append((re.sub(r"\s+", " ", command), needed))
    return found


def _lines() -> list[tuple[str, str, str]]:
    """Give all of them, each with its place."""
    return [(str(block), *line) for block in blocks("sh") for line in lines_of(block)]


def blocks_of(page: str, heading: str = "") -> list[Block]:
    """Give the blocks of a page, or those below a heading of it, in their order."""
    found = [block for block in blocks("sh", "yaml", "") if block.page == page]
    if not heading:
        return found
    lines = text_of(page).splitlines()
    begin = next(number for number, line in enumerate(lines, 1) if re.fullmatch(rf"#+ {re.escape(heading)}", line))
    end = next((n for n, line in enumerate(lines[begin:], begin + 1) if re.match(r"#+ ", line)), len(lines) + 1)
    return [block for block in found if begin < block.line < end]


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
