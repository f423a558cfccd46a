"""Which GPUs a launch may use: what `launch.gpus` says, and the variables that show a process these alone. Pure.

A GPU is named to CUDA by its UUID, which means the same in every order of counting. AMD's are named by numbers, which
count what ROCR_VISIBLE_DEVICES leaves.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from launchers.errors import LaunchError
from launchers.spec import ArgValue
from profiles import Facts
from profiles.parsers import AMD, Gpu

VISIBLE, AMD_VISIBLE, AMD_RUNTIME = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
ORDER, IN_ORDER = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
"""The variable that makes CUDA number GPUs as nvidia-smi does; by default the fastest is first."""

MOST_GROUPS = 8
"""Most groups of GPUs of which all are tried."""

HIDDEN = "-1"
"""The value of VISIBLE and its like that shows no GPU."""

CPU_ENGINES = frozenset({"llama_cpp", "llama_server"})
"""Engines that work without a GPU on a machine that has one."""

Wish = str | int | Sequence[int]
"""`launch.gpus`: auto, how many, or which ones."""


def allowed(wish: Wish, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Give those of the machine's usable GPUs that a launch may use.

    Raises LaunchError if there are fewer than it wants, or not those that it names.
    """
    if wish == "auto":
        return tuple(gpus)
    if isinstance(wish, str | int):
        if int(wish) > len(gpus):
            raise LaunchError(f"launch.gpus: {wish}: this machine has {_counted(gpus)}")
        return tuple(gpus) if wish else ()
    known = {gpu.number: gpu for gpu in gpus}
    if missing := [number for number in wish if number not in known]:
        raise LaunchError(
            f"launch.gpus: there is no GPU {missing[0]} that engines can use: this machine has {_counted(gpus)}"
        )
    return tuple(known[number] for number in wish)


def _counted(gpus: Sequence[Gpu]) -> str:
    if not gpus:
        return "no GPU that engines can use"
    numbers = ", ".join(str(gpu.number) for gpu in gpus)
    return f"{len(gpus)}, with the number{'s' * (len(gpus) > 1)} {numbers}"


def chosen(wish: Wish, gpus: Sequence[Gpu], used: Sequence[str]) -> tuple[Gpu, ...]:
    """Choose as many GPUs as a launch wants, of those that it may use: those that the fewest others use.

    `used` has the id of a GPU once for each launch that uses it. A list and `auto` leave nothing to choose.
    """
    if not isinstance(wish, int):
        return tuple(gpus)
    least = sorted(gpus, key=lambda gpu: used.count(gpu.id))[:wish]
    names = {gpu.id for gpu in least}
    return tuple(gpu for gpu in gpus if gpu.id in names)


def groups(gpus: Sequence[Gpu], size: int, *, alike: bool, first: int = 0) -> list[tuple[Gpu, ...]]:
    """Give groups of so many GPUs that a model may be loaded on, of one kind each if they must be `alike`.

    Each launch may begin with another one (`first`), so that models which all fit are spread over the GPUs.
    """
    if math.comb(len(gpus), size) <= MOST_GROUPS:
        found = list(combinations(gpus, size))
    else:
        # Neighbours, which mostly have the shortest way to each other.
        found = [tuple(gpus[at : at + size]) for at in range(0, len(gpus) - size + 1, size)]
    found = [group for group in found if not alike or len(set(group)) == 1]
    at = first % len(found) if found else 0
    return found[at:] + found[:at]


def showing(gpus: Sequence[Gpu], everyone: Sequence[Gpu], environ: Mapping[str, str]) -> dict[str, str]:
    """Give the variables with which a process sees these GPUs alone, of `everyone` that the router sees."""
    if any(gpu.vendor == AMD for gpu in gpus or everyone):
        counted = [gpu.id for gpu in everyone if gpu.vendor == AMD]
        places = [counted.index(gpu.id) if AMD_RUNTIME in environ else gpu.number for gpu in gpus]
        return {AMD_VISIBLE: _joined(places)}
    if all(gpu.uuid for gpu in gpus):
        return {VISIBLE: _joined(gpu.uuid for gpu in gpus)}
    return {VISIBLE: _joined(gpu.number for gpu in gpus), ORDER: IN_ORDER}


def without_gpu(engine: str, facts: Facts) -> dict[str, ArgValue]:
    """Give the arguments with which an engine leaves GPUs alone. Raises LaunchError for one that can't."""
    if engine in CPU_ENGINES:
        return {"n_gpu_layers" if engine == "llama_cpp" else "n-gpu-layers": 0}
    if facts.gpus or facts.system == "Darwin":
        raise LaunchError(f"launch.gpus: 0: {engine} needs a GPU; write `engine: llama_server`")
    return {}


def _joined(names: Iterable[object]) -> str:
    return ",".join(str(name) for name in names) or HIDDEN
