"""From what a machine is to what it should run. Pure: the facts and the profiles are passed in.

A choice carries its reason, a sentence for the person who wonders why this engine and not another; an error
carries what to do about it.

A profile's arguments may hold words that stand for this machine's numbers, such as $cpus: WORDS lists them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from profiles.facts import Facts
from profiles.parsers import AMD, NVIDIA, Gpu

Scalar = str | int | float | bool
Arg = Scalar | Sequence[Scalar] | Mapping[str, object] | None

AUTO = "auto"

LEAST_GPU = 4 << 30
"""Bytes below which a GPU is left to the screen: a small model and its cache don't fit, the CPUs serve it better."""

ALL_LAYERS = 99
"""What llama.cpp's users write for all layers of a model; it takes as many as there are."""

WORDS: Mapping[str, str] = MappingProxyType({
    "$cpus": "CPUs that the router may use, which in a container are fewer than the machine's",
    "$half_the_cpus": "half of them, 1 at least",
    "$gpus": "GPUs that one model is spread over: all, if they are of one kind, down to a power of two; 1 at least",
    "$gpu_share": "0.9 of a GPU's memory, divided by the launched models: what one engine may take of it at most",
    "$gpu_layers": f"{ALL_LAYERS} where there is a GPU, which is all layers of a model; 0 where there is none",
})  # fmt: skip
"""The words of profiles, each with its meaning. `numbers` has their values."""


class ProfileError(Exception):
    """The root of this package's errors."""


class UnknownProfileError(ProfileError):
    """No profile has this name."""


class UnknownEngineError(ProfileError):
    """The router can't launch an engine of this name."""


class EngineNotInstalledError(ProfileError):
    """An engine was chosen that this Python doesn't have."""


@dataclass(frozen=True, slots=True)
class EngineDefaults:
    """An engine of a profile, and the arguments that it gets unless router.yaml says otherwise."""

    name: str
    args: Mapping[str, Arg]


@dataclass(frozen=True, slots=True)
class Memory:
    """What models may take: a share, from 0 to 1, of the machine's memory or of its GPUs'."""

    of: Literal["ram", "gpu"]  # gpu: where there is none, or it shares the machine's memory, of that
    share: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What a platform runs: its engines, the preferred one first."""

    name: str
    about: str
    engines: tuple[EngineDefaults, ...]
    memory: Memory = Memory("ram", 0.8)


@dataclass(frozen=True, slots=True)
class Choice:
    """A profile, and why."""

    profile: Profile
    why: str


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine with its arguments for this machine, and why."""

    name: str
    args: Mapping[str, Arg]
    why: str


# The profile


def detect(facts: Facts, profiles: Mapping[str, Profile], wanted: str = AUTO) -> Choice:
    """The profile of this machine, or the one that router.yaml names."""
    if wanted != AUTO:
        if wanted not in profiles:
            raise UnknownProfileError(f"there is no profile {wanted}; there are: auto, {', '.join(sorted(profiles))}")
        return Choice(profiles[wanted], f"{wanted}: router.yaml names it")
    name, why = _platform(facts)
    if name not in profiles:  # its file is missing from the folder
        raise UnknownProfileError(
            f"there is no profile {name}, which this machine would have ({why}); "
            f"set profile to one of: {', '.join(sorted(profiles))}"
        )
    return Choice(profiles[name], f"{name}: {why}")


def _platform(facts: Facts) -> tuple[str, str]:
    """The name of a machine's profile, and the sentence why."""
    # 1. A system that decides for itself.
    if facts.system == "Darwin":
        return _mac(facts)
    # 2. A GPU that engines can use: the vendor of the first one.
    gpus = usable_gpus(facts.gpus)
    where = "WSL" if facts.wsl else facts.system
    for vendor, name in ((NVIDIA, "nvidia"), (AMD, "rocm")):
        if gpus and gpus[0].vendor == vendor:
            return name, f"{where} with {describe(gpus)}"
    # 3. Everything else has CPUs.
    small = f"; {describe(facts.gpus)} is too small for models" if facts.gpus else ""
    return "cpu", f"{where} on {facts.machine} with {cpus(facts)} and no GPU that engines can use{small}"


def _mac(facts: Facts) -> tuple[str, str]:
    if facts.machine == "arm64":
        memory = gibibytes(facts.memory_bytes)
        return "apple_silicon", f"{facts.chip or 'an Apple chip'} with {memory} of memory that its GPU shares"
    if facts.chip.startswith(("Apple", "VirtualApple")):  # what Rosetta calls it
        return "cpu", "an Apple chip, but this Python is made for Intel: install one for arm64, and its GPU serves"
    return "cpu", f"an Intel Mac with {cpus(facts)}; engines don't use its GPU"


def usable_gpus(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Those with memory enough for a model; of the first one's vendor, since no engine runs on two vendors' at once."""
    large = [gpu for gpu in gpus if gpu.memory_bytes is None or gpu.memory_bytes >= LEAST_GPU]
    return tuple(gpu for gpu in large if gpu.vendor == large[0].vendor)


def describe(gpus: Sequence[Gpu]) -> str:
    """`8 x NVIDIA H100 80GB HBM3 (79.6 GiB each)`; of several kinds, each."""
    kinds = list(dict.fromkeys((gpu.name, gpu.memory_bytes) for gpu in gpus))
    return ", ".join(
        _kind(name, memory, sum((gpu.name, gpu.memory_bytes) == (name, memory) for gpu in gpus))
        for name, memory in kinds
    )


def _kind(name: str, memory: int | None, count: int) -> str:
    size = "the machine's memory" if memory is None else gibibytes(memory)
    return f"{name} ({size})" if count == 1 else f"{count} x {name} ({size} each)"


def cpus(facts: Facts) -> str:
    """`2 of 64 CPUs`, where some are not for this process."""
    if facts.machine_cpus > facts.cpus:
        return f"{facts.cpus} of {facts.machine_cpus} CPUs"
    return f"{facts.cpus} CPU{'s' if facts.cpus != 1 else ''}"


def gibibytes(number: int) -> str:
    """Bytes for people: `79.6 GiB`; fewer than one in MiB, and fewer than one of these in KiB."""
    unit, name = next((pair for pair in ((1 << 30, "GiB"), (1 << 20, "MiB")) if number >= pair[0]), (1 << 10, "KiB"))
    return f"{round(number / unit, 1):g} {name}"


# Memory


def model_memory(profile: Profile, facts: Facts) -> tuple[int, str]:
    """Bytes that all models together may take, and a sentence that says of what."""
    gpus = usable_gpus(facts.gpus)
    if profile.memory.of == "gpu" and gpus and all(gpu.memory_bytes is not None for gpu in gpus):
        total = sum(gpu.memory_bytes or 0 for gpu in gpus)
        what = "the GPU's memory" if len(gpus) == 1 else f"the {len(gpus)} GPUs' memory"
    else:
        total = facts.usable_memory_bytes
        what = "memory" if facts.memory_limit_bytes is None else "the container's memory"
    usable = int(total * profile.memory.share)
    return usable, f"{gibibytes(usable)}, {profile.memory.share:g} of {what} ({gibibytes(total)})"


# The engine


def choose_engine(
    profile: Profile, facts: Facts, installs: Mapping[str, str], wanted: str = AUTO, *, launched: int = 1
) -> EngineChoice:
    """The engine for one launch.

    `installs` holds the engines that the router can launch, each with the one command that installs it; those that
    are left out are passed over. `launched` is how many engines the router starts in all, who share the GPUs.
    """
    if wanted == AUTO:
        return _first_installed(profile, facts, installs, launched)
    if wanted not in installs:
        raise UnknownEngineError(f"the router can't launch {wanted}; it can: auto, {', '.join(sorted(installs))}")
    if wanted not in facts.engines:
        raise EngineNotInstalledError(f"{wanted} is not installed in this Python; install it: {installs[wanted]}")
    version = facts.engines[wanted]
    for engine in profile.engines:
        if engine.name == wanted:
            args = _for_machine(engine.args, facts, launched)
            return EngineChoice(wanted, args, f"{wanted} {version}: router.yaml names it")
    why = f"{wanted} {version}: router.yaml names it; the {profile.name} profile has no arguments for it"
    return EngineChoice(wanted, {}, why)


def _first_installed(profile: Profile, facts: Facts, installs: Mapping[str, str], launched: int) -> EngineChoice:
    launchable = [engine for engine in profile.engines if engine.name in installs]
    for place, engine in enumerate(launchable):
        if engine.name in facts.engines:
            why = f"the first of the {profile.name} profile's engines that is installed"
            return EngineChoice(
                engine.name,
                _for_machine(engine.args, facts, launched),
                f"{engine.name} {facts.engines[engine.name]}: {why}{_passed_over(launchable[:place])}",
            )
    if not launchable:
        names = ", ".join(engine.name for engine in profile.engines)
        raise UnknownEngineError(f"the router can't launch any engine of the {profile.name} profile yet: {names}")
    first = launchable[0].name
    raise EngineNotInstalledError(
        f"no engine of the {profile.name} profile is installed in this Python; install {first}: {installs[first]}"
    )


def _passed_over(engines: Sequence[EngineDefaults]) -> str:
    """`; vllm and llama_server are not installed`, or nothing."""
    names = [engine.name for engine in engines]
    if not names:
        return ""
    return f"; {' and '.join(names)} {'is' if len(names) == 1 else 'are'} not installed"


def numbers(facts: Facts, launched: int = 1) -> dict[str, int | float]:
    """What the WORDS stand for on this machine, where so many engines share its GPUs."""
    gpus = usable_gpus(facts.gpus)
    return {
        "$cpus": facts.cpus,
        "$half_the_cpus": max(facts.cpus // 2, 1),
        "$gpus": _spread(gpus),
        "$gpu_share": int(90 / max(launched, 1)) / 100,  # rounded down: together never above 0.9
        "$gpu_layers": ALL_LAYERS if gpus else 0,
    }


def _spread(gpus: Sequence[Gpu]) -> int:
    """Over how many GPUs one model is spread.

    A model's attention heads are dealt out evenly, which goes up only with powers of two for nearly all models; and
    an engine takes the same of each GPU, so that the smallest of a mixed lot would bound them all.
    """
    if len({(gpu.name, gpu.memory_bytes) for gpu in gpus}) != 1:
        return 1
    return 1 << (len(gpus).bit_length() - 1)


def _for_machine(args: Mapping[str, Arg], facts: Facts, launched: int) -> dict[str, Arg]:
    """A profile's arguments with its words for this machine's numbers replaced by them."""
    values = numbers(facts, launched)
    return {name: values.get(value, value) if isinstance(value, str) else value for name, value in args.items()}
