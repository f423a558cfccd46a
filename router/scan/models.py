"""Finds the models on this disk, and tells of each its engine, its entry of router.yaml, and whether it fits here.

Nothing is started, and nothing fetched. An entry is planned as a start would plan it, alone and loaded on demand: so
what is said here is what the router does.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from launchers import devices
from launchers.described import Described
from launchers.engines import ENGINES
from launchers.engines import Engine as Launchable
from launchers.scan.reading import Read, read
from launchers.scan.walk import TOO_LONG, Candidate, Walk
from launchers.weights import hub_cache, weights
from profiles import Facts, ProfileError, detect, load_profiles
from profiles.detect import gibibytes
from router.config import Config, MemoryConfig
from router.core.memory.footprints import Footprints
from router.distribution import install_command
from router.fleet.launches import StartError, located, plan_launches
from router.fleet.loadables import limits_of, loadable_of
from router.fleet.planning import look
from router.scan.choosing import Engine, doubles, engine_for, names_for
from router.scan.entries import Entry, Value

WITHIN: Final = 60.0
"""Seconds that a search may take."""

EYES: Final = frozenset({"llama_server"})
_LACKS: Final = "it doesn't fit as it is configured, so it has "


@dataclass(frozen=True, slots=True)
class Model:
    """A model on this disk. `name` is that of its backend in router.yaml if it `is_there`, else what that would be.

    `fits` is None where it isn't known. `note` says what was chosen so that it fits, or why it doesn't. What can't be
    used has no `entry`, and a `note` alone.
    """

    read: Read
    name: str
    engine: Engine | None = None
    entry: Entry | None = None
    fits: bool | None = None
    note: str = ""
    is_there: bool = False

    @property
    def is_new(self) -> bool:
        """Whether router.yaml can get an entry for it that works here."""
        return self.entry is not None and not self.entry.reason and not self.is_there


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found. `cut` says why the search ended early, if it did."""

    models: tuple[Model, ...]
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a search looks at: this machine, router.yaml's folder, and what that file says, if there is one."""

    folder: Path
    config: Config | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    engines: Mapping[str, Launchable] = field(default_factory=lambda: ENGINES)
    facts: Facts | None = None


def scan(
    roots: Iterable[Path],
    machine: Machine,
    clock: Callable[[], float],
    taken: Iterable[str] = (),
    within: float = WITHIN,
) -> Scan:
    """Search folders, in their order; a model that is in two of them counts once.

    `taken` are names that new entries can't have. Raises ProfileError where router.yaml names a profile that there is
    not.
    """
    until = clock() + within

    def in_time() -> bool:
        return clock() < until

    walk = Walk(in_time)
    seen: set[Path] = set()
    found = []
    for each in walk.candidates(roots):
        first = _resolved(each.files[0] if each.files else Path(each.place))
        if first in seen:
            continue
        seen.add(first)
        found.append(read(each))
        if not in_time():
            # One folder may hold all that there is time for.
            walk.cut = TOO_LONG
            break
    return Scan(tuple(_Judge(machine, in_time, taken).judged(found)), walk.cut)


def judge(candidate: Candidate, machine: Machine, taken: Iterable[str] = ()) -> Model:
    """Tell of one model what a search tells of each. Raises ProfileError."""
    return _Judge(machine, lambda: True, taken).judged([read(candidate)])[0]


class _Judge:
    """What all models of a search have in common."""

    def __init__(self, machine: Machine, in_time: Callable[[], bool], taken: Iterable[str]) -> None:
        config = machine.config
        facts = machine.facts or look(machine.engines)
        self._machine = machine
        self._in_time = in_time
        self._taken = frozenset({*_names(config), *taken})
        self._facts = facts
        self._profile = detect(facts, load_profiles(), "auto" if config is None else config.profile).profile
        self._installs = {name: install_command(engine.install) for name, engine in machine.engines.items()}
        self._figures = devices.look()

    def judged(self, found: Sequence[Read]) -> list[Model]:
        there = _there(self._machine)
        engines = [self._engine(each) for each in found]
        same = doubles(found, engines, [each.name for each in self._profile.engines])
        names = {at: known for at, each in enumerate(found) if (known := _known(each, there))}
        there_too = frozenset(names)
        new = [at for at in range(len(found)) if engines[at] and at not in same and at not in names]
        names |= dict(zip(new, names_for([found[at] for at in new], self._taken), strict=True))
        models = []
        for at, each in enumerate(found):
            engine = engines[at]
            if engine is None:
                models.append(Model(each, each.candidate.name, note=each.reason))
            elif at in names:
                models.append(self._judged(each, names[at], engine, is_there=at in there_too))
            else:
                models.append(
                    Model(each, names[same[at]], engine, note="it is there in another form, too, and that is taken")
                )
        return models

    def _engine(self, each: Read) -> Engine | None:
        """Choose the engine; of those that read GGUF, llama_server alone reads images."""
        installed, readers = self._facts.engines, each.engines
        if each.candidate.projector is not None and EYES & installed.keys():
            readers = EYES
        return engine_for(readers, self._profile, installed, self._installs) if readers else None

    def _judged(self, each: Read, name: str, engine: Engine, *, is_there: bool) -> Model:
        keys = _keys(each, name, engine, self._machine, self._taken)
        about = about_of(each.described)
        if engine.install:
            note = f"{engine.name} is not installed: {engine.install}"
            return Model(each, name, engine, Entry(keys, about, note), None, note, is_there)
        if each.candidate.projector is not None and engine.name not in EYES:
            about += f", these with {' or '.join(EYES)} alone"
        fits, note = self._fit(keys) if self._in_time() else (None, "no time was left to find out whether it fits")
        told = f"{about}. With {note.removeprefix(_LACKS)}" if fits and note.startswith(_LACKS) else about
        return Model(each, name, engine, Entry(keys, told, note if fits is False else ""), fits, note, is_there)

    def _fit(self, keys: Mapping[str, Value]) -> tuple[bool | None, str]:
        """Plan an entry as the router would; tell whether it fits, and what is to be said of it."""
        machine = self._machine
        said = machine.config
        try:
            config = Config.model_validate({"backends": [dict(keys)], "profile": self._profile.name})
        except ValidationError:
            return False, "its path has letters that router.yaml can't have: rename it"
        config = config.model_copy(update={"memory": MemoryConfig() if said is None else said.memory})
        limits = {each.name: each.limit for each in limits_of(self._figures, config)}
        try:
            _, launches = plan_launches(config, machine.folder, machine.engines, self._facts)
            made = loadable_of(launches[0], self._figures, limits=limits, environ=machine.environ, quiet=True)
        except (StartError, ProfileError) as error:
            return False, str(error).partition("): ")[2] or str(error)
        known = Footprints()
        needs = [(each, known.needs(each)) for each in made.placements]
        short = [_short(need, limits) for _, need in needs]
        if fitting := [placement for (placement, _), lacks in zip(needs, short, strict=True) if not lacks]:
            return (True if fitting[0].estimate else None), fitting[0].note
        device = next(iter(short[0]))
        takes = f"it takes {gibibytes(needs[0][1][device])} of {device}"
        return False, f"{takes}, of which models may have {gibibytes(limits.get(device, 0))}"


def _short(needs: Mapping[str, int], limits: Mapping[str, int]) -> list[str]:
    return [name for name, size in needs.items() if size > limits.get(name, 0)]


# Entries


def _keys(each: Read, name: str, engine: Engine, machine: Machine, taken: Collection[str]) -> dict[str, Value]:
    candidate = each.candidate
    launch: dict[str, Value] = {"model": _place(each, machine)}
    if not engine.is_usual:
        launch["engine"] = engine.name
    launch["load"] = "on_demand"
    if args := _args(each, engine):
        launch["args"] = args
    keys: dict[str, Value] = {"name": name}
    if candidate.of_ollama and candidate.name not in {name, f"{name}:latest", *taken}:
        # What Ollama's clients ask for.
        keys["models"] = [candidate.name]
    return {**keys, "launch": launch}


def _place(each: Read, machine: Machine) -> str:
    """Write where a model is: below router.yaml's folder from there, in the hub's cache by its name, else all of it."""
    candidate = each.candidate
    cache = _resolved(hub_cache(machine.environ))
    if candidate.hub and _resolved(Path(candidate.place)).is_relative_to(cache):
        return candidate.hub
    path, folder = Path(os.path.abspath(candidate.place)), Path(os.path.abspath(machine.folder))  # noqa: PTH100 -- links stay
    if not path.is_relative_to(folder):
        return str(path)
    below = str(path.relative_to(folder))
    return below if "/" in below else f"./{below}"


def _args(each: Read, engine: Engine) -> dict[str, Value]:
    """Give the arguments without which the model can't do what it is for. Those of another engine do no harm."""
    if each.described.generates is False:
        if engine.name == "vllm":
            return {"vllm": {"runner": "pooling"}}
        return {"llama_cpp": {"embedding": True}, "llama_server": {"embeddings": True}}
    if each.candidate.projector is not None:
        return {"llama_server": {"mmproj": os.path.abspath(each.candidate.projector)}}  # noqa: PTH100
    return {}


def about_of(described: Described) -> str:
    """Describe a model in one line."""
    words = " ".join(filter(None, (described.architecture, described.parameters, described.quantization)))
    context = f"context {described.context}" if described.context else ""
    return ", ".join(filter(None, (words, gibibytes(described.size), context, modality_of(described))))


def modality_of(described: Described) -> str:
    """Say what it takes and gives."""
    if described.generates is False:
        return "embeddings"
    return "text and images" if described.vision else "text"


# What router.yaml has


def _there(machine: Machine) -> dict[Path, str]:
    """Give the files and folders that router.yaml names as models, and the backends that they are for."""
    found: dict[Path, str] = {}
    for backend in () if machine.config is None else machine.config.backends:
        model = None if backend.launch is None else backend.launch.model
        for name in [] if model is None else [model] if isinstance(model, str) else model.values():
            place = located(str(Path(name).expanduser()) if name.startswith("~") else name, machine.folder)
            paths = [Path(place)]
            with suppress(OSError, ValueError):
                paths += weights(place, machine.environ) or []
            found |= {_resolved(path): backend.name for path in paths}
    return found


def _known(each: Read, there: Mapping[Path, str]) -> str:
    """Give the backend that has this model; "" if there is none. One may name the folder of a GGUF file."""
    candidate = each.candidate
    paths = [Path(candidate.place), *candidate.files, *(path.parent for path in candidate.files)]
    return next((there[path] for path in map(_resolved, paths) if path in there), "")


def _names(config: Config | None) -> list[str]:
    """Give all names that router.yaml has given, those of replicas included."""
    if config is None:
        return []
    names = [*config.routes]
    for backend in config.backends:
        replicas = 1 if backend.launch is None else backend.launch.replicas
        names += [backend.name, *backend.models, *(f"{backend.name}-{number}" for number in range(2, replicas + 1))]
    return names


def _resolved(path: Path) -> Path:
    # A link that leads to itself, or a name that no file can have.
    with suppress(OSError, RuntimeError, ValueError):
        return path.resolve()
    return path
