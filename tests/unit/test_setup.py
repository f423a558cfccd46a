"""What the hot path is compiled with."""

import ast
import subprocess
import sys

from tests.running import REPOSITORY

# In a process of its own: setuptools takes the place of a module that others warn about then, whatever they do.
ASK = """
import runpy, sys
import mypyc.build, setuptools

shared = ["-O0"]
made = [setuptools.Extension(name, [], extra_compile_args=shared) for name in ("one", "other")]
mypyc.build.mypycify = lambda *_, **__: made
setuptools.setup = lambda **words: print([each.extra_compile_args for each in words["ext_modules"]])
runpy.run_path(sys.argv[1])
"""


def test_no_compiler_looks_at_the_indentation_of_what_mypyc_writes(monkeypatch):
    """GCC 14 read the 80 MB of it again for each place, which took minutes; the extensions share a list of options."""
    monkeypatch.delenv("ROUTER_PURE", raising=False)
    told = subprocess.run(
        [sys.executable, "-c", ASK, str(REPOSITORY / "setup.py")], capture_output=True, text=True, check=True
    )
    assert ast.literal_eval(told.stdout) == [["-O0", "-Wno-misleading-indentation"]] * 2
