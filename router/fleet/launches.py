"""Plans the launches of router.yaml before anything is started: which engine, which model on disk, and why.

Everything that can be wrong with a launch is found here, for all launches at once: a person reads it in one message,
not in the log of a process that died.
"""

import math
import os
import re
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import cast

import structlog

from launchers.engines import Engine
from launchers.engines.flags import named
from launchers.errors import LaunchError, ModelNotFoundError
from launchers.files import Disk
from launchers.spec import ArgValue, LaunchSpec
from launchers.weights import size_of, weights
from profiles import AUTO, Facts, Profile, ProfileError, choose_engine, detect, load_profiles
from profiles.detect import Memory, model_memory, numbers, usable_gpus
from profiles.parsers import Gpu
from router.config import BackendConfig, Config
from router.config.keys.launches import LaunchConfig
from router.distribution import install_command
from router.fleet.commands import command_of
from router.fleet.gpus import CPU_ENGINES, allowed, chosen, showing, without_gpu
from router.fleet.launching import Launch
from router.fleet.shares import claimed, counted, seen_by, settled, unsettled

BESIDES = 256 << 20
"""Bytes that an engine takes beside its model, about."""


_KEY = re.compile(r"launch\.(\w+)(?:: (\S+) can't be set)?")

MOST_OF_ONE = 20
"""Mistakes that are told of one launch at most."""

log = structlog.get_logger("router")


class StartError(Exception):
    """The router can't start; each of `problems` is one sentence that says what to do.

    `keys` are the keys of router.yaml that they are about, as far as they are about any.
    """

    def __init__(self, *problems: str, keys: Sequence[tuple[str | int, ...]] = ()) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.keys = keys or ((),) * len(problems)


@dataclass(frozen=True, slots=True)
class _Machine:
    """What all launches have in common.

    `folder` is router.yaml's. `processes` start with the router, and share its GPUs. `together` may work on the CPUs at
    the same time. `keep`: they outlive the router. `used` has the id of a GPU for each launch that it was chosen for.
    """

    folder: Path
    profile: Profile
    engines: Mapping[str, Engine]
    facts: Facts
    processes: int
    together: int
    keep: bool
    used: list[str]


def plan_launches(
    config: Config, folder: Path, engines: Mapping[str, Engine], facts: Facts, running: Sequence[Launch] = ()
) -> tuple[str, tuple[Launch, ...]]:
    """Plan every launch; give the profile's reason with them. Relative model paths count from `folder`.

    A launch that is `running` under the same profile, and stands unchanged in router.yaml, stays as it was planned:
    another engine beside it must not change its share of the machine, which would restart it.

    Raises StartError with everything that is wrong.
    """
    problems: list[str] = []
    keys: list[tuple[str | int, ...]] = []
    launches: list[Launch] = []
    try:
        choice = detect(facts, load_profiles(), config.profile)
    except ProfileError as error:
        raise StartError(f"profile: {error}", keys=[("profile",)]) from error
    machine = _Machine(
        folder,
        choice.profile,
        engines,
        facts,
        _at_startup(config),
        _together(config, folder, choice.profile, facts),
        config.server.keep_engines,
        [gpu for launch in running for gpu in _chosen_of(launch)],
    )
    for i, backend in enumerate(config.backends):
        if backend.here is None:
            continue
        for _ in range(MOST_OF_ONE):
            try:
                launches += _replicas(backend, machine, running)
            except (ProfileError, LaunchError) as error:
                key = _key_of(error)
                problems.append(f"backends[{i}] ({backend.name}): {error}")
                keys.append(("backends", i, "launch", *key))
                less = _without(backend, *key) if len(key) > 1 else backend
                if less == backend:
                    break
                # The next mistake of it shows only without this one.
                backend = less  # noqa: PLW2901
            else:
                break
    launches = _settled(launches)
    problems += _clashes(config, launches)
    if problems:
        keys += [("backends",)] * (len(problems) - len(keys))
        raise StartError(*problems, keys=keys)
    return choice.why, tuple(launches)


def _key_of(error: Exception) -> tuple[str, ...]:
    """Give the key below `launch` that an error is about, as its words say."""
    if isinstance(error, ModelNotFoundError):
        return ("model",)
    match = _KEY.match(str(error))
    return tuple(filter(None, match.groups())) if match else ()


def _without(backend: BackendConfig, kind: str, name: str) -> BackendConfig:
    """Give a backend whose launch lacks one of its `args`, or of its `env`."""
    given = getattr(backend.launch, kind)
    kept = {
        key: {inner: each for inner, each in value.items() if inner != name} if isinstance(value, Mapping) else value
        for key, value in given.items()
        if key != name
    }
    launch = backend.launch and backend.launch.model_copy(update={kind: kept})
    return backend if kept == given else backend.model_copy(update={"launch": launch})


def _settled(launches: Sequence[Launch]) -> list[Launch]:
    """Give launches that share GPUs their shares: those that start with the router among themselves.

    Of those that are loaded on demand each may have what pinned ones leave: memory decides which of them are there.
    """
    first = [launch for launch in launches if not launch.is_on_demand]
    later = [launch for launch in launches if launch.is_on_demand]
    pinned = [launch for launch in first if _is_pinned(launch)]
    # 1. Pinned ones leave room for one that is loaded on demand.
    guests = unsettled([launch.spec for launch in later])[:1] if pinned else []
    specs = settled([*(launch.spec for launch in first), *guests])
    found = {spec.name: spec for spec in specs[: len(first)]}
    # 2. Each of the others gets what pinned ones leave.
    hosts = [found[launch.spec.name] for launch in pinned]
    found |= {launch.spec.name: settled([*hosts, launch.spec])[-1] for launch in later}
    return [replace(launch, spec=found[launch.spec.name]) for launch in launches]


def is_managed(config: Config) -> bool:
    """Whether memory decides what runs: a launch is loaded on demand, or unloaded when it is idle."""
    launches = [backend.here for backend in config.backends if backend.here is not None]
    return any(launch.load == "on_demand" or launch.unload_after != math.inf for launch in launches)


def _is_pinned(launch: Launch) -> bool:
    return launch.backend.launch is not None and launch.backend.launch.pinned


def parallel_of(launch: Launch) -> int:
    """Tell how many requests an engine works on at once, by its arguments or by default."""
    return launch.engine.works_on(launch.spec.args)


def _at_startup(config: Config) -> int:
    launches = [backend.here for backend in config.backends if backend.here is not None]
    return sum(launch.replicas for launch in launches if launch.load == "startup")


def _together(config: Config, folder: Path, profile: Profile, facts: Facts) -> int:
    """Tell how many engines may work on the CPUs at the same time, 1 at least.

    Where memory decides what runs, it is as many as fit into it: the pinned ones, and of the others the smallest.
    """
    gpus = bool(usable_gpus(facts.gpus)) or profile.name == "apple_silicon"
    launches = [(backend, backend.here) for backend in config.backends if backend.here is not None]
    # On a machine with GPUs, CPUs have little to do, but for those that are told to use no GPU.
    on_cpus = [(backend, launch) for backend, launch in launches if not gpus or launch.gpus == 0]
    if not is_managed(config):
        return max(sum(launch.replicas for _, launch in on_cpus), 1)
    sizes = sorted(
        (not launch.pinned, _roughly(launch, folder)) for _, launch in on_cpus for _ in range(launch.replicas)
    )
    room = model_memory(replace(profile, memory=Memory("ram", profile.memory.share)), facts)[0]
    taken = accumulate(size for _, size in sizes)
    return max(sum(not others or total <= room for (others, _), total in zip(sizes, taken, strict=True)), 1)


def _roughly(launch: LaunchConfig, folder: Path) -> int:
    """Give about the bytes that a model takes, by its files: the weights, and a part of them for all else."""
    environ = {**os.environ, **launch.env}
    if launch.model is None:
        return launch.memory if isinstance(launch.memory, int) else BESIDES
    named = [launch.model] if isinstance(launch.model, str) else launch.model.values()
    size = max(size_of(weights(located(name, folder), environ) or ()) for name in named)
    return size + size // 4 + BESIDES


def _replicas(backend: BackendConfig, machine: _Machine, running: Sequence[Launch]) -> Iterator[Launch]:
    launch = backend.launch
    assert launch is not None  # noqa: S101  (the caller asked)
    # The first has the backend's own name, so that it runs on when others join it.
    names = [backend.name, *(f"{backend.name}-{number}" for number in range(2, launch.replicas + 1))]
    known = {each.spec.name: each for each in running if _asked_alike(each.backend, backend)}
    planned: Launch | None = None
    for name in names:
        if name in known:
            was = known[name]
            yield replace(was, backend=backend, spec=replace(was.spec, start_timeout=launch.start_timeout))
            continue
        if planned is None or isinstance(launch.gpus, int):
            planned = _planned(backend, machine)
            machine.used.extend(_chosen_of(planned))
        yield replace(planned, spec=replace(planned.spec, name=name))


def _chosen_of(launch: Launch) -> tuple[str, ...]:
    """Give the GPUs that were chosen for a launch because of `launch.gpus`."""
    config, claim = launch.backend.launch, launch.spec.claim
    return () if config is None or config.gpus == "auto" or claim is None else claim.gpus


def _asked_alike(one: BackendConfig, other: BackendConfig) -> bool:
    """Whether two entries of router.yaml ask for the same process."""
    if one.launch is None or other.launch is None:
        return False
    free: dict[str, object] = {
        "replicas": 1,
        "start_timeout": 1.0,
        "load": "startup",
        "unload_after": None,
        "pinned": False,
        "memory": None,
        "warm_up": False,
    }
    alike = one.launch.model_copy(update=free) == other.launch.model_copy(update=free)
    return alike and one.name == other.name and _served_name(one) == _served_name(other)


def _served_name(backend: BackendConfig) -> str:
    return next(iter(backend.models))


def _planned(backend: BackendConfig, machine: _Machine) -> Launch:
    launch = backend.launch
    assert launch is not None  # noqa: S101  (the caller asked)
    seen, gpus, shown = _seen(launch, machine.facts, machine.used)
    if launch.model is None:
        env = counted({**launch.env, **shown}, machine.facts)
        return command_of(backend, launch, machine.folder, env, gpus, keep=machine.keep)
    # Memory decides which of those that are loaded on demand are there: each may have what there is.
    launched = machine.processes if launch.load == "startup" else 1
    installs = _installs(launch, machine)
    choice = choose_engine(machine.profile, seen, installs, launch.engine, launched=launched, together=machine.together)
    engine = machine.engines[choice.name]
    written = launch.model if isinstance(launch.model, str) else launch.model.get(choice.name)
    if written is None:
        raise LaunchError(f"launch.model names no model for {choice.name}, the engine of this machine")
    wanted = named(choice.name, _args_for(choice.name, launch.args, machine.engines))
    version = machine.facts.engines[choice.name]
    # A program has its path in the place of a version: "at /usr/bin/llama-server".
    python = version.removeprefix("at ") if version.startswith("at ") else sys.executable
    source = located(written, machine.folder)
    args = _over(choice.args, wanted)
    spec = LaunchSpec(
        name=backend.name,
        engine=choice.name,
        model=_found(engine, source, backend),
        source=source,
        served_name=_served_name(backend),
        args=_over(args, without_gpu(choice.name, machine.facts)) if launch.gpus == 0 else args,
        env=counted({**_threads(choice.name, seen, machine), **launch.env, **shown}, machine.facts),
        start_timeout=launch.start_timeout,
        keep=machine.keep,
    )
    # Raises for arguments that can't be passed on.
    engine.command(spec, 1, python)
    said = frozenset(name.replace("_", "-") for name in wanted)
    spec = claimed(
        spec,
        said,
        seen,
        seqs=engine.works_on(spec.args),
        launched=launched,
        of_gpus=machine.profile.memory.of == "gpu" and launch.gpus != 0,
        width=len(seen.gpus) if launch.gpus != "auto" and choice.name == "vllm" and seen.gpus else None,
    )
    on_cpu = launch.gpus == 0 or (not machine.facts.gpus and machine.facts.system != "Darwin")
    return Launch(backend, spec, engine, python, choice.why, on_cpu, version, said, gpus)


def _threads(engine: str, facts: Facts, machine: _Machine) -> dict[str, str]:
    """Give the variables with which vllms on CPUs divide the cores: by itself each binds its threads to all of them."""
    said = {"OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND"} & os.environ.keys()
    if engine != "vllm" or facts.gpus or machine.together == 1 or said:
        return {}
    threads = numbers(facts, together=machine.together)["$half_the_cpus"]
    return {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def _installs(launch: LaunchConfig, machine: _Machine) -> dict[str, str]:
    """Give the engines that a launch may have, each with the command that installs it."""
    installs = {name: install_command(engine.install) for name, engine in machine.engines.items()}
    if launch.engine == AUTO and isinstance(launch.model, Mapping):
        # Engines without a model in the mapping are left out.
        named = {name for name in machine.facts.engines if name in launch.model}
        installs = {name: install for name, install in installs.items() if name in named} or installs
    if launch.engine == AUTO and launch.gpus == 0:
        installs = {name: install for name, install in installs.items() if name in CPU_ENGINES} or installs
    return installs


def _seen(launch: LaunchConfig, facts: Facts, used: Sequence[str]) -> tuple[Facts, tuple[Gpu, ...], Mapping[str, str]]:
    """Give the machine as a launch sees it, the GPUs that it may use, and the variables that show it those it uses."""
    seen = seen_by(facts, launch.env)
    usable = usable_gpus(seen.gpus)
    if facts.system == "Darwin" and launch.gpus in {"auto", 0, 1, (0,)}:
        # Its one GPU needs no choice.
        return seen, (), {}
    may = allowed(launch.gpus, usable)
    if launch.gpus == "auto" or not usable:
        return seen, may, {}
    use = chosen(launch.gpus, may, used)
    return replace(seen, gpus=use), may, showing(use, facts.gpus, os.environ)


def _found(engine: Engine, source: str, backend: BackendConfig) -> str:
    """Find a model. One that is loaded on demand may be missing until then, as on a disk that isn't mounted."""
    try:
        return engine.find_model(source, Disk())
    except ModelNotFoundError as error:
        if backend.launch is None or backend.launch.load != "on_demand":
            raise
        log.warning(f"{backend.name}: {error}; it is looked for again when a request wants it")
        return source


def _args_for(engine: str, args: Mapping[str, ArgValue], engines: Container[str]) -> dict[str, ArgValue]:
    """Give an engine the arguments for all engines, and over them those below its own name."""
    own = cast("Mapping[str, ArgValue]", args.get(engine, {}))
    return _over({name: value for name, value in args.items() if name not in engines}, own)


def _over(defaults: Mapping[str, ArgValue], wanted: Mapping[str, ArgValue]) -> dict[str, ArgValue]:
    """Lay the user's arguments over the profile's; n-ctx and n_ctx are the same."""
    named = {name.replace("-", "_") for name in wanted}
    return {name: value for name, value in defaults.items() if name.replace("-", "_") not in named} | dict(wanted)


def located(model: str, folder: Path) -> str:
    """Give the path relative to router.yaml's folder, if there is one; else what was written, perhaps a hub id."""
    place = folder / model
    try:
        is_a_file = model.endswith(".gguf") and not model.startswith("~") and ":" not in model
        is_a_path = is_a_file or model.startswith((".", "/")) or place.exists()
    except OSError:
        # Too long a name, or a folder that can't be read.
        is_a_path = False
    return str(place) if is_a_path else model


def _clashes(config: Config, launches: list[Launch]) -> Iterator[str]:
    names = [backend.name.casefold() for backend in config.backends if backend.here is None]
    for launch in launches:
        # Their logs are files, and some file systems ignore case.
        if launch.spec.name.casefold() in names:
            yield f"two backends would be called '{launch.spec.name}': rename one (replicas are numbered)"
        names.append(launch.spec.name.casefold())
