"""What the hot path is compiled with."""

import runpy

import mypyc.build
import pytest
import setuptools

from tests.running import REPOSITORY


def test_no_compiler_looks_at_the_indentation_of_what_mypyc_writes(monkeypatch: pytest.MonkeyPatch):
    """GCC 14 read the 80 MB of it again for each place, which took minutes; the extensions share a list of options."""
    given, shared = dict[str, list[setuptools.Extension]](), ["-O0"]
    made = [setuptools.Extension(name, [], extra_compile_args=shared) for name in ("one", "other")]
    monkeypatch.setattr(mypyc.build, "mypycify", lambda *_, **__: made)
    monkeypatch.setattr(setuptools, "setup", lambda **words: given.update(words))
    monkeypatch.delenv("ROUTER_PURE", raising=False)
    runpy.run_path(str(REPOSITORY / "setup.py"))
    assert [each.extra_compile_args for each in given["ext_modules"]] == [["-O0", "-Wno-misleading-indentation"]] * 2
