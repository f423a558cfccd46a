"""Looks at the machine, the disk, the port and remote servers; starts nothing. `judging` interprets the results."""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import aiohttp

from launchers import devices
from launchers.engines import ENGINES, Engine
from launchers.footprints.files import READERS, cut_off
from launchers.leftovers import running
from launchers.options import options_of
from launchers.weights import no_gguf, size_of, weights
from profiles import Facts, Profile, load_profiles
from profiles.facts import program_version
from router.certificates import loaded
from router.config import BackendConfig, Config, ConfigError, ServerConfig
from router.config.load import load_with_places
from router.doctor.findings import ARGUMENT, MISTAKE, Finding, FindingGroup, Mark
from router.doctor.guarding import of_files, of_risks, of_versions
from router.doctor.judging import (
    Model,
    of_arguments,
    of_certificate,
    of_doors,
    of_engines,
    of_gpus,
    of_limits,
    of_machine,
    of_memory,
    of_models,
    of_port,
    of_profile,
    of_remote,
    of_trust,
)
from router.doctor.keys import of_keys
from router.fleet.launches import StartError, plan_launches
from router.fleet.launching import Launch
from router.fleet.loadables import is_managed, limits_of, loadable_of
from router.fleet.planning import faults_of_trust, look, shares_of
from router.proxy.dialling import Address
from router.proxy.resolve import OWN_WITHIN, Names, Resolver, UnknownNameError
from router.telemetry.tasks import aside
from router.tls.trust import Trust

Placed = tuple[str, tuple[str | int, ...]]
"""A problem, and the key of router.yaml that it is about."""

_MOST_FILES = 1000
"""Files of a folder that are looked at."""

REMOTE_TIMEOUT = 2.0
"""Seconds that a remote server may take to answer."""


def found(launches: Iterable[Launch], environ: Mapping[str, str]) -> list[Model]:
    """Look for each backend's model on the disk, and count its replicas."""
    by_backend: dict[str, list[Launch]] = {}
    for launch in launches:
        by_backend.setdefault(launch.backend.name, []).append(launch)
    models = []
    for name, replicas in by_backend.items():
        spec = replicas[0].spec
        files = weights(spec.model, {**environ, **spec.env})
        size = size_of(files) if files else None
        wrong = (no_gguf(files) or cut_off(files)) if files and spec.engine in READERS else ""
        here, count = files is not None, len(replicas)
        models.append(Model(name, spec.engine, replicas[0].why, spec.model, here, size, count, wrong))
    return models


def in_memory(models: Sequence[Model], launches: Sequence[Launch], config: Config) -> list[Finding]:
    """What models take where they load and unload by themselves; nothing where they don't. Reads their headers."""
    if not is_managed(config):
        return []
    figures = devices.look()
    limits = {each.name: each.limit for each in limits_of(figures, config)}
    firsts = {launch.backend.name: launch for launch in reversed(launches)}
    made = {name: loadable_of(each, figures, limits=limits, quiet=True) for name, each in firsts.items()}
    return [of_limits(limits), *of_memory(models, made, limits)]


def try_port(host: str, port: int) -> OSError | None:
    """Bind the port for a moment, on every address of the host; give the error if that fails."""
    # `::` includes IPv4.
    every = None if host == "::" else host
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            every, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                taking = socket.socket(family, kind, protocol)
            except OSError:
                # A family that this machine lacks; the router skips it, too.
                continue
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
    """Try the port of a host whose name may take for ever to resolve; wait `patience` seconds at most."""
    try:
        return await asyncio.wait_for(aside(try_port, host, port), patience)
    except TimeoutError:
        return UnknownNameError(host, f"no answer in {patience:g} s")


async def reach(
    backends: Sequence[BackendConfig], patience: float = REMOTE_TIMEOUT, folder: Path = Path()
) -> list[Finding]:
    """Probe all remote servers at once, as the router does; `patience` is in seconds."""
    within, resolver = aiohttp.ClientTimeout(total=patience), Resolver(Names())
    async with aiohttp.ClientSession(timeout=within, connector=aiohttp.TCPConnector(resolver=resolver)) as session:
        failures = await asyncio.gather(*(_failure(session, backend, patience, folder) for backend in backends))
    return [
        of_remote(each.name, each.elsewhere or "", why, asked=each.probe != "never" or not each.models)
        for each, why in zip(backends, failures, strict=True)
    ]


async def _failure(session: aiohttp.ClientSession, backend: BackendConfig, patience: float, folder: Path) -> str:
    key = backend.api_key.get_secret_value() if backend.api_key else None
    own = {name: value.get_secret_value() for name, value in backend.headers.items()}
    headers = own | ({"authorization": f"Bearer {key}"} if key else {})
    address = Address.of(backend.elsewhere or "", trust=Trust.of(backend.tls, folder))
    try:
        options = {"headers": headers, "allow_redirects": False, **address.secured}
        if backend.probe != "never":
            async with session.get(address.url(backend.probe), **options) as answer:
                if answer.status >= 500:
                    return f"answers {answer.status} to {backend.probe}"
        if not backend.models:
            async with session.get(address.url("/v1/models"), **options) as answer:
                if answer.status in {401, 403}:
                    return f"answers {answer.status} to /v1/models: set api_key, or list its models in router.yaml"
                if answer.status != 200:
                    return f"answers {answer.status} to /v1/models: list its models in router.yaml"
    except TimeoutError:
        return f"no answer within {patience:g} s"
    except (aiohttp.ClientError, OSError) as error:
        return f"can't be reached ({address.fault(error)})"
    return ""


@dataclass(frozen=True, slots=True)
class Launched:
    """What was found of the launches.

    `problems` stop the router; `broken` are models that no engine can load, which are among the findings, too; `odd`
    are arguments that an engine doesn't list. All come with the keys of router.yaml that they are about. `managed`:
    models load and unload by themselves.
    """

    findings: Sequence[Finding]
    problems: Sequence[Placed]
    broken: Sequence[Placed] = ()
    managed: bool = False
    odd: Sequence[Placed] = ()


def look_at_launches(
    config: Config,
    folder: Path,
    environ: Mapping[str, str],
    engines: Mapping[str, Engine],
    facts: Facts,
    profile: Profile,
) -> Launched:
    """Look at everything that would be started here, without starting it or asking anyone."""
    launches, problems = planned(config, folder, engines, facts)
    models = found(launches, environ)
    # Where models come and go, each has what it needs; none has a share beside all others.
    findings = in_memory(models, launches, config)
    managed = bool(findings)
    findings = findings or [*of_models(models, profile, facts)]
    runs = running(folder / config.logging.dir / "run")
    stay = [launch for launch in launches if launch.backend.launch and launch.backend.launch.load == "startup"]
    findings += of_gpus(stay, runs, facts, shares_of(runs))
    keys = {backend.name: ("backends", index, "launch", "model") for index, backend in enumerate(config.backends)}
    broken = [(f"{each.wrong}; {each.engine} can't load it", keys[each.backend]) for each in models if each.wrong]
    findings += of_risks(launches)
    return Launched(findings, problems, broken, managed, odd_arguments(config, launches))


def odd_arguments(config: Config, launches: Iterable[Launch]) -> list[Placed]:
    """The arguments of launches that their installed engines don't list, as far as these can be asked."""
    firsts = {launch.backend.name: launch for launch in launches}
    odd: list[Placed] = []
    for index, backend in enumerate(config.backends):
        launch = firsts.get(backend.name)
        if launch is not None and backend.launch is not None and backend.launch.args:
            known = options_of(launch.engine, launch.python)
            key = ("backends", index, "launch", "args")
            odd += [(text, (*key, *below)) for text, below in of_arguments(backend.launch.args, launch, known)]
    return odd


def look_at_tls(config: Config, folder: Path, now: float) -> tuple[list[Finding], list[Placed]]:
    """Look at the router's own certificate, and whom it trusts: what deserves to be told, and what stops the router."""
    findings = [*of_trust(config)]
    wrong: list[Placed] = faults_of_trust(config, folder)
    if config.server.tls is not None:
        try:
            findings.append(of_certificate(loaded(config.server.tls, folder), now))
        except StartError as error:
            wrong += zip(error.problems, error.keys, strict=True)
    return findings, wrong


def open_files(config: Config, folder: Path) -> list[str]:
    """Find what other users of this machine can read of logs, state and the certificate's key."""
    tls = config.server.tls
    found = [] if tls is None else [folder / tls.key]
    for top in (config.logging.dir, config.state.dir):
        found += [folder / top, *islice((folder / top).rglob("*"), _MOST_FILES)]
    opened = []
    for each in found:
        with suppress(OSError):
            if each.stat().st_mode & 0o077 and os.name == "posix":
                opened.append(os.path.relpath(each, folder))
    return opened


async def examine(
    path: Path, environ: Mapping[str, str], *, engines: Mapping[str, Engine] = ENGINES, facts: Facts | None = None
) -> list[FindingGroup]:
    """Look at this machine, and at everything that the router.yaml at `path` names."""
    facts = facts or look_at_machine(engines)
    folder = path.resolve().parent  # noqa: ASYNC240  (nobody else waits on this loop)
    try:
        loaded, document = load_with_places(path, environ)
    except ConfigError as error:
        profile, of_this = of_profile(facts, load_profiles(), "auto")
        mistakes = [Finding(Mark.STOP, MISTAKE, str(problem)) for problem in error.problems]
        return _sections(
            machine=of_machine(facts), profile=of_this, engines=of_engines(engines, facts, profile), config=mistakes
        )
    config = loaded.config
    profile, of_this = of_profile(facts, load_profiles(), config.profile)
    launched = Launched((), ())
    if profile is not None:
        launched = await aside(look_at_launches, config, folder, environ, engines, facts, profile)
        if launched.managed:
            # What the profile leaves to models is for those that all run at once.
            of_this = of_this[:1]
    mistakes = [Finding(Mark.STOP, MISTAKE, problem) for problem, _ in launched.problems]
    secured, wrong = await aside(look_at_tls, config, folder, time.time())
    odd = [Finding(Mark.LOOK, ARGUMENT, str(document.problem(key, text))) for text, key in launched.odd]
    return _sections(
        machine=of_machine(facts),
        profile=of_this,
        engines=[*of_engines(engines, facts, profile), *of_versions(facts)],
        launched=[*launched.findings, *odd, *mistakes],
        elsewhere=await reach([each for each in config.backends if each.elsewhere is not None], folder=folder),
        server=[
            of_port(config.server.host, config.server.port, await taken(config.server.host, config.server.port)),
            *await _ollamas_port(config.server),
            *of_doors(config),
            *of_keys(config, time.time()),
            *secured,
            *(Finding(Mark.STOP, "tls", problem) for problem, _ in wrong),
            *of_files(await aside(open_files, config, folder)),
        ],
    )


async def _ollamas_port(server: ServerConfig) -> list[Finding]:
    """Try the port for Ollama's clients, if there is one of their own."""
    port = server.ollama_port
    if port is None or port == server.port:
        return []
    return [of_port(server.host, port, await taken(server.host, port), "ollama_port")]


def look_at_machine(engines: Mapping[str, Engine]) -> Facts:
    """The facts of this machine, with the versions of programs on PATH, which a start has no time to ask for."""
    facts = look(engines)
    said = {}
    for name, engine in engines.items():
        path = shutil.which(engine.program or "")
        if path is not None and facts.engines.get(name) == f"at {path}":
            said[name] = f"{program_version(path)} at {path}".strip()
    return replace(facts, engines={**facts.engines, **said})


def planned(
    config: Config, folder: Path, engines: Mapping[str, Engine], facts: Facts
) -> tuple[tuple[Launch, ...], Sequence[Placed]]:
    """The launches that can be planned, and the mistakes of the others, each with its key."""
    try:
        return plan_launches(config, folder, engines, facts)[1], ()
    except StartError as error:
        problems = list(zip(error.problems, error.keys, strict=True))
    launches: list[Launch] = []
    # One by one, so that the correct ones are examined, too.
    for backend in config.backends:
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


def _sections(**findings: Iterable[Finding]) -> list[FindingGroup]:
    """Groups in the order given; empty ones are left out."""
    sections = [FindingGroup(_TITLES[key], tuple(found)) for key, found in findings.items()]
    return [section for section in sections if section.findings]
