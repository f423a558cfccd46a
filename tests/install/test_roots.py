"""In fresh roots of Debian, without a compiler, the wheel answers within a minute of the end of the download."""

import hashlib

import pytest

from router.distribution import VERSION
from tests.install.inside import WITHIN
from tests.install.roots import DIST, Root, first_answer

ROOTS = (Root("bookworm", "3.11"), Root("bookworm", "3.12"), Root("trixie", "3.13"))


def test_the_sums_are_those_of_the_files():
    """And each file has one."""
    listed = dict(line.split("  ")[::-1] for line in (DIST / "SHA256SUMS").read_text().splitlines())
    assert set(listed) == {path.name for path in DIST.iterdir()} - {"SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256((DIST / name).read_bytes()).hexdigest() == digest


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["pip", "uv", "pipx"])
@pytest.mark.parametrize("root", ROOTS, ids=lambda each: f"{each.suite}-{each.python}")
def test_a_fresh_root_answers_within_a_minute(root, how):
    """The command is there, its hot path is compiled, a chat is answered, and nothing is left of it when it ends."""
    found = first_answer(root, how)
    took = f"installed in {found['install']} s, answered {found['start']} s later; {found['cpu']} s of the CPU"
    print(f"\n{root.suite}, Python {root.python}, {how}: {took}")
    assert found["answer"]
    assert found["cpu"] < WITHIN
    assert found["version"] == f"router {VERSION}"
    assert found["compiled"]
    assert found["models"] == ["demo"]
    assert found["ended"] == 0
    assert found["left"] == []
