"""Reads what a candidate's headers say: blocks for some milliseconds. What can't be used has a reason."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from launchers.described import NOT_DESCRIBED, Described, from_config, from_gguf
from launchers.describing import describe
from launchers.files import read_ordinary
from launchers.footprints import files as headers
from launchers.footprints.errors import HeaderError
from launchers.footprints.gguf import Header
from launchers.footprints.model import from_gguf as measured
from launchers.scan.walk import Candidate

GGUF: Final = frozenset({"llama_cpp", "llama_server"})
PLAIN: Final = frozenset({"mlx", "vllm"})
MLX: Final = frozenset({"mlx"})
VLLM: Final = frozenset({"vllm"})

NO_MODELS: Final = {
    "mmproj": "what a model reads images with, not a model",
    "adapter": "an adapter (LoRA), not a model",
    "imatrix": "measures for making quantisations, not a model",
}
"""general.type of GGUF files that are no models."""

INDEX: Final = "model.safetensors.index.json"
MOST_SHOWN: Final = 200
"""Letters of a reason."""


@dataclass(frozen=True, slots=True)
class Read:
    """A candidate as its files describe it. `engines` are those that read its form; none where there is a `reason`."""

    candidate: Candidate
    described: Described = NOT_DESCRIBED
    engines: frozenset[str] = frozenset()
    reason: str = ""


def read(candidate: Candidate) -> Read:
    """Read the headers of what may be a model."""
    if candidate.reason:
        return Read(candidate, reason=candidate.reason)
    try:
        return _gguf(candidate) if candidate.is_gguf else _hugging_face(candidate)
    except HeaderError as error:
        # Where it is stands beside the reason.
        reason = str(error).removeprefix(f"{candidate.place}: ").replace(f"{candidate.files[0].parent}/", "")
    except OSError as error:
        reason = f"can't be read: {error.strerror or error}"
    except ValueError as error:
        reason = f"can't be read: {error}"
    return Read(candidate, reason=reason[:MOST_SHOWN])


def _gguf(candidate: Candidate) -> Read:
    found = [headers.gguf_header(path) for path in candidate.files]
    first = found[0].values
    kind = "mmproj" if first.get("general.architecture") == "clip" else first.get("general.type")
    if kind in NO_MODELS:
        return Read(candidate, reason=NO_MODELS[str(kind)])
    if not any(header.tensors for header in found):
        return Read(candidate, reason="it has a vocabulary alone, no weights")
    # What llama.cpp itself can't do without.
    measured(found)
    described = from_gguf(found, _size(candidate.files))
    projector = _projector(candidate)
    sees = projector is not None and projector.values.get("clip.has_vision_encoder") is not False
    usable = replace(candidate, projector=candidate.projector if projector else None)
    return Read(usable, replace(described, vision=sees), GGUF)


def _projector(candidate: Candidate) -> Header | None:
    """Read the header of a projector; of one that is damaged nothing is used."""
    if candidate.projector is None:
        return None
    try:
        return headers.gguf_header(candidate.projector)
    except (HeaderError, OSError):
        return None


def _hugging_face(candidate: Candidate) -> Read:
    folder = candidate.files[0].parent
    config = headers.config_of(folder / "config.json")
    if lacking := _lacking(folder):
        return Read(candidate, reason=lacking)
    if not config.get("architectures") and not config.get("model_type"):
        return Read(candidate, reason="its config.json names no architecture")
    is_safe = candidate.files[0].suffix == ".safetensors"
    if is_safe:
        for path in candidate.files:
            headers.safetensors_header(path)
    described = describe(str(folder), {}) if is_safe else from_config(config, None, 0, _size(candidate.files))
    of_mlx, method = config.get("quantization"), config.get("quantization_config")
    if isinstance(of_mlx, dict) and "bits" in of_mlx:
        return Read(candidate, described, MLX)
    if described.generates is False or not is_safe or isinstance(method, dict):
        # mlx generates texts, from safetensors; of others' quantisations it knows few.
        return Read(candidate, described, VLLM)
    return Read(candidate, described, PLAIN)


def _lacking(folder: Path) -> str:
    """Say which parts are missing, as in a download that goes on; "" where none are."""
    try:
        said: Any = msgspec.json.decode(read_ordinary(folder / INDEX))
        names = {str(name) for name in said["weight_map"].values()}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError):
        return ""
    there = sum((folder / name).exists() for name in names if "/" not in name and "\0" not in name)
    return f"{there} of its {len(names)} files are here" if there < len(names) else ""


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)
