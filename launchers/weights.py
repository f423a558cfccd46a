"""Finds a model's files on this disk: its weights, and its config.json. Downloads nothing."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from launchers.files import read_ordinary

WEIGHTS = ("*.safetensors", "*.gguf", "*.npz", "*.bin", "*.pt")
"""Patterns of the names of weights. A folder may hold several forms; an engine reads the first of these."""

_PART = re.compile(r"(.*)-00001(-of-\d{5}\.gguf)", re.IGNORECASE)
_HUB = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w.-]+)(:(?P<pattern>.+))?")


def weights(model: str, environ: Mapping[str, str]) -> list[Path] | None:
    """Find the files of a model's weights, on this disk or in the hub's cache; None if the model is in neither.

    The list is empty for a model whose files have unusual names.
    """
    path = Path(model)
    with suppress(OSError):
        if path.is_file():
            part = _PART.fullmatch(path.name)
            return sorted(path.parent.glob(f"{_literally(part[1])}-*{_literally(part[2])}")) if part else [path]
        if path.is_dir():
            return _of_one_form(path)
        if hub := _HUB.fullmatch(model):
            folder = hub_cache(environ) / hub_folder(hub["repository"]) / "snapshots"
            snapshots = sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime)
            if snapshots and hub["pattern"]:
                # The pattern is a file, a glob, or a quantisation, which is a part of the names.
                wanted = f"*{hub['pattern'].lower()}*"
                return [each for each in snapshots[-1].rglob("*") if fnmatch(each.name.lower(), wanted)] or None
            return _of_one_form(snapshots[-1]) if snapshots else None
    return None


def _literally(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _of_one_form(folder: Path) -> list[Path]:
    return next(filter(None, (sorted(folder.glob(form)) for form in WEIGHTS)), [])


def hub_cache(environ: Mapping[str, str]) -> Path:
    """Give the folder where huggingface_hub, and so every engine, keeps downloads."""
    if place := environ.get("HF_HUB_CACHE"):
        return Path(place).expanduser()
    cache = Path(environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(environ.get("HF_HOME") or cache / "huggingface").expanduser() / "hub"


def hub_folder(repository: str) -> str:
    """Give the name of a repository's folder in the hub's cache."""
    return f"models--{repository.replace('/', '--')}"


def no_gguf(files: Iterable[Path]) -> str:
    """Say which of these files is named *.gguf and is none, and what it may be; empty if all are what they seem."""
    for path in files:
        if path.suffix.lower() != ".gguf" or not path.exists():
            continue
        with suppress(OSError):
            begins = read_ordinary(path, 64)
            if not begins.startswith(b"GGUF"):
                return f"{path} is no GGUF file: it {_what(begins)}"
    return ""


def _what(begins: bytes) -> str:
    """Say what a file is that begins so."""
    if not begins:
        return "is empty"
    if begins.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS: fetch the file itself with `git lfs pull`"
    if begins.lstrip().startswith(b"<"):
        return "is a web page, as of a download that needed a login"
    if begins.startswith((b"PK", b"\x1f\x8b")):
        return "is an archive: unpack it"
    return f"begins with {begins[:12].decode('latin-1')!r}"


def size_of(files: Iterable[Path]) -> int:
    """Add up the sizes of files in bytes; a broken link has none."""
    return sum(path.stat().st_size for path in files if path.exists())


def described(model: str, environ: Mapping[str, str]) -> Mapping[str, object]:
    """Read the config.json beside a model's weights; empty if there is none that can be read."""
    files = weights(model, environ)
    with suppress(OSError, ValueError):
        found = json.loads(read_ordinary(files[0].parent / "config.json")) if files else None
        return found if isinstance(found, dict) else {}
    return {}
