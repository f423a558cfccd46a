"""Homebrew's formula: the template is filled in wholly, and is Ruby."""

import hashlib
import shutil
import subprocess

import pytest

from router.distribution import NAME, VERSION
from scripts.release import formula
from scripts.release.steps import ReleaseError

URL = "https://example.org/releases/1"


@pytest.fixture
def written(tmp_path):
    """Write the formula of a wheel."""
    wheel = tmp_path / f"llm_engine_router-{VERSION}-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    return formula.write(tmp_path, VERSION, wheel=wheel, url=URL, homepage="https://example.org")


def test_it_says_where_the_wheel_is_and_what_it_is(written):
    """Homebrew refuses one of another sum."""
    text = written.read_text()
    assert written.name == f"{NAME}.rb"
    assert f'url "{URL}/llm_engine_router-{VERSION}-py3-none-any.whl"' in text
    assert f'sha256 "{hashlib.sha256(b"wheel").hexdigest()}"' in text
    assert f'version "{VERSION}"' in text
    assert 'homepage "https://example.org"' in text
    assert "@" not in text.replace("python@3.13", "").replace('"$@"', "")


@pytest.mark.skipif(shutil.which("ruby") is None, reason="make test-install installs ruby")
def test_it_is_ruby(written):
    """As far as one can tell without Homebrew."""
    done = subprocess.run(["ruby", "-wc", written], capture_output=True, text=True, check=False)  # noqa: S607
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "Syntax OK", "")


@pytest.mark.parametrize("url", ["example.org", "http://example.org", 'https://x"\nsystem "rm"', "https://a/#{x}"])
def test_a_url_that_is_none_is_refused(tmp_path, url):
    """It stands in a program, between quotes."""
    with pytest.raises(ReleaseError, match="expected https://"):
        formula.write(tmp_path, VERSION, wheel=tmp_path / "x", url=url, homepage=url)


def test_a_place_without_a_value_is_a_fault_of_the_template():
    """Nothing is left as it was."""
    assert formula.filled("a @B@ c@d @E1@", {"B": "b", "E1": "e"}) == "a b c@d e"
    with pytest.raises(KeyError):
        formula.filled("@GONE@", {})
