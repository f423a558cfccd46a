"""One port for every OpenAI client, in front of engines on this machine and others."""

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_HERE = Path(__file__).parent
_COMPILED = EXTENSION_SUFFIXES[0]
_SHARED = "router__mypyc"
"""mypyc's module that all compiled modules share; they import it from sys.path."""

# Only in a checkout:
if (_HERE.parent / "setup.py").exists():
    # 1. A compiled module must not hide later edits of its source.
    for built in _HERE.rglob(f"*{_COMPILED}"):
        source = built.with_name(built.name.removesuffix(_COMPILED) + ".py")
        if not source.exists():
            raise ImportError(f"{built} was compiled of a file that is gone: run `make fast`, or `make pure`")
        if source.stat().st_mtime > built.stat().st_mtime:
            raise ImportError(f"{source} is newer than what was compiled of it: run `make fast`, or `make pure`")
    # 2. The shared module lies in the checkout's root, which is on sys.path only for programs started there.
    shared = spec_from_file_location(_SHARED, _HERE.parent / (_SHARED + _COMPILED))
    if shared is not None and shared.loader is not None and Path(shared.origin or "").exists():
        sys.modules[_SHARED] = module_from_spec(shared)
        shared.loader.exec_module(sys.modules[_SHARED])
