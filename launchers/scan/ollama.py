"""What a manifest of Ollama's store names. Pure.

The store has two folders:

    manifests/registry.ollama.ai/library/llama3.2/latest     JSON: the layers of llama3.2:latest
    blobs/sha256-0123…                                       a layer: the GGUF file, a projector, a template …
"""

import re
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

MODEL: Final = "application/vnd.ollama.image.model"
PROJECTOR: Final = "application/vnd.ollama.image.projector"
ADAPTER: Final = "application/vnd.ollama.image.adapter"
PARAMS: Final = "application/vnd.ollama.image.params"
SYSTEM: Final = "application/vnd.ollama.image.system"

NO_GGUF: Final = "Ollama has it in a form of its own, or elsewhere: no GGUF file is in its store"
"""Why a model of the store can't be used, if its manifest names no GGUF file."""

_HOST, _LIBRARY, _LATEST = "registry.ollama.ai", "library", "latest"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


class _Layer(msgspec.Struct):
    mediaType: str = ""  # noqa: N815 -- its name in the manifest
    digest: str = ""


class _Manifest(msgspec.Struct):
    layers: Annotated[list[_Layer], msgspec.Meta(max_length=10_000)]


_decode = msgspec.json.Decoder(_Manifest).decode


@dataclass(frozen=True, slots=True)
class Named:
    """The blobs of a model: its GGUF file, and what it reads images with."""

    model: str
    projector: str | None = None


def blobs_of(manifest: bytes) -> Named | str:
    """Give the names of the blobs that a manifest means, or the reason why it means no model."""
    try:
        found = layers_of(manifest)
    except ValueError as error:
        return str(error)
    if MODEL not in found:
        return NO_GGUF
    return Named(found[MODEL], found.get(PROJECTOR))


def layers_of(manifest: bytes) -> dict[str, str]:
    """Give the names of a manifest's blobs, by what they are. Raises ValueError if it is none."""
    try:
        layers = _decode(manifest).layers
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("this is no manifest of Ollama's") from None
    return {layer.mediaType: f"sha256-{match[1]}" for layer in layers if (match := _DIGEST.fullmatch(layer.digest))}


def name_of(parts: tuple[str, ...]) -> str:
    """Give a model's name as Ollama writes it, of its manifest's path below `manifests`: llama3.2, me/mine:7b."""
    *folders, model, tag = parts
    if folders[:1] == [_HOST]:
        folders = folders[1:]
        if folders == [_LIBRARY]:
            folders = []
    return "/".join([*folders, model]) + (f":{tag}" if tag != _LATEST else "")
