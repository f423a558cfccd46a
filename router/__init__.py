"""One port for every OpenAI client, in front of engines on this machine and others."""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

_HERE = Path(__file__).parent
_COMPILED = EXTENSION_SUFFIXES[0]

if (_HERE.parent / "setup.py").exists():  # a checkout: what was compiled of it must not hide what was edited since
    for built in _HERE.glob(f"*/*{_COMPILED}"):
        source = built.with_name(built.name.removesuffix(_COMPILED) + ".py")
        if source.stat().st_mtime > built.stat().st_mtime:
            raise ImportError(f"{source} is newer than what was compiled of it: run `make fast`, or `make pure`")
