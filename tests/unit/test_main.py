import subprocess
import sys

import pytest

from router.__main__ import main


def test_windows_is_told_where_the_router_runs(monkeypatch, capsys):
    """Instead of an error about a signal that isn't there."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert main() == 2
    assert "inside WSL" in capsys.readouterr().err


PRESSED = """
import signal, sys, weakref
from router.__main__ import main

class Referred:
    pass

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{name}":
            for _ in range({times}):
                one = Referred()
                kept = weakref.ref(one, lambda _: signal.raise_signal(signal.SIGINT))
                del one

sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, {handler})
sys.argv = ["router", "schema"]
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["structlog", "router.cli.schema"])
@pytest.mark.parametrize(
    ("times", "handler", "code"),
    [(0, "signal.default_int_handler", 0), (1, "signal.default_int_handler", 130), (1, "signal.SIG_IGN", 0)],
)
def test_ctrl_c_during_the_imports_is_never_lost(name, times, handler, code):
    """Not even where Python can raise nothing; a shell's background jobs ignore it."""
    asked = PRESSED.format(name=name, times=times, handler=handler)
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr) == (code, "")
