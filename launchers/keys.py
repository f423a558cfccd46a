"""The keys that engines are started with, and without which they answer nobody.

A key is the same at each start: vllm takes all of its environment into account when it looks for what it has compiled
before, and would compile anew, for half a minute, with another one.
"""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from launchers.files import read_ordinary


def key_of(file: Path, name: str) -> str:
    """Give the key of the engine of this name, made of a secret that `file` keeps for its owner alone.

    Where no such file can be kept, each call gives another key.
    """
    secret = b""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), open(file, "xb", opener=_for_us_alone) as new:
            new.write(os.urandom(32))
        secret = read_ordinary(file)
    return sha256((secret or os.urandom(32)) + name.encode()).hexdigest()


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
