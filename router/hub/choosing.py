"""Which files of a repository an engine needs. Pure.

GGUF, for the engines of llama.cpp: one quantisation, all its parts, and the projector that it reads images with. For
mlx and vllm: the safetensors with what describes them. Pickled weights (`*.bin`, `*.pt`) are never taken: they can run
code.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from launchers.scan.sorting import PART, QUANTISATION, sort
from router.hub.errors import HubError
from router.hub.listing import RemoteFile, Repository
from router.hub.names import Name

USUAL: Final = (
    "q4_k_m", "ud-q4_k_xl", "q4_k_xl", "q4_k_s", "mxfp4", "mxfp4_moe", "iq4_nl", "iq4_xs", "q4_0", "q4_1", "q5_k_m",
    "q5_k_s", "q6_k", "q8_0", "q3_k_m",
)  # fmt: skip
"""Quantisations in the order in which they are taken where nobody says one: four bits lose little, and are half as
large as eight, so answers come twice as fast."""

MOST_SHOWN: Final = 40
"""Quantisations that an error names."""

_WHOLE: Final = re.compile(r"model.*\.safetensors")
_DESCRIBES: Final = re.compile(r"[^/]+\.(?:json|txt|model|tiktoken|jinja)")
_MIB: Final = 1 << 20
_MOST_DESCRIBING: Final = 64 * _MIB
"""Bytes of a file that describes a model: the largest tokenizers have 35 MB."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Files that are one model: its weights, its projector, and what describes it.

    `what` is the quantisation of a GGUF model, empty for any other.
    """

    weights: tuple[RemoteFile, ...]
    what: str = ""
    projector: RemoteFile | None = None
    describing: tuple[RemoteFile, ...] = ()
    is_gguf: bool = True

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        """All of them; the small ones first, so that the model is whole when its weights are."""
        return (*self.describing, *((self.projector,) if self.projector else ()), *self.weights)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.size for each in self.files)


def quantisations(repository: Repository) -> list[Choice]:
    """Give the GGUF models of a repository that are whole, each with its projector, the smallest first."""
    found = []
    files = {each.name: each for each in repository.files if each.name.lower().endswith(".gguf")}
    folders: dict[str, list[str]] = {}
    for path in files:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, []).append(name)
    # Quantisations in folders of their own share a projector that lies above them.
    shared = [name for name in folders.get("", ()) if "mmproj" in name.lower()]
    for folder, names in folders.items():
        before = f"{folder}/" if folder else ""
        for each in sort({*names, *shared}):
            if each.is_complete and "imatrix" not in each.name.lower():
                eyes = None if each.projector is None else before * (each.projector in names) + each.projector
                weights = tuple(files[before + name] for name in each.names)
                found.append(Choice(weights, _quantisation(each.name), files[eyes] if eyes else None))
    return sorted(found, key=lambda each: (sum(file.size for file in each.weights), each.weights[0].name))


def _quantisation(stem: str) -> str:
    """Give the end of a name that says how its weights are stored; all of it, if it doesn't say."""
    match = QUANTISATION.search(stem)
    return match[0].lstrip("-._") if match else stem


def gguf(repository: Repository, name: Name) -> Choice:
    """Choose a quantisation. Raises HubError, which names those that there are."""
    found = quantisations(repository)
    wanted = name.what.lower()
    if not wanted:
        by_name = {each.what.lower(): each for each in reversed(found)}
        return next((by_name[each] for each in USUAL if each in by_name), found[0])
    matching = [each for each in found if wanted in _names(each)]
    if not matching:
        # Unsloth's dynamic ones: whoever doesn't know of them means these.
        matching = [each for each in found if each.what.lower() == f"ud-{wanted}"]
    if len(matching) == 1:
        return matching[0]
    if matching:
        paths = ", ".join(f"{name.repository}:{each.weights[0].name}" for each in matching[:MOST_SHOWN])
        raise HubError(f"{name} is several models: say which file, {paths}")
    there = ", ".join(dict.fromkeys(each.what for each in found[:MOST_SHOWN]))
    raise HubError(f"{name.repository} has no {name.what}. It has {there}")


def _names(choice: Choice) -> set[str]:
    path = choice.weights[0].name.lower()
    name = path.rpartition("/")[2]
    stem = name.removesuffix(".gguf")
    part = PART.fullmatch(stem)
    return {choice.what.lower(), path, name, stem, part["stem"] if part else stem}


def safetensors(repository: Repository) -> Choice | None:
    """Choose the files of a model in Hugging Face's layout; None if the repository has none."""
    top = [each for each in repository.files if "/" not in each.name]
    weights = [each for each in top if each.name.endswith(".safetensors")]
    # Mistral's have all weights once more, in a file of their own form; an adapter is no model.
    weights = [each for each in weights if _WHOLE.fullmatch(each.name)] or [
        each for each in weights if not each.name.startswith("adapter_")
    ]
    if not weights or repository.file("config.json") is None:
        return None
    describing = tuple(each for each in top if _DESCRIBES.fullmatch(each.name) and each.size <= _MOST_DESCRIBING)
    return Choice(tuple(weights), describing=describing, is_gguf=False)


def nothing(repository: Repository) -> str:
    """Say what a repository has instead of a model that could be taken."""
    endings = sorted({each.name.rpartition(".")[2] for each in repository.files if "." in each.name})
    if {"bin", "pt", "pth"} & set(endings):
        return (
            f"{repository.name} has its weights in a form that can run code (*.bin, *.pt), which isn't fetched. "
            "Look for one of the same model with safetensors or GGUF"
        )
    for each in sort([file.name for file in repository.files]):
        if each.is_gguf and not each.is_complete:
            has = f"it has {len(each.names)} of {each.whole}"
            return f"{repository.name} lacks parts of {each.name}: {has}. Take another"
    return (
        f"{repository.name} has no model that an engine here reads: neither *.gguf, nor config.json and *.safetensors"
    )


def smaller(repository: Repository, than: Choice) -> Sequence[str]:
    """Give the quantisations that take less than one, the largest first."""
    return [
        each.what for each in reversed(quantisations(repository)) if each.size < than.size and each.what != than.what
    ]
