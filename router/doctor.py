"""`python -m router doctor`: what this machine is, what the router would run on it, and what would be in its way.

`examine` looks (at the machine, the disk, the port, the servers elsewhere) and starts nothing; what it saw becomes
findings in plain functions; `render` writes them down, and `exit_code` says how it stands. A finding that stops the
router is marked ✗, one that hampers it !, what was checked and is right ok; mere facts have no mark.
"""

import asyncio
import errno
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType

import aiohttp

from launchers.engines import ENGINES, Engine
from launchers.gpus import as_started, lacking
from launchers.leftovers import running
from launchers.weights import size_of, weights
from profiles import Facts, Profile, ProfileError, detect, load_profiles
from profiles.detect import cpus, describe, gibibytes, model_memory
from profiles.facts import program_version
from router.config import BackendConfig, Config, ConfigError, load
from router.launches import Launch, StartError, install_command, plan_launches
from router.planning import look, shares_of
from router.proxy.pool import Address
from router.proxy.resolve import OWN_WITHIN, Names, Resolver, UnknownNameError
from router.shares import SOME
from router.telemetry.logs import printable
from router.telemetry.tasks import aside

REMOTE_TIMEOUT = 2.0
"""Seconds that a server elsewhere may take to answer."""


NONE: Mapping[str, float] = MappingProxyType({})


class Mark(Enum):
    """How a finding stands."""

    FACT = ""
    OK = "ok"
    LOOK = "!"  # the router starts, but something of it may not work
    STOP = "✗"  # the router doesn't start


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what it is about, and a sentence, which for LOOK and STOP says what to do."""

    mark: Mark
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """Findings of one kind."""

    title: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """What a launched backend serves, and the bytes that it takes on disk; None where they aren't known."""

    backend: str
    engine: str
    why: str  # this engine
    place: str
    here: bool  # on this machine's disk
    size: int | None
    replicas: int


# What is said


def exit_code(sections: Iterable[Section]) -> int:
    """1 where something would stop the router, else 0."""
    return int(any(finding.mark is Mark.STOP for section in sections for finding in section.findings))


def render(sections: Sequence[Section]) -> str:
    """Plain aligned text, a line a finding, and one sentence at the end."""
    width = max((len(finding.what) for section in sections for finding in section.findings), default=0)
    lines: list[str] = []
    for section in sections:
        lines.append(section.title)
        lines += [
            f"  {finding.mark.value:<2}  {printable(finding.what):<{width}}  {printable(finding.text)}"
            for finding in section.findings
        ]
        lines.append("")
    return "\n".join([*lines, verdict(sections)])


def verdict(sections: Iterable[Section]) -> str:
    """One sentence: whether the router can start."""
    marks = [finding.mark for section in sections for finding in section.findings]
    stops, looks = marks.count(Mark.STOP), marks.count(Mark.LOOK)
    if stops:
        return f"The router can't start: put right what is marked {Mark.STOP.value} first ({stops} of it)."
    if looks:
        return f"The router can start; what is marked {Mark.LOOK.value} deserves a look ({looks} of it)."
    return "The router can start, and nothing is in its way."


# The machine and its engines


def of_machine(facts: Facts) -> Iterator[Finding]:
    """What the machine is."""
    windows = " inside Windows (WSL)" if facts.wsl else ""
    yield Finding(Mark.FACT, "system", f"{facts.os or facts.system} on {facts.machine}{windows}")
    yield Finding(Mark.FACT, "python", facts.python)
    if facts.chip:
        yield Finding(Mark.FACT, "chip", facts.chip)
    yield Finding(Mark.FACT, "cpu", cpus(facts))
    limit = "" if facts.memory_limit_bytes is None else f", of which a container leaves {_limit(facts)}"
    yield Finding(Mark.FACT, "memory", gibibytes(facts.memory_bytes) + limit)
    for gpu in facts.gpus:
        more = (f"driver {gpu.driver}" * bool(gpu.driver), f"compute {gpu.capability}" * bool(gpu.capability))
        yield Finding(Mark.FACT, "gpu", ", ".join(filter(None, (describe([gpu]), *more))))
    if not facts.gpus and facts.system != "Darwin":
        yield Finding(Mark.FACT, "gpu", "none")
    for note in facts.notes:
        yield Finding(Mark.LOOK, "gpu", note)


def _limit(facts: Facts) -> str:
    return gibibytes(facts.usable_memory_bytes)


def of_profile(facts: Facts, profiles: Mapping[str, Profile], wanted: str) -> tuple[Profile | None, list[Finding]]:
    """The profile, why it is that, and what models may take; no profile where router.yaml names one there isn't."""
    try:
        choice = detect(facts, profiles, wanted)
    except ProfileError as error:
        return None, [Finding(Mark.STOP, "profile", str(error))]
    name, _, why = choice.why.partition(": ")
    return choice.profile, [
        Finding(Mark.OK, name, why),
        Finding(Mark.FACT, "models", f"may take {model_memory(choice.profile, facts)[1]}"),
    ]


def of_engines(engines: Mapping[str, Engine], facts: Facts, profile: Profile | None) -> Iterator[Finding]:
    """Each engine with its version, or the command that installs it, and what it suits; the profile's come first.

    A missing one is no fault: a backend's may be.
    """
    preferred = [each.name for each in profile.engines if each.name in engines] if profile else []
    for name in (*preferred, *(name for name in engines if name not in preferred)):
        engine = engines[name]
        if name in facts.engines:
            yield Finding(Mark.OK, name, f"{facts.engines[name]}: {engine.suits}")
        else:
            text = f"not installed: {engine.suits}; to install it: {install_command(engine)}"
            yield Finding(Mark.FACT, name, text)
    if profile and (taken := next((name for name in preferred if name in facts.engines), None)):
        why = f"the first of the {profile.name} profile's that is installed"
        yield Finding(Mark.FACT, "auto", f"takes {taken}, {why}; `engine: NAME` below a backend's launch takes another")


# The launched models


def of_models(models: Sequence[Model], profile: Profile, facts: Facts) -> Iterator[Finding]:
    """Whether each model can be found, and fits beside those before it."""
    usable, limit = model_memory(profile, facts)
    taken = 0
    for model in models:
        need = (model.size or 0) * model.replicas
        yield Finding(Mark.FACT, model.backend, model.why)
        what = model.place
        if not model.here:
            text = f"{what}: not on this disk; {model.engine} fetches it from its hub at the first start"
            yield Finding(Mark.LOOK, model.backend, text)
        elif model.size is None:
            yield Finding(Mark.OK, model.backend, f"{what}; its size is not known")
        elif taken + need > usable:
            beside = f", and those before it take {gibibytes(taken)}" if taken else ""
            text = f"{what}, takes {_size(model)}, but models may take {limit}{beside}: take a smaller one, or fewer"
            yield Finding(Mark.LOOK, model.backend, text)
        else:
            yield Finding(Mark.OK, model.backend, f"{what}, {_size(model)}, fits")
        taken += need


def of_gpus(
    launches: Sequence[Launch], runs: Iterable[str], facts: Facts, shares: Mapping[str, float] = NONE
) -> Iterator[Finding]:
    """What of the GPUs' memory is free, by any program, and which launch won't get what it claims.

    Of those that run, `runs`, `shares` are what they have.
    """
    claims = {launch.spec.name: launch.spec.claim for launch in launches if launch.spec.claim is not None}
    if not claims:
        return
    for gpu in facts.gpus:
        if gpu.free_bytes is not None and gpu.memory_bytes is not None:
            text = f"{gibibytes(gpu.free_bytes)} of {gibibytes(gpu.memory_bytes)} are free now"
            yield Finding(Mark.FACT, f"{gpu.vendor} GPU {gpu.number}", text)
    has = as_started({name: claims[name] for name in runs if name in claims}, shares)
    claims |= has
    starts = {name: claim for name, claim in claims.items() if name not in has}
    lacks = lacking(starts, has, facts.gpus)
    for name, claim in claims.items():
        if name in lacks:
            yield Finding(Mark.LOOK, name, lacks[name])
        elif claim.share and any(gpu.endswith(SOME) for gpu in claim.gpus):
            which = "the fastest first, and what is free there isn't looked at before it starts; to say which"
            write = 'write `env: {CUDA_VISIBLE_DEVICES: "0"}` below its launch'
            yield Finding(Mark.LOOK, name, f"takes {claim.share:g} of one of these GPUs, {which}, {write}")
        elif claim.share:
            at = " and ".join(gpu.replace(" ", " GPU ", 1) for gpu in claim.gpus)
            yield Finding(Mark.OK, name, f"{'has' if name in has else 'gets'} {claim.share:g} of {at}")


def _size(model: Model) -> str:
    one = gibibytes(model.size or 0)
    return one if model.replicas == 1 else f"{model.replicas} x {one}"


def found(launches: Iterable[Launch], environ: Mapping[str, str]) -> list[Model]:
    """Look for each backend's model; its replicas are counted."""
    by_backend: dict[str, list[Launch]] = {}
    for launch in launches:
        by_backend.setdefault(launch.backend.name, []).append(launch)
    models = []
    for name, replicas in by_backend.items():
        spec = replicas[0].spec
        files = weights(spec.model, {**environ, **spec.env})
        size = size_of(files) if files else None
        models.append(Model(name, spec.engine, replicas[0].why, spec.model, files is not None, size, len(replicas)))
    return models


# The port


def of_port(host: str, port: int, error: OSError | None) -> Finding:
    """Whether the router can listen there; `error` is what came of trying."""
    if error is None:
        return Finding(Mark.OK, "port", f"{host}:{port} is free" if port else "any that is free")
    if error.errno == errno.EADDRINUSE:
        text = (
            f"{port} is in use, perhaps by this router, which runs already: stop what uses it, or take another port, "
            f"with server.port in router.yaml or ROUTER_SERVER__PORT={port + 1}"
        )
    else:
        text = f"can't listen at {host}:{port}: {error.strerror or error}; set server.host and server.port"
    return Finding(Mark.STOP, "port", text)


def of_doors(config: Config) -> Iterator[Finding]:
    """Who may ask, and what stands open wider than by default."""
    server, auth = config.server, config.auth
    if auth.keys:
        yield Finding(Mark.OK, "who", f"whoever shows one of {len(auth.keys)} keys (auth.keys)")
    elif auth.open:
        text = f"everybody who reaches {server.host} may use the models (auth.open); with auth.keys, who has a key"
        yield Finding(Mark.LOOK, "who", text)
    else:
        names = ", ".join(["localhost", "addresses", *server.hosts])
        yield Finding(Mark.OK, "who", f"programs of this machine, without a key, under these names: {names}")
    if "*" in server.cors:
        yield Finding(Mark.LOOK, "pages", "every web page that has a key, as server.cors says: name those that should")
    else:
        yield Finding(Mark.OK, "pages", ", ".join(server.cors) or "none but the router's own (server.cors)")
    admins = "whoever shows an admin key" if auth.admin_keys else "this machine alone, and nothing through a proxy"
    yield Finding(Mark.OK, "/admin", admins)


def try_port(host: str, port: int) -> OSError | None:
    """Take the port for a moment, on every address that the host stands for; give what prevents it."""
    every = None if host == "::" else host  # of IPv4, too
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            every, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                taking = socket.socket(family, kind, protocol)
            except OSError:
                continue  # a family that this machine doesn't have, which the router passes over too
            with taking:
                if os.name == "posix":
                    taking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    taking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                taking.bind(address)
    except OSError as error:
        return error
    return None


async def taken(host: str, port: int, patience: float = OWN_WITHIN) -> OSError | None:
    """The same of a host whose name may hang, for which it waits so many seconds."""
    try:
        return await asyncio.wait_for(aside(try_port, host, port), patience)
    except TimeoutError:
        return UnknownNameError(host, f"no answer in {patience:g} s")


# The servers elsewhere


def of_remote(name: str, url: str, failure: str) -> Finding:
    """Whether a server elsewhere answers; `failure` says what came instead, or nothing."""
    if failure:
        return Finding(Mark.LOOK, name, f"{url}: {failure}; it gets requests as soon as it answers")
    return Finding(Mark.OK, name, f"{url} answers")


async def reach(backends: Sequence[BackendConfig], patience: float = REMOTE_TIMEOUT) -> list[Finding]:
    """Ask all servers elsewhere at once whether they live, as the router's probes do; `patience` is in seconds."""
    within, resolver = aiohttp.ClientTimeout(total=patience), Resolver(Names())
    async with aiohttp.ClientSession(timeout=within, connector=aiohttp.TCPConnector(resolver=resolver)) as session:
        failures = await asyncio.gather(*(_failure(session, backend, patience) for backend in backends))
    return [of_remote(each.name, each.url or "", why) for each, why in zip(backends, failures, strict=True)]


async def _failure(session: aiohttp.ClientSession, backend: BackendConfig, patience: float) -> str:
    key = backend.api_key.get_secret_value() if backend.api_key else None
    headers = {"authorization": f"Bearer {key}"} if key else {}
    address = Address.of(backend.url or "")
    try:
        async with session.get(f"{address}/health", headers=headers, allow_redirects=False) as answer:
            if answer.status >= 500:
                return f"answers {answer.status} to /health"
        if not backend.models:
            async with session.get(f"{address}/v1/models", headers=headers, allow_redirects=False) as answer:
                if answer.status in {401, 403}:
                    return f"answers {answer.status} to /v1/models: set api_key, or list its models in router.yaml"
                if answer.status != 200:
                    return f"answers {answer.status} to /v1/models: list its models in router.yaml"
    except TimeoutError:
        return f"no answer within {patience:g} s"
    except (aiohttp.ClientError, OSError) as error:
        return f"can't be reached ({error or type(error).__name__})"
    return ""


# Looking


async def examine(
    path: Path, environ: Mapping[str, str], *, engines: Mapping[str, Engine] = ENGINES, facts: Facts | None = None
) -> list[Section]:
    """Look at this machine and at all that the router.yaml at `path` names."""
    facts = facts or look_at_machine(engines)
    folder = path.resolve().parent  # noqa: ASYNC240  (nobody else waits on this loop)
    try:
        loaded = load(path, environ)
    except ConfigError as error:
        profile, of_this = of_profile(facts, load_profiles(), "auto")
        mistakes = [Finding(Mark.STOP, "mistake", str(problem)) for problem in error.problems]
        return _sections(
            machine=of_machine(facts), profile=of_this, engines=of_engines(engines, facts, profile), config=mistakes
        )
    config = loaded.config
    profile, of_this = of_profile(facts, load_profiles(), config.profile)
    of_launches: list[Finding] = []
    if profile is not None:
        launches, problems = planned(config, folder, engines, facts)
        of_launches = [*of_models(found(launches, environ), profile, facts)]
        runs = running(folder / config.logging.dir / "run")
        of_launches += of_gpus(launches, runs, facts, shares_of(runs))
        of_launches += [Finding(Mark.STOP, "mistake", problem) for problem in problems]
    return _sections(
        machine=of_machine(facts),
        profile=of_this,
        engines=of_engines(engines, facts, profile),
        config=[Finding(Mark.LOOK, "no effect", str(problem)) for problem in loaded.not_yet],
        launched=of_launches,
        elsewhere=await reach([backend for backend in config.backends if backend.url is not None]),
        server=[
            of_port(config.server.host, config.server.port, await taken(config.server.host, config.server.port)),
            *of_doors(config),
        ],
    )


def look_at_machine(engines: Mapping[str, Engine]) -> Facts:
    """The facts, with the versions that programs on PATH say; a start has no time for these."""
    facts = look(engines)
    said = {}
    for name, engine in engines.items():
        path = shutil.which(engine.program or "")
        if path is not None and facts.engines.get(name) == f"at {path}":
            said[name] = f"{program_version(path)} at {path}".strip()
    return replace(facts, engines={**facts.engines, **said})


def planned(
    config: Config, folder: Path, engines: Mapping[str, Engine], facts: Facts
) -> tuple[tuple[Launch, ...], tuple[str, ...]]:
    """What can be launched, and what is wrong with the rest."""
    try:
        return plan_launches(config, folder, engines, facts)[1], ()
    except StartError as error:
        problems = error.problems
    launches: list[Launch] = []
    for backend in config.backends:  # one by one: those that are right are looked at too
        with suppress(StartError):
            launches += plan_launches(config.model_copy(update={"backends": (backend,)}), folder, engines, facts)[1]
    return tuple(launches), problems


_TITLES = {
    "machine": "This machine",
    "profile": "Profile",
    "engines": "Engines",
    "config": "router.yaml",
    "launched": "Backends that are started here",
    "elsewhere": "Backends elsewhere",
    "server": "Server",
}


def _sections(**findings: Iterable[Finding]) -> list[Section]:
    """In the order in which they were given; one without findings is left out."""
    sections = [Section(_TITLES[key], tuple(found)) for key, found in findings.items()]
    return [section for section in sections if section.findings]
