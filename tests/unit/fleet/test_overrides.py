import pytest

from router.config import Config
from router.fleet.overrides import Overrides


def config(**launch):
    return Config.model_validate(
        {
            "backends": [
                {"name": "a", "launch": {"model": "any", **launch}},
                {"name": "b", "launch": {"model": "other", "pinned": True}},
                {"name": "c", "url": "http://c.test"},
            ]
        }
    )


@pytest.fixture
def overrides():
    return Overrides(config())


def entry(of, name):
    return next(each for each in of.backends if each.name == name)


def scaled(overrides, count, by="ops", at=1.0):
    return overrides.add([entry(overrides.written, "a")], "replicas", count, by, at)


def test_without_any_the_file_is_what_runs(overrides):
    assert overrides.config is overrides.written


def test_what_is_changed_lies_over_the_file(overrides):
    """And nothing else of it."""
    found = scaled(overrides, 3)
    assert entry(found.config, "a").launch.replicas == 3
    assert found.config.backends[1:] == found.written.backends[1:]
    assert entry(found.written, "a").launch.replicas == 1
    (one,) = found.kept
    assert (one.key, one.value, one.written, one.by, one.at) == ("replicas", 3, 1, "ops", 1.0)


def test_several_keys_of_an_entry(overrides):
    found = scaled(overrides, 3).add([entry(overrides.written, "a")], "pinned", True, "ops", 2.0)
    launch = entry(found.config, "a").launch
    assert (launch.replicas, launch.pinned) == (3, True)
    assert [each.key for each in scaled(found, 1).kept] == ["pinned"]


def test_who_says_the_same_again_changes_nothing(overrides):
    """It is told who was the first, and when."""
    first = scaled(overrides, 3)
    assert scaled(first, 3, "other", 2.0) == first
    assert [(each.value, each.by) for each in scaled(first, 2, "other", 2.0).kept] == [(2, "other")]


def test_what_the_file_says_itself_is_none(overrides):
    assert scaled(scaled(overrides, 3), 1) == overrides
    unpinned = overrides.add([entry(overrides.written, "b")], "pinned", False, "ops", 1.0)
    assert entry(unpinned.config, "b").launch.pinned is False
    assert unpinned.add([entry(overrides.written, "b")], "pinned", True, "ops", 1.0) == overrides


def test_it_ends_with_a_change_of_its_entry(overrides):
    """Not with that of another one; and doesn't come back with the entry."""
    found = scaled(overrides, 3)
    same = Config.model_validate({"backends": [{"name": "n", "url": "http://n.test"}, *dumped(found.written)]})
    assert found.over(same).kept == found.kept
    assert entry(found.over(same).config, "a").launch.replicas == 3
    ended = found.over(config(replicas=2))
    assert ended.kept == ()
    assert ended.over(config()).config == config()


def dumped(written):
    return [each.model_dump(mode="json", exclude_none=True) for each in written.backends]


def drained(overrides, backend="a-2", entry="a", by="ops", at=1.0):
    return overrides.drain(entry, backend, by, at)


def test_a_drain_is_of_one_backend_and_changes_no_plan(overrides):
    """The first who wanted it is told; and a scale beside it leaves it alone."""
    found = drained(drained(overrides), by="bob", at=2.0)
    assert [(each.backend, each.by, each.at) for each in found.drained] == [("a-2", "ops", 1.0)]
    assert found.config is overrides.written
    assert scaled(found, 3).drained == found.drained
    assert drained(found, "c", "c").undrain("a-2").drained[0].backend == "c"
    assert found.undrain("a-2") == overrides
    assert drained(overrides, entry="nothing") is overrides


def test_a_drain_ends_with_a_change_of_its_entry_or_with_its_backend(overrides):
    """Not with a change of another entry."""
    found = scaled(drained(overrides), 3)
    other = Config.model_validate({"backends": dumped(found.written)[:2]})
    assert found.over(other).drained == found.drained
    assert found.over(config(replicas=2)).drained == ()
    assert found.within({"a", "a-2"}) == found
    assert found.within({"a"}).drained == ()
    # A peer's model, whose router may be away.
    assert drained(overrides, backend="a/qwen").within({"a"}).drained[0].backend == "a/qwen"
    assert found.ended(found.over(other)) == []
    assert found.ended(found.over(config(replicas=2))) == ["a: replicas 3 by ops", "a-2: drained by ops"]
