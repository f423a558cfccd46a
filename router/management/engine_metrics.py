"""Engines' own metrics, each with the label `backend`: read from every launched engine at once, within bounds.

An engine that doesn't answer, says too much, or has no such page is left out, and costs no other one anything. What an
engine writes is looked at line by line: a line that is no sample, or whose metric is one of the router's, is left out.
So is one that Prometheus would refuse: it would drop the whole scrape, with the router's own figures.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Final

from router.core.catalog import Backend
from router.core.load import PATH
from router.proxy.plane import Plane
from router.proxy.watching.asking import NO_ANSWER, Asker, read
from router.telemetry.families import FAMILIES

WITHIN: Final = 2.0
"""Seconds for all engines together: Prometheus gives a scrape ten by default."""

MOST: Final = 1024 * 1024
"""Bytes of one engine's page; vllm's has a hundred thousand."""

MOST_ENGINES: Final = 64

LINES: Final = 500
"""Lines that are looked at in one turn of the loop: that takes two milliseconds."""

_NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL: Final = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*")[ \t]*')
_SAMPLE: Final = re.compile(
    rf"({_NAME})[ \t]*(?:\{{((?:{_LABEL.pattern},?)*)\}})?[ \t]+([^\s{{}}\"]{{1,40}})(?:[ \t]+-?\d{{1,20}})?[ \t]*"
)
_COMMENT: Final = re.compile(rf"# (HELP|TYPE) ({_NAME})(?:[ \t]+(.*))?")
_SUFFIX: Final = re.compile(r"_(?:bucket|count|sum|total)\Z")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?|nan", re.ASCII | re.IGNORECASE)
_OURS: Final = frozenset(each.name for each in FAMILIES)


class EngineMetrics:
    """Reads the pages of the plane's launched engines."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._reading: asyncio.Task[bytes] | None = None

    async def pages(self) -> bytes:
        """Give what the pages of all of them say, as one. Who asks while they are read gets the same."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="engines' metrics")
        return await asyncio.shield(self._reading)

    async def _read(self) -> bytes:
        backends = [each for each in self._plane.backends.values() if each.supervised and each.health.usable]
        asker = Asker(self._plane.connections)
        try:
            found = await asyncio.gather(*(self._page(asker, each) for each in backends[:MOST_ENGINES]))
        finally:
            await asker.close()
        merged = Merged()
        for backend, page in zip(backends, found, strict=False):
            lines = page.decode("utf-8", "replace").split("\n")
            for place in range(0, len(lines), LINES):
                merged.add(backend.name, lines[place : place + LINES])
                await asyncio.sleep(0)
        return merged.text()

    async def _page(self, asker: Asker, backend: Backend) -> bytes:
        address = self._plane.connections.address(backend)
        if address is None:
            return b""
        try:
            async with asker.get(backend, address, PATH, WITHIN, {"accept": "text/plain"}) as answer:
                page = await read(answer, MOST) if answer.status == 200 else None
        except NO_ANSWER:
            return b""
        return page.data if page is not None and page.whole else b""


class Merged:
    """Pages as one: each metric's samples stand together, behind its type."""

    def __init__(self) -> None:
        # By the family's name: its comments by their kind, and its samples.
        self._comments: dict[str, dict[str, str]] = {}
        self._samples: dict[str, list[str]] = {}

    def add(self, backend: str, lines: Iterable[str]) -> None:
        """Add lines of a backend's page."""
        label = f'backend="{_escaped(backend)}"'
        for line in lines:
            comment = _COMMENT.fullmatch(line)
            if comment is not None:
                self._comments.setdefault(comment[2], {}).setdefault(comment[1], comment[3] or "")
                continue
            sample = _SAMPLE.fullmatch(line)
            if sample is None or not _is_number(sample[5]):
                continue
            family = self._family(sample[1])
            if not _OURS.isdisjoint((family, sample[1], _SUFFIX.sub("", sample[1]))):
                continue
            labels = _labels(sample[2] or "")
            if labels is not None:
                self._samples.setdefault(family, []).append(f"{sample[1]}{{{','.join((label, *labels))}}} {sample[5]}")

    def _family(self, name: str) -> str:
        """Tell which metric a sample is of: a part of a histogram, or of a summary, has a name of its own."""
        whole = _SUFFIX.sub("", name)
        return whole if whole != name and name not in self._comments and whole in self._comments else name

    def text(self) -> bytes:
        """Write all of it."""
        return "".join(f"{line}\n" for line in self._lines()).encode()

    def _lines(self) -> Iterator[str]:
        for family, samples in self._samples.items():
            comments: Mapping[str, str] = self._comments.get(family, {})
            if "HELP" in comments:
                yield f"# HELP {family} {comments['HELP']}"
            if comments.get("TYPE") in {"counter", "gauge", "histogram", "summary", "untyped"}:
                yield f"# TYPE {family} {comments['TYPE']}"
            yield from samples


def _labels(written: str) -> list[str] | None:
    """Write an engine's labels; one that has the name of ours gets another, as Prometheus names it.

    None: Prometheus would refuse them, as two have one name, or a name is kept for Prometheus itself.
    """
    found: dict[str, str] = {}
    for name, value in _LABEL.findall(written):
        said = "exported_backend" if name == "backend" else name
        if said in found or said.startswith("__"):
            return None
        found[said] = value
    return [f"{name}={value}" for name, value in found.items()]


def _is_number(word: str) -> bool:
    """Tell whether Prometheus reads it: not as much as Python does, and nothing too large for a float."""
    return _NUMBER.fullmatch(word) is not None and ("n" in word.lower() or isfinite(float(word)))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
