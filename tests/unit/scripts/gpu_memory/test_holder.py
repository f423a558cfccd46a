import ctypes
import io
import sys
from types import SimpleNamespace

import pytest

from scripts.gpu_memory import holder


class Library:
    """The driver's library, with 100 bytes of memory."""

    def __init__(self) -> None:
        self.free = 100
        self.made: list[str] = []

    def __getattr__(self, name):
        def call(*arguments):
            self.made.append(name)
            if name != "cuMemAlloc_v2":
                return 0
            size = arguments[1].value
            if size > self.free:
                return 2
            self.free -= size
            return 0

        return call


def test_memory_is_taken_line_by_line(monkeypatch, capsys):
    """A context first; what isn't free is refused with the driver's code, and the rest goes on."""
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(sys, "stdin", io.StringIO("60\n50\n40\n"))
    holder.main()
    assert library.made[:3] == ["cuInit", "cuDeviceGet", "cuCtxCreate_v2"]
    assert capsys.readouterr().out.splitlines() == ["ready", "took 60", "failed cuMemAlloc_v2: 2", "took 40"]
    assert library.free == 0


def test_without_a_driver_it_fails(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(cuInit=lambda _: 100))
    with pytest.raises(holder.CudaError, match="cuInit: 100"):
        holder.main()
