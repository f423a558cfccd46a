"""Which files of a folder are one model. Pure: names go in.

1. The parts of a split GGUF file are one model; its first part names it.
2. A GGUF file called mmproj is what a model beside it reads images with: one of that model's name, or, if it has no
   name of its own, one for all of the folder's files, where these are one model in several quantisations.
3. config.json and weights beside it are a model in Hugging Face's layout, which MLX has, too.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

PART: Final = re.compile(r"(?P<stem>.*)-(?P<part>\d{5})-of-(?P<all>\d{5})", re.IGNORECASE)
QUANTISATION: Final = re.compile(
    r"[-._](?:UD-)?(?:I?Q\d(?:_\w+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|B?F16|F32|FP16|FP8|\d{1,2}-?bit)$", re.IGNORECASE
)
"""The end of a name that says how its weights are stored."""

OTHER_WEIGHTS: Final = (".npz", ".bin", ".pt")
NOT_WEIGHTS: Final = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "optimizer.bin"})

_GGUF = ".gguf"
_PROJECTOR = re.compile(r"mmproj", re.IGNORECASE)
_EDGES = "-_. "


@dataclass(frozen=True, slots=True)
class Files:
    """The names of one model's files in a folder. `is_gguf`: else it is in Hugging Face's layout.

    `whole` is how many files there must be, 0 where the names don't tell.
    """

    name: str
    names: tuple[str, ...]
    is_gguf: bool
    projector: str | None = None
    whole: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether all parts are there, the first one above all."""
        return not self.whole or len(self.names) == self.whole


def sort(names: Collection[str]) -> list[Files]:
    """Give the models of a folder that has files of these names."""
    return [*_of_gguf(sorted(names)), *_of_hugging_face(sorted(names))]


def base(stem: str) -> str:
    """Give a name without its quantisation, in lower case."""
    return QUANTISATION.sub("", stem).lower()


def _of_gguf(names: Sequence[str]) -> list[Files]:
    stems = {name: name[: -len(_GGUF)] for name in names if name.lower().endswith(_GGUF) and name[: -len(_GGUF)]}
    projectors = {name: stem for name, stem in stems.items() if _PROJECTOR.search(stem)}
    # An engine is told its path by router.yaml, which can't have every letter.
    usable = {name: stem for name, stem in projectors.items() if name.isprintable()}
    models: dict[tuple[str, int], list[str]] = {}
    for name, stem in stems.items():
        if name not in projectors:
            part = PART.fullmatch(stem)
            models.setdefault((part["stem"], int(part["all"])) if part else (stem, 0), []).append(name)
    bases = {base(stem) for stem, _ in models}
    return [
        Files(stem, tuple(parts), is_gguf=True, projector=_projector(stem, usable, bases), whole=whole)
        for (stem, whole), parts in models.items()
    ]


def _projector(stem: str, projectors: dict[str, str], bases: Collection[str]) -> str | None:
    """Find the projector of a model; of several in different precisions, the one that every device computes with."""
    own, found = base(stem), []
    for name, its in projectors.items():
        # 1. What its name says beside mmproj: nothing, `model`, or the name of a model.
        rest = base(_PROJECTOR.sub("", its).strip(_EDGES)).removesuffix("model").strip(_EDGES)
        rest = "" if QUANTISATION.fullmatch(f"-{rest}") else rest
        # 2. A model is meant if it has that name, or, of no name, if there is no other.
        if own.startswith(rest) if rest else len(bases) == 1:
            found.append((-len(rest), "bf16" in name.lower(), "f16" not in name.lower(), name))
    return min(found)[-1] if found else None


def _of_hugging_face(names: Sequence[str]) -> list[Files]:
    if "config.json" not in names:
        return []
    weights = [name for name in names if name.endswith(".safetensors")]
    for ending in OTHER_WEIGHTS:
        weights = weights or [name for name in names if name.endswith(ending) and name not in NOT_WEIGHTS]
    return [Files("", tuple(weights), is_gguf=False)] if weights else []
