"""Chooses what a machine should run. Pure: the facts and the profiles are arguments.

A choice has its reason, a sentence for whoever wonders why this engine and not another. An error says what to do.

A profile's arguments may contain words that stand for this machine's numbers, such as $cpus: WORDS lists them.
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
"""Bytes below which a GPU isn't used: a small model and its cache don't fit, and CPUs serve it better."""

ALL_LAYERS = 99
"""The usual number for all layers of a model in llama.cpp, which takes as many as there are."""

WORDS: Mapping[str, str] = MappingProxyType({
    "$cpus": "CPUs that the router may use, which in a container are fewer than the machine's; where several engines "
    "work on CPUs, each one's part",
    "$half_the_cpus": "half of them, 1 at least; where several engines work on CPUs, each one's part of their cores",
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
    """What models may take: a share, from 0 to 1, of the machine's memory (ram) or of its GPUs' (gpu).

    `gpu` means the machine's memory, too, if there is no GPU, or if it shares that memory.
    """

    of: Literal["ram", "gpu"]
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
    """Give the profile of this machine, or the one that router.yaml names."""
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
    """Give the name of a machine's profile, and the reason."""
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
    """Give the GPUs with enough memory for a model, of the first one's vendor: no engine runs on two vendors' GPUs."""
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
    """Write `2 CPUs`, or `2 of 64 CPUs` if this process may not use all."""
    if facts.machine_cpus > facts.cpus:
        return f"{facts.cpus} of {facts.machine_cpus} CPUs"
    return f"{facts.cpus} CPU{'s' if facts.cpus != 1 else ''}"


def gibibytes(number: int) -> str:
    """Write bytes for people: `79.6 GiB`; less than one in MiB, and less than one MiB in KiB."""
    unit, name = next((pair for pair in ((1 << 30, "GiB"), (1 << 20, "MiB")) if number >= pair[0]), (1 << 10, "KiB"))
    return f"{round(number / unit, 1):g} {name}"


# Memory


def model_memory(profile: Profile, facts: Facts) -> tuple[int, str]:
    """Give the bytes that all models together may take, and a sentence that says of which memory."""
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
    profile: Profile,
    facts: Facts,
    installs: Mapping[str, str],
    wanted: str = AUTO,
    *,
    launched: int = 1,
    together: int = 1,
) -> EngineChoice:
    """Choose the engine of one launch.

    `installs` has the engines that the router can launch, each with the command that installs it; others are ignored.
    `launched` is how many engines share the GPUs, `together` how many may work on the CPUs at the same time.
    """
    values = numbers(facts, launched, together)
    if wanted == AUTO:
        return _first_installed(profile, facts, installs, values)
    if wanted not in installs:
        raise UnknownEngineError(f"the router can't launch {wanted}; it can: auto, {', '.join(sorted(installs))}")
    if wanted not in facts.engines:
        raise EngineNotInstalledError(f"{wanted} is not installed in this Python; install it: {installs[wanted]}")
    version = facts.engines[wanted]
    for engine in profile.engines:
        if engine.name == wanted:
            args = _for_machine(engine.args, values)
            return EngineChoice(wanted, args, f"{wanted} {version}: router.yaml names it")
    why = f"{wanted} {version}: router.yaml names it; the {profile.name} profile has no arguments for it"
    return EngineChoice(wanted, {}, why)


def _first_installed(
    profile: Profile, facts: Facts, installs: Mapping[str, str], values: Mapping[str, int | float]
) -> EngineChoice:
    launchable = [engine for engine in profile.engines if engine.name in installs]
    for place, engine in enumerate(launchable):
        if engine.name in facts.engines:
            why = f"the first of the {profile.name} profile's engines that is installed"
            return EngineChoice(
                engine.name,
                _for_machine(engine.args, values),
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
    """Write `; vllm and llama_server are not installed`, or nothing."""
    names = [engine.name for engine in engines]
    if not names:
        return ""
    return f"; {' and '.join(names)} {'is' if len(names) == 1 else 'are'} not installed"


def numbers(facts: Facts, launched: int = 1, together: int = 1) -> dict[str, int | float]:
    """Give the values of WORDS on this machine, if `launched` engines share its GPUs and `together` its CPUs."""
    gpus = usable_gpus(facts.gpus)
    half = max(facts.cpus // 2, 1)
    return {
        "$cpus": max(facts.cpus // together, 1),
        "$half_the_cpus": half if together == 1 else max(min(half, _cores(facts) // together), 1),
        "$gpus": _spread(gpus),
        "$gpu_share": int(90 / max(launched, 1)) / 100,  # rounded down: together never above 0.9
        "$gpu_layers": ALL_LAYERS if gpus else 0,
    }


def _cores(facts: Facts) -> int:
    """Give the cores of the CPUs that this process may use; if they aren't known, two CPUs count as one.

    More threads than cores wait for each other: llama.cpp's end each step together.
    """
    if not facts.machine_cores or not facts.machine_cpus:
        return max(facts.cpus // 2, 1)
    return max(facts.cpus * facts.machine_cores // facts.machine_cpus, 1)


def _spread(gpus: Sequence[Gpu]) -> int:
    """Tell over how many GPUs one model is spread.

    A model's attention heads must divide by the number, which for nearly all models means a power of two. An engine
    takes the same of each GPU, so the smallest of several kinds would bound them all.
    """
    if len({(gpu.name, gpu.memory_bytes) for gpu in gpus}) != 1:
        return 1
    return 1 << (len(gpus).bit_length() - 1)


def _for_machine(args: Mapping[str, Arg], values: Mapping[str, int | float]) -> dict[str, Arg]:
    """Replace the words in a profile's arguments by this machine's numbers."""
    return {name: values.get(value, value) if isinstance(value, str) else value for name, value in args.items()}
