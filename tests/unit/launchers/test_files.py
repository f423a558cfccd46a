from pathlib import Path

from launchers.files import Disk, stamp


def test_the_disk_is_seen_as_it_is(tmp_path):
    for name in ("b.gguf", "a.gguf"):
        (tmp_path / name).touch()
    disk = Disk()
    assert disk.list(str(tmp_path)) == ["a.gguf", "b.gguf"]
    assert disk.is_dir(str(tmp_path))
    assert not disk.is_file(str(tmp_path))
    assert disk.is_file(str(tmp_path / "a.gguf"))
    assert disk.home == str(Path.home())


def test_a_stamp_tells_a_file_from_what_it_was(tmp_path):
    """By its size and its time; a folder by what is in it; one of several parts by all of them."""
    whole, first, second = tmp_path / "m.gguf", tmp_path / "x-00001-of-00002.gguf", tmp_path / "x-00002-of-00002.gguf"
    for file in (whole, first, second):
        file.write_text("a")
    paths = [str(whole), str(first)]
    seen = stamp(paths)
    assert stamp(paths) == seen
    second.write_text("ab")
    assert stamp(paths) != seen
    of_folder = stamp([str(tmp_path)])
    whole.unlink()
    assert stamp([str(tmp_path)]) != of_folder
    assert stamp(["org/name", str(tmp_path / "none"), "\0", "x" * 5000]) == ()
