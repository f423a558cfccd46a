"""Turns facts about the machine into findings, in pure functions."""

import errno
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from launchers.engines import Engine
from launchers.engines.flags import named
from launchers.footprints.parts import RAM
from launchers.gpus import SOME, as_started, lacking
from launchers.spec import ArgValue
from profiles import Facts, Profile, ProfileError, detect
from profiles.detect import cpus, describe, gibibytes, model_memory
from router.config import Config
from router.config.problems import did_you_mean
from router.core.memory.devices import Footprint
from router.core.memory.footprints import Footprints
from router.core.memory.resident import Loadable
from router.distribution import install_command
from router.doctor.findings import Finding, Mark
from router.fleet.launching import Launch
from router.tls.certificate import SOON, Certificate
from router.tls.trust import UNVERIFIED

NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Model:
    """The model of a launched backend. `size`: bytes on disk, None if unknown. `wrong`: why it is unfit."""

    backend: str
    engine: str
    why: str  # why this engine was chosen
    place: str  # a path or a hub id
    here: bool  # whether it is on this machine's disk
    size: int | None
    replicas: int
    wrong: str = ""


def of_machine(facts: Facts) -> Iterator[Finding]:
    """Facts about the machine."""
    windows = " inside Windows (WSL)" if facts.wsl else ""
    yield Finding(Mark.FACT, "system", f"{facts.os or facts.system} on {facts.machine}{windows}")
    yield Finding(Mark.FACT, "python", facts.python)
    if facts.chip:
        yield Finding(Mark.FACT, "chip", facts.chip)
    yield Finding(Mark.FACT, "cpu", cpus(facts))
    limit = "" if facts.memory_limit_bytes is None else f", of which a container leaves {_limit(facts)}"
    yield Finding(Mark.FACT, "memory", gibibytes(facts.memory_bytes) + limit)
    for gpu in facts.gpus:
        what = "gpu" if len(facts.gpus) == 1 else f"gpu {gpu.number}"
        more = (f"driver {gpu.driver}" * bool(gpu.driver), f"compute {gpu.capability}" * bool(gpu.capability))
        yield Finding(Mark.FACT, what, ", ".join(filter(None, (describe([gpu]), *more))))
    if not facts.gpus and facts.system != "Darwin":
        yield Finding(Mark.FACT, "gpu", "none")
    for note in facts.notes:
        yield Finding(Mark.LOOK, "gpu", note)


def _limit(facts: Facts) -> str:
    return gibibytes(facts.usable_memory_bytes)


def of_profile(facts: Facts, profiles: Mapping[str, Profile], wanted: str) -> tuple[Profile | None, list[Finding]]:
    """The profile with its reason, and the memory for models; no profile if router.yaml names an unknown one."""
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
    """Each engine with its version or the command that installs it, and its purpose; the profile's come first.

    A missing engine is no problem by itself; it is one for a backend that needs it. One that the profile doesn't have
    is no part of what is right here, though it may be installed: mlx is so on Linux, too.
    """
    preferred = [each.name for each in profile.engines if each.name in engines] if profile else []
    for name in (*preferred, *(name for name in engines if name not in preferred)):
        engine = engines[name]
        if name not in facts.engines:
            text = f"not installed: {engine.suits}; to install it: {install_command(engine.install)}"
            yield Finding(Mark.FACT, name, text)
        elif profile is None or name in preferred:
            yield Finding(Mark.OK, name, f"{facts.engines[name]}: {engine.suits}")
        else:
            takes = f"`engine: {name}` takes it, or a model that nothing else here reads"
            text = f"{facts.engines[name]}: {engine.suits}; the {profile.name} profile lacks it: {takes}"
            yield Finding(Mark.FACT, name, text)
    if profile and (taken := next((name for name in preferred if name in facts.engines), None)):
        why = f"the first of the {profile.name} profile's that is installed"
        yield Finding(Mark.FACT, "auto", f"takes {taken}, {why}; `engine: NAME` below a backend's launch takes another")


def of_models(models: Sequence[Model], profile: Profile, facts: Facts) -> Iterator[Finding]:
    """Whether each model is on the disk, and fits into memory beside those before it."""
    usable, limit = model_memory(profile, facts)
    taken = 0
    for model in models:
        need = (model.size or 0) * model.replicas
        yield Finding(Mark.FACT, model.backend, model.why)
        what = model.place
        if model.wrong:
            yield Finding(Mark.LOOK, model.backend, f"{model.wrong}; {model.engine} can't load it")
        elif not model.here:
            from_hub = f"{model.engine} fetches it from its hub at the first start"
            later = "it is looked for again when a request wants it"
            text = f"{what}: not on this disk; {later if what.startswith(('/', '.')) else from_hub}"
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


def of_arguments(
    args: Mapping[str, ArgValue], launch: Launch, known: Collection[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The arguments of router.yaml that the launch's engine doesn't list, each with its key below `args`.

    `known` are its options; none: they aren't known, and nothing can be said.
    """
    engine, listed = launch.engine.name, {_plain(option): option for option in known}
    own = args.get(engine)
    written: list[tuple[tuple[str, ...], Any]] = [
        ((name,), value) for name, value in args.items() if not isinstance(value, Mapping)
    ]
    written += [((engine, name), value) for name, value in (own.items() if isinstance(own, Mapping) else ())]
    for key, value in written if listed else ():
        if value is None:
            continue
        for name in map(_plain, named(engine, {key[-1]: value})):
            if not _is_listed(name, listed, launch):
                near = did_you_mean(name, listed)
                hint = f"; did you mean {listed[near]!r}?" if near else ""
                yield f"{engine} {launch.version} lists no such option{hint}", key


def _is_listed(name: str, listed: Collection[str], launch: Launch) -> bool:
    if {name, f"no-{name}", name.partition(".")[0]} & set(listed):
        return True
    abbreviates = launch.engine.options is not None and launch.engine.options.abbreviates
    return abbreviates and any(option.startswith(name) for option in listed)


def _plain(name: str) -> str:
    return name.lstrip("-").replace("_", "-")


def of_limits(limits: Footprint) -> Finding:
    """What models may take together, where they load and unload by themselves: `limits`, in bytes of each device."""
    said = " and ".join(f"{gibibytes(size)} of {_device(name)}" for name, size in limits.items())
    return Finding(Mark.FACT, "models", f"load and unload by themselves, and may take {said}")


def of_memory(models: Sequence[Model], loadables: Mapping[str, Loadable], limits: Footprint) -> Iterator[Finding]:
    """What each model takes of which device, where models load and unload by themselves, and whether it ever fits.

    `limits` are the bytes of each device that engines may hold together.
    """
    known = Footprints()
    for model in models:
        yield Finding(Mark.FACT, model.backend, model.why)
        if model.wrong:
            yield Finding(Mark.LOOK, model.backend, f"{model.wrong}; {model.engine} can't load it")
            continue
        placements = [(each, known.needs(each)) for each in loadables[model.backend].placements]
        fits = [(each, needs) for each, needs in placements if not _short(needs, limits)]
        placement, needs = (fits or placements)[0]
        takes = (
            " and ".join(f"{gibibytes(size)} of {_device(name)}" for name, size in needs.items()) or "what isn't known"
        )
        text = f"{model.place}, takes {takes}{', or of another GPU' * (len(fits) > 1)}"
        note = f"; {placement.note}" * bool(placement.note)
        if fits:
            yield Finding(Mark.LOOK if note else Mark.OK, model.backend, f"{text}{note or ', fits'}")
            continue
        name, most = next(iter(_short(needs, limits).items()))
        text += f", but models may take {gibibytes(most)} of {_device(name)}: it is refused; take a smaller one"
        yield Finding(Mark.LOOK, model.backend, text)


def _short(needs: Footprint, limits: Footprint) -> dict[str, int]:
    """Give the limits of the devices that have no room for this."""
    return {name: limits.get(name, 0) for name, size in needs.items() if size > limits.get(name, 0)}


def _device(name: str) -> str:
    return "memory" if name == RAM else name.replace(" ", " GPU ", 1)


def of_gpus(
    launches: Sequence[Launch], runs: Iterable[str], facts: Facts, shares: Mapping[str, float] = NONE
) -> Iterator[Finding]:
    """The free memory of GPUs, whoever uses the rest, and the launches that won't get the share they claim.

    `runs` are the launches that run already, `shares` the shares that they have.
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


def of_port(host: str, port: int, error: OSError | None, key: str = "port") -> Finding:
    """Whether the router can listen there, as `key` of server says; `error` is the result of a try."""
    if error is None:
        return Finding(Mark.OK, key, f"{host}:{port} is free" if port else "any that is free")
    if error.errno == errno.EADDRINUSE and key == "ollama_port":
        text = f"{port} is in use, perhaps by Ollama itself: stop it, or leave server.ollama_port out"
    elif error.errno == errno.EADDRINUSE:
        text = (
            f"{port} is in use, perhaps by this router, which runs already: stop what uses it, or take another port, "
            f"with server.port in router.yaml or ROUTER_SERVER__PORT={port + 1}"
        )
    else:
        text = f"can't listen at {host}:{port}: {error.strerror or error}; set server.host and server.{key}"
    return Finding(Mark.STOP, key, text)


def of_doors(config: Config) -> Iterator[Finding]:
    """Who may send requests, and which settings let in more than the defaults."""
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
    if config.telemetry.metrics == "open":
        text = "whoever reaches the port is told the names of models, keys and backends (telemetry.metrics: open)"
        yield Finding(Mark.LOOK, "/metrics", text)
    if kept := config.telemetry.capture.requests:
        told = f"the last {kept} requests and their answers are kept for admins (telemetry.capture)"
        yield Finding(Mark.LOOK, "capture", f"{told}: only while a fault is looked for")


def of_certificate(found: Certificate, now: float) -> Finding:
    """For whom the router's own certificate is, and whether it still is one."""
    if late := found.late(now):
        return Finding(Mark.LOOK, "tls", f"{found}: {late}, and clients refuse it")
    if found.ends - now < SOON:
        return Finding(Mark.LOOK, "tls", f"{found}: that is soon, and nothing has renewed it yet")
    alone = "; it has no CA, so clients have to be given it" if found.is_self_signed else ""
    return Finding(Mark.OK, "tls", f"a certificate for {found}{alone}")


def of_trust(config: Config) -> Iterator[Finding]:
    """The backends that may be anybody."""
    for each in config.backends:
        if each.tls is not None and not each.tls.verify:
            yield Finding(Mark.LOOK, each.name, UNVERIFIED)


def of_remote(name: str, url: str, failure: str, *, asked: bool = True) -> Finding:
    """Whether a remote server answers, if it was `asked`; `failure` says what happened instead, or is empty."""
    if failure:
        return Finding(Mark.LOOK, name, f"{url}: {failure}; it gets requests as soon as it answers")
    return Finding(Mark.OK, name, f"{url} answers" if asked else f"{url} isn't asked (probe: never)")
