"""Open a model's files and read what their headers say: blocks for some milliseconds, fetches nothing."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from launchers.files import NoFileError, at_once, read_ordinary
from launchers.footprints import gguf, safetensors
from launchers.footprints.errors import CutError, HeaderError
from launchers.footprints.model import Model, from_config, from_gguf
from launchers.weights import weights


def read_model(name: str, environ: Mapping[str, str]) -> Model | None:
    """Tell what a model is, by its name as a launch has it; None where it is not on this disk, or in a form of its own.

    Raises HeaderError for a damaged file, OSError for one that can't be read.
    """
    found = weights(name, environ)
    if not found:
        return None
    if is_gguf(found[0]):
        return from_gguf([gguf_header(path) for path in one_model(found)])
    if found[0].suffix == ".safetensors":
        config = config_of(found[0].parent / "config.json")
        return from_config(config, [tensor for path in found for tensor in safetensors_header(path)])
    return None


READERS = frozenset({"llama_cpp", "llama_server", "mlx", "vllm"})
"""Engines that read files as they are described here."""


def cut_off(found: Sequence[Path]) -> str:
    """Say which of a model's files ends too early; "" if all are whole, or it can't be told.

    What we can't read for another reason, an engine may.
    """
    try:
        if found and is_gguf(found[0]):
            for path in one_model(found):
                # Of any other beginning, it isn't the end that is missing.
                if gguf.MAGIC.startswith(read_ordinary(path, 4)):
                    gguf_header(path)
        for path in found:
            if path.suffix == ".safetensors":
                safetensors_header(path)
    except CutError as error:
        return f"{error}; fetch it again"
    except (HeaderError, OSError):
        return ""
    return ""


def is_gguf(path: Path) -> bool:
    """Tell whether a file is GGUF; Ollama's have no name that says so. Raises OSError."""
    return path.suffix.lower() == ".gguf" or (not path.suffix and read_ordinary(path, 4) == gguf.MAGIC)


def one_model(found: Sequence[Path]) -> Sequence[Path]:
    """Give the files of one model: of several in a folder that are no parts of one, the first."""
    return found if "-of-" in found[0].name else found[:1]


def gguf_header(path: Path) -> gguf.Header:
    """Read the header of a GGUF file. Raises HeaderError, OSError."""
    with _opened(path) as stream:
        return gguf.read_header(stream, _size(stream))


def safetensors_header(path: Path) -> tuple[gguf.Tensor, ...]:
    """Read the tensors of a safetensors file. Raises HeaderError, OSError."""
    with _opened(path) as stream:
        return safetensors.read_header(stream, _size(stream))


def config_of(path: Path) -> Mapping[str, object]:
    """Read config.json. Raises HeaderError, OSError."""
    try:
        found = json.loads(read_ordinary(path))
    except (ValueError, RecursionError) as error:
        raise HeaderError(f"{path}: {error}") from error
    return found if isinstance(found, dict) else {}


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file without waiting; name it in what goes wrong with it."""
    with open(path, "rb", opener=at_once) as stream:
        if not S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise NoFileError(f"{path} is no ordinary file")
        try:
            yield stream
        except HeaderError as error:
            raise type(error)(f"{path}: {error}") from error


def _size(stream: BinaryIO) -> int:
    return os.fstat(stream.fileno()).st_size
