"""`pull`: fetch a model from the hub, and offer its entry for router.yaml."""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from launchers.engines import ENGINES
from launchers.weights import hub_cache
from profiles import Facts, ProfileError, detect, load_profiles
from profiles.detect import gibibytes
from router.cli import models, tables
from router.cli.exits import BAD_START, REFUSED, STOPPED_NOW, CommandError, printed
from router.config.replacing import ReplaceError, replace
from router.distribution import called
from router.fleet.planning import look
from router.hub import asking, choosing, names
from router.hub.asking import Hub
from router.hub.cache import RESERVE, Cache, cached
from router.hub.choosing import Choice
from router.hub.errors import HubError, RefusedError
from router.hub.fetching import Fetch, Told
from router.hub.listing import RemoteFile, Repository
from router.hub.names import Name
from router.scan import remote
from router.scan.first import first_file
from router.scan.models import Machine, Model
from router.telemetry.logs import printable
from router.telemetry.terminal import say

WHICH: Final = "write ORG/NAME, or ORG/NAME:Q4_K_M for one quantisation of it"
ANSWERS: Final = frozenset({"", "y", "yes", "n", "no"})
MOST_SMALLER: Final = 4
"""Smaller quantisations that are named where one doesn't fit."""


def run(options: argparse.Namespace) -> int:
    """Fetch a model. Raises ConfigError and CommandError."""
    name = names.name_of(options.model)
    if name is None:
        raise CommandError(f"{options.model!r} is no model of the hub: {WHICH}", BAD_START)
    path: Path = options.config
    config = models.config_of(path, must_be_right=options.write and path.exists())
    try:
        facts = look(ENGINES)
        model = fetched(options, name, Machine(path.resolve().parent, config, facts=facts))
    except KeyboardInterrupt:
        say(f"\nWhat came of it is kept: `pull {name}` goes on with it.\n", sys.stderr)
        return STOPPED_NOW
    return _offered(options, model, facts)


def fetched(options: argparse.Namespace, name: Name, machine: Machine) -> Model:
    """Fetch a model for a machine whose facts are known, and say what it is. Raises CommandError."""
    try:
        return asyncio.run(_fetch(options, name, machine))
    except HubError as error:
        raise CommandError(printable(str(error)), REFUSED if error.may_pass else BAD_START) from None
    except OSError as error:
        raise CommandError(f"{hub_cache(os.environ)} can't be used: {error.strerror or error}", BAD_START) from None
    except ProfileError as error:
        raise CommandError(f"profile: {error}", BAD_START) from None


async def _fetch(options: argparse.Namespace, name: Name, machine: Machine) -> Model:
    if asking.is_offline(os.environ):
        return _offline(name, machine)
    url, key = asking.endpoint(os.environ), asking.token(os.environ, Path.home())
    async with asking.session() as session:
        hub = Hub(session, url, key, options.cdn)
        repository = await hub.repository(name.repository)
        choice = _chosen(repository, name, machine)
        cache = Cache(hub_cache(os.environ), repository)
        _tell(name, choice, cache)
        if cache.missing(choice.files):
            _check_room(choice, cache)
            _check_fit(options, repository, choice, await _previewed(hub, repository, choice, machine))
        with _Bars(choice, cache).shown() as told:
            fetch = Fetch(hub, repository, cache, told, asyncio.sleep)
            for each in choice.files:
                await fetch.file(each)
        cache.is_main()
        return remote.fetched(repository, choice, cache, machine)


def _offline(name: Name, machine: Machine) -> Model:
    """Say what a model is that the cache has, without the hub. Raises HubError if it hasn't."""
    folder = hub_cache(os.environ)
    repository = cached(folder, name.repository)
    if repository is None:
        raise HubError(f"HF_HUB_OFFLINE is set, so nothing is fetched, and {folder} has no {name.repository}")
    try:
        choice = _chosen(repository, name, machine)
    except HubError as error:
        raise HubError(f"HF_HUB_OFFLINE is set, so this is of what {folder} has: {error}") from error
    cache = Cache(folder, repository)
    _tell(name, choice, cache)
    model = remote.fetched(repository, choice, cache, machine)
    if model.entry is None:
        place = model.read.candidate.place
        raise HubError(f"{place} can't be used: {model.note}. HF_HUB_OFFLINE is set, so nothing is fetched")
    return model


def _chosen(repository: Repository, name: Name, machine: Machine) -> Choice:
    """Choose the files for this machine. Raises HubError, and ProfileError."""
    assert machine.facts is not None  # noqa: S101  (the caller looked)
    said = "auto" if machine.config is None else machine.config.profile
    profile = detect(machine.facts, load_profiles(), said).profile
    return remote.chosen(repository, name, profile, machine.facts.engines)


# What is said before


def _tell(name: Name, choice: Choice, cache: Cache) -> None:
    """Say which files are fetched."""
    rows = [
        {"FILE": printable(each.name), "SIZE": _size(each.size), "": "is here" if cache.has(each) else ""}
        for each in (*choice.weights, *((choice.projector,) if choice.projector else ()))
    ]
    if choice.describing:
        size = sum(each.size for each in choice.describing)
        there = all(cache.has(each) for each in choice.describing)
        rows.append(
            {"FILE": f"and {len(choice.describing)} that describe it", "SIZE": _size(size), "": "is here" * there}
        )
    what = f", {choice.what}" if choice.what and not name.what else ""
    say("\n".join([f"{name}{what}:", *tables.table(rows, numbers={"SIZE"}, whole={"SIZE"}), ""]), sys.stderr)


def _check_room(choice: Choice, cache: Cache) -> None:
    """Raise CommandError where the disk has no room for what is to be fetched."""
    needs, free = cache.missing(choice.files), cache.free()
    if needs + RESERVE > free:
        raise CommandError(
            f"{_size(needs)} would be fetched into {hub_cache(os.environ)}, where {_size(free)} are free, of which "
            f"{_size(RESERVE)} stay so: make room, or set HF_HOME to a folder elsewhere",
            BAD_START,
        )


async def _previewed(hub: Hub, repository: Repository, choice: Choice, machine: Machine) -> Model | str:
    """Judge a model by its headers; a connection that is cut there costs only that: why is given."""
    try:
        return await remote.previewed(hub, repository, choice, machine)
    except HubError as error:
        if not error.may_pass and not isinstance(error, RefusedError):
            raise
        return str(error)


def _check_fit(options: argparse.Namespace, repository: Repository, choice: Choice, model: Model | str) -> None:
    """Say whether a model fits here. Raises CommandError where it isn't to be fetched."""
    if isinstance(model, str) or model.engine is None:
        note = model if isinstance(model, str) else model.note
        say(f"Whether it fits isn't known: {printable(note)}.\n", sys.stderr)
        return
    if model.engine.install:
        raise CommandError(f"it needs {model.engine.name}, which isn't installed: {model.engine.install}", BAD_START)
    if model.fits is False:
        smaller = ", ".join(choosing.smaller(repository, choice)[:MOST_SMALLER])
        also = f" Smaller ones are there: {smaller}." if smaller and choice.is_gguf else ""
        say(f"It doesn't fit here: {printable(model.note)}.{also}\n", sys.stderr)
        if not options.yes and not agreed("Fetch it all the same? [y/N]", usual=False):
            raise CommandError("nothing was fetched; --yes fetches it all the same", REFUSED)
        return
    fits = "It fits this machine" if model.fits else "Whether it fits isn't known"
    note = f": {printable(model.note)}" if model.note else ""
    say(f"{fits}, in {model.engine.name}{note}.\n", sys.stderr)


def agreed(question: str, *, usual: bool) -> bool:
    """Ask a person until the answer is one; False where there is none, and at the end of the input."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    while True:
        say(f"{question} ", sys.stderr)
        typed = sys.stdin.readline()
        if not typed:
            # Ctrl-D, or a terminal that is gone: the question's line has no end yet.
            say("\n", sys.stderr)
            return False
        said = typed.strip().lower()
        if said in ANSWERS:
            return usual if not said else said in {"y", "yes"}


def _size(size: int) -> str:
    return gibibytes(size) if size >= 1 << 20 else f"{size / 1024:.1f} KiB"


# What is said meanwhile


class _Bars:
    """Tells how far the files are: on a terminal as a bar, elsewhere a line for each file."""

    def __init__(self, choice: Choice, cache: Cache) -> None:
        self._files = [each for each in choice.files if not cache.has(each)]
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(),
            TimeRemainingColumn(), console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._bar: dict[str, TaskID] = {}

    @contextmanager
    def shown(self) -> Iterator[Told]:
        """Show them until the end."""
        if sys.stderr.isatty():
            with self._progress:
                yield Told(self._move, self._lost)
        else:
            yield Told(self._line, self._lost_line)

    def _move(self, file: RemoteFile, at: int) -> None:
        if file.name not in self._bar:
            called = printable(file.name.rpartition("/")[2])
            self._bar[file.name] = self._progress.add_task(called, total=file.size, completed=at)
        self._progress.update(self._bar[file.name], completed=at)

    def _lost(self, file: RemoteFile, why: str) -> None:
        self._progress.console.print(
            f"{printable(file.name)}: {why}; the download goes on", markup=False, highlight=False
        )

    def _lost_line(self, file: RemoteFile, why: str) -> None:
        say(f"{printable(file.name)}: {why}; the download goes on\n", sys.stderr)

    def _line(self, file: RemoteFile, at: int) -> None:
        if at == file.size:
            say(f"{printable(file.name)}: {_size(at)}\n", sys.stderr)


# What is offered afterwards


def _offered(options: argparse.Namespace, model: Model, facts: Facts) -> int:
    """Offer the entry for router.yaml: it is written if a person agrees, or --write says so; otherwise printed."""
    path: Path = options.config
    if model.is_there:
        return printed(f"{path} has it already, as {model.name}.")
    if model.entry is None:
        place = model.read.candidate.place
        why = f"{place} was fetched as the hub has it, but can't be used: {model.note}. Try another"
        raise CommandError(printable(why), BAD_START)
    if not model.entry.reason and (options.write or agreed(f"Add it to {path} as {model.name}? [Y/n]", usual=True)):
        return printed(models.written(path, [model]) if path.exists() else _begun(path, model, facts))
    told = [f"# for {path}, below `backends:`; --write adds it there", *model.entry.lines()]
    return printed("\n".join(told))


def _begun(path: Path, model: Model, facts: Facts) -> str:
    """Write a first router.yaml with one model."""
    assert model.entry is not None  # noqa: S101  (the caller looked)
    why = detect(facts, load_profiles()).why
    text = first_file([model.entry], printable(why), printable(str(path)), called())
    try:
        replace(path, None, text.encode(), os.environ)
    except ReplaceError as error:
        raise CommandError(str(error), BAD_START) from None
    return f"{path} is written, with {model.name}. Start it: {called()} --config {path}"
