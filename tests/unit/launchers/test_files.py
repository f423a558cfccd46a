from pathlib import Path

from launchers.files import Disk


def test_the_disk_is_seen_as_it_is(tmp_path):
    for name in ("b.gguf", "a.gguf"):
        (tmp_path / name).touch()
    disk = Disk()
    assert disk.list(str(tmp_path)) == ["a.gguf", "b.gguf"]
    assert disk.is_dir(str(tmp_path))
    assert not disk.is_file(str(tmp_path))
    assert disk.is_file(str(tmp_path / "a.gguf"))
    assert disk.home == str(Path.home())
