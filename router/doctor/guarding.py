"""What doctor tells of the doors behind the router's: engines with published faults, code, keys, open files. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from launchers.engines.command import KEY, NAME
from profiles import Facts
from router.doctor.faults import AS_OF, FAULTS, parts, published
from router.doctor.findings import Finding, Mark
from router.fleet.launching import Launch

RISKS: Final[Mapping[str, str]] = MappingProxyType({
    "trust-remote-code": "code that comes with the model runs",
    "enable-prompt-embeds": "requests may have tensors, which are read by code that can be made to run another",
    "allowed-local-media-path": "requests may name files of this machine",
    "media-path": "requests may name files of this machine",
    "logits-processor-pattern": "requests may choose code by its name",
})  # fmt: skip
"""Arguments of engines that open what is closed by default, with dashes, and what then is so."""

VARIABLES: Final[Mapping[str, str]] = MappingProxyType({
    "VLLM_SERVER_DEV_MODE": "it has paths that are for its developers",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "it loads adapters from files that are named to it",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "what its processes tell each other may run code",
})  # fmt: skip
"""The same of variables."""

_MOST_NAMED: Final = 3


def of_versions(facts: Facts) -> Iterator[Finding]:
    """The installed engines that have published faults."""
    for name, version in facts.engines.items():
        if found := published(name, version):
            newest = max((each for each in FAULTS if each.engine == name), key=lambda each: parts(each.fixed))
            faults = "; ".join(f"{each.id}: {each.what}" for each in found)
            told = f"{version} has published faults (as of {AS_OF}): update to {newest.fixed} or later"
            text = f"{told}. {faults}"
            yield Finding(Mark.LOOK, name, text)


def of_risks(launches: Iterable[Launch]) -> Iterator[Finding]:
    """What router.yaml opens that is closed by default; and programs that may answer without a key."""
    seen = set()
    for launch in launches:
        name, spec = launch.backend.name, launch.spec
        if name in seen:
            continue
        seen.add(name)
        args = {arg.replace("_", "-"): value for arg, value in spec.args.items()}
        for arg, what in RISKS.items():
            if args.get(arg) not in (None, False):
                yield Finding(Mark.LOOK, name, f"{what}, as its {arg} says")
        for variable, what in VARIABLES.items():
            if spec.env.get(variable, "0") not in ("", "0"):
                yield Finding(Mark.LOOK, name, f"{what}, as its {variable} says")
        config = launch.backend.launch
        if config is not None and config.allow:
            yield Finding(
                Mark.LOOK, name, f"clients may send what is private to it (launch.allow): {_few(config.allow)}"
            )
        said = (*(config.cmd if config else ()), *spec.env.values())
        if spec.engine == NAME and not any(KEY in each for each in said):
            text = f"unless it asks for the key in its variable {KEY}, it answers every program of this machine"
            yield Finding(Mark.FACT, name, text)


def of_files(opened: Sequence[str]) -> Iterator[Finding]:
    """Files and folders that other users of this machine can read."""
    if opened:
        text = f"{_few(opened)} can be read by others of this machine: chmod go= them"
        yield Finding(Mark.LOOK, "files", text)


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
