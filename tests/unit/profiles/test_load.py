import pytest

from launchers.engines import ENGINES
from profiles import ProfileError, load_profiles


def test_the_profiles_that_ship_load_and_name_engines_that_can_be_launched():
    profiles = load_profiles()
    assert set(profiles) == {"cpu"}
    assert {engine.name for engine in profiles["cpu"].engines} <= set(ENGINES)
    assert profiles["cpu"].engines[0].args["n_ctx"] == 4096


def test_engines_keep_their_order(tmp_path):
    (tmp_path / "mine.yaml").write_text("about: mine\nengines: [{name: b}, {name: a, args: {x: [1, 2]}}]\n")
    profile = load_profiles(tmp_path)["mine"]
    assert [engine.name for engine in profile.engines] == ["b", "a"]
    assert profile.engines[1].args == {"x": [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about: [", "mine.yaml: "),
        ("about: mine\nengines: []", "mine.yaml: engines: "),
        ("about: mine\nengines: [{name: a, arg: {}}]", r"mine.yaml: engines\.0\.arg: "),
        ("", "mine.yaml: it: "),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ProfileError, match=message):
        load_profiles(tmp_path)
