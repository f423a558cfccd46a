"""What was compiled in a checkout never hides what its sources say now."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import router


@pytest.fixture
def checkout(tmp_path):
    """Give a checkout with one compiled file, two folders down."""
    (tmp_path / "router/core/estimate").mkdir(parents=True)
    (tmp_path / "setup.py").write_text("")
    shutil.copy(Path(router.__file__), tmp_path / "router/__init__.py")
    source = tmp_path / "router/core/estimate/ask.py"
    source.write_text("")
    built = source.with_name("ask" + EXTENSION_SUFFIXES[0])
    built.write_text("")
    os.utime(built, (source.stat().st_mtime + 9,) * 2)
    return tmp_path


def said(checkout: Path) -> str:
    """Import the router there; give the last line of what that says."""
    command = [sys.executable, "-c", "import router"]
    ran = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    return ran.stderr.strip().rpartition("\n")[2]


def test_what_is_newer_than_its_source_is_used(checkout):
    """Nothing is said."""
    assert said(checkout) == ""


def test_what_is_older_than_its_source_is_refused(checkout):
    """However deep it lies."""
    source = checkout / "router/core/estimate/ask.py"
    os.utime(source, (source.stat().st_mtime + 99,) * 2)
    assert said(checkout).endswith("ask.py is newer than what was compiled of it: run `make fast`, or `make pure`")


def test_what_was_compiled_of_a_file_that_is_gone_is_refused(checkout):
    """A checkout that was pulled may have it."""
    (checkout / "router/core/estimate/ask.py").unlink()
    assert said(checkout).endswith("was compiled of a file that is gone: run `make fast`, or `make pure`")


def test_nothing_that_awaits_is_compiled():
    """Compiled coroutines throw exceptions in a way that Python 3.12 deprecates, and a later one will refuse."""
    root = Path(router.__file__).parent.parent
    text = (root / "setup.py").read_text()
    found: dict[str, list[str]] = {}
    exec(text[text.index("HOT = [") : text.index("def compiled")], found)  # noqa: S102  (our own file)
    assert len(found["HOT"]) > 50
    assert [path for path in found["HOT"] if "async def" in (root / path).read_text()] == []
    # A compiled class has lost what stands in the brackets of its fields' types, so msgspec decodes nothing into it.
    assert [path for path in found["HOT"] if "(msgspec.Struct" in (root / path).read_text()] == []
