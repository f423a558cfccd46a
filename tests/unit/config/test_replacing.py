import os
import stat

import pytest

from router.config import ConfigError
from router.config.replacing import ReplaceError, backup_of, replace, there

OLD, NEW = b"backends: [{url: 'http://a'}]\n", b"backends: [{url: 'http://b'}]\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "router.yaml"
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def names(file):
    return sorted(each.name for each in file.parent.iterdir())


def test_the_new_file_and_the_old_one_beside_it(file):
    loaded = replace(file, OLD, NEW, {})
    assert [each.url for each in loaded.config.backends] == ["http://b"]
    assert (file.read_bytes(), (file.parent / "router.yaml.bak").read_bytes()) == (NEW, OLD)
    assert names(file) == ["router.yaml", "router.yaml.bak"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_what_can_not_be_used_changes_nothing(file):
    """The mistake has its place, in the file's own name."""
    with pytest.raises(ConfigError) as caught:
        replace(file, OLD, b"\n\nbackends: 5\n", {})
    assert str(caught.value).startswith(f"{file}:3:1 backends: ")
    assert (file.read_bytes(), names(file)) == (OLD, ["router.yaml"])


def test_a_file_that_was_changed_meanwhile(file):
    with pytest.raises(ReplaceError, match="was changed meanwhile"):
        replace(file, b"another", NEW, {})
    assert (file.read_bytes(), names(file)) == (OLD, ["router.yaml"])


def test_a_first_file(tmp_path):
    """It is as readable as any new file of this user."""
    mask = os.umask(0o027)
    try:
        replace(tmp_path / "router.yaml", None, NEW, {})
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "router.yaml").stat().st_mode) == 0o640
    assert names(tmp_path / "router.yaml") == ["router.yaml"]
    with pytest.raises(ReplaceError):
        replace(tmp_path / "router.yaml", None, OLD, {})


def test_a_link_stays_one(file, tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    replace(link, OLD, NEW, {})
    assert link.is_symlink()
    assert file.read_bytes() == NEW


def test_files_that_include_what_is_beside_them(file):
    """The pattern matches the file itself, which counts once."""
    (file.parent / "more.yaml").write_text("backends: [{url: 'http://c'}]\n")
    loaded = replace(file, OLD, NEW + b"include: '*.yaml'\n", {})
    assert [each.url for each in loaded.config.backends] == ["http://b", "http://c"]


def test_a_folder_that_can_not_be_written(file, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReplaceError, match=r"router.yaml can't be written: No space left on device"):
        replace(file, OLD, NEW, {})
    assert (file.read_bytes(), names(file)) == (OLD, ["router.yaml"])


def test_what_a_link_leads_to_is_replaced(file, tmp_path):
    """Its backup is beside it, and not beside the link."""
    link = tmp_path / "elsewhere" / "router.yaml"
    link.parent.mkdir()
    link.symlink_to(file)
    replace(link, OLD, NEW, {})
    assert (link.is_symlink(), file.read_bytes()) == (True, NEW)
    assert backup_of(link) == file.parent / "router.yaml.bak"
    assert backup_of(link).read_bytes() == OLD


def test_what_is_there(tmp_path):
    """What is no file can't be replaced."""
    (tmp_path / "a").write_text("x")
    assert (there(tmp_path / "a"), there(tmp_path / "b")) == (b"x", None)
    with pytest.raises(ReplaceError, match="can't be written: Is a directory"):
        there(tmp_path)
