"""The keys that engines are started with."""

import stat

from launchers.keys import key_of


def test_an_engine_has_the_same_key_at_each_start_and_another_than_its_neighbour(tmp_path):
    """Vllm would compile its model anew with another one."""
    file = tmp_path / "logs" / "engines.key"
    key = key_of(file, "tiny")
    assert len(key) == 64
    assert key_of(file, "tiny") == key
    assert key_of(file, "other") != key
    assert key_of(tmp_path / "elsewhere", "tiny") != key


def test_the_secret_is_for_its_owner_alone(tmp_path):
    file = tmp_path / "engines.key"
    key_of(file, "tiny")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_file_each_start_has_its_own(tmp_path):
    """Nor is a key ever made of nothing."""
    (tmp_path / "folder").write_text("a file where the folder should be")
    unkept = [key_of(tmp_path / "folder" / "engines.key", "tiny") for _ in range(2)]
    (tmp_path / "empty").touch()
    unkept += [key_of(tmp_path / "empty", "tiny") for _ in range(2)]
    assert len(set(unkept)) == 4
