"""The fake engine as the program `vllm`: real processes that start soon, take memory, and fail as they are told.

fakes = FakeVllm(folder)                 makes the program, for the PATH of `fakes.env`
fakes.model("m0", hold=40)               a folder that counts as a model: its engine holds 40 MiB
fakes.tell("m0", "--start-delay 60")     what its next starts do: the flags of tests/fakes/engine.py
fakes.starts("m0")                       the processes that were started on it so far
"""

import os
import runpy
import sys
from itertools import pairwise
from pathlib import Path

ENGINE = Path(__file__).with_name("engine.py")
MIB = 1 << 20


class FakeVllm:
    """A folder with the program and its models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir(parents=True)
        (programs / "vllm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{__file__}" "$@"\n')
        (programs / "vllm").chmod(0o755)
        self.env = {"PATH": f"{programs}:{os.environ['PATH']}"}

    def model(self, name: str, hold: int = 0) -> Path:
        """Make a model whose engine holds so many MiB; give its folder."""
        place = self.folder / "models" / name
        place.mkdir(parents=True)
        (place / "config.json").write_text("{}")
        (place / "hold").write_text(str(hold))
        (place / "flags").touch()
        (place / "starts").touch()
        return place

    def tell(self, name: str, flags: str) -> None:
        """Say what the next starts of a model's engine do."""
        (self.folder / "models" / name / "flags").write_text(flags)

    def starts(self, name: str) -> list[int]:
        """Give the process of each start so far."""
        return [int(pid) for pid in (self.folder / "models" / name / "starts").read_text().split()]


def main() -> None:
    """Be the engine of `vllm serve MODEL --port N --served-model-name NAME`, whatever else is said."""
    words = sys.argv[1:]
    place, said = Path(words[1]), dict(pairwise(words))
    with (place / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    held = b"x" * (int((place / "hold").read_text()) * MIB)
    sys.argv = [
        str(ENGINE), "--port", said["--port"], "--model", said["--served-model-name"], "--publishes",
        *(place / "flags").read_text().split(),
    ]  # fmt: skip
    runpy.run_path(str(ENGINE), {"held": held}, "__main__")


if __name__ == "__main__":
    main()
