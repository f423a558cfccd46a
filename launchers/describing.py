"""Reads a model's files and describes it: blocks for some milliseconds, fetches nothing, and never fails."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from launchers.described import NOT_DESCRIBED, Described, from_config, from_gguf
from launchers.files import read_ordinary, stamp
from launchers.footprints import files as headers
from launchers.footprints.errors import HeaderError
from launchers.spec import LaunchSpec
from launchers.weights import weights

MOST_REMEMBERED: Final = 256
"""Descriptions that are kept: each reload of router.yaml asks for all of them again."""

MOST_TEMPLATE: Final = 1 << 18
"""Bytes of a template."""


PROJECTORS: Final = ("mmproj", "clip-model-path")
"""Arguments that name a file with which a GGUF model reads images, or hears."""


def describe_launch(spec: LaunchSpec, environ: Mapping[str, str]) -> Described:
    """Describe a launch's model, with its projector. `environ` is the router's own environment."""
    found = describe(spec.model, {**environ, **spec.env})
    named = [value for name, value in spec.args.items() if name.replace("_", "-") in PROJECTORS]
    return replace(found, vision=reads_images(named[0])) if named and isinstance(named[0], str) else found


def describe(model: str, environ: Mapping[str, str]) -> Described:
    """Describe a model by its name as a launch has it. What isn't on this disk, or is damaged, isn't described.

    The files are read again only if they have changed.
    """
    with suppress(OSError, ValueError):
        found = weights(model, environ)
        if found:
            beside = found[0].parent
            return _described(tuple(found), stamp([*map(str, found), *(str(beside / name) for name in BESIDE)]))
    return NOT_DESCRIBED


BESIDE: Final = ("config.json", "chat_template.jinja", "chat_template.json", "tokenizer_config.json")
"""The files beside the weights that describe a model in Hugging Face's layout."""


@lru_cache(maxsize=MOST_REMEMBERED)
def _described(files: tuple[Path, ...], _stamp: object) -> Described:
    """Describe a model by its weights and what is beside them."""
    try:
        if headers.is_gguf(files[0]):
            parts = headers.one_model(files)
            return from_gguf([headers.gguf_header(path) for path in parts], _size(parts))
        if files[0].suffix == ".safetensors":
            folder = files[0].parent
            config = headers.config_of(folder / "config.json")
            return from_config(config, _template(folder), _weights(files, config), _size(files))
    except (HeaderError, OSError):
        pass
    return NOT_DESCRIBED


def reads_images(projector: str) -> bool | None:
    """Tell whether the projector in a GGUF file is for images; None if the file can't be read, or doesn't say."""
    try:
        header = headers.gguf_header(Path(projector))
    except (HeaderError, OSError, ValueError):
        return None
    said = header.values.get("clip.has_vision_encoder")
    return bool(said) if said is not None else None


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _weights(files: Sequence[Path], config: Mapping[str, object]) -> int:
    """Count the weights of a model; 0 where they are packed, so that the headers don't tell."""
    if "quantization" in config or "quantization_config" in config:
        return 0
    return sum(tensor.weights for path in files for tensor in headers.safetensors_header(path))


def _template(folder: Path) -> str | None:
    """Read the template of chats; where there are several, all of them, as one is for tools."""
    with suppress(OSError, UnicodeDecodeError):
        return read_ordinary(folder / "chat_template.jinja", MOST_TEMPLATE).decode()
    for name in ("chat_template.json", "tokenizer_config.json"):
        with suppress(OSError, ValueError, RecursionError):
            said = json.loads(read_ordinary(folder / name))
            found = said.get("chat_template") if isinstance(said, dict) else None
            if isinstance(found, str):
                return found
            if isinstance(found, list):
                texts = [each.get("template") for each in found if isinstance(each, dict)]
                return "\n".join(text for text in texts if isinstance(text, str))
    return None
