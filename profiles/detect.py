"""From what a machine is to what it should run. Pure: the facts and the profiles are passed in.

A choice carries its reason, a sentence for the person who wonders why this engine and not another; an error
carries what to do about it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiles.facts import Facts

Scalar = str | int | float | bool
Arg = Scalar | Sequence[Scalar] | Mapping[str, object] | None

AUTO = "auto"


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
class Profile:
    """What a platform runs: its engines, the preferred one first."""

    name: str
    about: str
    engines: tuple[EngineDefaults, ...]


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


def detect(facts: Facts, profiles: Mapping[str, Profile], wanted: str = AUTO) -> Choice:
    """The profile of this machine, or the one that router.yaml names."""
    if wanted != AUTO:
        if wanted not in profiles:
            raise UnknownProfileError(f"there is no profile {wanted}; there are: auto, {', '.join(sorted(profiles))}")
        return Choice(profiles[wanted], f"{wanted}: router.yaml names it")
    machine = f"{facts.system} on {facts.machine} with {facts.cpus} CPUs"
    return Choice(profiles["cpu"], f"cpu: fits every machine, and no GPU is looked for yet ({machine})")


def choose_engine(profile: Profile, facts: Facts, installs: Mapping[str, str], wanted: str = AUTO) -> EngineChoice:
    """The engine for one launch.

    `installs` holds the engines that the router can launch, each with the one command that installs it.
    """
    if wanted == AUTO:
        return _first_installed(profile, facts, installs)
    if wanted not in installs:
        raise UnknownEngineError(f"the router can't launch {wanted}; it can: auto, {', '.join(sorted(installs))}")
    if wanted not in facts.engines:
        raise EngineNotInstalledError(f"{wanted} is not installed in this Python; install it: {installs[wanted]}")
    version = facts.engines[wanted]
    for engine in profile.engines:
        if engine.name == wanted:
            return EngineChoice(wanted, _for_machine(engine.args, facts), f"{wanted} {version}: router.yaml names it")
    why = f"{wanted} {version}: router.yaml names it; the {profile.name} profile has no arguments for it"
    return EngineChoice(wanted, {}, why)


def _first_installed(profile: Profile, facts: Facts, installs: Mapping[str, str]) -> EngineChoice:
    launchable = [engine for engine in profile.engines if engine.name in installs]
    for engine in launchable:
        if engine.name in facts.engines:
            why = f"the first of the {profile.name} profile's engines that is installed"
            return EngineChoice(
                engine.name, _for_machine(engine.args, facts), f"{engine.name} {facts.engines[engine.name]}: {why}"
            )
    if not launchable:
        names = ", ".join(engine.name for engine in profile.engines)
        raise UnknownEngineError(f"the router can't launch any engine of the {profile.name} profile yet: {names}")
    first = launchable[0].name
    raise EngineNotInstalledError(
        f"no engine of the {profile.name} profile is installed in this Python; install {first}: {installs[first]}"
    )


def _for_machine(args: Mapping[str, Arg], facts: Facts) -> dict[str, Arg]:
    """A profile's arguments with its words for this machine's numbers replaced by them."""
    numbers = {"$cpus": facts.cpus, "$half_the_cpus": max(facts.cpus // 2, 1)}
    return {name: numbers.get(value, value) if isinstance(value, str) else value for name, value in args.items()}
