"""A file's bytes and its text, and what may lie there instead."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from router.config import load
from router.config.problems import ConfigError
from router.config.reading import files
from router.config.reading.files import MAX_BYTES, read


def refusal(path: Path, most: int = MAX_BYTES) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path, most)
    return str(caught.value)


def test_a_missing_file(tmp_path):
    """A file that isn't there is said to be missing, under the name it was asked by, and what to do is said."""
    said = f"there is no such file in {tmp_path}; {files.BEGINNING}"
    assert refusal(tmp_path / "router.yaml") == f"{tmp_path}/router.yaml: {said}"


def test_the_line_to_begin_with_is_a_whole_router_yaml(tmp_path):
    """What is told to write can be used as it stands."""
    (line,) = re.findall("`(.+)`", files.BEGINNING)
    (tmp_path / "router.yaml").write_text(line)
    (backend,) = load(tmp_path / "router.yaml", {}).config.backends
    assert backend.launch is not None
    assert backend.launch.model == "/path/to/model.gguf"


def test_a_directory(tmp_path):
    """A directory is no file."""
    assert "is a directory" in refusal(tmp_path)


@pytest.mark.timeout(10)
def test_a_fifo_is_not_waited_for(tmp_path):
    """Nobody writes to it: it is refused at once."""
    os.mkfifo(tmp_path / "router.yaml")
    assert "is no ordinary file" in refusal(tmp_path / "router.yaml")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/random"])
def test_a_device_is_not_read(device):
    """It may have no end."""
    assert "is no ordinary file" in refusal(Path(device))


def test_a_link_is_what_it_leads_to(tmp_path):
    """A link to a file is read; one to nowhere, or to itself, is a problem."""
    (tmp_path / "real").write_bytes(b"a: 1")
    for name, to in (("good", "real"), ("dangling", "nowhere"), ("loop", "loop")):
        (tmp_path / name).symlink_to(tmp_path / to)
    assert read(tmp_path / "good") == b"a: 1"
    assert "there is no such file" in refusal(tmp_path / "dangling")
    assert "can't be read" in refusal(tmp_path / "loop")


def test_a_large_file_is_not_read_whole(tmp_path):
    """100 MB that are no router.yaml, and more than is left for an included file."""
    path = tmp_path / "router.yaml"
    path.touch()
    os.truncate(path, 100_000_000)
    assert "is larger than 4 MiB: this can't be a router.yaml" in refusal(path)
    assert "is larger than 4 MiB, with what was read before it" in refusal(path, 7)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied"), "check the file's owner and permissions"),
        (OSError(5, "Input/output error"), "can't be read: Input/output error"),
        (ValueError("embedded null byte"), "can't be read: embedded null byte"),
    ],
)
def test_a_file_that_cannot_be_read(monkeypatch, error, message):
    """Whatever the system says, it becomes a problem."""

    def refuse(*_arguments):
        raise error

    monkeypatch.setattr("launchers.files.at_once", refuse)
    assert message in refusal(Path("router.yaml"))


def test_a_path_that_no_system_takes():
    """A name with a character that none can have."""
    assert "can't be read" in refusal(Path("a\0b"))
