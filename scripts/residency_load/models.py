"""The models of a load: files with random weights, of different sizes, and copies of the demo model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.footprint_models import wide, write_shape
from scripts.make_demo_model import build_files

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ModelFile:
    """A model that a launch names. `size` is in bytes."""

    name: str
    path: Path
    size: int


def sizes(count: int, least: float, most: float) -> list[int]:
    """Give so many sizes in bytes, from `least` to `most` gigabytes, each the same factor above the one before."""
    if count == 1:
        return [round(least * 1e9)]
    step = (most / least) ** (1 / (count - 1))
    return [round(least * 1e9 * step**index) for index in range(count)]


def write_models(folder: Path, count: int, least: float, most: float) -> list[ModelFile]:
    """Write so many models of rising size, unless they are there. Raises OSError where the disk has no room for them.

    Each has a file of its own: what is learned of one says nothing of another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = [
        (folder / f"random-{size / 1e9:.2f}gb-{index}.gguf", size)
        for index, size in enumerate(sizes(count, least, most))
    ]
    missing = [(path, size) for path, size in asked if not path.exists()]
    if sum(size for _, size in missing) > shutil.disk_usage(folder).free * 0.9:
        raise OSError(f"{folder} has no room for models of {sum(size for _, size in missing) / 1e9:.1f} GB")
    for path, size in missing:
        part = path.with_suffix(".part")
        write_shape(part, wide(size), "f16", path.stem)
        part.rename(path)
    return [ModelFile(f"m{index}", path, path.stat().st_size) for index, (path, _) in enumerate(asked)]


def copy_demo(folder: Path, count: int) -> list[ModelFile]:
    """Write so many copies of the demo model, each in a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    content = build_files()["demo.gguf"]
    paths = [folder / f"demo-{index}.gguf" for index in range(count)]
    for path in paths:
        path.write_bytes(content)
    return [ModelFile(f"m{index}", path, len(content)) for index, path in enumerate(paths)]
