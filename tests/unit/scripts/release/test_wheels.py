"""What the wheels are compiled with, and what they must have in them."""

import zipfile

import pytest

from scripts.release import checks, wheels
from scripts.release.steps import ReleaseError

SOURCES = frozenset({"router/a.py", "profiles/cpu.yaml"})


def test_they_are_compiled_for_an_old_glibc_and_any_cpu(tmp_path):
    """By zig, at both steps; a Python's own path is not linked in."""
    found = wheels.compiler(tmp_path / "my tools/bin/python")
    wanted = f"'{tmp_path}/my tools/bin/python' -m ziglang cc -target x86_64-linux-gnu.2.17 -mcpu=baseline"
    assert found["CC"] == wanted
    assert found["LDSHARED"] == f"{wanted} -shared -s"
    assert wheels.PLATFORM == "manylinux_2_17_x86_64"


@pytest.mark.parametrize(
    ("system", "machine", "can"), [("Linux", "x86_64", True), ("Linux", "aarch64", False), ("Darwin", "arm64", False)]
)
def test_where_they_are_made(system, machine, can):
    """Elsewhere the wheel without compiled parts is all there is."""
    assert wheels.can_be_compiled(system, machine) is can


def test_a_python_that_is_missing_is_said(monkeypatch, tmp_path):
    """With what installs it, and how to go on without it."""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReleaseError, match=r"no Python 3\.12 .* \(Debian's python3\.12-dev, or pyenv\)"):
        wheels.python("3.12")


def test_a_python_of_another_version_is_none(monkeypatch, tmp_path):
    """A stand-in of pyenv answers for each version, and fails for those that aren't installed."""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for version, says in (("3.12", "exit 127"), ("3.13", "echo 3.11 True"), ("3.11", "echo 3.11 True")):
        program = tmp_path / f"python{version}"
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o755)
    for version in ("3.12", "3.13"):
        with pytest.raises(ReleaseError):
            wheels.python(version)
    assert wheels.python("3.11") == wheels.Python("3.11", tmp_path / "python3.11")


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (
            [
                "router/a.py",
                "profiles/cpu.yaml",
                "router/a.cpython-311-x86_64-linux-gnu.so",
                "x.dist-info/RECORD",
                "router/",
            ],
            "",
        ),
        (["router/a.py"], r"lacks \['profiles/cpu.yaml'\] and has \[\]"),
        (["router/a.py", "profiles/cpu.yaml", "router/logs/a.log"], r"lacks \[\] and has \['router/logs/a.log'\]"),
    ],
)
def test_a_wheel_has_what_git_has(tmp_path, names, complaint):
    """Each file of the packages; beside them, only what was compiled."""
    wheel = tmp_path / "it-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    if not complaint:
        checks.whole(wheel, SOURCES)
        return
    with pytest.raises(ReleaseError, match=complaint):
        checks.whole(wheel, SOURCES)
