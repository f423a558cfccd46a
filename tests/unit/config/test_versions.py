import stat

import pytest

from router.config.versions import EDITED, MOST, Versions


@pytest.fixture
def versions(tmp_path):
    return Versions(tmp_path / "state" / "versions")


def test_each_text_is_kept_with_who_brought_it(versions):
    """The last one first; a text that is in force already is none."""
    versions.add("one", 1.0, EDITED)
    versions.add("two\nßé\u2028", 2.5, "ops")
    versions.add("two\nßé\u2028", 3.0, EDITED)
    assert [each[1:] for each in versions.all()] == [(2.5, "ops", "two\nßé\u2028"), (1.0, EDITED, "one")]
    assert [versions.one(each.id) for each in versions.all()] == versions.all()
    assert versions.one(7) is None


def test_so_many_are_kept(versions, tmp_path):
    """And nothing else lies there."""
    for number in range(MOST + 5):
        versions.add(str(number), float(number), EDITED)
    assert [each.text for each in versions.all()] == [str(number) for number in range(MOST + 4, 4, -1)]
    assert len(list((tmp_path / "state" / "versions").iterdir())) == MOST


def test_the_clock_may_go_back(versions):
    """Their order is that in which they came; one that came before may come again."""
    versions.add("one", 100.0, EDITED)
    versions.add("two", 50.0, EDITED)
    versions.add("one", 50.0, EDITED)
    assert [each.text for each in versions.all()] == ["one", "two", "one"]


def test_their_owner_alone_can_read_them(versions, tmp_path):
    """They have the secrets of the file."""
    versions.add("one", 1.0, EDITED)
    (file,) = (tmp_path / "state" / "versions").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"at": "x", "by": "y", "text": "z"}', b"\xff"])
def test_a_file_that_is_broken_is_passed_over(versions, tmp_path, content):
    """A disk that was full may have left it."""
    versions.add("one", 1.0, EDITED)
    (tmp_path / "state" / "versions" / "2000.json").write_bytes(content)
    (tmp_path / "state" / "versions" / "x.json").write_bytes(content)
    assert [each.text for each in versions.all()] == ["one"]
    versions.add("two", 3.0, EDITED)
    assert [each.text for each in versions.all()] == ["two", "one"]


def test_a_folder_that_can_not_be_written(tmp_path):
    (tmp_path / "file").touch()
    versions = Versions(tmp_path / "file" / "versions")
    with pytest.raises(OSError, match="file"):
        versions.add("one", 1.0, EDITED)
    assert versions.all() == []
