"""The disk, as much of it as finding a model needs: what launchers.engines, which do no I/O, are given to look with."""

import os
from pathlib import Path


class Disk:
    """The machine's own files: the real `launchers.engines.Files`."""

    @property
    def home(self) -> str:
        """The user's home folder, which `~` stands for."""
        return str(Path.home())

    def is_file(self, path: str) -> bool:
        """Whether `path` is a file, or a link to one; a relative path counts from the working directory."""
        return Path(path).is_file()

    def is_dir(self, path: str) -> bool:
        """Whether `path` is a folder, or a link to one."""
        return Path(path).is_dir()

    def list(self, folder: str) -> list[str]:
        """The names in `folder`, sorted. Raises OSError where it can't be read."""
        return sorted(os.listdir(folder))  # noqa: PTH208 -- names are what is wanted, not paths
