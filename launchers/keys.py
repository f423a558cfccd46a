"""The keys that engines are started with; without its key an engine answers nobody.

A key is the same at each start. vllm takes its whole environment into account when it looks for code that it compiled
before: with another key it would compile again, for half a minute.
"""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from launchers.files import at_once, own_folder, read_ordinary


def key_of(file: Path, name: str) -> str:
    """Give the key of the engine of this name, derived from a secret in `file`, which its owner alone can read.

    If no such file can be kept, each call gives another key.
    """
    secret = b""
    with suppress(OSError):
        own_folder(file.parent)
        with suppress(FileExistsError), open(file, "xb", opener=at_once) as new:
            new.write(os.urandom(32))
        secret = read_ordinary(file)
    return sha256((secret or os.urandom(32)) + name.encode()).hexdigest()
